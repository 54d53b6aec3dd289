//! A Docker engine of a test's own, without networks, whose rules would be the machine's.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::run::Running;
use super::wait::{so, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running engine; dropping it ends it.
pub struct Engine {
    directory: tempfile::TempDir,
    /// What runs its containers: it is not killed, an engine of its own would end with it.
    containers: Running,
    server: Running,
}

fn containers(directory: &Path) -> Running {
    let at = |name: &str| directory.join(name).display().to_string();
    let config = directory.join("config.toml");
    std::fs::write(&config, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n").unwrap();
    let mut command = Command::new("containerd");
    command.args(["--config", &at("config.toml"), "--root", &at("root"), "--state", &at("state"), "--address", &at("c")]);
    let running = Running::start(&mut command, Stdio::null());
    until("containerd listens", PATIENCE, || so(directory.join("c").exists(), "no socket"));
    running
}

fn server(directory: &Path, options: &[&str]) -> Running {
    let mut command = Command::new("dockerd");
    let at = |name: &str| directory.join(name).display().to_string();
    command.args([
        "--data-root",
        &at("data"),
        "--exec-root",
        &at("exec"),
        "--pidfile",
        &at("pid"),
        "--host",
        &format!("unix://{}", at("s")),
    ]);
    command.args(["--containerd", &at("c")]);
    command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]).args(options);
    Running::start(&mut command, Stdio::null())
}

impl Engine {
    /// Starts one, with more options of `dockerd`.
    pub fn start(options: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("engine-").tempdir().unwrap();
        let containers = containers(directory.path());
        let mut engine = Self { server: server(directory.path(), options), containers, directory };
        engine.await_answer();
        engine
    }

    /// Where it answers.
    pub fn address(&self) -> String {
        format!("unix://{}", self.directory.path().join("s").display())
    }

    /// What `docker` says to these arguments.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = Command::new("docker").env("DOCKER_HOST", self.address()).args(arguments).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn await_answer(&mut self) {
        until("the engine answers", PATIENCE, || {
            let said = self.docker(&["info"]);
            so(said.contains("Server Version"), format!("{said}\n{}", self.server.said()))
        });
    }

    /// Kills it as SIGKILL does; what it runs runs on.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again.
    pub fn restart(&mut self, options: &[&str]) {
        self.server = server(self.directory.path(), options);
        self.await_answer();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.server.child.id().cast_signed()), Signal::SIGTERM);
        self.server.wait(PATIENCE);
        let _ = kill(Pid::from_raw(self.containers.child.id().cast_signed()), Signal::SIGTERM);
        self.containers.wait(PATIENCE);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let ours = self.directory.path().display().to_string();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let of_it = String::from_utf8_lossy(&line).contains(&ours);
            if let Some(process) = entry.file_name().to_string_lossy().parse::<i32>().ok().filter(|_| of_it) {
                let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
            }
        }
        for point in mounts.lines().rev().filter_map(|line| line.split(' ').nth(4)).filter(|point| point.starts_with(&ours)) {
            let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

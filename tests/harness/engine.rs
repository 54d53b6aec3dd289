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
    server: Running,
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
    command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]).args(options);
    Running::start(&mut command, Stdio::null())
}

impl Engine {
    /// Starts one, with more options of `dockerd`.
    pub fn start(options: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("engine-").tempdir().unwrap();
        let mut engine = Self { server: server(directory.path(), options), directory };
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
        // one that was killed left it alone
        let containers = std::fs::read_to_string(self.directory.path().join("exec/containerd/containerd.pid")).unwrap_or_default();
        if let Ok(process) = containers.trim().parse() {
            let _ = kill(Pid::from_raw(process), Signal::SIGTERM);
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let ours = self.directory.path().display().to_string();
        for point in mounts.lines().rev().filter_map(|line| line.split(' ').nth(4)).filter(|point| point.starts_with(&ours)) {
            let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

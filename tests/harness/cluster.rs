//! A cluster of the real binary.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::leftovers;
use super::place::Place;
use super::run::{Ran, Running, run};
use super::wait::until;

/// A debug build on a busy machine needs some time.
const START: Duration = Duration::from_secs(60);
/// Pods have ten seconds when a cluster stops.
const STOP: Duration = Duration::from_secs(45);

/// Options of clusters that lose nodes and scale soon: a node is lost after fifteen silent seconds, which a busy machine's own
/// pauses do not reach; autoscalers look every second.
pub const IMPATIENT: [&str; 7] = [
    "--node-monitor-period=1s",
    "--node-monitor-grace-period=15s",
    "--node-lease-duration-seconds=2",
    "--default-unreachable-toleration-seconds=1",
    "--default-not-ready-toleration-seconds=1",
    "--horizontal-pod-autoscaler-sync-period=1s",
    "--horizontal-pod-autoscaler-cpu-initialization-period=1s",
];

/// The runtime of clusters with containers: the native one, or what `CORACLE_TEST_RUNTIME` says (`docker`, or `rootless` for
/// the native one of a plain user).
pub fn with_containers() -> String {
    std::env::var("CORACLE_TEST_RUNTIME").unwrap_or_else(|_| "native".to_owned())
}

/// A running cluster. Dropping it after a failure prints what it said and removes what it left.
pub struct Cluster {
    /// Where it lives.
    pub place: Place,
    server: Running,
    /// What it printed when it was ready.
    pub ready_line: String,
    options: Vec<String>,
    stopped: bool,
}

/// `coracle up`, which ends with the test if the test does not end it.
fn up(place: &Place, options: &[String]) -> Command {
    let mut command = place.coracle(&["up"]);
    command.args(options);
    // the call is safe between fork and exec
    unsafe {
        command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(Into::into));
    }
    command
}

impl Cluster {
    /// Starts one with containers.
    pub fn native(options: &[&str]) -> Self {
        match with_containers().as_str() {
            "rootless" => Self::start(Place::plain(), &[&["--runtime", "native"], options].concat()),
            runtime => Self::start(Place::new(), &[&["--runtime", runtime], options].concat()),
        }
    }

    /// Starts one without.
    pub fn simulated(options: &[&str]) -> Self {
        Self::start(Place::new(), &[&["--runtime", "simulated"], options].concat())
    }

    /// Starts one and waits until it is ready.
    pub fn start(place: Place, options: &[&str]) -> Self {
        let mut options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        if !nix::unistd::geteuid().is_root() && !options.iter().any(|option| option == "--listen") {
            options.extend(["--listen".to_owned(), "127.0.0.1:0".to_owned()]);
        }
        let server = Running::start(&mut up(&place, &options), Stdio::null());
        let mut cluster = Self { place, server, ready_line: String::new(), options, stopped: false };
        cluster.await_ready();
        cluster
    }

    fn await_ready(&mut self) {
        self.ready_line = until("the cluster is ready", START, || {
            let (stdout, stderr) = self.server.output();
            let text = String::from_utf8_lossy(&stdout).into_owned();
            if let Some(line) = text.lines().find(|line| line.starts_with("ready in ")) {
                return Ok(line.to_owned());
            }
            if let Ok(Some(status)) = self.server.child.try_wait() {
                panic!("the cluster did not start: {status}\n{text}{stderr}");
            }
            Err(format!("{text}{stderr}"))
        });
    }

    /// Process id of the server.
    pub fn process(&self) -> u32 {
        self.server.child.id()
    }

    /// Kills the server as SIGKILL does: nothing is told, nothing is cleaned up.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts the server again on the same data.
    pub fn restart(&mut self) {
        self.server = Running::start(&mut up(&self.place, &self.options), Stdio::null());
        self.stopped = false;
        self.await_ready();
    }

    /// What the server has said on standard output and error.
    pub fn said(&mut self) -> String {
        self.server.said()
    }

    /// Runs another command of the program on this cluster's data.
    pub fn coracle(&self, arguments: &[&str]) -> Ran {
        self.place.run(arguments)
    }

    /// Runs any program in the cluster's network.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Ran {
        run(self.place.command(program).args(arguments), b"", Duration::from_secs(60))
    }

    /// Stops it as a user would; nothing may be left of it.
    pub fn down(mut self) {
        self.coracle(&["down"]).ok();
        let ended = self.server.wait(STOP);
        assert!(ended.is_some_and(|status| status.success()), "the server ended with {ended:?}: {}", self.server.said());
        self.assert_nothing_left();
        self.stopped = true;
    }

    /// Stops it with a signal, as ctrl-c does.
    pub fn interrupt(mut self) {
        kill(Pid::from_raw(self.process().cast_signed()), Signal::SIGINT).unwrap();
        let ended = self.server.wait(STOP);
        assert!(ended.is_some_and(|status| status.success()), "the server ended with {ended:?}: {}", self.server.said());
        self.assert_nothing_left();
        self.stopped = true;
    }

    /// After [`Cluster::kill`]: takes away what is left of it with a command, after which nothing may be.
    pub fn clear_away(&mut self, command: &[&str], says: &str) {
        self.coracle(command).shows(&[says]);
        self.assert_nothing_left();
        self.stopped = true;
    }

    fn assert_nothing_left(&self) {
        until("nothing is left of the cluster", Duration::from_secs(5), || {
            let left = leftovers::of(&self.place);
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.stopped {
            return;
        }
        eprintln!("--- the server said:\n{}\n--- the end of its log:\n{}", self.server.said(), self.place.log_end());
        if let Ok(None) = self.server.child.try_wait() {
            let _ = kill(Pid::from_raw(self.process().cast_signed()), Signal::SIGTERM);
            self.server.wait(STOP);
        }
        self.server.kill();
        leftovers::sweep(&self.place);
    }
}

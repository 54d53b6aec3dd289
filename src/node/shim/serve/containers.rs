//! What the shim does with containers and their commands: it starts them, joins their streams, and deals with their ends.

use std::os::fd::OwnedFd;

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{Command, Shim, failed, not_running};
use crate::rootless::is_rootless;
use crate::runtime::native::cgroup;
use crate::runtime::native::processes::MountNamespace;
use crate::shim::container::{self, Ends, StartError};
use crate::shim::log::Log;
use crate::shim::protocol::{Exec, Failure, Plan, Reply, Streams};
use crate::shim::record::{self, Record};
use crate::shim::streams::{Output, Sink, pipe};

/// A container that was started and whose end was not yet dealt with, or whose streams still flow.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: i32,
    /// By which its processes are known, where it has no control group.
    namespace: Option<MountNamespace>,
    started: Timestamp,
    plan: Plan,
    pub(super) log: Option<Log>,
    pub(super) outputs: [Option<Output>; 2],
    stdin: Option<OwnedFd>,
    master: Option<OwnedFd>,
    pub(super) ended: bool,
}

impl Running {
    pub(super) fn kill_all(&self) {
        cgroup::kill(&self.plan.cgroup);
        self.namespace.iter().for_each(MountNamespace::kill);
    }
}

impl Shim {
    pub(super) fn start(&mut self, id: &str) -> Reply {
        let paths = self.paths.container(id);
        let plan: Plan = match record::read(&paths.plan()) {
            Ok(plan) => plan,
            Err(error) => return failed(Failure::Other, &format!("plan of {id}: {error}")),
        };
        if self.ending {
            return failed(Failure::Other, "the sandbox is being stopped");
        }
        if self.containers.contains_key(id) {
            return failed(Failure::Other, &format!("container {id} was started before"));
        }
        self.trimmer.used();
        match self.launch(id, plan.clone()) {
            Ok(record) => {
                self.record(id, &record);
                Reply::Started(record)
            }
            Err(error) => {
                container::unmount_root(&paths);
                cgroup::remove(&plan.cgroup);
                let message = error.to_string();
                let now = Timestamp::now();
                let reason = "StartError".to_owned();
                let record = Record::Exited { started: None, finished: now, code: 128, reason, message: message.clone() };
                self.record(id, &record);
                failed(error.failure(), &message)
            }
        }
    }

    fn launch(&mut self, id: &str, plan: Plan) -> Result<Record, StartError> {
        let io = |step: &str| {
            let step = step.to_owned();
            move |source| StartError::Step { step, source }
        };
        let log = plan.log_path.as_deref().map(Log::begin);
        let process = container::start(&self.paths, id, &plan)?;
        let started = Timestamp::now();
        let Ends { stdin, stdout, stderr, master } = process.ends;
        let source = match &master {
            Some(master) => Some(master.try_clone().map_err(io("terminal"))?),
            None => stdout,
        };
        let outputs = [
            source.map(|fd| Output::new(fd, "stdout", plan.stdin_once)).transpose().map_err(io("stdout"))?,
            stderr.map(|fd| Output::new(fd, "stderr", plan.stdin_once)).transpose().map_err(io("stderr"))?,
        ];
        let pid = process.pid;
        let namespace = is_rootless().then(|| MountNamespace::of(pid)).flatten();
        self.containers.insert(id.to_owned(), Running { pid, namespace, started, plan, log, outputs, stdin, master, ended: false });
        Ok(Record::Running { pid, started })
    }

    pub(super) fn exec(&mut self, key: u64, exec: &Exec) {
        let Some(first) = self.containers.get(&exec.id).filter(|c| !c.ended).map(|c| c.pid) else {
            let reply = not_running(&exec.id);
            return self.reply(key, &reply, Vec::new());
        };
        self.trimmer.used();
        match container::exec(&self.paths, exec) {
            Ok(process) => {
                self.commands.insert(process.pid, Command { connection: key, bound: exec.bound });
                let mut streams = Streams::default();
                let mut descriptors = Vec::new();
                let Ends { stdin, stdout, stderr, master } = process.ends;
                if let Some(master) = master {
                    let copies = [exec.stdin, exec.stdout].map(|wanted| wanted.then(|| master.try_clone().ok()).flatten());
                    (streams.stdin, streams.stdout, streams.terminal) = (copies[0].is_some(), copies[1].is_some(), true);
                    descriptors.extend(copies.into_iter().flatten());
                    descriptors.push(master);
                } else {
                    (streams.stdin, streams.stdout, streams.stderr) = (stdin.is_some(), stdout.is_some(), stderr.is_some());
                    descriptors.extend([stdin, stdout, stderr].into_iter().flatten());
                }
                self.reply(key, &Reply::Streams(streams), descriptors);
            }
            Err(error) => {
                let reply = if is_ending(first) { not_running(&exec.id) } else { failed(error.failure(), &error.to_string()) };
                self.reply(key, &reply, Vec::new());
            }
        }
    }

    pub(super) fn attach(&mut self, id: &str, stdin: bool, outputs: [bool; 2]) -> Result<(Streams, Vec<OwnedFd>), Reply> {
        let running = self.containers.get_mut(id).filter(|c| !c.ended).ok_or_else(|| not_running(id))?;
        let other = |error: std::io::Error| failed(Failure::Other, &error.to_string());
        let terminal = running.master.as_ref().map(OwnedFd::try_clone).transpose().map_err(other)?;
        // All that can fail comes first: what is for one session only is not lost on the way to it.
        let mut sinks = Vec::new();
        for (output, wanted) in running.outputs.iter().zip(outputs) {
            let ends = if output.is_some() && wanted { Some(pipe().map_err(other)?) } else { None };
            sinks.push(ends.map(|(reader, writer)| Sink::new(writer).map(|sink| (reader, sink))).transpose().map_err(other)?);
        }
        let input = match &running.master {
            _ if !stdin => None,
            Some(master) => Some(master.try_clone().map_err(other)?),
            // With stdinOnce the only writer goes to the session: its end is end of file.
            None if running.plan.stdin_once => running.stdin.take(),
            None => running.stdin.as_ref().map(OwnedFd::try_clone).transpose().map_err(other)?,
        };
        let mut streams = Streams { stdin: input.is_some(), terminal: terminal.is_some(), ..Streams::default() };
        let mut descriptors: Vec<OwnedFd> = input.into_iter().collect();
        let given = [&mut streams.stdout, &mut streams.stderr];
        for ((output, sink), given) in running.outputs.iter_mut().zip(sinks).zip(given) {
            if let (Some(output), Some((reader, sink))) = (output, sink) {
                output.join(sink);
                descriptors.push(reader);
                *given = true;
            }
        }
        descriptors.extend(terminal);
        Ok((streams, descriptors))
    }

    pub(super) fn pump(&mut self, id: &str) {
        if let Some(running) = self.containers.get_mut(id) {
            for output in running.outputs.iter_mut().flatten() {
                output.flush();
                output.pump(&mut running.log, false);
            }
        }
    }

    /// Deals with every ended child.
    pub(super) fn reap(&mut self) {
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), 128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            if let Some(command) = self.commands.remove(&pid) {
                self.reply(command.connection, &Reply::Exited { code }, Vec::new());
            } else if self.pause == Some(pid) {
                self.pause = None;
                self.ending = true;
            } else if let Some(id) = self.containers.iter().find(|(_, c)| c.pid == pid && !c.ended).map(|(id, _)| id.clone()) {
                self.ended(&id, code);
            }
        }
    }

    /// A container's first process ended: take the rest of its output, write it down, say so.
    fn ended(&mut self, id: &str, code: i32) {
        let paths = self.paths.container(id);
        let Some(running) = self.containers.get_mut(id) else { return };
        let finished = Timestamp::now();
        // Without a PID namespace of its own others may be left.
        running.kill_all();
        for output in running.outputs.iter_mut().flatten() {
            output.pump(&mut running.log, true);
        }
        let reason = match (cgroup::out_of_memory(&running.plan.cgroup), code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            (false, _) => "Error",
        };
        let started = Some(running.started);
        let record = Record::Exited { started, finished, code, reason: reason.to_owned(), message: String::new() };
        running.ended = true;
        running.stdin = None;
        running.master = None;
        let group = running.plan.cgroup.clone();
        self.record(id, &record);
        container::unmount_root(&paths);
        cgroup::remove(&group);
        let _ = std::fs::remove_dir_all(self.paths.library().join(id));
    }
}

/// Whether a process is on its way out: nobody can join it any more.
fn is_ending(pid: i32) -> bool {
    const EXITING: u32 = 0x4;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let flags = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(6)?.parse::<u32>().ok());
    flags.is_none_or(|flags| flags & EXITING != 0)
}

/// Ends a command with what it started: it leads a session of its own.
pub(super) fn kill_session(pid: i32) {
    let _ = nix::sys::signal::killpg(Pid::from_raw(pid), Signal::SIGKILL);
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

//! The shim's loop: one `poll` over its children's ends, its connections and its containers' streams.

mod containers;

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::log::Log;
use super::memory::{QUIET, Trimmer};
use super::protocol::{Failure, Inbox, Outgoing, Reply, Request, SandboxPaths};
use super::record::{self, Record};
use super::streams::Output;
use super::trouble;
use containers::{Running, kill_session};

/// How soon what a full disk did not take is written again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Connection {
    key: u64,
    socket: UnixStream,
    inbox: Inbox,
    out: Vec<Outgoing>,
    watches: bool,
    closed: bool,
}

#[derive(Debug)]
struct Command {
    connection: u64,
    bound: bool,
}

/// The shim's state.
#[derive(Debug)]
pub struct Shim {
    paths: SandboxPaths,
    listener: UnixListener,
    connections: Vec<Connection>,
    containers: HashMap<String, Running>,
    commands: HashMap<i32, Command>,
    pause: Option<i32>,
    next: u64,
    ending: bool,
    trimmer: Trimmer,
    /// What the disk has not taken yet, by container.
    unwritten: HashMap<String, Record>,
    written_at: Instant,
}

enum Ready {
    Children,
    Listener,
    Connection(u64),
    Stream(String),
}

impl Shim {
    /// `connection` is told that the sandbox is up, and gets events.
    pub fn new(paths: SandboxPaths, listener: UnixListener, connection: UnixStream, pause: Option<i32>) -> Self {
        let mut shim = Self {
            paths,
            listener,
            connections: Vec::new(),
            containers: HashMap::new(),
            commands: HashMap::new(),
            pause,
            next: 0,
            ending: false,
            trimmer: Trimmer::default(),
            unwritten: HashMap::new(),
            written_at: Instant::now(),
        };
        let key = shim.accept(connection);
        if let Some(connection) = shim.connections.first_mut() {
            connection.watches = true;
        }
        shim.reply(key, &Reply::Ready, Vec::new());
        shim
    }

    /// Serves until told to end.
    pub fn run(mut self) -> ExitCode {
        let mut children = SigSet::empty();
        children.add(Signal::SIGCHLD);
        let signals =
            children.thread_block().and_then(|()| SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK));
        let signals = match signals {
            Ok(signals) => signals,
            Err(error) => {
                trouble::say(&format!("signals: {error}"));
                return ExitCode::FAILURE;
            }
        };
        // What ended before the signal was blocked.
        self.reap();
        while !(self.ending && self.containers.values().all(|c| c.ended)) {
            for ready in self.wait(&signals) {
                match ready {
                    Ready::Children => {
                        while matches!(signals.read_signal(), Ok(Some(_))) {}
                        self.reap();
                    }
                    Ready::Listener => {
                        while let Ok((stream, _)) = self.listener.accept() {
                            if stream.set_nonblocking(true).is_ok() {
                                self.accept(stream);
                            }
                        }
                    }
                    Ready::Connection(key) => self.receive(key),
                    Ready::Stream(id) => self.pump(&id),
                }
            }
            if !self.unwritten.is_empty() && self.written_at.elapsed() >= AGAIN {
                self.write_records();
            }
            self.flush();
        }
        self.write_records();
        self.flush();
        if let Some(pause) = self.pause {
            let _ = kill(Pid::from_raw(pause), Signal::SIGKILL);
        }
        let _ = std::fs::remove_file("shim.sock");
        ExitCode::SUCCESS
    }

    /// Waits until something can be done.
    fn wait(&mut self, signals: &SignalFd) -> Vec<Ready> {
        let mut watched: Vec<(RawFd, PollFlags, Ready)> = vec![
            (signals.as_raw_fd(), PollFlags::POLLIN, Ready::Children),
            (self.listener.as_raw_fd(), PollFlags::POLLIN, Ready::Listener),
        ];
        for connection in &self.connections {
            let out = if connection.out.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
            watched.push((connection.socket.as_raw_fd(), PollFlags::POLLIN | out, Ready::Connection(connection.key)));
        }
        let mut held = false;
        for (id, running) in &self.containers {
            for output in running.outputs.iter().flatten() {
                if let Some(fd) = output.readable() {
                    watched.push((fd, PollFlags::POLLIN, Ready::Stream(id.clone())));
                }
                for (fd, writing) in output.sessions() {
                    held |= writing;
                    let flags = if writing { PollFlags::POLLOUT } else { PollFlags::empty() };
                    watched.push((fd, flags, Ready::Stream(id.clone())));
                }
            }
        }
        // Every descriptor is owned by self or the caller and stays open during the call.
        let mut polled: Vec<PollFd<'_>> =
            watched.iter().map(|(fd, flags, _)| PollFd::new(unsafe { std::os::fd::BorrowedFd::borrow_raw(*fd) }, *flags)).collect();
        let timeout = match (held || !self.unwritten.is_empty(), self.trimmer.due()) {
            (true, _) => PollTimeout::from(1000_u16),
            (false, true) => PollTimeout::try_from(QUIET).unwrap_or(PollTimeout::NONE),
            (false, false) => PollTimeout::NONE,
        };
        match poll(&mut polled, timeout) {
            Ok(0) => {
                self.trimmer.trim();
                return self.containers.keys().map(|id| Ready::Stream(id.clone())).collect();
            }
            Ok(_) => {}
            Err(Errno::EINTR) => return Vec::new(),
            Err(error) => {
                trouble::say(&format!("poll: {error}"));
                return vec![Ready::Children];
            }
        }
        let ready: Vec<bool> = polled.iter().map(|p| p.any().unwrap_or(true)).collect();
        watched.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|((_, _, what), _)| what).collect()
    }

    fn accept(&mut self, socket: UnixStream) -> u64 {
        let key = self.next;
        self.next += 1;
        self.connections.push(Connection { key, socket, inbox: Inbox::default(), out: Vec::new(), watches: false, closed: false });
        key
    }

    fn reply(&mut self, key: u64, reply: &Reply, descriptors: Vec<OwnedFd>) {
        if let Some(connection) = self.connections.iter_mut().find(|c| c.key == key)
            && let Ok(frame) = Outgoing::new(reply, descriptors)
        {
            connection.out.push(frame);
        }
    }

    fn publish(&mut self, id: &str, record: &Record) {
        for connection in self.connections.iter_mut().filter(|c| c.watches) {
            if let Ok(frame) = Outgoing::new(&Reply::Changed { id: id.to_owned(), record: record.clone() }, Vec::new()) {
                connection.out.push(frame);
            }
        }
    }

    /// Writes down what became of a container and says it. What a full disk does not take is written later.
    fn record(&mut self, id: &str, record: &Record) {
        self.unwritten.insert(id.to_owned(), record.clone());
        self.write_records();
        self.publish(id, record);
    }

    fn write_records(&mut self) {
        let paths = &self.paths;
        self.unwritten.retain(|id, record| match record::write(&paths.container(id).record(), record) {
            Ok(()) => false,
            // its container is gone
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => {
                trouble::say(&format!("record of {id}: {error}"));
                true
            }
        });
        self.written_at = Instant::now();
    }

    /// Sends what goes, forgets connections and containers that are done.
    fn flush(&mut self) {
        for connection in &mut self.connections {
            while let Some(frame) = connection.out.first_mut() {
                match frame.flush(connection.socket.as_fd()) {
                    Ok(true) => drop(connection.out.remove(0)),
                    Ok(false) => break,
                    Err(_) => {
                        connection.closed = true;
                        break;
                    }
                }
            }
        }
        let closed: Vec<u64> = self.connections.iter().filter(|c| c.closed).map(|c| c.key).collect();
        for key in closed {
            self.connections.retain(|c| c.key != key);
            for (pid, command) in &self.commands {
                if command.connection == key && command.bound {
                    kill_session(*pid);
                }
            }
        }
        self.containers.retain(|_, c| !(c.ended && c.outputs.iter().flatten().all(Output::done)));
    }

    fn receive(&mut self, key: u64) {
        let Some(connection) = self.connections.iter_mut().find(|c| c.key == key) else { return };
        match connection.inbox.fill(connection.socket.as_raw_fd()) {
            Ok(true) => {}
            Ok(false) => connection.closed = true,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => connection.closed = true,
        }
        let mut requests = Vec::new();
        loop {
            match connection.inbox.take::<Request>() {
                Ok(Some((request, _))) => requests.push(request),
                Ok(None) => break,
                Err(_) => {
                    connection.closed = true;
                    break;
                }
            }
        }
        for request in requests {
            self.serve(key, request);
        }
    }

    fn serve(&mut self, key: u64, request: Request) {
        match request {
            Request::Watch => {
                if let Some(connection) = self.connections.iter_mut().find(|c| c.key == key) {
                    connection.watches = true;
                }
                self.reply(key, &Reply::Done, Vec::new());
                // the agent read the others on disk
                let told: Vec<Reply> =
                    self.unwritten.iter().map(|(id, record)| Reply::Changed { id: id.clone(), record: record.clone() }).collect();
                told.iter().for_each(|changed| self.reply(key, changed, Vec::new()));
            }
            Request::Start { id } => {
                let reply = self.start(&id);
                self.reply(key, &reply, Vec::new());
            }
            Request::Signal { id, signal } => {
                let reply = match self.containers.get(&id).filter(|c| !c.ended) {
                    // A number the kernel refuses is the caller's mistake and reported as such.
                    Some(running) => match unsafe { libc::kill(running.pid, signal) } {
                        0 => Reply::Done,
                        _ => failed(Failure::Other, &Errno::last().to_string()),
                    },
                    None => not_running(&id),
                };
                self.reply(key, &reply, Vec::new());
            }
            Request::Exec(exec) => self.exec(key, &exec),
            Request::KillExec => {
                for (pid, _) in self.commands.iter().filter(|(_, command)| command.connection == key) {
                    kill_session(*pid);
                }
            }
            Request::Attach { id, stdin, stdout, stderr } => match self.attach(&id, stdin, [stdout, stderr]) {
                Ok((streams, descriptors)) => self.reply(key, &Reply::Streams(streams), descriptors),
                Err(reply) => self.reply(key, &reply, Vec::new()),
            },
            Request::ReopenLog { id } => {
                let reply = match self.containers.get_mut(&id) {
                    Some(running) => match running.log.as_mut().map_or(Ok(()), Log::reopen) {
                        Ok(()) => Reply::Done,
                        Err(error) => failed(Failure::Other, &error.to_string()),
                    },
                    None => not_running(&id),
                };
                self.reply(key, &reply, Vec::new());
            }
            Request::Shutdown => {
                self.ending = true;
                for running in self.containers.values().filter(|c| !c.ended) {
                    let _ = kill(Pid::from_raw(running.pid), Signal::SIGKILL);
                    running.kill_all();
                }
                self.reply(key, &Reply::Done, Vec::new());
            }
        }
    }
}

fn failed(failure: Failure, message: &str) -> Reply {
    Reply::Failed { failure, message: message.to_owned() }
}

fn not_running(id: &str) -> Reply {
    failed(Failure::NotRunning, &format!("container {id} is not running"))
}

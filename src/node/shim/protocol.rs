//! What agent and shim say to each other over the pod's socket: a frame is two little-endian `u32` (length of the
//! JSON, number of descriptors) and the JSON; descriptors travel beside the frame's first byte.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::propagation::Bind;
use super::record::Record;

/// Longest frame either side accepts.
const LONGEST: usize = 4 << 20;
/// Most descriptors in one message.
const MOST_DESCRIPTORS: usize = 8;

/// What the agent asks.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Send events on this connection from now on.
    Watch,
    /// Start the container whose directory was prepared.
    Start {
        /// Container.
        id: String,
    },
    /// Send a signal to a container's first process.
    Signal {
        /// Container.
        id: String,
        /// Its number.
        signal: i32,
    },
    /// Run a command in a container. Answered by `Streams`, later by `Exited`.
    Exec(Exec),
    /// Kill the command that `Exec` started on this connection.
    KillExec,
    /// Join the streams of a container. Answered by `Streams`.
    Attach {
        /// Container.
        id: String,
        /// Wants its standard input.
        stdin: bool,
        /// Wants its standard output.
        stdout: bool,
        /// Wants its standard error.
        stderr: bool,
    },
    /// Open the log file anew.
    ReopenLog {
        /// Container.
        id: String,
    },
    /// Kill everything and end.
    Shutdown,
}

/// A command to run in a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exec {
    /// Container.
    pub id: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// With a terminal.
    pub tty: bool,
    /// Wants standard input.
    pub stdin: bool,
    /// Wants standard output.
    pub stdout: bool,
    /// Wants standard error.
    pub stderr: bool,
    /// Standard error into the same pipe as standard output.
    pub combined: bool,
    /// Kill it when the connection closes.
    pub bound: bool,
}

/// Which descriptors came with a reply, in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Write end of standard input.
    pub stdin: bool,
    /// Read end of standard output.
    pub stdout: bool,
    /// Read end of standard error.
    pub stderr: bool,
    /// Master of the terminal, for its size.
    pub terminal: bool,
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The command cannot be started.
    Start,
    /// No such container, or it does not run.
    NotRunning,
    /// Anything else.
    Other,
}

/// What the shim says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The sandbox is up.
    Ready,
    /// Done.
    Done,
    /// The container started.
    Started(Record),
    /// Streams of exec or attach, with descriptors.
    Streams(Streams),
    /// The command of `Exec` ended.
    Exited {
        /// Exit code, 128 + signal for a signal's.
        code: i32,
    },
    /// It failed.
    Failed {
        /// How.
        failure: Failure,
        /// Why.
        message: String,
    },
    /// Event: a container's record changed.
    Changed {
        /// Container.
        id: String,
        /// Its record now.
        record: Record,
    },
}

/// A directory with the names of what is in it; both sides agree on them.
#[derive(Debug, Clone)]
pub struct SandboxPaths(pub PathBuf);

impl SandboxPaths {
    /// What the agent asked for.
    pub fn config(&self) -> PathBuf {
        self.0.join("sandbox.json")
    }
    /// Where the shim listens.
    pub fn socket(&self) -> PathBuf {
        self.0.join("shim.sock")
    }
    /// The pod's shared memory, mounted by the shim.
    pub fn shm(&self) -> PathBuf {
        self.0.join("shm")
    }
    /// State of the container library.
    pub fn library(&self) -> PathBuf {
        self.0.join("library")
    }
    /// The containers' directories.
    pub fn containers(&self) -> PathBuf {
        self.0.join("containers")
    }
    /// A container's directory.
    pub fn container(&self, id: &str) -> ContainerPaths {
        ContainerPaths(self.containers().join(id))
    }
}

/// A container's directory.
#[derive(Debug, Clone)]
pub struct ContainerPaths(pub PathBuf);

impl ContainerPaths {
    /// What the agent asked for and made of it.
    pub fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }
    /// Its `Record`.
    pub fn record(&self) -> PathBuf {
        self.0.join("record.json")
    }
    /// OCI bundle.
    pub fn bundle(&self) -> PathBuf {
        self.0.join("bundle")
    }
    /// Where its root is mounted, in the shim's mount namespace.
    pub fn rootfs(&self) -> PathBuf {
        self.0.join("rootfs")
    }
    /// Where images are mounted for it.
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }
    /// Where mounts of the machine are brought for it.
    pub fn brought(&self) -> PathBuf {
        self.0.join("mounts")
    }
    /// Writable layer.
    pub fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }
    /// Overlay's work directory.
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }
}

/// An image mounted for a container to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageMount {
    /// Where its root is mounted, in the shim's mount namespace.
    pub target: PathBuf,
    /// Layers, the uppermost first.
    pub layers: Vec<String>,
    /// The part of it that is wanted; empty: all of it.
    pub inside: PathBuf,
}

impl ImageMount {
    /// What the container gets.
    pub fn path(&self) -> PathBuf {
        if self.inside.as_os_str().is_empty() { self.target.clone() } else { self.target.with_extension("part") }
    }
}

/// What the shim needs to know of a container beside its OCI bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Directory that `layers` are relative to: a mount's options are one page at most.
    pub layer_root: PathBuf,
    /// Layers, the uppermost first.
    pub layers: Vec<String>,
    /// Images whose files it sees.
    pub images: Vec<ImageMount>,
    /// Its bind mounts, if some of them are not private.
    #[serde(default)]
    pub binds: Vec<Bind>,
    /// Working directory, made when missing.
    pub working_dir: PathBuf,
    /// Absolute path of the log; `None`: no log.
    pub log_path: Option<PathBuf>,
    /// Standard input stays open.
    pub stdin: bool,
    /// Standard input closes with the first attach.
    pub stdin_once: bool,
    /// Has a terminal.
    pub tty: bool,
    /// Control group, as in the OCI spec.
    pub cgroup: PathBuf,
}

/// Bytes and descriptors received and not yet taken.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Inbox {
    /// Reads once from `socket`; `Ok(false)` at end of file.
    pub fn fill(&mut self, socket: RawFd) -> io::Result<bool> {
        let mut buffer = [0_u8; 16 << 10];
        let mut space = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(socket, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
        for control in message.cmsgs().map_err(io::Error::from)? {
            if let ControlMessageOwned::ScmRights(received) = control {
                // The kernel just gave us these descriptors: nobody else owns them.
                self.descriptors.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        let length = message.bytes;
        self.bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
        Ok(length > 0)
    }

    /// The next whole frame.
    pub fn take<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let Some(header) = self.bytes.first_chunk::<8>() else { return Ok(None) };
        let [a, b, c, d, e, f, g, h] = *header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let count = u32::from_le_bytes([e, f, g, h]) as usize;
        if length > LONGEST || count > MOST_DESCRIPTORS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frame out of bounds"));
        }
        let Some(body) = self.bytes.get(8..8 + length) else { return Ok(None) };
        let value = serde_json::from_slice(body).map_err(io::Error::from)?;
        if self.descriptors.len() < count {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors missing"));
        }
        let descriptors = self.descriptors.drain(..count).collect();
        self.bytes.drain(..8 + length);
        Ok(Some((value, descriptors)))
    }
}

/// A frame on its way out.
#[derive(Debug)]
pub struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

impl Outgoing {
    /// Makes a frame.
    pub fn new<T: Serialize>(value: &T, descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let body = serde_json::to_vec(value)?;
        if body.len() > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too long"));
        }
        let mut bytes = Vec::with_capacity(8 + body.len());
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(descriptors.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&body);
        Ok(Self { bytes, sent: 0, descriptors })
    }

    /// Writes as much as goes; `Ok(true)` when all of it went.
    pub fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        while self.sent < self.bytes.len() {
            let rest = [IoSlice::new(self.bytes.get(self.sent..).unwrap_or_default())];
            let raw: Vec<RawFd> = self.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&raw)];
            let control: &[ControlMessage<'_>] = if self.sent == 0 && !raw.is_empty() { &rights } else { &[] };
            match sendmsg::<()>(socket.as_raw_fd(), &rest, control, MsgFlags::MSG_NOSIGNAL, None) {
                Ok(count) => {
                    self.sent += count;
                    self.descriptors.clear();
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_frame_carries_its_descriptors() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let streams = Streams { stdout: true, ..Streams::default() };
        let mut first = Outgoing::new(&Reply::Streams(streams), vec![writer.into()]).unwrap();
        let mut second = Outgoing::new(&Reply::Exited { code: 7 }, Vec::new()).unwrap();
        assert!(first.flush(ours.as_fd()).unwrap() && second.flush(ours.as_fd()).unwrap());
        drop(first);
        let mut inbox = Inbox::default();
        let mut frames = Vec::new();
        while frames.len() < 2 {
            inbox.fill(theirs.as_raw_fd()).unwrap();
            while let Some(frame) = inbox.take::<Reply>().unwrap() {
                frames.push(frame);
            }
        }
        let (last, none) = frames.pop().unwrap();
        assert!(matches!(last, Reply::Exited { code: 7 }) && none.is_empty());
        let (reply, mut descriptors) = frames.pop().unwrap();
        assert!(matches!(reply, Reply::Streams(s) if s == streams));
        std::fs::File::from(descriptors.pop().unwrap()).write_all(b"hello").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_frame_out_of_bounds_is_refused() {
        let mut inbox = Inbox { bytes: vec![0xff; 8], descriptors: VecDeque::new() };
        assert!(inbox.take::<Reply>().is_err());
    }
}

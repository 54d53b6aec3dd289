//! A container's streams: pipes or a terminal on one side, its log and the joined sessions on the other.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::log::{Lines, Log};

/// A session that joined and reads slower than the container writes holds it back at this many bytes …
const HIGH: usize = 256 << 10;
/// … until it has read nothing for so long: then it is let go. As much of what nobody has heard yet is kept.
const STALLED: Duration = Duration::from_secs(10);

/// Makes a descriptor non-blocking.
pub fn nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Read and write end, neither inherited.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = std::io::pipe()?;
    Ok((reader.into(), writer.into()))
}

/// Where a joined session's output goes.
#[derive(Debug)]
pub struct Sink {
    pipe: std::fs::File,
    pending: VecDeque<u8>,
    progress: Instant,
}

impl Sink {
    /// The write end of the session's pipe.
    pub fn new(pipe: OwnedFd) -> io::Result<Self> {
        nonblocking(&pipe)?;
        Ok(Self { pipe: pipe.into(), pending: VecDeque::new(), progress: Instant::now() })
    }

    /// Whether its reader is gone.
    fn abandoned(&self) -> bool {
        let mut polled = [PollFd::new(self.pipe.as_fd(), PollFlags::empty())];
        poll(&mut polled, PollTimeout::ZERO).is_ok() && polled.iter().any(|p| p.any().unwrap_or(false))
    }

    /// Writes what goes; false when the reader is gone.
    fn flush(&mut self) -> bool {
        if self.pending.is_empty() {
            return !self.abandoned();
        }
        while !self.pending.is_empty() {
            let (front, _) = self.pending.as_slices();
            match self.pipe.write(front) {
                Ok(count) => {
                    self.pending.drain(..count);
                    self.progress = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.progress.elapsed() < STALLED,
                Err(_) => return false,
            }
        }
        true
    }
}

/// One output stream of a container.
#[derive(Debug)]
pub struct Output {
    /// `None` once it ended.
    source: Option<std::fs::File>,
    lines: Lines,
    sinks: Vec<Sink>,
    /// The end of what was written before the first session joined, which gets it.
    kept: Option<VecDeque<u8>>,
}

impl Output {
    /// The read end of the container's pipe, or the master of its terminal. `keeps`: for the first session.
    pub fn new(source: OwnedFd, name: &'static str, keeps: bool) -> io::Result<Self> {
        nonblocking(&source)?;
        Ok(Self { source: Some(source.into()), lines: Lines::new(name), sinks: Vec::new(), kept: keeps.then(VecDeque::new) })
    }

    /// Adds a session.
    pub fn join(&mut self, mut sink: Sink) {
        sink.pending = self.kept.take().unwrap_or_default();
        if self.source.is_some() || !sink.pending.is_empty() {
            self.sinks.push(sink);
        }
    }

    /// What to poll for reading: nothing while a session holds back.
    pub fn readable(&self) -> Option<RawFd> {
        let held = self.sinks.iter().any(|sink| sink.pending.len() >= HIGH);
        self.source.as_ref().filter(|_| !held).map(AsRawFd::as_raw_fd)
    }

    /// The sessions to poll, and whether for writing: else only for their end.
    pub fn sessions(&self) -> impl Iterator<Item = (RawFd, bool)> + '_ {
        self.sinks.iter().map(|sink| (sink.pipe.as_raw_fd(), !sink.pending.is_empty()))
    }

    /// Writes to sessions, drops those that are gone.
    pub fn flush(&mut self) {
        self.sinks.retain_mut(Sink::flush);
        if self.source.is_none() {
            self.sinks.retain(|sink| !sink.pending.is_empty());
        }
    }

    /// Reads what is there. `last`: the container ended, so nobody waits for a slow session any more.
    pub fn pump(&mut self, log: &mut Option<Log>, last: bool) {
        let mut buffer = [0_u8; 32 << 10];
        while last || self.readable().is_some() {
            let Some(source) = &mut self.source else { break };
            match source.read(&mut buffer) {
                Ok(0) => self.end(log),
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    if let Some(log) = log {
                        self.lines.push(bytes, Timestamp::now(), log);
                    }
                    if let Some(kept) = &mut self.kept {
                        kept.extend(bytes);
                        kept.drain(..kept.len().saturating_sub(HIGH));
                    }
                    for sink in &mut self.sinks {
                        if sink.pending.is_empty() {
                            sink.progress = Instant::now();
                        }
                        sink.pending.extend(bytes);
                    }
                    self.flush();
                    // One buffer at a time: others wait too.
                    if count < buffer.len() && !last {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // A terminal whose last user is gone answers EIO.
                Err(_) => self.end(log),
            }
        }
    }

    fn end(&mut self, log: &mut Option<Log>) {
        self.source = None;
        if let Some(log) = log {
            self.lines.finish(Timestamp::now(), log);
        }
        self.flush();
    }

    /// Whether it ended and all sessions have everything.
    pub fn done(&self) -> bool {
        self.source.is_none() && self.sinks.is_empty()
    }
}

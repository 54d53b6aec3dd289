//! The agent's end of a shim's socket, and of the descriptors that come through it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::shim::protocol::{Inbox, Outgoing, Reply, Request, SandboxPaths};

/// One connection. Requests are answered in order.
#[derive(Debug)]
pub struct Connection {
    socket: AsyncFd<UnixStream>,
    inbox: Inbox,
}

impl Connection {
    /// Takes a connected socket.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // A socket keeps its descriptor until it is dropped.
        Ok(Self { socket: unsafe { AsyncFd::register(socket) }?, inbox: Inbox::default() })
    }

    /// Connects to the shim of a sandbox.
    pub fn open(paths: &SandboxPaths) -> io::Result<Self> {
        // Through a descriptor: a socket's path is 108 bytes at most, a data directory's may be longer.
        let directory = std::fs::File::open(&paths.0)?;
        Self::new(UnixStream::connect(format!("/proc/self/fd/{}/shim.sock", directory.as_raw_fd()))?)
    }

    /// PID of the shim.
    pub fn shim(&self) -> Option<i32> {
        let credentials = nix::sys::socket::getsockopt(&self.socket.get_ref(), nix::sys::socket::sockopt::PeerCredentials);
        credentials.ok().map(|credentials| credentials.pid()).filter(|pid| *pid > 1)
    }

    /// Sends a request.
    pub async fn send(&mut self, request: &Request) -> io::Result<()> {
        let mut frame = Outgoing::new(request, Vec::new())?;
        let write = |socket: &UnixStream| match frame.flush(socket.as_fd()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        };
        self.socket.async_io(Interest::WRITABLE, write).await
    }

    /// The next message; `None` when the shim is gone.
    pub async fn receive(&mut self) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        loop {
            if let Some(message) = self.inbox.take()? {
                return Ok(Some(message));
            }
            let inbox = &mut self.inbox;
            if !self.socket.async_io(Interest::READABLE, |socket| inbox.fill(socket.as_raw_fd())).await? {
                return Ok(None);
            }
        }
    }

    /// Sends a request and waits for its answer.
    pub async fn ask(&mut self, request: &Request) -> io::Result<(Reply, Vec<OwnedFd>)> {
        self.send(request).await?;
        self.receive().await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// A pipe or terminal as an asynchronous stream.
#[derive(Debug)]
pub struct Stream(Option<AsyncFd<std::fs::File>>);

impl Stream {
    /// Takes a descriptor.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        crate::shim::nonblocking(&fd)?;
        // A file keeps its descriptor until it is dropped.
        Ok(Self(Some(unsafe { AsyncFd::register(fd.into()) }?)))
    }
}

impl Stream {
    /// Reads what is there already. Asking the file, not the reactor, which may not have heard of it yet.
    pub fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.as_ref().map_or(Ok(0), |file| file.get_ref().read(buffer))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(file) = &self.0 else { return Poll::Ready(Ok(())) };
        loop {
            let mut guard = ready!(file.poll_read_ready(context))?;
            let unfilled = buffer.initialize_unfilled();
            match guard.try_io(|file| file.get_ref().read(unfilled)) {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // A terminal whose last user is gone.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(file) = &self.0 else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        loop {
            let mut guard = ready!(file.poll_write_ready(context))?;
            match guard.try_io(|file| file.get_ref().write(bytes)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return Poll::Ready(result),
                Err(_) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The reader sees end of file when the last writer is closed.
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

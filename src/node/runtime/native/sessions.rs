//! Streams of commands and of containers' first processes.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use coracle_api::seams::{Session, StreamOptions, TerminalSize};
use coracle_api::status::Status;
use futures::FutureExt;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::connection::{Connection, Stream};
use super::{Native, io};
use crate::runtime::{ExecOutput, RuntimeError};
use crate::shim::protocol::{Exec, Reply, Request, Streams};
use crate::shim::record::Record;

/// What `exec_sync` keeps of a command's output.
const KEPT: usize = 10 << 10;

struct Ends {
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    terminal: Option<OwnedFd>,
}

fn ends(reply: &Reply, descriptors: Vec<OwnedFd>) -> Result<Ends, RuntimeError> {
    let Reply::Streams(Streams { stdin, stdout, stderr, terminal }) = reply else {
        return Err(RuntimeError::Engine { message: "the shim answered something else".to_owned() });
    };
    let mut descriptors = descriptors.into_iter();
    let mut next = |there: bool| if there { descriptors.next() } else { None };
    let (stdin, stdout, stderr, terminal) = (next(*stdin), next(*stdout), next(*stderr), next(*terminal));
    let stream = |fd: Option<OwnedFd>| fd.map(Stream::new).transpose().map_err(io("take a stream"));
    Ok(Ends { stdin: stream(stdin)?, stdout: stream(stdout)?, stderr: stream(stderr)?, terminal })
}

/// Sets sizes on a terminal until the sender is gone.
fn resizer(terminal: OwnedFd) -> mpsc::Sender<TerminalSize> {
    let (sender, mut receiver) = mpsc::channel::<TerminalSize>(4);
    tokio::spawn(async move {
        while let Some(size) = receiver.recv().await {
            let size = libc::winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
            // The descriptor is open and the structure outlives the call.
            unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        }
    });
    sender
}

fn session(ends: Ends, exit: futures::future::BoxFuture<'static, Result<i32, Status>>) -> Session {
    Session {
        stdin: ends.stdin.map(|stream| Box::new(stream) as _),
        stdout: ends.stdout.map(|stream| Box::new(stream) as _),
        stderr: ends.stderr.map(|stream| Box::new(stream) as _),
        resize: ends.terminal.map(resizer),
        exit,
    }
}

async fn exit_code(connection: &mut Connection) -> Result<i32, String> {
    loop {
        match connection.receive().await {
            Ok(Some((Reply::Exited { code }, _))) => return Ok(code),
            Ok(Some(_)) => {}
            Ok(None) => return Err("the sandbox ended".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

impl Native {
    pub(super) async fn start_command(&self, id: &str, command: &[String], streams: StreamOptions) -> Result<Session, RuntimeError> {
        let exec = Exec {
            id: id.to_owned(),
            command: command.to_vec(),
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr && !streams.tty,
            combined: false,
            bound: true,
        };
        let (mut connection, reply, descriptors) = self.ask_shim(id, &Request::Exec(exec)).await?;
        let ends = ends(&reply, descriptors)?;
        let exit = async move { exit_code(&mut connection).await.map_err(Status::internal) };
        Ok(session(ends, exit.boxed()))
    }

    pub(super) async fn run_command(&self, id: &str, command: &[String], timeout: Option<Duration>) -> Result<ExecOutput, RuntimeError> {
        let exec = Exec {
            id: id.to_owned(),
            command: command.to_vec(),
            tty: false,
            stdin: false,
            stdout: true,
            stderr: false,
            combined: true,
            bound: true,
        };
        let (mut connection, reply, descriptors) = self.ask_shim(id, &Request::Exec(exec)).await?;
        let mut stdout = ends(&reply, descriptors)?.stdout;
        let mut output = Vec::new();
        let finished = collect(&mut connection, &mut stdout, &mut output);
        let code = match timeout {
            Some(after) => match tokio::time::timeout(after, finished).await {
                Ok(code) => code,
                Err(_) => {
                    let _ = connection.send(&Request::KillExec).await;
                    return Err(RuntimeError::Timeout { after });
                }
            },
            None => finished.await,
        };
        // All it wrote is in the pipe by now; who inherited the pipe may write for ever.
        let mut rest = [0_u8; 4096];
        while let Some(stream) = &mut stdout
            && output.len() < KEPT
            && let Ok(count) = stream.read_now(&mut rest)
            && count > 0
        {
            keep(&mut output, rest.get(..count).unwrap_or_default());
        }
        let code = code.map_err(|message| RuntimeError::Engine { message })?;
        Ok(ExecOutput { code, output })
    }

    pub(super) async fn join_container(&self, id: &str, streams: StreamOptions) -> Result<Session, RuntimeError> {
        let (_, mut process) = self.located(id)?;
        let (stdin, stdout) = (streams.stdin, streams.stdout);
        let request = Request::Attach { id: id.to_owned(), stdin, stdout, stderr: streams.stderr && !streams.tty };
        let (_, reply, descriptors) = self.ask_shim(id, &request).await?;
        let ends = ends(&reply, descriptors)?;
        let exit = async move {
            let ended = process.wait_for(|record| matches!(record, Record::Exited { .. })).await.map(|record| record.clone());
            match ended {
                Ok(Record::Exited { code, .. }) => Ok(code),
                _ => Err(Status::internal("the container was removed")),
            }
        };
        Ok(session(ends, exit.boxed()))
    }
}

fn keep(output: &mut Vec<u8>, bytes: &[u8]) {
    let room = KEPT.saturating_sub(output.len());
    output.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
}

/// Reads a command's output until its end.
async fn collect(connection: &mut Connection, stdout: &mut Option<Stream>, output: &mut Vec<u8>) -> Result<i32, String> {
    let mut buffer = [0_u8; 4096];
    loop {
        let Some(stream) = stdout else { return exit_code(connection).await };
        tokio::select! {
            code = exit_code(connection) => return code,
            count = stream.read(&mut buffer) => match count {
                Ok(count) if count > 0 => keep(output, buffer.get(..count).unwrap_or_default()),
                _ => *stdout = None,
            },
        }
    }
}

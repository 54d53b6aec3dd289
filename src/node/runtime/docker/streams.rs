//! Streams of commands and of containers' first processes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error as EngineError;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::ExecInspectResponse;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, InspectContainerOptions, ResizeContainerTTYOptionsBuilder, ResizeExecOptionsBuilder,
};
use coracle_api::seams::{Session, StreamOptions, TerminalSize};
use coracle_api::status::Status;
use futures::{FutureExt, Stream, StreamExt};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::record::start_message;
use super::{Docker, failed, is_missing, is_status, not_found};
use crate::runtime::{ContainerState, ExecOutput, RuntimeError};

/// What `exec_sync` keeps of a command's output.
const KEPT: usize = 10 << 10;
/// What is on its way between the engine and a reader.
const BUFFER: usize = 64 << 10;
/// Keys that let go of a terminal: nobody presses these.
const DETACH: &str = "ctrl-_,ctrl-^,ctrl-_,ctrl-^,ctrl-_";
/// How long a command may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a command is asked whether it has ended though its output goes on.
const INTERVAL: Duration = Duration::from_millis(250);
/// What comes before the reason why a command was not started.
const NOT_STARTED: [&str; 2] = ["OCI runtime exec failed", "failed to create"];

/// What the engine says of a container whose first process ends just now.
const ENDED: [&str; 3] = ["No such exec instance", "cannot exec in a stopped", "is not running"];

pub(super) type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, EngineError>> + Send>>;
type Input = Pin<Box<dyn AsyncWrite + Send>>;

struct Command {
    id: String,
    output: Output,
    input: Input,
}

fn boxed(end: DuplexStream) -> Box<dyn AsyncRead + Send + Unpin> {
    Box::new(end)
}

/// What the writer writes goes to the process; `ends`: its end is the process's end of file. Otherwise the engine does not hear
/// of it: it would take the output away with it.
fn standard_input(mut input: Input, ends: bool) -> Box<dyn AsyncWrite + Send + Unpin> {
    let (writer, mut reader) = duplex(BUFFER);
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut reader, &mut input).await;
        if ends {
            let _ = input.shutdown().await;
        }
    });
    Box::new(writer)
}

/// Hands output on until its end, or until nobody reads any more. `early` is what has been read before.
async fn pump(
    early: impl IntoIterator<Item = LogOutput, IntoIter: Send>,
    mut output: Output,
    mut stdout: Option<DuplexStream>,
    mut stderr: Option<DuplexStream>,
) {
    let mut early = early.into_iter();
    loop {
        let frame = match early.next() {
            Some(frame) => frame,
            None => match output.next().await {
                Some(Ok(frame)) => frame,
                _ => return,
            },
        };
        let (to, bytes) = match frame {
            LogOutput::StdErr { message } => (&mut stderr, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => (&mut stdout, message),
        };
        if let Some(stream) = to
            && stream.write_all(&bytes).await.is_err()
        {
            *to = None;
            if stdout.is_none() && stderr.is_none() {
                return;
            }
        }
    }
}

fn resizer<F>(set: impl Fn(TerminalSize) -> F + Send + 'static) -> mpsc::Sender<TerminalSize>
where
    F: Future<Output = Result<(), EngineError>> + Send,
{
    let (sender, mut receiver) = mpsc::channel::<TerminalSize>(4);
    tokio::spawn(async move {
        while let Some(size) = receiver.recv().await {
            if let Err(error) = set(size).await {
                tracing::debug!(%error, "a terminal was not resized");
            }
        }
    });
    sender
}

fn bytes_of(frame: &LogOutput) -> &[u8] {
    frame.as_ref()
}

/// Why a command was not started, if that is what its output says.
fn not_started(code: i64, output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let told = matches!(code, 126 | 127) && NOT_STARTED.iter().any(|before| text.starts_with(before));
    told.then(|| start_message(text.trim()))
}

/// A command that ends with its session.
struct Bound {
    docker: Docker,
    container: String,
    exec: String,
    ended: bool,
}

impl Drop for Bound {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.ended {
            let (docker, container, exec) = (self.docker.clone(), std::mem::take(&mut self.container), std::mem::take(&mut self.exec));
            runtime.spawn(async move { docker.kill_exec(&container, &exec).await });
        }
    }
}

fn ended_or(id: &str, error: RuntimeError) -> RuntimeError {
    let text = error.to_string();
    if ENDED.iter().any(|words| text.contains(words)) { RuntimeError::NotRunning { id: id.to_owned() } } else { error }
}

impl Docker {
    async fn begin(&self, id: &str, command: &[String], streams: StreamOptions) -> Result<Command, RuntimeError> {
        if !matches!(self.process(id)?.borrow().state, ContainerState::Running { .. }) {
            return Err(RuntimeError::NotRunning { id: id.to_owned() });
        }
        let options = CreateExecOptions {
            attach_stdin: Some(streams.stdin),
            attach_stdout: Some(streams.stdout || streams.tty),
            attach_stderr: Some(streams.stderr && !streams.tty),
            tty: Some(streams.tty),
            detach_keys: Some(DETACH.to_owned()),
            cmd: Some(command.to_vec()),
            ..CreateExecOptions::default()
        };
        let made = self.client().create_exec(id, options).await.map_err(|error| match error {
            error if is_missing(&error) => not_found("container", id),
            error if is_status(&error, 409) => RuntimeError::NotRunning { id: id.to_owned() },
            error => failed(error),
        })?;
        let options = StartExecOptions { detach: false, tty: streams.tty, output_capacity: None };
        match self.client().start_exec(&made.id, Some(options)).await {
            Ok(StartExecResults::Attached { output, input }) => Ok(Command { id: made.id, output, input }),
            Ok(StartExecResults::Detached) => Err(RuntimeError::Engine { message: "the engine gave no streams".to_owned() }),
            Err(error) => {
                let message = super::words(error);
                if message.contains("exec") {
                    Err(RuntimeError::Start { message: start_message(&message) })
                } else {
                    Err(RuntimeError::Engine { message })
                }
            }
        }
    }

    async fn asked(&self, exec: &str) -> Result<ExecInspectResponse, RuntimeError> {
        self.client().inspect_exec(exec).await.map_err(failed)
    }

    /// The exit code of a command whose output has ended.
    async fn exec_code(&self, exec: &str) -> Result<i32, RuntimeError> {
        let mut wait = Duration::from_millis(1);
        loop {
            let found = self.asked(exec).await?;
            if let (Some(code), Some(false)) = (found.exit_code, found.running) {
                return Ok(i32::try_from(code).unwrap_or(-1));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(INTERVAL);
        }
    }

    /// Waits until a command runs or has ended; what it said when it could not be started is the error.
    async fn started(&self, command: &mut Command) -> Result<Vec<LogOutput>, RuntimeError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut wait = Duration::from_millis(1);
        let found = loop {
            let found = self.asked(&command.id).await?;
            if found.exit_code.is_some() || found.pid.is_some_and(|pid| pid > 0) {
                break found;
            }
            if tokio::time::Instant::now() > deadline {
                return Err(RuntimeError::Timeout { after: PATIENCE });
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(INTERVAL);
        };
        let Some(code @ (126 | 127)) = found.exit_code else { return Ok(Vec::new()) };
        let mut early = Vec::new();
        while let Some(Ok(frame)) = command.output.next().await {
            early.push(frame);
        }
        let said: Vec<u8> = early.iter().flat_map(bytes_of).copied().collect();
        not_started(code, &said).map_or(Ok(early), |message| Err(RuntimeError::Start { message }))
    }

    pub(super) async fn start_command(&self, id: &str, command: &[String], streams: StreamOptions) -> Result<Session, RuntimeError> {
        let begun = async {
            let mut command = self.begin(id, command, streams).await?;
            let early = self.started(&mut command).await?;
            Ok((command, early))
        };
        let (command, early) = begun.await.map_err(|error: RuntimeError| ended_or(id, error))?;
        let (stdout, to_stdout) = pair(streams.stdout || streams.tty);
        let (stderr, to_stderr) = pair(streams.stderr && !streams.tty);
        let Command { id: exec, output, input } = command;
        let (docker, of) = (self.clone(), exec.clone());
        let pumped = tokio::spawn(pump(early, output, to_stdout, to_stderr));
        let bound = Bound { docker: docker.clone(), container: id.to_owned(), exec: of.clone(), ended: false };
        let exit = async move {
            // All of it is in here, and goes with this.
            let mut bound = bound;
            let _ = pumped.await;
            let code = docker.exec_code(&of).await.map_err(|error| Status::internal(error.to_string()));
            bound.ended = true;
            code
        };
        let client = self.client().clone();
        let resize = streams.tty.then(|| {
            resizer(move |size| {
                let (client, exec) = (client.clone(), exec.clone());
                let options = ResizeExecOptionsBuilder::new().h(size.height.into()).w(size.width.into()).build();
                async move { client.resize_exec(&exec, options).await }
            })
        });
        Ok(Session { stdin: streams.stdin.then(|| standard_input(input, true)), stdout, stderr, resize, exit: exit.boxed() })
    }

    pub(super) async fn run_command(&self, id: &str, command: &[String], timeout: Option<Duration>) -> Result<ExecOutput, RuntimeError> {
        self.run_to_end(id, command, timeout).await.map_err(|error| ended_or(id, error))
    }

    async fn run_to_end(&self, id: &str, command: &[String], timeout: Option<Duration>) -> Result<ExecOutput, RuntimeError> {
        let streams = StreamOptions { stdin: false, stdout: true, stderr: true, tty: false };
        let mut command = self.begin(id, command, streams).await?;
        let mut output = Vec::new();
        let finished = self.finish(&mut command, &mut output);
        let code = match timeout {
            None => finished.await?,
            Some(after) => match tokio::time::timeout(after, finished).await {
                Ok(code) => code?,
                Err(_) => {
                    self.kill_exec(id, &command.id).await;
                    return Err(RuntimeError::Timeout { after });
                }
            },
        };
        match not_started(code.into(), &output) {
            Some(message) => Err(RuntimeError::Start { message }),
            // The engine's own words, where the command's would be.
            None if matches!(code, 126 | 127 | 255) && output.starts_with(ENDED[1].as_bytes()) => {
                Err(RuntimeError::NotRunning { id: id.to_owned() })
            }
            None => Ok(ExecOutput { code, output }),
        }
    }

    /// Reads a command's output until its end; who inherited its output may write for ever.
    async fn finish(&self, command: &mut Command, output: &mut Vec<u8>) -> Result<i32, RuntimeError> {
        loop {
            match tokio::time::timeout(INTERVAL, command.output.next()).await {
                Ok(Some(Ok(frame))) => {
                    let bytes = bytes_of(&frame);
                    let room = KEPT.saturating_sub(output.len());
                    output.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
                }
                Ok(_) => return self.exec_code(&command.id).await,
                Err(_) => {
                    if let Some(code) = self.asked(&command.id).await?.exit_code {
                        return Ok(i32::try_from(code).unwrap_or(-1));
                    }
                }
            }
        }
    }

    /// The engine cannot end a command: it is one of this machine's processes.
    async fn kill_exec(&self, id: &str, exec: &str) {
        let Ok(found) = self.asked(exec).await else { return };
        let Some(pid) = found.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0 && found.running == Some(true)) else {
            return;
        };
        // Only a process of this container, which its control groups tell.
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if groups.contains(id) {
            // It leads a group of its own.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    pub(super) async fn join_container(&self, id: &str, streams: StreamOptions) -> Result<Session, RuntimeError> {
        let mut process = self.process(id)?;
        if !matches!(process.borrow().state, ContainerState::Running { .. }) {
            return Err(RuntimeError::NotRunning { id: id.to_owned() });
        }
        // Who has no standard input is only listened to.
        let own = self.0.state.lock().containers.get(id).map(|entry| (entry.stdin, entry.once, entry.tty));
        let (stdin, once, tty) = own.map_or((false, false, false), |(stdin, once, tty)| (stdin && streams.stdin, once, tty));
        let outputs = (streams.stdout || tty, streams.stderr && !tty);
        // What was kept is given away only when nothing can fail any more.
        let mut input = None;
        let (early, output) = loop {
            let kept = self.has_kept(id);
            if !kept || (stdin && input.is_none()) {
                let attached = self.attach_to(id, stdin && input.is_none(), if kept { (false, false) } else { outputs }).await?;
                input = input.or(stdin.then_some(attached.input));
                if !kept {
                    break (VecDeque::new(), attached.output);
                }
            }
            if let Some(kept) = self.take_kept(id) {
                break kept.take().await;
            }
        };
        let (stdout, to_stdout) = pair(outputs.0);
        let (stderr, to_stderr) = pair(outputs.1);
        // It goes with the session, which may leave a container that says nothing.
        let pumped = AbortOnDropHandle::new(tokio::spawn(pump(early, output, to_stdout, to_stderr)));
        let exit = async move {
            let ended = process.wait_for(|container| matches!(container.state, ContainerState::Exited { .. })).await;
            let state = ended.map(|container| container.state.clone());
            let _ = pumped.await;
            match state {
                Ok(ContainerState::Exited { code, .. }) => Ok(code),
                _ => Err(Status::internal("the container was removed")),
            }
        };
        let (client, of) = (self.client().clone(), id.to_owned());
        let resize = tty.then(|| {
            resizer(move |size| {
                let (client, id) = (client.clone(), of.clone());
                let options = ResizeContainerTTYOptionsBuilder::new().h(size.height.into()).w(size.width.into()).build();
                async move { client.resize_container_tty(&id, options).await }
            })
        });
        Ok(Session { stdin: input.map(|input| standard_input(input, once && !tty)), stdout, stderr, resize, exit: exit.boxed() })
    }

    /// Joins streams of a container's first process, which still runs then: the output of one that has ended would not end.
    async fn attach_to(&self, id: &str, stdin: bool, (stdout, stderr): (bool, bool)) -> Result<AttachContainerResults, RuntimeError> {
        let options =
            AttachContainerOptionsBuilder::new().stream(true).stdin(stdin).stdout(stdout).stderr(stderr).detach_keys(DETACH).build();
        let attached = self.client().attach_container(id, Some(options)).await.map_err(failed)?;
        let found = self.client().inspect_container(id, None::<InspectContainerOptions>).await.map_err(failed)?;
        let runs = found.state.and_then(|state| state.running) == Some(true);
        if runs || !(stdout || stderr) { Ok(attached) } else { Err(RuntimeError::NotRunning { id: id.to_owned() }) }
    }
}

/// Reader and writer of a stream, if it is wanted.
fn pair(wanted: bool) -> (Option<Box<dyn AsyncRead + Send + Unpin>>, Option<DuplexStream>) {
    if !wanted {
        return (None, None);
    }
    let (reader, writer) = duplex(BUFFER);
    (Some(boxed(reader)), Some(writer))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_failed_start_is_told_from_a_failed_command() {
        let said = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nope\": executable file not found in \
                    $PATH: unknown\r\n";
        assert_eq!(not_started(127, said.as_bytes()).unwrap(), "exec: \"nope\": executable file not found in $PATH");
        assert_eq!(not_started(0, said.as_bytes()), None);
        assert_eq!(not_started(127, b"sh: nope: not found"), None);
    }
}

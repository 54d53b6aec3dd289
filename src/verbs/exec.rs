//! `exec` and `attach`: programs in containers, at whatever terminal there is.

use clap::Args;
use futures::SinkExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use crate::error::VerbError;
use crate::pods;
use crate::session::{Out, Session};

/// Where a program's input comes from and its output goes.
pub struct Console {
    /// What is typed.
    pub input: Box<dyn AsyncRead + Send + Unpin>,
    /// What the program says.
    pub output: Box<dyn AsyncWrite + Send + Unpin>,
    /// What it says beside it.
    pub errors: Box<dyn AsyncWrite + Send + Unpin>,
    /// Columns and rows of the terminal, if there is one.
    pub sizes: Option<watch::Receiver<(u16, u16)>>,
}

/// Joins the program that a container runs
#[derive(Debug, Clone, Args)]
pub struct Attach {
    /// A pod's name, or `deployment/NAME` and the like
    pub pod: String,
    /// The container
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass on what is typed
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// The program has a terminal
    #[arg(short, long)]
    pub tty: bool,
}

/// Runs a program in a container
#[derive(Debug, Clone, Args)]
pub struct Exec {
    /// Where, and what it is given
    #[command(flatten)]
    pub at: Attach,
    /// The program, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

impl Exec {
    /// Runs it to its end; its exit code is the failure's. The console is asked for when nothing more is said to `out`.
    pub async fn run(&self, session: &Session, console: impl FnOnce() -> Console, out: &mut Out<'_>) -> Result<(), VerbError> {
        let pod = pods::pod(session, &self.at.pod).await?;
        let phase = pods::text(&pod, "/status/phase");
        if matches!(phase.as_str(), "Succeeded" | "Failed") {
            return Err(VerbError::wrong(format!("cannot exec into a container in a completed pod; current phase is {phase}")));
        }
        let how = self.at.how(&pod, out)?;
        let api: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
        let process = api.exec(&pods::text(&pod, "/metadata/name"), &self.command, &how).await?;
        talk(process, console()).await
    }
}

impl Attach {
    /// Stays until the program or what is typed ends. The console is asked for when nothing more is said to `out`.
    pub async fn run(&self, session: &Session, console: impl FnOnce() -> Console, out: &mut Out<'_>) -> Result<(), VerbError> {
        let pod = pods::pod(session, &self.pod).await?;
        let phase = pods::text(&pod, "/status/phase");
        if matches!(phase.as_str(), "Succeeded" | "Failed") {
            return Err(VerbError::wrong(format!("cannot attach a container in a completed pod; current phase is {phase}")));
        }
        let how = self.how(&pod, out)?;
        if self.stdin {
            out.aside("If you don't see a command prompt, try pressing enter.");
        }
        let api: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
        let process = api.attach(&pods::text(&pod, "/metadata/name"), &how).await?;
        talk(process, console()).await
    }

    fn how(&self, pod: &Value, out: &mut Out<'_>) -> Result<AttachParams, VerbError> {
        let container = pods::container(pod, self.container.as_deref(), out)?;
        Ok(AttachParams::default().container(container).stdin(self.stdin).stdout(true).stderr(!self.tty).tty(self.tty))
    }
}

async fn talk(mut process: AttachedProcess, console: Console) -> Result<(), VerbError> {
    let Console { mut input, mut output, mut errors, sizes } = console;
    let status = process.take_status();
    if let Some(mut stdin) = process.stdin() {
        // ends with the process, or when nobody types any more
        tokio::spawn(async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(read @ 1..) = input.read(&mut buffer).await {
                if stdin.write_all(&buffer[..read]).await.is_err() || stdin.flush().await.is_err() {
                    return;
                }
            }
            let _ = stdin.shutdown().await;
        });
    }
    let resizing = process.terminal_size().zip(sizes).map(|(mut to, mut sizes)| {
        tokio::spawn(async move {
            loop {
                let (width, height) = *sizes.borrow_and_update();
                if to.send(TerminalSize { width, height }).await.is_err() || sizes.changed().await.is_err() {
                    return;
                }
            }
        })
    });
    let said = futures::join!(copy(process.stdout(), &mut output), copy(process.stderr(), &mut errors));
    if let Some(resizing) = resizing {
        resizing.abort();
    }
    let ended = match status {
        Some(status) => status.await,
        None => None,
    };
    let Some(status) = ended else { return said.0.and(said.1).map_err(|error| VerbError::Unreachable(error.to_string())) };
    if status.status.as_deref() == Some("Success") {
        return Ok(());
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref());
    let code = causes
        .into_iter()
        .flatten()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .and_then(|cause| cause.message.as_ref()?.parse().ok());
    Err(code.map_or_else(|| VerbError::wrong(status.message.unwrap_or_default()), VerbError::Ended))
}

async fn copy(from: Option<impl AsyncRead + Unpin>, to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
}

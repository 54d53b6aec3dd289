//! A program in a container, at a terminal of ours: exec and attach.

use std::time::Duration;

use futures::SinkExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;

use super::call::Call;
use super::fault::{Fault, FaultKind};
use crate::kinds::Target;

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    /// A new program.
    Exec(Vec<String>),
    /// What the container runs anyway, once it does.
    Attach,
}

/// A program in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The pod.
    pub pod: Target,
    /// The container.
    pub container: String,
    /// What runs in it.
    pub runs: Runs,
    /// The container is only starting: it is waited for.
    pub starting: bool,
}

/// What goes to the program.
#[derive(Debug)]
pub enum Typed {
    /// What was typed.
    Bytes(Vec<u8>),
    /// Columns and rows of its terminal.
    Size(u16, u16),
}

/// What comes from it.
#[derive(Debug)]
pub enum Printed {
    /// It can be typed to.
    Connected,
    /// What it writes.
    Bytes(Vec<u8>),
    /// It has ended, and how.
    Ended(String),
    /// It never began, or the way to it broke.
    Failed(Fault),
}

/// The best shell there is.
pub fn shell() -> Runs {
    let find = "TERM=xterm-256color; export TERM; command -v bash >/dev/null 2>&1 && exec bash || exec sh";
    Runs::Exec(["sh", "-c", find].map(str::to_owned).to_vec())
}

/// Runs the session until it ends or nobody listens.
pub async fn run(
    client: kube::Client,
    session: Session,
    size: (u16, u16),
    mut typed: UnboundedReceiver<Typed>,
    tell: impl Fn(Printed) -> bool,
) {
    let attached = match begin(&client, &session).await {
        Ok(attached) => attached,
        Err(fault) => {
            tell(Printed::Failed(fault));
            return;
        }
    };
    if tell(Printed::Connected) {
        let end = talk(attached, size, &mut typed, &tell).await;
        tell(end);
    }
}

async fn begin(client: &kube::Client, session: &Session) -> Result<AttachedProcess, Fault> {
    if session.starting {
        wait_until_running(client, session).await?;
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &session.pod.namespace);
    let how = AttachParams::interactive_tty().container(&session.container);
    match &session.runs {
        Runs::Exec(command) => pods.exec(&session.pod.name, command, &how).await,
        Runs::Attach => pods.attach(&session.pod.name, &how).await,
    }
    .map_err(Fault::from)
}

async fn talk(
    mut attached: AttachedProcess,
    size: (u16, u16),
    typed: &mut UnboundedReceiver<Typed>,
    tell: &impl Fn(Printed) -> bool,
) -> Printed {
    let broken = |what: &str| Printed::Failed(Fault::new(FaultKind::Unreachable, what));
    let (Some(mut stdin), Some(mut stdout)) = (attached.stdin(), attached.stdout()) else { return broken("there is no way to it") };
    let mut sizes = attached.terminal_size();
    let mut resize = async |columns: u16, rows: u16| {
        if let Some(sizes) = &mut sizes {
            let _ = sizes.send(TerminalSize { width: columns, height: rows }).await;
        }
    };
    resize(size.0, size.1).await;
    let status = attached.take_status();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            read = stdout.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(count) => if !tell(Printed::Bytes(buffer[..count].to_vec())) { break },
            },
            next = typed.recv() => match next {
                Some(Typed::Bytes(bytes)) => if stdin.write_all(&bytes).await.is_err() { break },
                Some(Typed::Size(columns, rows)) => resize(columns, rows).await,
                None => break,
            },
        }
    }
    let ended = match status {
        Some(status) => tokio::time::timeout(Duration::from_secs(2), status).await.ok().flatten(),
        None => None,
    };
    Printed::Ended(match ended {
        Some(status) if status.status.as_deref() == Some("Success") => "ended".to_owned(),
        Some(status) => status.message.unwrap_or_else(|| "ended".to_owned()),
        None => "the connection was closed".to_owned(),
    })
}

async fn wait_until_running(client: &kube::Client, session: &Session) -> Result<(), Fault> {
    const PATIENCE: Duration = Duration::from_secs(120);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let pod = Call::read(&session.pod).send(client).await?;
        let mut waiting = "it has not been started yet".to_owned();
        for list in ["containerStatuses", "ephemeralContainerStatuses"] {
            for status in pod.pointer(&format!("/status/{list}")).and_then(Value::as_array).into_iter().flatten() {
                if status.get("name").and_then(Value::as_str) != Some(&session.container) {
                    continue;
                }
                if status.pointer("/state/running").is_some() {
                    return Ok(());
                }
                let told = |field: &str| status.pointer(field).and_then(Value::as_str).map(str::to_owned);
                if status.pointer("/state/terminated").is_some() {
                    let why = told("/state/terminated/message").or_else(|| told("/state/terminated/reason")).unwrap_or_default();
                    return Err(Fault::new(FaultKind::Other, format!("{} has ended: {why}", session.container)));
                }
                waiting = told("/state/waiting/message").or_else(|| told("/state/waiting/reason")).unwrap_or(waiting);
            }
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Fault::new(FaultKind::Silent, format!("{} does not start: {waiting}", session.container)));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

//! A program in a container, at a terminal of ours: exec and attach.

use std::time::Duration;

use futures::SinkExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;

use super::call::{Call, encode};
use super::fault::{Fault, FaultKind};
use super::line::{Edited, Line};
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
    let ended = match begin(&client, &session).await {
        Ok((attached, line)) => {
            if !tell(Printed::Connected) {
                return;
            }
            talk(attached, line, size, &mut typed, &tell).await
        }
        Err(fault) => Err(fault),
    };
    match ended {
        Ok(how) => drop(tell(Printed::Ended(how))),
        // what cannot be joined any more may still be read, as kubectl does
        Err(fault) if session.runs == Runs::Attach => read_log(&client, &session, fault, tell).await,
        Err(fault) => drop(tell(Printed::Failed(fault))),
    }
}

/// What a container wrote that has ended, or cannot be joined; why it could not be joined if there is nothing to read.
async fn read_log(client: &kube::Client, session: &Session, fault: Fault, tell: impl Fn(Printed) -> bool) {
    let path = format!("{}/log?container={}", session.pod.path(), encode(&session.container));
    let request = Call { accept: "*/*", ..Call::get(path) }.request();
    let log = match request {
        Ok(request) => client.request_text(request).await.ok().filter(|log| !log.is_empty()),
        Err(_) => None,
    };
    let Some(log) = log else {
        tell(Printed::Failed(fault));
        return;
    };
    if tell(Printed::Connected) && tell(Printed::Bytes(log.replace('\n', "\r\n").into_bytes())) {
        tell(Printed::Ended(format!("its log; {}", fault.message)));
    }
}

/// The process; and a line to type at when what is joined has no terminal of its own.
async fn begin(client: &kube::Client, session: &Session) -> Result<(AttachedProcess, Option<Line>), Fault> {
    if session.starting {
        wait_until_running(client, session).await?;
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &session.pod.namespace);
    let line = (session.runs == Runs::Attach && !has_terminal(client, session).await?).then(Line::default);
    let how = match line {
        None => AttachParams::interactive_tty(),
        Some(_) => AttachParams::default().stdin(true).stdout(true).stderr(true),
    };
    let how = how.container(&session.container);
    let process = match &session.runs {
        Runs::Exec(command) => pods.exec(&session.pod.name, command, &how).await,
        Runs::Attach => pods.attach(&session.pod.name, &how).await,
    };
    Ok((process?, line))
}

/// Whether what a container runs has a terminal.
async fn has_terminal(client: &kube::Client, session: &Session) -> Result<bool, Fault> {
    let pod = Call::read(&session.pod).send(client).await?;
    let lists = ["containers", "initContainers", "ephemeralContainers"].map(|list| pod.pointer(&format!("/spec/{list}")));
    let mut all = lists.iter().flatten().filter_map(|list| list.as_array()).flatten();
    let named = all.find(|container| container.get("name").and_then(Value::as_str) == Some(&session.container));
    Ok(named.is_some_and(|container| container.get("tty") == Some(&Value::Bool(true))))
}

/// Carries both ways until one end has no more; how it ended, or why it never began: a runtime may say so only on the
/// connection.
async fn talk(
    mut attached: AttachedProcess,
    mut line: Option<Line>,
    size: (u16, u16),
    typed: &mut UnboundedReceiver<Typed>,
    tell: &impl Fn(Printed) -> bool,
) -> Result<String, Fault> {
    let (Some(stdin), Some(mut stdout)) = (attached.stdin(), attached.stdout()) else {
        return Err(Fault::new(FaultKind::Unreachable, "there is no way to it"));
    };
    let (mut stdin, mut stderr) = (Some(stdin), attached.stderr());
    let mut sizes = attached.terminal_size();
    let mut resize = async |columns: u16, rows: u16| {
        if let Some(sizes) = &mut sizes {
            let _ = sizes.send(TerminalSize { width: columns, height: rows }).await;
        }
    };
    resize(size.0, size.1).await;
    let status = attached.take_status();
    let cooked = line.is_some();
    let print = |bytes: &[u8]| tell(Printed::Bytes(if cooked { with_returns(bytes) } else { bytes.to_vec() }));
    let (mut buffer, mut beside) = (vec![0; 16 * 1024], vec![0; 4 * 1024]);
    let mut heard = false;
    loop {
        tokio::select! {
            read = stdout.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    heard = true;
                    if !print(&buffer[..count]) { break }
                }
            },
            read = read_some(&mut stderr, &mut beside) => match read {
                0 => stderr = None,
                count => {
                    heard = true;
                    if !print(&beside[..count]) { break }
                }
            },
            next = typed.recv() => match next {
                Some(Typed::Bytes(bytes)) => {
                    let edited = match &mut line {
                        Some(line) => line.typed(&bytes),
                        None => Edited { sent: bytes, ..Edited::default() },
                    };
                    let sent = match &mut stdin {
                        Some(stdin) => stdin.write_all(&edited.sent).await.is_ok() && stdin.flush().await.is_ok(),
                        None => true,
                    };
                    if edited.leaves || !sent || !tell(Printed::Bytes(edited.shown)) { break }
                    if edited.is_last { stdin = None }
                }
                Some(Typed::Size(columns, rows)) => resize(columns, rows).await,
                None => break,
            },
        }
    }
    let ended = match status {
        Some(status) => tokio::time::timeout(Duration::from_secs(2), status).await.ok().flatten(),
        None => None,
    };
    let Some(status) = ended else { return Ok("the connection was closed".to_owned()) };
    how(&status).or_else(|fault| if heard { Ok(fault.message) } else { Err(fault) })
}

/// What is there to read; nothing ever comes from what is not there.
async fn read_some(from: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    match from {
        Some(from) => from.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

/// Lines as a terminal wants them.
fn with_returns(bytes: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(bytes.len() + 16);
    for byte in bytes {
        if *byte == b'\n' {
            shown.push(b'\r');
        }
        shown.push(*byte);
    }
    shown
}

/// How a program ended: its code, not the command that was run. What has no code did not end by itself.
fn how(status: &Status) -> Result<String, Fault> {
    let code = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let code = code.filter(|cause| cause.reason.as_deref() == Some("ExitCode")).find_map(|cause| cause.message.as_deref());
    match (status.status.as_deref(), code) {
        (Some("Success"), _) => Ok("ended".to_owned()),
        (_, Some(code)) => Ok(format!("ended with exit code {code}")),
        (_, None) => {
            let message = status.message.as_deref().and_then(|message| message.lines().next()).unwrap_or("ended");
            Err(Fault::new(FaultKind::Other, message))
        }
    }
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
                    let code = status.pointer("/state/terminated/exitCode").map(|code| format!("exit code {code}"));
                    let why = told("/state/terminated/message").or_else(|| told("/state/terminated/reason"));
                    let why = code.into_iter().chain(why).collect::<Vec<_>>().join(", ");
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::result_large_err)]
    use std::convert::Infallible;
    use std::sync::Arc;

    use coracle_api::identity::Identity;
    use coracle_client::{Connect, in_process};
    use http::{HeaderValue, Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use tokio::io::{DuplexStream, duplex};
    use tokio::sync::mpsc::unbounded_channel;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::server;

    use super::*;
    use crate::kinds::Kinds;

    #[test]
    fn a_program_that_fails_is_said_by_its_code() {
        let status = |value: Value| how(&serde_json::from_value(value).unwrap()).map_err(|fault| fault.message);
        assert_eq!(status(json!({"status": "Success"})), Ok("ended".to_owned()));
        let failed = json!({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
            "message": "command terminated with non-zero exit code: error executing command [sh -c TERM=xterm; exec sh], exit code 3"});
        assert_eq!(status(failed), Ok("ended with exit code 3".to_owned()));
        assert_eq!(status(json!({"status": "Failure", "message": "no such program\nat all"})), Err("no such program".to_owned()));
    }

    /// Takes the connection, and only then says that there is nothing to join, as kubelets do.
    async fn refuse(stream: DuplexStream) {
        let agree = |_: &server::Request, mut response: server::Response| -> Result<server::Response, server::ErrorResponse> {
            response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("v5.channel.k8s.io"));
            Ok(response)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, agree).await.unwrap();
        let mut word = vec![3];
        word.extend(json!({"metadata": {}, "status": "Failure", "message": "container is in CONTAINER_EXITED state"}).to_string().bytes());
        socket.send(Message::binary(word)).await.unwrap();
        let _ = socket.close(None).await;
    }

    #[tokio::test]
    async fn what_turns_out_to_have_ended_is_read() {
        let connect: Connect = Arc::new(|_| {
            let (near, far) = duplex(16 << 10);
            tokio::spawn(refuse(far));
            near
        });
        let service = tower::service_fn(|request: Request<Body>| async move {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [{"name": "main"}]}});
            let text = if request.uri().path().ends_with("/log") { "all is said\n".to_owned() } else { pod.to_string() };
            Ok::<_, Infallible>(Response::new(Body::from(text.into_bytes())))
        });
        let pod = Target { kind: Kinds::first().find("pods").unwrap(), namespace: "default".into(), name: "web".into() };
        let session = Session { pod, container: "main".into(), runs: Runs::Attach, starting: false };
        let (_keys, typed) = unbounded_channel();
        let (told, mut printed) = unbounded_channel();
        let client = in_process(service, connect, Identity::admin());
        run(client, session, (80, 24), typed, move |one| told.send(one).is_ok()).await;
        let (mut shown, mut ended) = (String::new(), String::new());
        while let Ok(one) = printed.try_recv() {
            match one {
                Printed::Connected => {}
                Printed::Bytes(bytes) => shown.push_str(&String::from_utf8(bytes).unwrap()),
                Printed::Ended(how) => ended = how,
                Printed::Failed(fault) => panic!("{}", fault.message),
            }
        }
        assert_eq!(shown, "all is said\r\n");
        assert_eq!(ended, "its log; container is in CONTAINER_EXITED state");
    }
}

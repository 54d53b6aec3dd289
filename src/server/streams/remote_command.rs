//! `exec` and `attach`: a process's streams and its end, over a WebSocket or SPDY.

use std::time::Duration;

use coracle_api::seams::{Session, StreamOptions, TerminalSize};
use coracle_api::status::Status;
use http::Response;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::channel::{Inlet, Outlet};
use super::connection::Connection;
use super::handshake::Upgrade;
use super::websocket::{self, Form};
use super::{StreamCall, spdy};
use crate::answer;
use crate::http::body::Body;
use crate::http::query::Query;

const WEBSOCKET_PROTOCOLS: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"];
const SPDY_PROTOCOLS: [&str; 4] = ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io"];
/// How long a client may take to open its streams.
const STREAMS_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest text of sizes without an end.
const SIZE_LIMIT: usize = 1 << 10;

/// How upstream's texts of internal errors begin.
const INTERNAL: &str = "Internal error occurred: ";

/// A client's side of a session.
struct Client {
    connection: Connection,
    stdin: Option<Inlet>,
    stdout: Option<Outlet>,
    stderr: Option<Outlet>,
    error: Outlet,
    resize: Option<Inlet>,
    /// Whether the last word is a `Status` (from v4 on) or only an error's text.
    status_object: bool,
}

/// What ends a session.
#[derive(Debug)]
enum Ending {
    Done,
    Exit { code: i32, command: String },
    Failed(Status),
}

impl Ending {
    fn to_value(&self) -> Value {
        match self {
            Self::Done => json!({"metadata": {}, "status": "Success"}),
            Self::Exit { code, .. } => json!({
                "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": self.text(),
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failed(status) => json!({
                "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500, "message": self.text(),
                "details": {"causes": [{"message": status.message}]},
            }),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Done => String::new(),
            Self::Exit { code, command } => {
                format!("command terminated with non-zero exit code: error executing command [{command}], exit code {code}")
            }
            Self::Failed(status) if status.message.starts_with(INTERNAL) => status.message.clone(),
            Self::Failed(status) => format!("{INTERNAL}{}", status.message),
        }
    }
}

fn options(query: &Query) -> Result<StreamOptions, Box<Response<Body>>> {
    let mut streams =
        StreamOptions { stdin: query.flag("stdin"), stdout: query.flag("stdout"), stderr: query.flag("stderr"), tty: query.flag("tty") };
    // A terminal has one output.
    streams.stderr &= !streams.tty;
    if streams.stdin || streams.stdout || streams.stderr {
        return Ok(streams);
    }
    Err(Box::new(answer::text(400, "you must specify at least 1 of stdin, stdout, stderr\n")))
}

/// Answers 101 and serves the session, or says why not.
pub(super) async fn handle(call: StreamCall, upgrade: Upgrade) -> Result<Response<Body>, Status> {
    let streams = match options(&call.query) {
        Ok(streams) => streams,
        Err(refusal) => return Ok(*refusal),
    };
    let agreed = match &upgrade {
        Upgrade::WebSocket { .. } => upgrade.agree(&WEBSOCKET_PROTOCOLS, Some("channel.k8s.io")),
        Upgrade::Spdy { .. } => upgrade.agree(&SPDY_PROTOCOLS, None),
    };
    let agreed = match agreed {
        Ok(agreed) => agreed,
        Err(refusal) => return Ok(*refusal),
    };
    let command: Vec<String> = call.query.all("command").map(str::to_owned).collect();
    let exec = call.subresource == "exec";
    let session = if exec {
        call.dialer.exec(&call.pod, &call.container, command.clone(), streams).await
    } else {
        call.dialer.attach(&call.pod, &call.container, streams).await
    };
    let what = if exec { "executing command in container" } else { "attaching to container" };
    let session = match session {
        // The container is there and the command could not be started: said on the connection, as by a runtime.
        Err(status) if status.reason == "InternalError" => Err(Status { message: format!("error {what}: {}", status.message), ..status }),
        // The kubelet's errors are plain text.
        Err(status) => return Ok(answer::text(status.code, format!("{}\n", status.message))),
        Ok(session) => Ok(session),
    };
    let web_socket = matches!(upgrade, Upgrade::WebSocket { .. });
    let protocol = agreed.protocol;
    let command = exec.then(|| command.join(" "));
    call.upgraded(agreed.answer, async move |upgraded| {
        let client = if web_socket { by_web_socket(upgraded, protocol, streams).await } else { by_spdy(upgraded, protocol, streams).await };
        if let Some(client) = client {
            client.serve(session, command).await;
        }
    })
}

async fn by_web_socket(upgraded: Upgraded, protocol: &str, streams: StreamOptions) -> Option<Client> {
    let readable = [streams.stdin, false, false, false, true];
    let mut channels = websocket::serve(upgraded, Form::of(protocol), &readable).await;
    let (stdout, stderr) = (streams.stdout.then(|| channels.outlet(1)), streams.stderr.then(|| channels.outlet(2)));
    let error = channels.outlet(3);
    // An empty message tells the client that the session stands.
    let first = stdout.as_ref().or(stderr.as_ref()).unwrap_or(&error);
    first.send("").await.ok()?;
    Some(Client {
        stdin: channels.inlet(0),
        resize: channels.inlet(4),
        stdout,
        stderr,
        error,
        status_object: protocol.starts_with('v'),
        connection: channels.connection,
    })
}

async fn by_spdy(upgraded: Upgraded, protocol: &str, streams: StreamOptions) -> Option<Client> {
    let (read, write) = tokio::io::split(TokioIo::new(upgraded));
    let (connection, mut opened) = spdy::serve(read, write);
    let resizes = streams.tty && protocol != "v2.channel.k8s.io";
    let mut missing = 1 + [streams.stdin, streams.stdout, streams.stderr, resizes].iter().filter(|wanted| **wanted).count();
    let (mut stdin, mut stdout, mut stderr, mut error, mut resize) = (None, None, None, None, None);
    let all = async {
        while missing > 0 {
            let stream = opened.recv().await?;
            match stream.header("streamtype") {
                "stdin" if stdin.is_none() => stdin = Some(stream),
                "stdout" if stdout.is_none() => stdout = Some(stream),
                "stderr" if stderr.is_none() => stderr = Some(stream),
                "resize" if resize.is_none() => resize = Some(stream),
                "error" if error.is_none() => error = Some(stream),
                other => {
                    tracing::debug!(kind = other, "unexpected stream");
                    continue;
                }
            }
            missing -= 1;
        }
        Some(())
    };
    if !matches!(tokio::time::timeout(STREAMS_TIMEOUT, all).await, Ok(Some(()))) {
        tracing::debug!("the client did not open its streams");
        return None;
    }
    Some(Client {
        connection,
        stdin: stdin.map(|stream| stream.inlet),
        stdout: stdout.map(|stream| stream.outlet),
        stderr: stderr.map(|stream| stream.outlet),
        error: error?.outlet,
        resize: resize.map(|stream| stream.inlet),
        status_object: !matches!(protocol, "v3.channel.k8s.io" | "v2.channel.k8s.io"),
    })
}

impl Client {
    /// Serves a session to its end; `command` is what exec ran.
    async fn serve(self, session: Result<Session, Status>, command: Option<String>) {
        let Self { connection, stdin, stdout, stderr, error, resize, status_object } = self;
        let gone: CancellationToken = connection.gone.clone();
        let run = async {
            let ending = match session {
                Ok(session) => run(session, stdin, &stdout, &stderr, resize, command).await,
                Err(status) => Ending::Failed(status),
            };
            for output in [stdout, stderr].into_iter().flatten() {
                let _ = output.end().await;
            }
            let word = if status_object { ending.to_value().to_string() } else { ending.text() };
            if !word.is_empty() {
                let _ = error.send(word).await;
            }
            let _ = error.end().await;
        };
        // A client that is gone takes the session with it.
        tokio::select! {
            () = gone.cancelled() => {}
            () = run => connection.close().await,
        }
    }
}

/// Carries the streams until all output was delivered and the process ended.
async fn run(
    session: Session,
    stdin: Option<Inlet>,
    stdout: &Option<Outlet>,
    stderr: &Option<Outlet>,
    resize: Option<Inlet>,
    command: Option<String>,
) -> Ending {
    let Session { stdin: input, stdout: output, stderr: errors, resize: sizes, exit } = session;
    let inward = async {
        if let (Some(mut inlet), Some(input)) = (stdin, input) {
            let _ = inlet.copy_to(input).await;
        }
    };
    let outward = async |from: Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>, to: &Option<Outlet>| {
        if let (Some(from), Some(to)) = (from, to) {
            let _ = to.copy_from(from).await;
        }
    };
    let process = async {
        tokio::join!(outward(output, stdout), outward(errors, stderr));
        exit.await
    };
    let background = async {
        tokio::join!(inward, resized(resize, sizes));
        std::future::pending::<()>().await;
    };
    let exit = tokio::select! {
        exit = process => exit,
        () = background => return Ending::Done,
    };
    match (exit, command) {
        (Err(status), _) => Ending::Failed(status),
        (Ok(0), _) | (Ok(_), None) => Ending::Done,
        (Ok(code), Some(command)) => Ending::Exit { code, command },
    }
}

#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width", alias = "width", default)]
    width: u16,
    #[serde(rename = "Height", alias = "height", default)]
    height: u16,
}

/// Takes sizes out of a text of JSON objects; what is not whole yet stays.
fn sizes(text: &mut Vec<u8>) -> Result<Vec<TerminalSize>, serde_json::Error> {
    let mut stream = serde_json::Deserializer::from_slice(text).into_iter::<Size>();
    let mut found = Vec::new();
    let mut failed = None;
    for size in stream.by_ref() {
        match size {
            Ok(Size { width, height }) => found.push(TerminalSize { width, height }),
            Err(error) if error.is_eof() => break,
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let used = stream.byte_offset();
    text.drain(..used.min(text.len()));
    failed.map_or(Ok(found), Err)
}

async fn resized(resize: Option<Inlet>, to: Option<mpsc::Sender<TerminalSize>>) {
    let (Some(mut resize), Some(to)) = (resize, to) else { return };
    let mut text = Vec::new();
    while let Some(data) = resize.next().await {
        text.extend_from_slice(&data);
        let Ok(found) = sizes(&mut text) else { return };
        if text.len() > SIZE_LIMIT {
            return;
        }
        for size in found {
            if to.send(size).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn sizes_come_in_any_pieces() {
        let whole = b"{\"Width\":80,\"Height\":24}\n{\"Width\":100,\"Height\":40}\n";
        for cut in 0..whole.len() {
            let mut text = whole[..cut].to_vec();
            let mut found = sizes(&mut text).unwrap();
            text.extend_from_slice(&whole[cut..]);
            found.extend(sizes(&mut text).unwrap());
            let found: Vec<_> = found.iter().map(|size| (size.width, size.height)).collect();
            assert_eq!(found, [(80, 24), (100, 40)], "cut at {cut}");
        }
        assert!(sizes(&mut b"x".to_vec()).is_err());
    }

    #[test]
    fn last_words() {
        assert_eq!(Ending::Done.to_value(), json!({"metadata": {}, "status": "Success"}));
        let ending = Ending::Exit { code: 7, command: "sh -c exit".to_owned() };
        assert_eq!(ending.to_value()["details"]["causes"], json!([{"reason": "ExitCode", "message": "7"}]));
        assert_eq!(ending.text(), "command terminated with non-zero exit code: error executing command [sh -c exit], exit code 7");
        assert_eq!(Ending::Failed(Status::new(500, "InternalError", "no")).text(), "Internal error occurred: no");
    }

    #[test]
    fn which_streams() {
        let parsed = |query: &str| options(&Query::parse(query)).ok();
        assert_eq!(parsed("tty=true"), None);
        let terminal = parsed("tty=true&stdin=1&stdout=true&stderr=true").unwrap();
        assert_eq!(terminal, StreamOptions { stdin: true, stdout: true, stderr: false, tty: true });
    }
}

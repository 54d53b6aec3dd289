//! exec, attach and port-forward over connections of this process, in each protocol, against a node that is made up here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::identity::Identity;
use coracle_api::seams::{Duplex, LogOptions, NodeDialer, PodRef, Session, StreamOptions, TerminalSize};
use coracle_api::status::Status;
use coracle_store::Options;
use futures::stream::BoxStream;
use futures::{FutureExt, SinkExt, StreamExt};
use harness::Cluster;
use harness::spdy::{Spdy, soon};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

const POD: &str = "/api/v1/namespaces/default/pods/p";
/// More than every buffer on the way holds.
const LARGE: usize = 10 << 20;

/// A node with one container whose commands are played here.
#[derive(Clone, Default)]
struct Node(Arc<Shared>);

struct Shared {
    /// Bytes a flood was able to write.
    written: AtomicUsize,
    /// Sessions whose streams were closed under the process.
    cut: watch::Sender<usize>,
    sizes: parking_lot::Mutex<Vec<TerminalSize>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { written: AtomicUsize::new(0), cut: watch::Sender::new(0), sizes: parking_lot::Mutex::default() }
    }
}

impl Node {
    async fn play(self, command: Vec<String>, mut stdin: DuplexStream, mut stdout: DuplexStream, mut stderr: DuplexStream) -> i32 {
        match command[0].as_str() {
            "cat" => {
                let copied = tokio::io::copy(&mut stdin, &mut stdout).await;
                i32::from(copied.is_err())
            }
            "fail" => {
                // Streams that nobody asked for are closed.
                let _ = stdout.write_all(b"out").await;
                let _ = stderr.write_all(b"err").await;
                7
            }
            "flood" => {
                let piece = [b'x'; 1 << 10];
                while stdout.write_all(&piece).await.is_ok() {
                    self.0.written.fetch_add(piece.len(), Ordering::Relaxed);
                }
                self.0.cut.send_modify(|cut| *cut += 1);
                1
            }
            // Reads nothing, and ends.
            "deaf" => 0,
            other => panic!("unknown command {other}"),
        }
    }
}

#[async_trait]
impl NodeDialer for Node {
    async fn logs(&self, _: &PodRef, _: &str, _: LogOptions) -> Result<BoxStream<'static, std::io::Result<Bytes>>, Status> {
        Ok(futures::stream::iter(["one\n", "two\n"].map(|line| Ok(Bytes::from(line)))).boxed())
    }

    async fn exec(&self, _: &PodRef, container: &str, command: Vec<String>, streams: StreamOptions) -> Result<Session, Status> {
        assert_eq!(container, "c");
        match command[0].as_str() {
            "gone" => return Err(Status::new(404, "NotFound", "container not found (\"c\")")),
            "nosuch" => return Err(Status::new(500, "InternalError", "no such file")),
            _ => {}
        }
        let ((stdin, input), (output, stdout), (errors, stderr)) = (duplex(4096), duplex(4096), duplex(4096));
        let (resize, mut sizes) = mpsc::channel(1);
        let node = self.clone();
        tokio::spawn(async move {
            while let Some(size) = sizes.recv().await {
                node.0.sizes.lock().push(size);
            }
        });
        let process = tokio::spawn(self.clone().play(command, input, stdout, stderr));
        Ok(Session {
            stdin: streams.stdin.then(|| Box::new(stdin) as _),
            stdout: streams.stdout.then(|| Box::new(output) as _),
            stderr: streams.stderr.then(|| Box::new(errors) as _),
            resize: streams.tty.then_some(resize),
            exit: async move { process.await.map_err(Status::internal) }.boxed(),
        })
    }

    async fn attach(&self, pod: &PodRef, container: &str, streams: StreamOptions) -> Result<Session, Status> {
        self.exec(pod, container, vec!["fail".to_owned()], streams).await
    }

    /// Port 80 sends back what it gets and then how much it was, 82 only reads, all others are closed.
    async fn port_forward(&self, _: &PodRef, port: u16) -> Result<Box<dyn Duplex>, Status> {
        let (ours, mut theirs) = duplex(8192);
        match port {
            80 => tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(&mut theirs);
                let count = tokio::io::copy(&mut read, &mut write).await.unwrap_or_default();
                let _ = write.write_all(format!("<{count}>").as_bytes()).await;
                let _ = write.shutdown().await;
            }),
            _ => return Err(Status::new(500, "InternalError", "connect: connection refused")),
        };
        Ok(Box::new(ours))
    }

    async fn dial(&self, _: IpAddr, _: u16) -> Result<Box<dyn Duplex>, Status> {
        Err(Status::internal("no network"))
    }
}

async fn cluster() -> (Cluster, Node) {
    let node = Node::default();
    let cluster = Cluster::with_dialer(Options::default(), Arc::new(node.clone())).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i:1"}]}});
    let answer = cluster.post("/api/v1/namespaces/default/pods", &pod).await;
    assert_eq!(answer.code, 201, "{}", answer.body);
    (cluster, node)
}

async fn ask(cluster: &Cluster, method: Method, path: &str, headers: &[(&str, &str)]) -> Response<hyper::body::Incoming> {
    let (ours, theirs) = duplex(64 << 10);
    let server = cluster.server.clone();
    tokio::spawn(async move { server.serve_stream(theirs, Some(Identity::admin())).await });
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder().method(method).uri(path).header("host", "x");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap()
}

const WEBSOCKET: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

async fn web_socket(cluster: &Cluster, path: &str, protocol: &str) -> WebSocketStream<TokioIo<Upgraded>> {
    let mut headers = WEBSOCKET.to_vec();
    headers.push(("sec-websocket-protocol", protocol));
    let response = ask(cluster, Method::GET, path, &headers).await;
    assert_eq!((response.status().as_u16(), &response.headers()["sec-websocket-protocol"]), (101, &protocol.parse().unwrap()));
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await
}

/// What came on each channel, to the end of the connection.
async fn collect(socket: &mut WebSocketStream<TokioIo<Upgraded>>) -> HashMap<u8, Vec<u8>> {
    let mut channels: HashMap<u8, Vec<u8>> = HashMap::new();
    while let Some(Ok(message)) = soon(socket.next()).await {
        if let Message::Binary(data) = message {
            channels.entry(data[0]).or_default().extend_from_slice(&data[1..]);
        }
    }
    channels
}

fn last_word(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[tokio::test]
async fn web_socket_exec_tells_the_exit_code_after_the_output() {
    let (cluster, _) = cluster().await;
    for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io"] {
        let mut socket = web_socket(&cluster, &format!("{POD}/exec?command=fail&stdout=true&stderr=true"), protocol).await;
        let channels = collect(&mut socket).await;
        assert_eq!((&channels[&1][..], &channels[&2][..]), (&b"out"[..], &b"err"[..]));
        let word = last_word(&channels[&3]);
        assert_eq!((&word["status"], &word["reason"]), (&json!("Failure"), &json!("NonZeroExitCode")));
        assert_eq!(word["details"]["causes"], json!([{"reason": "ExitCode", "message": "7"}]));
    }
    let mut socket = web_socket(&cluster, &format!("{POD}/attach?stdout=true"), "v4.channel.k8s.io").await;
    assert_eq!(last_word(&collect(&mut socket).await[&3]), json!({"metadata": {}, "status": "Success"}));
}

#[tokio::test]
async fn a_log_in_a_web_socket() {
    let (cluster, _) = cluster().await;
    for (protocol, expected) in [("binary.k8s.io", "one\ntwo\n"), ("base64.binary.k8s.io", "b25lCg==dHdvCg==")] {
        let mut socket = web_socket(&cluster, &format!("{POD}/log"), protocol).await;
        assert!(soon(socket.next()).await.unwrap().unwrap().into_data().is_empty());
        let mut text = String::new();
        while let Some(Ok(message)) = soon(socket.next()).await {
            match message {
                Message::Close(end) => assert_eq!(u16::from(end.unwrap().code), 1000),
                other => text.push_str(other.to_text().unwrap()),
            }
        }
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn web_socket_exec_half_closes_standard_input() {
    let (cluster, _) = cluster().await;
    let path = format!("{POD}/exec?command=cat&stdin=true&stdout=true");
    let (mut sink, mut stream) = web_socket(&cluster, &path, "v5.channel.k8s.io").await.split();
    let sent = pattern(LARGE);
    let all = sent.clone();
    tokio::spawn(async move {
        for piece in all.chunks(100_000) {
            let message = [&[0][..], piece].concat();
            sink.send(Message::Binary(message.into())).await.unwrap();
        }
        sink.send(Message::Binary(vec![255, 0].into())).await.unwrap();
        sink
    });
    let (mut got, mut word) = (Vec::new(), Vec::new());
    while let Some(Ok(Message::Binary(data))) = soon(stream.next()).await {
        if data[0] == 1 { &mut got } else { &mut word }.extend_from_slice(&data[1..]);
    }
    assert!(got == sent, "{} bytes came back", got.len());
    assert_eq!(last_word(&word)["status"], "Success");
}

#[tokio::test]
async fn sizes_of_the_terminal_arrive() {
    let (cluster, node) = cluster().await;
    let mut socket = web_socket(&cluster, &format!("{POD}/exec?command=cat&stdin=1&stdout=1&tty=1"), "v5.channel.k8s.io").await;
    socket.send(Message::Binary(b"\x04{\"Width\":80,\"Height\":24}".as_slice().into())).await.unwrap();
    socket.send(Message::Binary(b"\x00x".as_slice().into())).await.unwrap();
    while soon(socket.next()).await.unwrap().unwrap() != Message::Binary(b"\x01x".as_slice().into()) {}
    soon(async {
        while node.0.sizes.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(node.0.sizes.lock()[0], TerminalSize { width: 80, height: 24 });
}

#[tokio::test]
async fn a_command_that_reads_nothing_ends() {
    let (cluster, _) = cluster().await;
    let path = format!("{POD}/exec?command=deaf&stdin=true&stdout=true");
    let (mut sink, mut stream) = web_socket(&cluster, &path, "v4.channel.k8s.io").await.split();
    let sending = tokio::spawn(async move { while sink.send(Message::Binary(vec![0; 30_000].into())).await.is_ok() {} });
    let mut words = Vec::new();
    while let Some(Ok(Message::Binary(data))) = soon(stream.next()).await {
        if data[0] == 3 {
            words.extend_from_slice(&data[1..]);
        }
    }
    assert_eq!(last_word(&words)["status"], "Success");
    sending.abort();
}

#[tokio::test]
async fn a_slow_reader_holds_the_process_up_and_a_vanished_one_ends_it() {
    let (cluster, node) = cluster().await;
    let mut cut = node.0.cut.subscribe();
    for (round, protocol) in [(1, "v4.channel.k8s.io"), (2, "v5.channel.k8s.io")] {
        let mut socket = web_socket(&cluster, &format!("{POD}/exec?command=flood&stdout=true"), protocol).await;
        soon(socket.next()).await.unwrap().unwrap();
        // Until the process stands still.
        let mut before = usize::MAX;
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = node.0.written.load(Ordering::Relaxed);
            if now == before {
                break;
            }
            before = now;
        }
        assert!(before < round * (4 << 20), "{before} bytes were written to nobody");
        drop(socket);
        soon(cut.wait_for(|cut| *cut == round)).await.unwrap();
    }
}

#[tokio::test]
async fn refusals() {
    let (cluster, _) = cluster().await;
    let text = async |path: &str, headers: &[(&str, &str)]| {
        let response = ask(&cluster, Method::POST, &format!("{POD}/{path}"), headers).await;
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8_lossy(&body).trim_end().to_owned())
    };
    let status = async |path: &str| {
        let (code, body) = text(path, &[]).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((code, &body["reason"]), (400, &json!("BadRequest")));
        body["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(status("exec").await, "Upgrade request required");
    assert_eq!(status("portforward?ports=80").await, "Upgrade request required");
    assert_eq!(status("exec?container=z").await, "container z is not valid for pod p");
    let spdy = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v4.channel.k8s.io")];
    let (code, body) = text("exec?command=cat", &spdy).await;
    assert_eq!((code, &*body), (400, "you must specify at least 1 of stdin, stdout, stderr"));
    let (code, body) = text("exec?command=gone&stdout=1", &spdy).await;
    assert_eq!((code, &*body), (404, "container not found (\"c\")"));
    assert_eq!(text("portforward", &spdy).await.0, 403);
    let mut socket = web_socket(&cluster, &format!("{POD}/exec?command=nosuch&stdout=1"), "v5.channel.k8s.io").await;
    let word = last_word(&collect(&mut socket).await[&3]);
    assert_eq!(word["message"], "Internal error occurred: error executing command in container: no such file");
}

async fn spdy(cluster: &Cluster, path: &str, protocol: &str) -> Spdy<TokioIo<Upgraded>> {
    let headers = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", protocol)];
    let response = ask(cluster, Method::POST, path, &headers).await;
    assert_eq!((response.status().as_u16(), &response.headers()["x-stream-protocol-version"]), (101, &protocol.parse().unwrap()));
    Spdy::new(TokioIo::new(hyper::upgrade::on(response).await.unwrap()))
}

#[tokio::test]
async fn spdy_exec() {
    let (cluster, _) = cluster().await;
    let mut spdy = spdy(&cluster, &format!("{POD}/exec?command=fail&stdout=1&stderr=1"), "v4.channel.k8s.io").await;
    for (stream, kind) in [(1, "error"), (3, "stdout"), (5, "stderr")] {
        spdy.open(stream, &[("streamtype", kind)]).await;
    }
    let word = last_word(&spdy.ended(1).await);
    assert_eq!(word["details"]["causes"][0]["message"], "7");
    // The word comes last.
    assert_eq!(spdy.streams[&3], (b"out".to_vec(), true));
    assert_eq!(spdy.streams[&5], (b"err".to_vec(), true));
}

#[tokio::test]
async fn spdy_exec_half_closes_standard_input() {
    let (cluster, _) = cluster().await;
    let mut spdy = spdy(&cluster, &format!("{POD}/exec?command=cat&stdin=1&stdout=1"), "v4.channel.k8s.io").await;
    for (stream, kind) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
        spdy.open(stream, &[("streamtype", kind)]).await;
    }
    spdy.data(3, b"hello", true).await;
    assert_eq!(spdy.ended(5).await, b"hello");
    assert_eq!(last_word(&spdy.ended(1).await)["status"], "Success");
}

/// Opens the two streams of a connection, data first or last.
async fn open_port<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    spdy: &mut Spdy<S>,
    id: u32,
    port: &str,
    error_first: bool,
) -> (u32, u32) {
    let request = id.to_string();
    let (first, second) = (4 * id + 1, 4 * id + 3);
    let (one, other) = if error_first { ("error", "data") } else { ("data", "error") };
    for (stream, kind) in [(first, one), (second, other)] {
        spdy.open(stream, &[("streamtype", kind), ("port", port), ("requestid", &request)]).await;
    }
    if error_first { (second, first) } else { (first, second) }
}

async fn forwards<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(spdy: &mut Spdy<S>) {
    // Many at once, interleaved.
    let mut open = Vec::new();
    for id in 0..20 {
        open.push(open_port(spdy, id, "80", id % 2 == 0).await);
    }
    for (data, _) in &open {
        spdy.data(*data, format!("to {data}").as_bytes(), true).await;
    }
    for (data, error) in open {
        let sent = format!("to {data}");
        assert_eq!(spdy.ended(data).await, format!("{sent}<{}>", sent.len()).into_bytes());
        assert_eq!(spdy.ended(error).await, b"");
    }
    // A closed port ends its connection, not the others'.
    let (data, error) = open_port(spdy, 30, "81", true).await;
    let text = String::from_utf8(spdy.ended(error).await).unwrap();
    assert!(text.starts_with("error forwarding port 81 to pod ") && text.ends_with(", uid : connect: connection refused"), "{text}");
    assert_eq!(spdy.ended(data).await, b"");
    // Much in both directions.
    let (data, error) = open_port(spdy, 31, "80", true).await;
    let sent = pattern(LARGE);
    let mut got = 0;
    for piece in sent.chunks(200_000) {
        spdy.data(data, piece, false).await;
        got += piece.len();
        while spdy.streams.get(&data).map_or(0, |(bytes, _)| bytes.len()) < got {
            soon(spdy.read()).await;
        }
    }
    spdy.data(data, b"", true).await;
    let back = spdy.ended(data).await;
    assert!(back[..LARGE] == sent[..] && back[LARGE..] == *format!("<{LARGE}>").as_bytes());
    assert_eq!(spdy.ended(error).await, b"");
}

#[tokio::test]
async fn port_forward_by_spdy() {
    let (cluster, _) = cluster().await;
    forwards(&mut spdy(&cluster, &format!("{POD}/portforward"), "portforward.k8s.io").await).await;
}

#[tokio::test]
async fn port_forward_by_spdy_in_a_web_socket() {
    let (cluster, _) = cluster().await;
    let socket = web_socket(&cluster, &format!("{POD}/portforward"), "SPDY/3.1+portforward.k8s.io").await;
    let (mut sink, mut stream) = socket.split();
    let (ours, theirs) = duplex(64 << 10);
    let (mut read, mut write) = tokio::io::split(theirs);
    tokio::spawn(async move {
        let mut buffer = vec![0; 5_000];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            sink.send(Message::Binary(buffer[..count].to_vec().into())).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Some(Ok(Message::Binary(data))) = stream.next().await {
            write.write_all(&data).await.unwrap();
        }
    });
    forwards(&mut Spdy::new(ours)).await;
}

#[tokio::test]
async fn port_forward_by_channels() {
    let (cluster, _) = cluster().await;
    let mut socket = web_socket(&cluster, &format!("{POD}/portforward?ports=80,81"), "v4.channel.k8s.io").await;
    socket.send(Message::Binary(b"\x00ping".as_slice().into())).await.unwrap();
    let mut channels: HashMap<u8, Vec<u8>> = HashMap::new();
    while channels.get(&0).is_none_or(|data| data.len() < 6) || channels.get(&3).is_none_or(|error| error.len() < 3) {
        let Some(Ok(Message::Binary(data))) = soon(socket.next()).await else { panic!("the connection ended: {channels:?}") };
        channels.entry(data[0]).or_default().extend_from_slice(&data[1..]);
    }
    assert_eq!(channels[&0], b"\x50\x00ping");
    assert_eq!((&channels[&1][..], &channels[&2][..]), (&[80, 0][..], &[81, 0][..]));
    assert!(channels[&3].starts_with(b"\x51\x00error forwarding port 81 to pod "), "{channels:?}");
}

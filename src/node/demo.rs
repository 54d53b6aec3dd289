//! The demo web server inside `coracle.local/kubia`: small, on the standard library alone, but for gRPC.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 `OK`, or 500 after `/healthz/fail` until `/healthz/recover` |
//! | `/echo` | the body of the request |
//! | any other | `<greeting>, this is <host name>. Your IP is <client>.` |
//!
//! A datagram to the same port is answered with that sentence, too.
//!
//! `--port N` (8080), `--stdin` (each line of standard input is a new greeting), `--handle-sigterm` (exit 0 on SIGTERM;
//! without it the first process of a container does not hear it), `--grpc-port N` (what `/healthz` says, as
//! `grpc.health.v1.Health`).

mod grpc;

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

/// More connections at a time are closed unanswered.
const MOST_CONNECTIONS: usize = 256;
const LONGEST_REQUEST: u64 = 64 << 10;

#[derive(Debug, PartialEq)]
struct Options {
    port: u16,
    stdin: bool,
    handle_sigterm: bool,
    grpc_port: Option<u16>,
}

fn options(args: &[OsString]) -> Result<Options, String> {
    let mut options = Options { port: 8080, stdin: false, handle_sigterm: false, grpc_port: None };
    let mut words = args.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        match word.as_ref() {
            "--stdin" => options.stdin = true,
            "--handle-sigterm" => options.handle_sigterm = true,
            word @ ("--port" | "--grpc-port") => {
                let port = words.next().ok_or_else(|| format!("{word} needs a number"))?;
                let port = port.parse().map_err(|_| format!("{word}: {port:?} is no port"))?;
                if word == "--port" { options.port = port } else { options.grpc_port = Some(port) }
            }
            other => return Err(format!("unknown option {other}")),
        }
    }
    Ok(options)
}

struct Server {
    hostname: String,
    greeting: RwLock<String>,
    healthy: AtomicBool,
    connections: AtomicUsize,
}

/// Runs the server until it is stopped.
pub fn main(args: &[OsString]) -> ExitCode {
    let options = match options(args) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("kubia: {message}");
            return ExitCode::from(2);
        }
    };
    if options.handle_sigterm {
        // The handler makes only calls that are allowed in one.
        unsafe { libc::signal(libc::SIGTERM, terminate as *const () as libc::sighandler_t) };
    }
    let hostname = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    println!("Kubia server starting");
    println!("Local hostname is {hostname}");
    let server = Arc::new(Server {
        hostname,
        greeting: RwLock::new("Hey there".to_owned()),
        healthy: AtomicBool::new(true),
        connections: AtomicUsize::new(0),
    });
    let Some(listener) = listen_or_say(options.port) else { return ExitCode::FAILURE };
    if let Some(port) = options.grpc_port {
        let Some(listener) = listen_or_say(port) else { return ExitCode::FAILURE };
        let server = Arc::clone(&server);
        let healthy = move || server.healthy.load(Ordering::Relaxed);
        std::thread::spawn(move || grpc::serve(listener, healthy));
    }
    if options.stdin {
        let server = Arc::clone(&server);
        spawn(move || server.read_greetings(io::stdin().lock()));
    }
    match UdpSocket::bind(anywhere(options.port).as_slice()) {
        Ok(socket) => {
            let server = Arc::clone(&server);
            spawn(move || server.datagrams(&socket));
        }
        Err(error) => eprintln!("kubia: no datagrams on port {}: {error}", options.port),
    }
    serve(&listener, &server);
    ExitCode::SUCCESS
}

extern "C" fn terminate(_: libc::c_int) {
    let text = b"Received SIGTERM, exiting\n";
    // write and _exit are async-signal-safe.
    unsafe {
        libc::write(1, text.as_ptr().cast(), text.len());
        libc::_exit(0);
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(anywhere(port).as_slice())
}

fn anywhere(port: u16) -> [SocketAddr; 2] {
    [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)].map(|ip| SocketAddr::new(ip, port))
}

fn listen_or_say(port: u16) -> Option<TcpListener> {
    let listener = listen(port).inspect_err(|error| eprintln!("kubia: cannot listen on port {port}: {error}")).ok()?;
    println!("Listening on port {}", listener.local_addr().map_or(port, |address| address.port()));
    Some(listener)
}

fn spawn(work: impl FnOnce() + Send + 'static) {
    let _ = std::thread::Builder::new().stack_size(128 << 10).spawn(work);
}

fn serve(listener: &TcpListener, server: &Arc<Server>) {
    for connection in listener.incoming() {
        let Ok(connection) = connection else {
            // Out of descriptors: let some be given back.
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        if server.connections.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
            server.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let server = Arc::clone(server);
        spawn(move || {
            let _ = server.connection(connection);
            server.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

impl Server {
    fn read_greetings(&self, input: impl BufRead) {
        for line in input.lines().map_while(Result::ok) {
            let greeting = line.trim();
            if !greeting.is_empty() {
                greeting.clone_into(&mut self.greeting.write());
                println!("Greeting set to: {greeting}");
            }
        }
    }

    /// Requests of one connection, one after the other.
    fn connection(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        let client = stream.peer_addr()?.ip().to_canonical();
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream;
        while let Some(request) = Request::read(&mut reader)? {
            let connection = if request.keep_alive { "keep-alive" } else { "close" };
            let head = |status: &str, length: u64| {
                format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n")
            };
            let body = (&mut reader).take(request.length);
            if request.path == "/echo" {
                writer.write_all(head("200 OK", request.length).as_bytes())?;
                echo(body, &mut writer)?;
            } else {
                io::copy(&mut { body }, &mut io::sink())?;
                let (status, answer) = self.answer(&request.path, client);
                let shown = if request.head { "" } else { &answer };
                writer.write_all(format!("{}{shown}", head(status, answer.len() as u64)).as_bytes())?;
            }
            if !request.keep_alive {
                break;
            }
        }
        Ok(())
    }

    fn answer(&self, path: &str, client: IpAddr) -> (&'static str, String) {
        println!("Received request for {path} from {client}");
        match path {
            "/healthz/fail" => {
                self.healthy.store(false, Ordering::Relaxed);
                ("200 OK", "From now on /healthz answers 500\n".to_owned())
            }
            "/healthz/recover" => {
                self.healthy.store(true, Ordering::Relaxed);
                ("200 OK", "From now on /healthz answers 200\n".to_owned())
            }
            "/healthz" if self.healthy.load(Ordering::Relaxed) => ("200 OK", "OK\n".to_owned()),
            "/healthz" => ("500 Internal Server Error", "I'm not healthy. Please restart me!\n".to_owned()),
            _ => ("200 OK", self.greet(client)),
        }
    }

    fn greet(&self, client: IpAddr) -> String {
        format!("{}, this is {}. Your IP is {client}.\n", self.greeting.read(), self.hostname)
    }

    fn datagrams(&self, socket: &UdpSocket) {
        let mut nothing = [0; 1];
        loop {
            // a client that is gone is no reason to stop
            let Ok((_, from)) = socket.recv_from(&mut nothing) else { continue };
            let client = from.ip().to_canonical();
            println!("Received a datagram from {client}");
            let _ = socket.send_to(self.greet(client).as_bytes(), from);
        }
    }
}

fn echo(mut body: impl Read, writer: &mut impl Write) -> io::Result<()> {
    let mut part = vec![0; 64 << 10];
    loop {
        match body.read(&mut part)? {
            0 => return Ok(()),
            count => writer.write_all(&part[..count])?,
        }
    }
}

/// The head of a request; its body is still to be read.
#[derive(Debug, PartialEq)]
struct Request {
    path: String,
    head: bool,
    keep_alive: bool,
    length: u64,
}

impl Request {
    /// `Ok(None)` at the end of the connection.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut limited = reader.take(LONGEST_REQUEST);
        let mut line = String::new();
        if limited.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let mut words = line.split_whitespace();
        let (method, target, version) = (words.next().ok_or_else(bad)?, words.next().ok_or_else(bad)?, words.next().unwrap_or_default());
        let path = target.split(['?', '#']).next().unwrap_or_default().to_owned();
        let mut request = Self { path, head: method == "HEAD", keep_alive: version == "HTTP/1.1", length: 0 };
        loop {
            let mut header = String::new();
            if limited.read_line(&mut header)? == 0 {
                return Err(bad());
            }
            if header.trim().is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').ok_or_else(bad)?;
            match name.trim().to_ascii_lowercase().as_str() {
                "connection" if value.trim().eq_ignore_ascii_case("close") => request.keep_alive = false,
                "content-length" => request.length = value.trim().parse().map_err(|_| bad())?,
                // No answer depends on a body; one of unknown length ends the connection.
                "transfer-encoding" => request.keep_alive = false,
                _ => {}
            }
        }
        Ok(Some(request))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn server() -> (Arc<Server>, SocketAddr) {
        let server = Arc::new(Server {
            hostname: "web-0".to_owned(),
            greeting: RwLock::new("Hey there".to_owned()),
            healthy: AtomicBool::new(true),
            connections: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&server);
        spawn(move || serve(&listener, &serving));
        (server, address)
    }

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn greets_fails_and_recovers() {
        let (server, address) = server();
        assert!(get(address, "/").ends_with("\r\n\r\nHey there, this is web-0. Your IP is 127.0.0.1.\n"));
        assert!(get(address, "/healthz").starts_with("HTTP/1.1 200"));
        get(address, "/healthz/fail");
        assert!(get(address, "/healthz").starts_with("HTTP/1.1 500"));
        get(address, "/healthz/recover");
        assert!(get(address, "/healthz?x=1").starts_with("HTTP/1.1 200"));
        server.read_greetings(b"Howdy\n\n".as_slice());
        assert!(get(address, "/x").contains("Howdy, this is web-0."));
    }

    #[test]
    fn a_body_comes_back_and_the_connection_goes_on() {
        let (_, address) = server();
        let body: String = (0..100_000).map(|n| format!("{n} ")).collect();
        let stream = TcpStream::connect(address).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let sending = body.clone();
        let writing = std::thread::spawn(move || {
            write!(writer, "POST /echo HTTP/1.1\r\nContent-Length: {}\r\n\r\n{sending}", sending.len()).unwrap();
            write!(writer, "POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n").unwrap();
        });
        let mut text = String::new();
        BufReader::new(stream).read_to_string(&mut text).unwrap();
        writing.join().unwrap();
        assert!(text.contains(&format!("\r\n\r\n{body}HTTP/1.1 200 OK")));
        assert_eq!(text.matches("this is web-0").count(), 2);
    }

    #[test]
    fn options_are_read() {
        let words = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        let expected = Options { port: 81, stdin: true, handle_sigterm: true, grpc_port: Some(82) };
        assert_eq!(options(&words("--port 81 --stdin --handle-sigterm --grpc-port 82")), Ok(expected));
        for text in ["--port", "--port x", "--grpc-port", "--nope"] {
            assert!(options(&words(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn broken_requests_end_the_connection() {
        for text in ["GET\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\n"] {
            assert!(Request::read(&mut BufReader::new(text.as_bytes())).is_err(), "{text:?}");
        }
        assert_eq!(Request::read(&mut BufReader::new(b"".as_slice())).unwrap(), None);
    }
}

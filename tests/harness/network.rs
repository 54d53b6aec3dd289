//! A network namespace per test: no packet for a pod or a service leaves it, and tests do not meet.

use std::net::{IpAddr, TcpStream};
use std::panic::resume_unwind;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sched::{CloneFlags, unshare};

/// Runs `test` on a thread whose network, and that of every process it starts, is its own. A plain user keeps the
/// machine's network: only clusters without pods' addresses run there.
pub fn in_own(name: &str, test: impl FnOnce() + Send + 'static) {
    let work = move || {
        if nix::unistd::geteuid().is_root() {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            loopback_up();
        }
        test();
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work).unwrap();
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

fn loopback_up() {
    // plain calls on a socket of our own
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        for (at, byte) in b"lo".iter().enumerate() {
            request.ifr_name[at] = *byte as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        assert_eq!(libc::ioctl(socket, libc::SIOCSIFFLAGS, &request), 0, "lo cannot be switched on");
        libc::close(socket);
    }
}

/// Links of the calling thread's network, `lo` left out, and its routes.
pub fn links_and_routes() -> Vec<String> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    let (links, routes) = (read("dev"), read("route"));
    let links = links.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    let links = links.filter(|name| name != "lo").map(|name| format!("link {name}"));
    links.chain(routes.lines().skip(1).map(|line| format!("route {line}"))).collect()
}

/// Addresses and ports where somebody listens for TCP in the calling thread's network.
pub fn listening() -> Vec<(IpAddr, u16)> {
    let mut found = Vec::new();
    for file in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        for words in table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|words| words[3] == "0A") {
            let (address, port) = words[1].split_once(':').unwrap();
            // words of four bytes, each as this machine has them in memory
            let number = |at: usize| u32::from_str_radix(&address[at * 8..at * 8 + 8], 16).unwrap().to_ne_bytes();
            let address: IpAddr = match file {
                "tcp" => number(0).into(),
                _ => <[u8; 16]>::try_from([number(0), number(1), number(2), number(3)].concat()).unwrap().into(),
            };
            found.push((address, u16::from_str_radix(port, 16).unwrap()));
        }
    }
    found
}

/// Addresses of the calling thread's network, the loopback's left out.
pub fn addresses() -> Vec<String> {
    let output = Command::new("ip").args(["-4", "-o", "addr", "show", "scope", "global"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter_map(|line| line.split_whitespace().nth(3));
    lines.map(|address| address.split('/').next().unwrap_or_default().to_owned()).collect()
}

/// Connects, trying again until somebody listens.
pub fn connect(address: &str) -> TcpStream {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! A network namespace per test: no packet for a pod or a service leaves it, and tests do not meet.

use std::net::TcpStream;
use std::panic::resume_unwind;
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

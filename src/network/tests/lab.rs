//! The lab in a network namespace of the test's own: what is made works, is found again, and goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use coracle_network::{Lab, LabConfig, Ranges};
use nix::sched::{CloneFlags, setns, unshare};

/// Runs a test as root in a network namespace of its own; says so where that cannot be.
fn in_own_namespace(test: impl AsyncFnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        assert!(!std::env::var("CORACLE_TEST_REQUIRE").unwrap_or_default().contains("native"), "needs root");
        eprintln!("skipped: needs root");
        return;
    }
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn config(directory: &Path) -> LabConfig {
    LabConfig {
        cluster_id: "0123abcd".into(),
        ranges: Ranges::default(),
        nodes: vec!["one".into(), "two".into()],
        run_directory: directory.join("run/lab"),
        owner: directory.to_owned(),
        linked: true,
        nft: true,
    }
}

/// Answers one connection with `text` on port 8080 inside a namespace.
fn serve_once(namespace: PathBuf, text: &'static str) -> std::thread::JoinHandle<SocketAddr> {
    let (listening, wait) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        setns(std::fs::File::open(namespace).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        let listener = std::net::TcpListener::bind("0.0.0.0:8080").unwrap();
        listening.send(()).unwrap();
        let (mut stream, client) = listener.accept().unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        client
    });
    wait.recv().unwrap();
    thread
}

async fn read_all(mut stream: tokio::net::TcpStream) -> String {
    let mut out = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut out).await.unwrap();
    out
}

#[test]
fn pods_reach_each_other_and_the_host_reaches_pods() {
    in_own_namespace(async || {
        let directory = tempfile::tempdir().unwrap();
        let lab = Lab::start(config(directory.path())).await.unwrap();
        let network = lab.pod_network();
        let (a, b) = (
            network.attach("one", "aaaaaaaaaaaaaaaaaa", None).await.unwrap(),
            network.attach("two", "bbbbbbbbbbbbbbbbbb", None).await.unwrap(),
        );
        assert_eq!(a.ips, ["10.244.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(b.ips, ["10.244.1.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(network.attach("one", "aaaaaaaaaaaaaaaaaa", None).await.unwrap(), a, "attaching again changes nothing");

        let address = SocketAddr::new(a.ips[0], 8080);
        let served = serve_once(a.netns.clone(), "from the lab");
        assert_eq!(read_all(lab.connect(address).await.unwrap()).await, "from the lab");
        served.join().unwrap();
        let served = serve_once(a.netns.clone(), "from the host");
        assert_eq!(read_all(tokio::net::TcpStream::connect(address).await.unwrap()).await, "from the host");
        assert_eq!(served.join().unwrap().ip(), network.node_address("one"));
        let served = serve_once(a.netns.clone(), "from a pod on another node");
        let pod = b.netns.clone();
        let from_pod = std::thread::spawn(move || {
            setns(std::fs::File::open(pod).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            let mut out = String::new();
            std::net::TcpStream::connect(address).unwrap().read_to_string(&mut out).unwrap();
            out
        });
        assert_eq!(from_pod.join().unwrap(), "from a pod on another node");
        assert_eq!(served.join().unwrap().ip(), b.ips[0], "pods see each other's addresses");
        lab.stop().await.unwrap();
    });
}

#[test]
fn cluster_ips_can_be_bound_and_are_refused_where_nobody_listens() {
    in_own_namespace(async || {
        let directory = tempfile::tempdir().unwrap();
        let lab = Lab::start(config(directory.path())).await.unwrap();
        let address: SocketAddr = "10.96.7.8:80".parse().unwrap();
        let listener = lab.listen_tcp(address).await.unwrap();
        let client = tokio::net::TcpStream::connect(address);
        let (client, accepted) = tokio::join!(client, listener.accept());
        drop((client.unwrap(), accepted.unwrap()));
        let refused = tokio::net::TcpStream::connect("10.96.7.8:81").await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        lab.stop().await.unwrap();
    });
}

#[test]
fn a_new_process_finds_pods_and_addresses_and_stop_leaves_nothing() {
    in_own_namespace(async || {
        let directory = tempfile::tempdir().unwrap();
        let lab = Lab::start(config(directory.path())).await.unwrap();
        let pod = lab.pod_network().attach("one", "aaaaaaaaaaaaaaaaaa", None).await.unwrap();
        drop(lab);
        let lab = Lab::start(config(directory.path())).await.unwrap();
        let network = lab.pod_network();
        assert_eq!(network.attached("one").await.unwrap(), ["aaaaaaaaaaaaaaaaaa"]);
        assert_eq!(network.attach("one", "aaaaaaaaaaaaaaaaaa", None).await.unwrap(), pod);
        let other = network.attach("one", "cccccccccccccccccc", None).await.unwrap();
        assert_ne!(other.ips, pod.ips);
        network.detach("one", "aaaaaaaaaaaaaaaaaa").await.unwrap();
        network.detach("one", "aaaaaaaaaaaaaaaaaa").await.unwrap();
        assert_eq!(network.attached("one").await.unwrap(), ["cccccccccccccccccc"]);
        lab.stop().await.unwrap();
        assert!(!directory.path().join("run/lab").exists());
        assert!(links().is_empty(), "{:?}", links());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(directory.path().to_str().unwrap()), "{mounts}");
    });
}

/// What becomes of work that goes on only when it has been woken so often: what it did until then stays, as after a crash.
async fn cut_short<T>(work: impl Future<Output = T>, mut wakings: usize) -> Option<T> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        if wakings == 0 {
            return Poll::Ready(None);
        }
        wakings -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

#[test]
fn what_a_crash_left_half_made_is_made_whole() {
    in_own_namespace(async || {
        // the host may have a link that is called what the lab's end is
        succeed(None, "ip", &["link", "add", "host0", "type", "veth", "peer", "name", "theirs"]);
        let id = "aaaaaaaaaaaaaaaaaa";
        for wakings in 1.. {
            let directory = tempfile::tempdir().unwrap();
            let config = || config(directory.path());
            let first = cut_short(Lab::start(config()), wakings).await;
            let whole = match first {
                Some(lab) => cut_short(lab.unwrap().pod_network().attach("one", id, None), wakings).await.is_some(),
                None => false,
            };
            let lab = Lab::start(config()).await.unwrap_or_else(|error| panic!("after {wakings} steps: {error:?}"));
            let pod = lab.pod_network().attach("one", id, None).await.unwrap_or_else(|error| panic!("after {wakings} steps: {error:?}"));
            let served = serve_once(pod.netns.clone(), "served");
            let answer = read_all(tokio::net::TcpStream::connect(SocketAddr::new(pod.ips[0], 8080)).await.unwrap()).await;
            assert_eq!(answer, "served", "after {wakings} steps");
            served.join().unwrap();
            lab.stop().await.unwrap();
            assert_eq!(links(), ["host0", "theirs"], "after {wakings} steps");
            let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
            assert!(!mounts.contains(directory.path().to_str().unwrap()), "after {wakings} steps: {mounts}");
            if whole {
                eprintln!("a start and a pod take less than {wakings} steps");
                return;
            }
        }
    });
}

/// Names of the links here, `lo` left out.
fn links() -> Vec<String> {
    let links = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let mut names: Vec<String> = links.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect();
    names.retain(|name| name != "lo");
    names.sort();
    names
}

/// A network namespace that lives as long as the thread that made it waits for the other end.
fn namespace_of_others() -> (PathBuf, std::sync::mpsc::Sender<()>) {
    let (made, ready) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        made.send(PathBuf::from(format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid()))).unwrap();
        let _ = ended.recv();
    });
    (ready.recv().unwrap(), end)
}

#[test]
fn a_namespace_of_others_is_plumbed_and_so_is_the_one_that_replaces_it() {
    in_own_namespace(async || {
        let directory = tempfile::tempdir().unwrap();
        let lab = Lab::start(config(directory.path())).await.unwrap();
        let network = lab.pod_network();
        let id = "dddddddddddddddddd";
        let (first, first_lives) = namespace_of_others();
        let pod = network.attach("one", id, Some(&first)).await.unwrap();
        let address = SocketAddr::new(pod.ips[0], 8080);
        let served = serve_once(first.clone(), "first");
        assert_eq!(read_all(lab.connect(address).await.unwrap()).await, "first");
        served.join().unwrap();
        assert_eq!(network.attach("one", id, Some(&first)).await.unwrap(), pod);
        assert_eq!(network.attach("one", id, None).await.unwrap(), pod, "what is there is kept");

        let (second, second_lives) = namespace_of_others();
        assert_eq!(network.attach("one", id, Some(&second)).await.unwrap(), pod, "the address stays");
        let served = serve_once(second, "second");
        assert_eq!(read_all(lab.connect(address).await.unwrap()).await, "second");
        served.join().unwrap();
        drop((first_lives, second_lives));
        lab.stop().await.unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(directory.path().to_str().unwrap()), "{mounts}");
    });
}

/// Runs a program in a namespace, or here.
fn command(namespace: Option<&Path>, program: &str, arguments: &[&str]) -> std::process::Output {
    let mut command = match namespace {
        Some(namespace) => {
            let mut command = std::process::Command::new("nsenter");
            command.arg(format!("--net={}", namespace.display())).arg(program);
            command
        }
        None => std::process::Command::new(program),
    };
    command.args(arguments).output().unwrap()
}

fn succeed(namespace: Option<&Path>, program: &str, arguments: &[&str]) {
    let output = command(namespace, program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A way to the world: the default route leads to a namespace that stands for all other machines.
fn world() -> (PathBuf, std::sync::mpsc::Sender<()>) {
    let (namespace, lives) = namespace_of_others();
    // `ip` names namespaces by process, and this one is a thread's
    let thread = namespace.iter().nth(4).unwrap().to_str().unwrap().to_owned();
    succeed(None, "ip", &["link", "set", "lo", "up"]);
    succeed(None, "ip", &["link", "add", "wan", "type", "veth", "peer", "name", "far", "netns", &thread]);
    succeed(None, "ip", &["addr", "add", "198.51.100.2/24", "dev", "wan"]);
    succeed(None, "ip", &["link", "set", "wan", "up"]);
    succeed(None, "ip", &["route", "add", "default", "via", "198.51.100.1"]);
    succeed(Some(&namespace), "ip", &["addr", "add", "198.51.100.1/24", "dev", "far"]);
    succeed(Some(&namespace), "ip", &["link", "set", "far", "up"]);
    (namespace, lives)
}

/// A socket that sees every packet that reaches the world.
fn capture(world: &Path) -> std::fs::File {
    let world = std::fs::File::open(world).unwrap();
    let thread = std::thread::spawn(move || {
        setns(world, CloneFlags::CLONE_NEWNET).unwrap();
        use nix::libc;
        use std::os::fd::FromRawFd;
        // plain calls on a socket of our own
        unsafe {
            let every = i32::from((libc::ETH_P_ALL as u16).to_be());
            let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, every);
            assert!(socket >= 0, "{}", std::io::Error::last_os_error());
            std::fs::File::from_raw_fd(socket)
        }
    });
    thread.join().unwrap()
}

/// Where the IPv4 packets went that were seen since the last look, and where they came from.
fn seen(capture: &mut std::fs::File) -> Vec<(std::net::Ipv4Addr, std::net::Ipv4Addr)> {
    let mut out = Vec::new();
    let mut frame = [0; 2048];
    while let Ok(length) = capture.read(&mut frame) {
        if length >= 34 && frame[12..14] == [8, 0] {
            let address = |at: usize| std::net::Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
            out.push((address(26), address(30)));
        }
    }
    out
}

/// How long somebody waits for an answer that should come.
const PATIENCE: Duration = Duration::from_secs(30);
/// And for one that should not: a name that nobody has is asked for three seconds.
const BRIEFLY: Duration = Duration::from_millis(300);

fn connects(from: Option<PathBuf>, to: &str, patience: Duration) -> std::io::Result<std::net::TcpStream> {
    let to: SocketAddr = to.parse().unwrap();
    let thread = std::thread::spawn(move || {
        if let Some(from) = from {
            setns(std::fs::File::open(from).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        }
        std::net::TcpStream::connect_timeout(&to, patience)
    });
    thread.join().unwrap()
}

#[test]
fn no_packet_for_our_ranges_leaves_and_pods_get_out_where_the_host_forwards() {
    in_own_namespace(async || {
        let ranges = Ranges::default();
        let (outside, lives) = world();
        let mut packets = capture(&outside);
        connects(None, "10.96.7.7:80", BRIEFLY).unwrap_err();
        let strays = seen(&mut packets);
        assert!(strays.iter().any(|(_, to)| ranges.services.contains(*to)), "without a lab they leave, and are seen: {strays:?}");
        for forwarding in ["0", "1"] {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", forwarding).unwrap();
            let directory = tempfile::tempdir().unwrap();
            let lab = Lab::start(config(directory.path())).await.unwrap();
            let pod = lab.pod_network().attach("one", "aaaaaaaaaaaaaaaaaa", None).await.unwrap();
            for (from, to) in ["10.244.77.7:80", "10.244.0.99:80", "10.244.255.250:80", "10.96.7.7:80", "10.111.255.254:80"]
                .iter()
                .flat_map(|to| [(None, to), (Some(pod.netns.clone()), to)])
            {
                connects(from, to, BRIEFLY).unwrap_err();
            }
            let open = forwarding == "1" && lab.has_nft();
            assert_eq!(lab.is_open(), open);
            let served = serve_once(outside.clone(), "from the world");
            let reached = connects(Some(pod.netns.clone()), "198.51.100.1:8080", PATIENCE);
            assert_eq!(reached.is_ok(), open);
            if !open {
                connects(None, "198.51.100.1:8080", PATIENCE).unwrap();
            }
            assert_eq!(served.join().unwrap().ip().to_string(), "198.51.100.2", "the world sees the host");
            let leaked: Vec<_> = seen(&mut packets)
                .into_iter()
                .filter(|(from, to)| [from, to].iter().any(|ip| ranges.pods.contains(**ip) || ranges.services.contains(**ip)))
                .collect();
            assert!(leaked.is_empty(), "{leaked:?}");
            lab.stop().await.unwrap();
            if open {
                let tables = command(None, "nft", &["list", "ruleset"]);
                assert_eq!(String::from_utf8_lossy(&tables.stdout), "", "the rule goes with the lab");
            }
        }
        drop(lives);
    });
}

#[test]
fn what_a_lost_cluster_left_goes_at_the_next_start() {
    in_own_namespace(async || {
        let directory = tempfile::tempdir().unwrap();
        let lost = LabConfig {
            cluster_id: "deadbeef".into(),
            run_directory: directory.path().join("run/deadbeef"),
            owner: directory.path().join("gone"),
            ranges: Ranges { pods: "10.200.0.0/16".parse().unwrap(), services: "10.208.0.0/16".parse().unwrap() },
            ..config(directory.path())
        };
        let lab = Lab::start(lost).await.unwrap();
        lab.pod_network().attach("one", "aaaaaaaaaaaaaaaaaa", None).await.unwrap();
        drop(lab);
        let lab = Lab::start(config(directory.path())).await.unwrap();
        assert!(!directory.path().join("run/deadbeef").exists());
        assert_eq!(links(), ["cor-0123abcd"]);
        lab.stop().await.unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(directory.path().to_str().unwrap()), "{mounts}");
    });
}

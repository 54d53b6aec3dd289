//! The lab in a network namespace of the test's own: what is made works, is found again, and goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

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
        run_directory: directory.join("run"),
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
        assert!(!directory.path().join("run").exists());
        let links = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        assert_eq!(links.lines().skip(2).filter(|line| !line.trim_start().starts_with("lo:")).count(), 0, "{links}");
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(directory.path().to_str().unwrap()), "{mounts}");
    });
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

//! The one cluster of this process: started by the first test that asks, stopped when the process ends.
//!
//! A thread of its own starts it and lives as long: the server ends with the thread that started it, and its network is
//! that thread's. Tests enter that network.

use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::JoinHandle;

use nix::libc;
use nix::sched::{CloneFlags, setns};

use crate::harness::cluster::with_containers;
use crate::harness::{Cluster, network};

/// What tests have of the cluster.
pub struct Shared {
    cluster: Weak<Cluster>,
    network: File,
    /// The node's network, where it is not the one that the server is in: a plain user cannot join the two.
    node: Option<File>,
}

struct Guard {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

static SHARED: OnceLock<Option<Shared>> = OnceLock::new();
static GUARD: Mutex<Option<Guard>> = Mutex::new(None);

/// The cluster; the first call starts it.
pub fn shared() -> &'static Shared {
    SHARED.get_or_init(start).as_ref().expect("the cluster did not start")
}

impl Shared {
    /// The cluster; it stops when nobody has it any more.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.cluster.upgrade().expect("the cluster has stopped")
    }

    /// Does something from where the node is, as `address` asks: sockets and programs of `work` are the node's.
    pub fn on_node<T>(&self, address: IpAddr, work: impl FnOnce() -> T) -> T {
        let Some(node) = self.node.as_ref().filter(|_| !address.is_loopback()) else { return work() };
        setns(node, CloneFlags::CLONE_NEWNET).unwrap();
        let done = work();
        setns(&self.network, CloneFlags::CLONE_NEWNET).unwrap();
        done
    }

    /// Whether the node has a network of its own, which only its pods and what it listens for are in.
    pub fn node_is_apart(&self) -> bool {
        self.node.is_some()
    }

    /// Takes the calling thread, and those it starts, into the cluster's network.
    pub fn enter_network(&self) {
        if nix::unistd::geteuid().is_root() {
            setns(&self.network, CloneFlags::CLONE_NEWNET).unwrap();
        }
    }
}

/// The network that a plain user's server makes its pods' part of.
fn network_of_node(cluster: &Cluster) -> Option<File> {
    if with_containers() != "rootless" {
        return None;
    }
    let threads = std::fs::read_dir(format!("/proc/{}/task", cluster.process())).unwrap().flatten().map(|thread| thread.path());
    let inside = threads.into_iter().find(|thread| std::fs::read_to_string(thread.join("comm")).is_ok_and(|name| name == "lab\n"));
    Some(File::open(inside.expect("a thread is in the node's network").join("ns/net")).unwrap())
}

fn start() -> Option<Shared> {
    let (started, starting) = channel();
    let (stop, stopped) = channel();
    let keeping = move || network::in_own("cluster", move || keep(&started, &stopped));
    let thread = std::thread::Builder::new().name("cluster".to_owned()).spawn(keeping).unwrap();
    *GUARD.lock().unwrap() = Some(Guard { stop, thread });
    // a plain call; the function lives as long as the program
    assert_eq!(unsafe { libc::atexit(stop_at_exit) }, 0);
    starting.recv().ok()
}

/// Starts the cluster and stops it when the process ends; nothing may be left of it then.
fn keep(started: &Sender<Shared>, stopped: &Receiver<()>) {
    let options = ["--nodes", "2", "--max-container-restart-period", "1"];
    let root = nix::unistd::geteuid().is_root();
    let cluster = Arc::new(if root { Cluster::native(&options) } else { Cluster::simulated(&options) });
    let network = File::open("/proc/thread-self/ns/net").unwrap();
    let node = network_of_node(&cluster).filter(|_| root);
    started.send(Shared { cluster: Arc::downgrade(&cluster), network, node }).unwrap();
    // the sender is dropped at exit
    let _ = stopped.recv();
    Arc::into_inner(cluster).expect("no test runs any more").down();
}

/// Also when tests failed: the process exits then too.
extern "C" fn stop_at_exit() {
    let Some(Guard { stop, thread }) = GUARD.lock().ok().and_then(|mut guard| guard.take()) else { return };
    drop(stop);
    if let Err(panic) = thread.join() {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let _ = writeln!(std::io::stderr(), "the cluster did not stop well: {}", said.unwrap_or_default());
        // what the tests came to has been said; this fails the run
        unsafe { libc::_exit(101) };
    }
}

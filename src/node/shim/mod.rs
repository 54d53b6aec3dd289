//! The shim: one small process with one thread per pod, which outlives the agent. It holds the pod's namespaces,
//! starts containers, owns their streams and their end.
//!
//! ```text
//! agent ──socket──▶ shim (network, IPC, UTS and mount namespace of the pod; subreaper)
//!                    ├── pause        only with a PID namespace for the pod
//!                    ├── container 1  (own PID, mount and cgroup)
//!                    └── exec in container 1
//! ```
//! Everything the agent must know after its own crash is in files (`record`). Overlay mounts live in the shim's mount
//! namespace: they vanish with it. When the shim dies, its processes get SIGKILL.

mod container;
mod copy;
mod executor;
pub(crate) mod log;
mod memory;
pub mod propagation;
pub mod protocol;
pub mod record;
mod serve;
mod streams;
mod trouble;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::runtime::{NamespaceMode, SandboxConfig};
pub use memory::unmap_files;
pub use streams::nonblocking;

use protocol::{Failure, Outgoing, Reply, SandboxPaths};

/// Runs the shim of the sandbox whose directory is the only argument; descriptor 0 is its first connection. Must be
/// called while the process has one thread.
pub fn main(args: &[OsString]) -> ExitCode {
    let Some(directory) = args.first() else {
        trouble::say("the sandbox's directory is missing");
        return ExitCode::from(2);
    };
    let connection = match take_connection() {
        Ok(connection) => connection,
        Err(error) => {
            trouble::say(&format!("no connection: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // the agent's threads are no example for those of containers
    crate::processor::wake_as_usual();
    trouble::keep();
    let paths = SandboxPaths(PathBuf::from(directory));
    match prepare(&paths) {
        Ok((listener, pause)) => serve::Shim::new(paths, listener, connection, pause).run(),
        Err(error) => {
            trouble::say(&error.to_string());
            let reply = Reply::Failed { failure: Failure::Other, message: error.to_string() };
            if let Ok(mut frame) = Outgoing::new(&reply, Vec::new()) {
                let _ = frame.flush(std::os::fd::AsFd::as_fd(&connection));
            }
            ExitCode::FAILURE
        }
    }
}

/// Moves the connection away from descriptor 0, which becomes /dev/null.
fn take_connection() -> io::Result<UnixStream> {
    let null = fs::File::open("/dev/null")?;
    // Descriptor 0 is ours by contract; F_DUPFD_CLOEXEC gives a new one above the standard streams.
    let connection = unsafe {
        let copy = libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3);
        if copy < 0 || libc::dup2(null.as_raw_fd(), 0) < 0 {
            return Err(io::Error::last_os_error());
        }
        UnixStream::from(OwnedFd::from_raw_fd(copy))
    };
    connection.set_nonblocking(true)?;
    Ok(connection)
}

fn step<T, E: Into<io::Error>>(what: &str, result: Result<T, E>) -> io::Result<T> {
    result.map_err(|error| {
        let error = error.into();
        io::Error::new(error.kind(), format!("{what}: {error}"))
    })
}

/// Enters or makes the pod's namespaces.
fn prepare(paths: &SandboxPaths) -> io::Result<(UnixListener, Option<i32>)> {
    let config: SandboxConfig = step("sandbox.json", record::read(&paths.config()))?;
    let _ = nix::unistd::setsid();
    // One thread; plain settings of our own process.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_NAME, c"coracle-shim".as_ptr());
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_IGN);
        }
        for (name, _) in std::env::vars_os() {
            std::env::remove_var(name);
        }
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    step("change directory", nix::unistd::chdir(&paths.0))?;
    // A path below the current directory: a socket's name is 108 bytes at most.
    let _ = fs::remove_file("shim.sock");
    let listener = step("listen", UnixListener::bind("shim.sock"))?;
    listener.set_nonblocking(true)?;

    step("mount namespace", propagation::remember())?;
    let mut own = CloneFlags::CLONE_NEWNS;
    if config.ipc == NamespaceMode::Pod {
        own |= CloneFlags::CLONE_NEWIPC;
    }
    if !config.hostname.is_empty() {
        own |= CloneFlags::CLONE_NEWUTS;
    }
    step("make namespaces", unshare(own))?;
    step("mount propagation", mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>))?;
    if let Some(netns) = &config.netns {
        let file = step(&format!("network namespace {}", netns.display()), fs::File::open(netns))?;
        step("join the network namespace", setns(&file, CloneFlags::CLONE_NEWNET))?;
    }
    if !config.hostname.is_empty() {
        step("set the host name", nix::unistd::sethostname(&config.hostname))?;
    }
    if config.ipc == NamespaceMode::Pod {
        let shm = paths.shm();
        step("make shm", fs::create_dir_all(&shm))?;
        let flags = MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        step("mount shm", mount(Some("shm"), &shm, Some("tmpfs"), flags, Some("mode=1777,size=65536k")))?;
    }
    for (name, value) in &config.sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        step(&format!("sysctl {name}"), fs::write(&path, value))?;
    }
    let pause = if config.pid == NamespaceMode::Pod { Some(step("start the pod's first process", pause())?) } else { None };
    if let Some(pid) = pause {
        step("write pause.pid", fs::write("pause.pid", pid.to_string()))?;
    }
    Ok((listener, pause))
}

/// What the first process of a pod is called.
const PAUSE: &[u8] = b"/pause";

/// Where our command line is in memory, if it has room for another.
fn command_line() -> Option<std::ops::Range<usize>> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // the 48th and 49th field; the second, in brackets, may have blanks
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(45).map_while(|field| field.parse::<usize>().ok());
    let line = fields.next()?..fields.next()?;
    (line.start != 0 && line.len() > PAUSE.len()).then_some(line)
}

/// Starts the process that holds the pod's PID namespace and reaps in it.
fn pause() -> io::Result<i32> {
    let line = command_line();
    // As fork, in a new PID namespace. The child runs only system calls.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_NEWPID | libc::SIGCHLD, 0, 0, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::prctl(libc::PR_SET_NAME, c"pause".as_ptr());
            if let Some(line) = line {
                // our own arguments, which nobody reads any more: containers that list processes see this name
                std::ptr::write_bytes(line.start as *mut u8, 0, line.len());
                std::ptr::copy_nonoverlapping(PAUSE.as_ptr(), line.start as *mut u8, PAUSE.len());
            }
            libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            libc::close_range(0, u32::MAX, 0);
            loop {
                libc::pause();
            }
        },
        pid => Ok(pid as i32),
    }
}

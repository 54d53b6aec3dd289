//! Mounts that hear of what is mounted in them on the machine, or tell the machine of it: the container library gives no
//! mount a propagation of its own.
//!
//! Our own mounts are slaves of the machine's, so a mount that is to tell is brought from the machine's mount namespace as
//! a peer, for the library to bind. Once the library has made the container's namespace, and before the container's
//! program starts in it, each mount gets what was asked for.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use serde::{Deserialize, Serialize};

const NONE: Option<&str> = None;

/// What a mount tells, and hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Nothing.
    Private,
    /// It hears of the machine's.
    FromMachine,
    /// It hears, and tells.
    Both,
}

/// A bind mount of a container in which not all mounts are private.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bind {
    /// Path on the machine.
    pub source: PathBuf,
    /// Path in the container.
    pub destination: PathBuf,
    /// What it tells, and hears.
    pub propagation: Propagation,
    /// With [`Propagation::Both`]: where the machine's mount is brought for the library, in our mount namespace.
    pub brought: PathBuf,
}

/// The machine's mount namespace.
static MACHINE: OnceLock<File> = OnceLock::new();

/// Remembers the mount namespace that this process is in, before it leaves it.
pub fn remember() -> io::Result<()> {
    let _ = MACHINE.set(File::open("/proc/self/ns/mnt")?);
    Ok(())
}

/// Brings the mounts that are to tell.
pub fn bring(binds: &[Bind]) -> io::Result<()> {
    binds.iter().filter(|bind| bind.propagation == Propagation::Both).try_for_each(|bind| {
        if fs::metadata(&bind.source)?.is_dir() {
            fs::create_dir_all(&bind.brought)?;
        } else {
            bind.brought.parent().map_or(Ok(()), fs::create_dir_all)?;
            File::create(&bind.brought)?;
        }
        let (machine, own) = (MACHINE.get().ok_or(io::ErrorKind::NotFound)?, File::open("/proc/self/ns/mnt")?);
        in_child(|| {
            setns(machine, CloneFlags::CLONE_NEWNS)?;
            let tree = open_tree(&bind.source)?;
            setns(&own, CloneFlags::CLONE_NEWNS)?;
            move_mount(&tree, &bind.brought)
        })
    })
}

/// Takes away what was brought, once the container has it. On the machine all stays as it is.
pub fn forget(binds: &[Bind]) {
    for bind in binds.iter().filter(|bind| bind.propagation == Propagation::Both) {
        if mount(NONE, &bind.brought, NONE, MsFlags::MS_PRIVATE | MsFlags::MS_REC, NONE).is_ok() {
            let _ = umount2(&bind.brought, MntFlags::MNT_DETACH);
        }
    }
}

/// Gives each mount of the container whose first process is `pid` what was asked for.
pub fn set(pid: i32, binds: &[Bind]) -> io::Result<()> {
    if binds.is_empty() {
        return Ok(());
    }
    let container = File::open(format!("/proc/{pid}/ns/mnt"))?;
    in_child(|| {
        setns(&container, CloneFlags::CLONE_NEWNS)?;
        binds.iter().try_for_each(|bind| {
            let flag = match bind.propagation {
                Propagation::Private => MsFlags::MS_PRIVATE,
                Propagation::FromMachine => MsFlags::MS_SLAVE,
                Propagation::Both => MsFlags::MS_SHARED,
            };
            mount(NONE, &bind.destination, NONE, flag | MsFlags::MS_REC, NONE)
        })
    })
}

/// Runs `work` in a child: its mount namespace, root and directory are its own.
fn in_child(work: impl FnOnce() -> nix::Result<()>) -> io::Result<()> {
    // We have one thread, so the child may do what it likes.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let code = work().err().map_or(0, |error| error as i32);
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, code) => Err(Errno::from_raw(code).into()),
            other => Err(io::Error::other(format!("{other:?}"))),
        },
    }
}

fn path(path: &Path) -> nix::Result<std::ffi::CString> {
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

/// The mounts at and below a path, as a tree of its own whose mounts are peers of those.
fn open_tree(source: &Path) -> nix::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as libc::c_uint;
    let source = path(source)?;
    // The kernel reads the path and gives us a descriptor.
    unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, source.as_ptr(), flags))?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

fn move_mount(tree: &OwnedFd, target: &Path) -> nix::Result<()> {
    let target = path(target)?;
    let from_empty_path = libc::MOVE_MOUNT_F_EMPTY_PATH;
    // The kernel reads two paths.
    let moved =
        unsafe { libc::syscall(libc::SYS_move_mount, tree.as_raw_fd(), c"".as_ptr(), libc::AT_FDCWD, target.as_ptr(), from_empty_path) };
    Errno::result(moved).map(drop)
}

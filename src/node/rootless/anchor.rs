//! The process that keeps a plain user's namespaces, and the way into them.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, execv, fork, getgid, getuid};

use super::ids::Granted;

/// Below the data directory: process id and start time of the anchor.
const FILE: &str = "anchor";
/// Below the data directory: a mount in the anchor's namespace, for what does not outlive it.
const RUN: &str = "run";

/// Why the namespaces cannot be entered.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub struct EnterError {
    /// Which step.
    step: String,
    /// What the system said.
    #[source]
    source: io::Error,
}

fn step<T, E: Into<io::Error>>(step: impl Into<String>, result: Result<T, E>) -> Result<T, EnterError> {
    result.map_err(|error| EnterError { step: step.into(), source: error.into() })
}

/// A process that is surely the one that was noted.
struct Anchor {
    process: i32,
    descriptor: OwnedFd,
}

impl Anchor {
    /// `None` when the process is no more.
    fn find(process: i32, started: Option<&str>) -> Option<Self> {
        // the result is a new descriptor or an error
        let descriptor = unsafe {
            match libc::syscall(libc::SYS_pidfd_open, process, 0) {
                failed if failed < 0 => return None,
                descriptor => OwnedFd::from_raw_fd(descriptor as i32),
            }
        };
        let now = start_time(process)?;
        started.is_none_or(|started| started == now).then_some(Self { process, descriptor })
    }

    /// The one that a data directory names.
    fn noted(text: &str) -> Option<Self> {
        let (process, started) = text.trim().split_once(' ')?;
        Self::find(process.parse().ok()?, Some(started))
    }
}

/// The 22nd field of a process's `stat`; a zombie has none.
fn start_time(process: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// Whether the namespaces of a data directory's cluster are there.
pub fn has_anchor(directory: &Path) -> bool {
    fs::read_to_string(directory.join(FILE)).is_ok_and(|text| Anchor::noted(&text).is_some())
}

/// Enters the namespaces of the cluster with this data directory, made when they are not there, and runs this program
/// again from its beginning with the same arguments. Returns only when that fails. Must be called while the process has
/// one thread.
pub fn enter(directory: &Path) -> Result<Infallible, EnterError> {
    step("make the data directory", DirBuilder::new().recursive(true).mode(0o700).create(directory))?;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(directory.join(FILE));
    // two that start at once share one anchor
    let mut file =
        step("lock the anchor", Flock::lock(step("open the anchor's file", file)?, FlockArg::LockExclusive).map_err(|(_, e)| e))?;
    let mut text = String::new();
    step("read the anchor's file", file.read_to_string(&mut text))?;
    let anchor = match Anchor::noted(&text) {
        Some(anchor) => anchor,
        None => {
            let anchor = make(directory)?;
            let note = format!("{} {}\n", anchor.process, start_time(anchor.process).unwrap_or_default());
            let write = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(note.as_bytes()));
            step("note the anchor", write)?;
            anchor
        }
    };
    let here = std::env::current_dir();
    step("enter the namespaces", setns(anchor.descriptor.as_fd(), CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS))?;
    // a mount namespace is entered at its root
    if let Ok(here) = here {
        let _ = std::env::set_current_dir(here);
    }
    again(&std::env::args_os().collect::<Vec<_>>())
}

/// Runs this program with other arguments, the first of which is its name.
fn again(arguments: &[OsString]) -> Result<Infallible, EnterError> {
    let plain = |text: &std::ffi::OsStr| CString::new(text.as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let list: Result<Vec<CString>, _> = arguments.iter().map(|argument| plain(argument)).collect();
    let list = step("the arguments", list)?;
    // its own name is shown by `ps`; the link works even where the file is not seen
    let own = fs::read_link("/proc/self/exe").unwrap_or_default();
    for path in [own, PathBuf::from("/proc/self/exe")].iter().filter(|path| path.exists()) {
        if let Err(error) = execv(&step("this program", plain(path.as_os_str()))?, &list)
            && error != nix::errno::Errno::ENOENT
        {
            return step("run this program again", Err(error));
        }
    }
    step("run this program again", Err(io::Error::from(io::ErrorKind::NotFound)))
}

/// Starts an anchor, and waits until its namespaces are ready.
fn make(directory: &Path) -> Result<Anchor, EnterError> {
    let granted = Granted::find();
    let (mut said, say) = step("make a pipe", io::pipe())?;
    let (hear, mut go) = step("make a pipe", io::pipe())?;
    // one thread: the child may do what we may
    match step("start the anchor", unsafe { fork() })? {
        ForkResult::Child => {
            drop((said, go));
            become_anchor(directory, say, hear)
        }
        ForkResult::Parent { child } => {
            drop((say, hear));
            let mut word = [0];
            let asked = said.read_exact(&mut word).is_ok() && word == *b"m";
            let mut trouble = if asked { String::new() } else { char::from(word[0]).to_string() };
            if asked {
                let mapped = map(granted.as_ref(), child.as_raw());
                if mapped.is_err() {
                    let _ = kill(child, Signal::SIGKILL);
                }
                step("map users and groups", mapped)?;
                step("answer the anchor", go.write_all(b"g"))?;
            }
            // until it is another program, or has told why not
            let _ = said.read_to_string(&mut trouble);
            if !trouble.is_empty() {
                return Err(EnterError { step: "make namespaces for a plain user".to_owned(), source: io::Error::other(trouble) });
            }
            let found = Anchor::find(child.as_raw(), None).ok_or_else(|| io::Error::other("it ended at once"));
            step("start the anchor", found)
        }
    }
}

/// Root inside is this user; with granted ranges there are others, else he is alone, and his groups stay as they are.
fn map(granted: Option<&Granted>, process: i32) -> io::Result<()> {
    if let Some(granted) = granted {
        match granted.map(process) {
            Ok(()) => return Ok(()),
            // nothing is mapped when the first of the two fails
            Err(error) => eprintln!("warning: the ranges of /etc/subuid and /etc/subgid cannot be used: {error}"),
        }
    }
    let write = |file: &str, text: String| match fs::write(format!("/proc/{process}/{file}"), text) {
        // the first of two programs had done its part
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && file == "uid_map" && granted.is_some() => Ok(()),
        other => other,
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {} 1", getuid()))?;
    write("gid_map", format!("0 {} 1", getgid()))
}

/// In the child: makes the namespaces, becomes `__anchor`.
fn become_anchor(directory: &Path, mut say: io::PipeWriter, mut hear: io::PipeReader) -> ! {
    let made = || -> Result<Infallible, EnterError> {
        step("unshare", unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP))?;
        step("ask for users", say.write_all(b"m"))?;
        step("wait for users", hear.read_exact(&mut [0]))?;
        mounts(directory)?;
        step("leave the session", nix::unistd::setsid())?;
        detach_streams();
        let _ = std::env::set_current_dir("/");
        let program = std::env::args_os().next().unwrap_or_default();
        again(&[program, "__anchor".into(), directory.into()])
    };
    let Err(error) = { made }();
    let text = format!("{error}: {}", error.source);
    // nobody reads: nobody waits
    let _ = say.write_all(text.as_bytes());
    std::process::exit(1)
}

/// What is seen in the namespaces only: a place for network namespaces, and control groups that nobody may write, so that
/// containers stay in those of the user.
fn mounts(directory: &Path) -> Result<(), EnterError> {
    let none: Option<&str> = None;
    step("mount propagation", mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none))?;
    let run = directory.join(RUN);
    step("make the run directory", DirBuilder::new().recursive(true).mode(0o700).create(&run))?;
    step("mount the run directory", mount(Some("coracle"), &run, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=700")))?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // where it cannot be mounted, what is there may do
    let _ = mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), flags, none);
    Ok(())
}

/// What the caller left open must not stay open as long as the anchor lives.
fn detach_streams() {
    let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") else { return };
    // our own descriptors, none of which anybody in this process uses again; the pipe closes when the program changes
    unsafe {
        for stream in 0..3 {
            libc::dup2(null.as_raw_fd(), stream);
        }
        libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32);
    }
}

/// Waits for its end: the program that `enter` starts as `__anchor`.
pub fn main() -> ExitCode {
    // one thread; plain settings of our own process
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"coracle-anchor".as_ptr());
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_IGN);
        }
        loop {
            libc::pause();
        }
    }
}

/// Ends the anchor: the namespaces go with the last process in them.
pub fn end_anchor(directory: &Path) {
    let file = directory.join(FILE);
    let Ok(text) = fs::read_to_string(&file) else { return };
    if let Some(anchor) = Anchor::noted(&text)
        && let Err(error) = kill(Pid::from_raw(anchor.process), Signal::SIGKILL)
    {
        tracing::warn!(%error, process = anchor.process, "the anchor was not ended");
        return;
    }
    let _ = fs::remove_file(file);
}

/// Ends everything in the namespaces that this process is in, but itself, and takes away what is mounted below the data
/// directory: for what a crash left.
pub fn dissolve(directory: &Path) {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/user")).ok();
    let Some(own) = namespace("self") else { return };
    let ours = std::process::id().to_string();
    for _ in 0..100 {
        let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let others: Vec<Pid> = names
            .filter(|name| *name != ours && namespace(name).as_ref() == Some(&own))
            .filter_map(|name| name.parse().ok().filter(|process| start_time(*process).is_some()).map(Pid::from_raw))
            .collect();
        if others.is_empty() {
            break;
        }
        for process in others {
            let _ = kill(process, Signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // what is still mounted goes with the last process that sees it
    let _ = crate::volumes::unmount_all_below(directory);
    let _ = fs::remove_file(directory.join(FILE));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn another_process_with_the_same_number_is_no_anchor() {
        let own = std::process::id().cast_signed();
        let started = start_time(own).unwrap();
        assert!(Anchor::noted(&format!("{own} {started}\n")).is_some());
        assert!(Anchor::noted(&format!("{own} 1{started}\n")).is_none());
        for text in ["", "x", "0 0", "99999999 1"] {
            assert!(Anchor::noted(text).is_none(), "{text}");
        }
        let directory = tempfile::tempdir().unwrap();
        assert!(!has_anchor(directory.path()));
        std::fs::write(directory.path().join(FILE), format!("{own} {started}\n")).unwrap();
        assert!(has_anchor(directory.path()));
    }
}

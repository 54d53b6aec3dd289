//! Starts containers and commands in them through libcontainer.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::Pid;
use serde_json::Value;

use super::copy;
use super::executor::{Program, words};
use super::propagation;
use super::protocol::{ContainerPaths, Exec, Failure, ImageMount, Plan, SandboxPaths};
use super::record;
use super::streams::pipe;
use super::trouble;
use crate::rootless::is_rootless;

const LONGEST_LOG: u64 = 256 << 10;

/// Why something could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The command itself.
    #[error("{0}")]
    Command(String),
    /// A step around it.
    #[error("{step}: {source}")]
    Step {
        /// Which.
        step: String,
        /// What the system said.
        source: io::Error,
    },
}

impl StartError {
    /// How the agent is told.
    pub fn failure(&self) -> Failure {
        Failure::Start
    }
}

fn step<T, E: Into<io::Error>>(step: &str, result: Result<T, E>) -> Result<T, StartError> {
    result.map_err(|error| StartError::Step { step: step.to_owned(), source: error.into() })
}

/// The shim's ends of a started process's streams.
#[derive(Debug, Default)]
pub struct Ends {
    /// Writes to its standard input.
    pub stdin: Option<OwnedFd>,
    /// Reads its standard output.
    pub stdout: Option<OwnedFd>,
    /// Reads its standard error.
    pub stderr: Option<OwnedFd>,
    /// Master of its terminal.
    pub master: Option<OwnedFd>,
}

/// A started process.
#[derive(Debug)]
pub struct Started {
    /// PID on the host.
    pub pid: i32,
    /// Its streams.
    pub ends: Ends,
}

/// Mounts the root of a container and starts its first process.
pub fn start(sandbox: &SandboxPaths, id: &str, plan: &Plan) -> Result<Started, StartError> {
    let paths = sandbox.container(id);
    mount_root(&paths, plan)?;
    for image in &plan.images {
        mount_image(plan, image)?;
    }
    make_working_dir(&paths.rootfs(), plan)?;
    let _ = fs::remove_dir_all(sandbox.library().join(id));
    step("make the library's directory", fs::create_dir_all(sandbox.library()))?;
    let wants = Wants { tty: plan.tty, stdin: plan.stdin, stdout: true, stderr: true, combined: false };
    step("bring a mount of the machine", propagation::bring(&plan.binds))?;
    let started = launch(sandbox, id, &wants, |builder| {
        let mut container = builder.as_init(paths.bundle()).with_systemd(false).with_detach(true).build()?;
        let pid = container.pid().ok_or_else(|| LibcontainerError::Other("the container has no process".to_owned()))?.as_raw();
        if let Err(error) = propagation::set(pid, &plan.binds) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            return Err(LibcontainerError::Other(format!("mount propagation: {error}")));
        }
        container.start()?;
        Ok(pid)
    });
    propagation::forget(&plan.binds);
    started
}

/// Starts a command in a container.
pub fn exec(sandbox: &SandboxPaths, exec: &Exec) -> Result<Started, StartError> {
    let process = step("process", exec_process(&sandbox.container(&exec.id), exec))?;
    let directory = sandbox.library().join(&exec.id);
    let wants = Wants { tty: exec.tty, stdin: exec.stdin, stdout: exec.stdout, stderr: exec.stderr, combined: exec.combined };
    let result = launch(sandbox, &exec.id, &wants, |builder| {
        let file = format!("/proc/self/fd/{}", process.as_raw_fd());
        let tenant = builder.as_tenant().with_process(Some(&file)).with_detach(true);
        Ok(tenant.build()?.as_raw())
    });
    // The library leaves its sockets behind.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("tenant-") {
            let _ = fs::remove_file(entry.path());
        }
    }
    result
}

/// The container's own process with another command, as a file in memory: on a full disk commands, and so probes, run.
fn exec_process(paths: &ContainerPaths, exec: &Exec) -> io::Result<fs::File> {
    let mut spec: Value = record::read(&paths.bundle().join("config.json"))?;
    let mut process = spec.get_mut("process").map(Value::take).unwrap_or_default();
    if let Some(process) = process.as_object_mut() {
        process.insert("args".to_owned(), exec.command.clone().into());
        process.insert("terminal".to_owned(), exec.tty.into());
        if exec.tty
            && let Some(variables) = process.get_mut("env").and_then(Value::as_array_mut)
            && !variables.iter().any(|entry| entry.as_str().is_some_and(|e| e.starts_with("TERM=")))
        {
            variables.push("TERM=xterm".into());
        }
    }
    let mut file = fs::File::from(memfd_create(c"exec.json", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&serde_json::to_vec(&process)?)?;
    Ok(file)
}

/// Waits until the set-up process has become the program: it closes its end of `report` then.
fn await_program(report: &std::io::PipeReader) {
    const PATIENCE: u16 = 1_000;
    let mut polled = [PollFd::new(report.as_fd(), PollFlags::POLLIN)];
    let _ = poll(&mut polled, PATIENCE);
}

struct Wants {
    tty: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    combined: bool,
}

/// Makes streams, runs the library, undoes what it does to our own process.
fn launch(
    sandbox: &SandboxPaths,
    id: &str,
    wants: &Wants,
    run: impl FnOnce(ContainerBuilder) -> Result<i32, LibcontainerError>,
) -> Result<Started, StartError> {
    let (mut report, report_end) = step("pipe", std::io::pipe())?;
    let mut builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_executor(Program { report: report_end.as_raw_fd() })
        .with_root_path(sandbox.library())
        .map_err(|error| StartError::Command(error.to_string()))?;
    let mut ends = Ends::default();
    let mut console = None;
    if wants.tty {
        let _ = fs::remove_file("console.sock");
        console = Some(step("console", UnixListener::bind("console.sock"))?);
        builder = builder.with_console_socket(Some(sandbox.0.join("console.sock")));
    } else {
        let (stdin, stdout, stderr);
        (stdin, ends.stdin) = if wants.stdin { step("pipe", pipe().map(|(r, w)| (r, Some(w))))? } else { (null()?, None) };
        (ends.stdout, stdout) = if wants.stdout { step("pipe", pipe().map(|(r, w)| (Some(r), w)))? } else { (None, null()?) };
        (ends.stderr, stderr) = match (wants.combined, wants.stderr) {
            (true, _) => (None, step("pipe", stdout.try_clone())?),
            (false, true) => step("pipe", pipe().map(|(r, w)| (Some(r), w)))?,
            (false, false) => (None, null()?),
        };
        builder = builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr);
    }
    let logged = log_length();
    let before = descriptors();
    let result = run(builder);
    close_others(&before);
    restore();
    drop(report_end);
    let pid = match result {
        Ok(pid) => pid,
        Err(error) => {
            let mut message = String::new();
            // The other ends are gone with the process that could not be started.
            let _ = report.read_to_string(&mut message);
            if message.is_empty() {
                message = [Some(chain(&error)), first_complaint(logged)].into_iter().flatten().collect::<Vec<_>>().join(": ");
            }
            return Err(StartError::Command(message));
        }
    };
    await_program(&report);
    if let Some(listener) = console {
        ends.master = Some(step("console", receive_master(&listener))?);
        let _ = fs::remove_file("console.sock");
    }
    Ok(Started { pid, ends })
}

/// Length of the shim's log, which is emptied now and then: a probe whose command is missing complains for ever.
fn log_length() -> u64 {
    let length = fs::metadata("shim.log").map(|meta| meta.len()).unwrap_or(0);
    if length < LONGEST_LOG {
        return length;
    }
    let _ = fs::OpenOptions::new().write(true).truncate(true).open("shim.log");
    0
}

/// The library's errors lose their innermost cause; the first line it logged has it.
fn first_complaint(from: u64) -> Option<String> {
    let text = fs::read_to_string("shim.log").ok()?;
    let line = text.get(usize::try_from(from).ok()?..)?.lines().next()?;
    Some(line.strip_prefix("shim: ").unwrap_or(line).to_owned())
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    text.trim_end_matches('\0').to_owned()
}

fn null() -> Result<OwnedFd, StartError> {
    step("open /dev/null", fs::OpenOptions::new().read(true).write(true).open("/dev/null")).map(OwnedFd::from)
}

/// Numbers of our open descriptors.
fn descriptors() -> Vec<i32> {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The library forgets its sockets when a start fails.
fn close_others(before: &[i32]) {
    for fd in descriptors().into_iter().filter(|fd| !before.contains(fd)) {
        // Nobody in this process knows it; the number that listed the others is closed already, which is no harm.
        unsafe { libc::close(fd) };
    }
}

/// The library sets the container's out-of-memory score on its caller and leaves children a changed directory.
fn restore() {
    let own = if is_rootless() { "0" } else { "-999" };
    let _ = fs::write("/proc/self/oom_score_adj", own);
}

fn receive_master(listener: &UnixListener) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    listener.set_nonblocking(true)?;
    let (stream, _) = listener.accept()?;
    let mut buffer = [0_u8; 64];
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut parts = [io::IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT)?;
    for control in message.cmsgs().map_err(io::Error::from)? {
        if let ControlMessageOwned::ScmRights(received) = control
            && let Some(fd) = received.first()
        {
            // The kernel just gave us this descriptor.
            return Ok(unsafe { OwnedFd::from_raw_fd(*fd) });
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn mount_root(paths: &ContainerPaths, plan: &Plan) -> Result<(), StartError> {
    for directory in [paths.rootfs(), paths.upper(), paths.work()] {
        step("make the root's directories", fs::create_dir_all(directory))?;
    }
    let writable = format!(",upperdir={},workdir={}", escaped(&paths.upper()), escaped(&paths.work()));
    let mounted = mount_layers(plan, &plan.layers, &paths.rootfs(), MsFlags::empty(), &writable)?;
    step("mount the root file system", mounted)
}

/// Mounts layers upon each other. Where the kernel keeps overlays from a plain user they are copied instead.
fn mount_layers(plan: &Plan, layers: &[String], target: &Path, flags: MsFlags, more: &str) -> Result<io::Result<()>, StartError> {
    let attributes = if is_rootless() { ",userxattr" } else { "" };
    let options = format!("lowerdir={}{more}{attributes}", layers.join(":"));
    let before = step("current directory", std::env::current_dir())?;
    step("layers", nix::unistd::chdir(&plan.layer_root))?;
    let result = mount(Some("overlay"), target, Some("overlay"), flags, Some(options.as_str()));
    step("current directory", nix::unistd::chdir(&before))?;
    Ok(match result {
        Err(error) if is_rootless() => {
            trouble::say(&format!("layers are copied, for an overlay is refused: {error}"));
            copy::layers(&plan.layer_root, layers, target)
        }
        result => result.map_err(Into::into),
    })
}

/// Mounts the files of an image, and binds the part of it that is wanted.
fn mount_image(plan: &Plan, image: &ImageMount) -> Result<(), StartError> {
    const NONE: Option<&str> = None;
    step("make an image's directory", fs::create_dir_all(&image.target))?;
    if let [layer] = image.layers.as_slice() {
        // Overlay wants two.
        step("mount an image", mount(Some(&plan.layer_root.join(layer)), &image.target, NONE, MsFlags::MS_BIND, NONE))?;
    } else {
        step("mount an image", mount_layers(plan, &image.layers, &image.target, MsFlags::MS_RDONLY, "")?)?;
    }
    if image.inside.as_os_str().is_empty() {
        return Ok(());
    }
    let root = step("open an image", fs::File::open(&image.target))?;
    let part = crate::images::rooted::open_file(&root, &image.inside);
    let part = step(&format!("image_sub_path {} in the image", image.inside.display()), part)?;
    let bound = image.path();
    if part.metadata().is_ok_and(|meta| meta.is_dir()) {
        step("make an image's directory", fs::create_dir_all(&bound))?;
    } else {
        step("make an image's file", fs::write(&bound, b""))?;
    }
    let from = PathBuf::from(format!("/proc/self/fd/{}", part.as_raw_fd()));
    step("bind a part of an image", mount(Some(&from), &bound, NONE, MsFlags::MS_BIND, NONE))
}

/// Overlay's options separate by comma and colon.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\\\").replace(',', "\\,").replace(':', "\\:")
}

/// Takes away the root of an ended container.
pub fn unmount_root(paths: &ContainerPaths) {
    let _ = umount2(&paths.rootfs(), MntFlags::MNT_DETACH);
    for entry in fs::read_dir(paths.images()).into_iter().flatten().flatten() {
        let _ = umount2(&entry.path(), MntFlags::MNT_DETACH);
    }
}

/// Makes the working directory inside the root, following links only inside of it.
fn make_working_dir(rootfs: &Path, plan: &Plan) -> Result<(), StartError> {
    let mut walked = PathBuf::from("/");
    let root = step("open the root", fs::File::open(rootfs))?;
    for part in plan.working_dir.components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name),
        _ => None,
    }) {
        let parent = crate::images::rooted::open_directory(&root, &walked).map_err(|error| failed_mkdir(&walked, &error))?;
        walked.push(part);
        match nix::sys::stat::mkdirat(&parent, part, nix::sys::stat::Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => return Err(failed_mkdir(&walked, &error.into())),
        }
    }
    crate::images::rooted::open_directory(&root, &walked).map_err(|error| failed_mkdir(&walked, &error)).map(drop)
}

fn failed_mkdir(path: &Path, error: &io::Error) -> StartError {
    let text = error.raw_os_error().map_or_else(|| error.to_string(), |code| words(nix::errno::Errno::from_raw(code)));
    StartError::Command(format!("mkdir {}: {text}", path.display()))
}

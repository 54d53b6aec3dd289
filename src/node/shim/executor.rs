//! The last step inside a container, from set-up process to the program: looks the program up as `exec` of the
//! reference runtime does, with its words, and hands it a clean set of signals.

use std::collections::HashMap;
use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::errno::Errno;

/// Starts the program; why it cannot be started goes to `report`.
#[derive(Debug, Clone)]
pub struct Program {
    /// A pipe whose other end the shim reads.
    pub report: RawFd,
}

impl Executor for Program {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        match find(arguments(spec), environment(spec)) {
            Ok(_) => Ok(()),
            Err(message) => {
                // The shim keeps this descriptor open until the set-up is over.
                let report = unsafe { BorrowedFd::borrow_raw(self.report) };
                let _ = nix::unistd::write(report, message.as_bytes());
                Err(ExecutorValidationError::ArgValidationError(message))
            }
        }
    }

    fn setup_envs(&self, variables: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // A process with one thread; nothing else reads the environment meanwhile.
        for (name, _) in std::env::vars_os() {
            unsafe { std::env::remove_var(name) };
        }
        for (name, value) in variables.iter().filter(|(name, value)| usable(name, value)) {
            unsafe { std::env::set_var(name, value) };
        }
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let arguments = arguments(spec);
        let path = find(arguments, environment(spec)).map_err(ExecutorError::Other)?;
        let program = CString::new(path.as_os_str().as_bytes()).map_err(|_| ExecutorError::InvalidArg)?;
        let list: Vec<CString> =
            arguments.iter().map(|a| CString::new(a.as_bytes()).map_err(|_| ExecutorError::InvalidArg)).collect::<Result<_, _>>()?;
        clean_signals();
        let Err(error) = nix::unistd::execv(&program, &list);
        let message = format!("exec {}: {}\n", path.display(), words(error));
        let _ = std::io::stderr().write_all(message.as_bytes());
        Err(ExecutorError::Other(message))
    }
}

fn usable(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

/// What the shim blocks or ignores the program must not; it dies with the shim.
fn clean_signals() {
    // Plain system calls on our own process.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

fn arguments(spec: &Spec) -> &[String] {
    spec.process().as_ref().and_then(|p| p.args().as_deref()).unwrap_or_default()
}

fn environment(spec: &Spec) -> &[String] {
    spec.process().as_ref().and_then(|p| p.env().as_deref()).unwrap_or_default()
}

/// The program's path, or why there is none.
fn find(arguments: &[String], environment: &[String]) -> Result<PathBuf, String> {
    let Some(name) = arguments.first() else { return Err("no command specified".to_owned()) };
    let failed = |why: &str| Err(format!("exec: {name:?}: {why}"));
    if name.contains('/') {
        return match check(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(Errno::EISDIR) => failed("is a directory"),
            Err(Errno::EACCES) => failed("permission denied"),
            Err(error) => failed(&format!("stat {name}: {}", words(error))),
        };
    }
    let path = environment.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    let mut denied = false;
    for directory in std::env::split_paths(&OsString::from(path)).filter(|_| !name.is_empty()) {
        let candidate = if directory.as_os_str().is_empty() { Path::new(".").join(name) } else { directory.join(name) };
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => denied = true,
            Err(_) => {}
        }
    }
    failed(if denied { "permission denied" } else { "executable file not found in $PATH" })
}

fn check(path: &Path) -> Result<(), Errno> {
    let stat = nix::sys::stat::stat(path)?;
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFDIR => Err(Errno::EISDIR),
        _ if stat.st_mode & 0o111 == 0 => Err(Errno::EACCES),
        _ => nix::unistd::access(path, nix::unistd::AccessFlags::X_OK),
    }
}

/// As Go prints errors of the system.
pub fn words(error: Errno) -> String {
    let text = error.desc();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_cannot_be_started_reads_as_the_reference_runtime_says_it() {
        let cases = [
            ("nope", "exec: \"nope\": executable file not found in $PATH"),
            ("/no/such/bin", "exec: \"/no/such/bin\": stat /no/such/bin: no such file or directory"),
            ("/etc", "exec: \"/etc\": is a directory"),
            ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
            ("/etc/passwd/x", "exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory"),
        ];
        for (name, message) in cases {
            assert_eq!(find(&[name.to_owned()], &["PATH=/bin:/usr/bin".to_owned()]), Err(message.to_owned()));
        }
        assert!(find(&["sh".to_owned()], &["PATH=/nowhere:/bin".to_owned()]).unwrap().starts_with("/bin"));
    }
}

//! The same suite as a plain user: this program again, as somebody else, and then in his namespaces.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use coracle_node::rootless;

use crate::subject::ROOTLESS;

/// Argument that makes this program the plain user's part.
pub const WORD: &str = "__plain";
/// Somebody without rights, on every machine.
const NOBODY: u32 = 65_534;
/// Exit code of a part that could not run.
const IMPOSSIBLE: u8 = 77;

/// Runs the part; `false` when it failed.
pub fn run(args: &[OsString]) -> bool {
    let place = tempfile::Builder::new().prefix("coracle-plain-").tempdir().unwrap();
    let mut program = std::env::current_exe().unwrap();
    let root = nix::unistd::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(place.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        let open = |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o1 != 0);
        if !program.ancestors().all(open) {
            let copy = place.path().join("suite");
            std::fs::copy(&program, &copy).unwrap();
            std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
            program = copy;
        }
    }
    let mut command = Command::new(program);
    command.arg(WORD).arg(place.path()).args(args).current_dir(place.path());
    if root {
        command.uid(NOBODY).gid(NOBODY);
    }
    let status = command.status().unwrap();
    match status.code() {
        Some(code) if code == i32::from(IMPOSSIBLE) => crate::skipped(ROOTLESS, "the kernel keeps namespaces from plain users"),
        _ => status.success(),
    }
}

/// The plain user's part: first outside, then inside of his namespaces.
pub fn main(args: &[OsString]) -> ExitCode {
    let (directory, args) = args.split_first().unwrap();
    let directory = Path::new(directory);
    if !rootless::is_rootless() {
        if let Some(why) = rootless::obstacle() {
            println!("{why}");
            return ExitCode::from(IMPOSSIBLE);
        }
        let Err(error) = rootless::enter(directory);
        println!("test {ROOTLESS} ... FAILED: {error}: {:?}", std::error::Error::source(&error));
        return ExitCode::FAILURE;
    }
    let result = crate::suites(args, true);
    rootless::end_anchor(directory);
    result
}

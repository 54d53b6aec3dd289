//! A plain user's way to containers: namespaces in which he is root.
//!
//! ```text
//! coracle up ──fork──▶ anchor   new user, mount and cgroup namespace; it waits, and keeps them over a crash
//!      └──setns, exec──▶ coracle up, as root in the anchor's namespaces, in the host's network
//! ```
//! The pods' networks and volumes are mounted in the anchor's mount namespace: as long as it lives, the next start finds
//! them. All of this happens while the process has one thread.

mod anchor;
mod ids;

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

pub use anchor::{EnterError, dissolve, end_anchor, enter, has_anchor, main};
pub use ids::{has_group, has_user, one_user, sets_groups};

/// Whether root here is a plain user of the machine.
pub fn is_rootless() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| nix::unistd::geteuid().is_root() && !ids::whole(&ids::text("uid_map")))
}

/// What pods of a plain user lack, in words.
pub fn lacks() -> String {
    let mut text = "pods run as a plain user: requests and limits are not enforced; pods reach each other and services, not this \
                    machine nor others; this machine reaches them by node ports, ingresses and port-forward; privileged containers \
                    have no rights on the machine"
        .to_owned();
    if one_user() {
        text.push_str("; containers run as user 0 only, unless newuidmap and ranges in /etc/subuid and /etc/subgid give more");
    }
    text
}

/// Why a plain user cannot have such namespaces here, if he cannot.
pub fn obstacle() -> Option<String> {
    use std::os::unix::process::CommandExt;
    let map = format!("0 {} 1", nix::unistd::geteuid());
    let mut probe = Command::new("/proc/self/exe");
    // between fork and exec: system calls only; the child ends before it would be another program
    unsafe {
        probe.pre_exec(move || {
            let all = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET;
            check(libc::unshare(all))?;
            let file = check(libc::open(c"/proc/self/uid_map".as_ptr(), libc::O_WRONLY))?;
            check(libc::write(file, map.as_ptr().cast(), map.len()) as i32)?;
            let flags = libc::MS_REC | libc::MS_PRIVATE;
            check(libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()))?;
            libc::_exit(0);
        });
    }
    match probe.spawn().and_then(|mut child| child.wait()) {
        Ok(_) => None,
        Err(error) => Some(format!("user namespaces are closed to plain users here ({error}){}", help())),
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The setting that closes them, as far as it is known.
fn help() -> String {
    let settings = [
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
    ];
    let closing = |(file, value, _): &&(&str, &str, &str)| std::fs::read_to_string(Path::new(file)).is_ok_and(|text| text.trim() == *value);
    settings.iter().find(closing).map(|(_, _, setting)| format!("; `sysctl -w {setting}` as root opens them")).unwrap_or_default()
}

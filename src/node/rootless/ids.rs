//! Which users and groups of containers a user namespace has.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A file of this process in `/proc`.
pub(super) fn text(file: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default()
}

/// The ranges of a map: first inside, first outside, how many.
fn ranges(map: &str) -> Vec<[u32; 3]> {
    let number = |line: &str| {
        let mut fields = line.split_whitespace().map(|field| field.parse().ok());
        Some([fields.next()??, fields.next()??, fields.next()??])
    };
    map.lines().filter_map(number).collect()
}

/// Whether everybody is himself.
pub(super) fn whole(map: &str) -> bool {
    ranges(map) == [[0, 0, u32::MAX]]
}

fn has(map: &str, id: u32) -> bool {
    ranges(map).iter().any(|[first, _, count]| id >= *first && id - first < *count)
}

fn kept(file: &'static str, cell: &'static OnceLock<String>) -> &'static str {
    cell.get_or_init(|| text(file))
}

fn users() -> &'static str {
    static MAP: OnceLock<String> = OnceLock::new();
    kept("uid_map", &MAP)
}

/// Whether there is such a user here.
pub fn has_user(uid: u32) -> bool {
    has(users(), uid)
}

/// Whether there is such a group here.
pub fn has_group(gid: u32) -> bool {
    static MAP: OnceLock<String> = OnceLock::new();
    has(kept("gid_map", &MAP), gid)
}

/// Whether root is the only user in a plain user's namespaces, or would be.
pub fn one_user() -> bool {
    if nix::unistd::geteuid().is_root() { !has_user(1) } else { Granted::find().is_none() }
}

/// Whether a process may have other groups than the user has.
pub fn sets_groups() -> bool {
    static ANSWER: OnceLock<String> = OnceLock::new();
    kept("setgroups", &ANSWER).trim() != "deny"
}

/// A user's ranges of other ids, as `/etc/subuid` and `/etc/subgid` have them, and the programs that map them.
pub(super) struct Granted {
    users: (PathBuf, String),
    groups: (PathBuf, String),
}

impl Granted {
    /// What this user has; none, where a file or a program is missing.
    pub(super) fn find() -> Option<Self> {
        let uid = nix::unistd::getuid();
        let name = nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name).unwrap_or_default();
        let granted = |file: &str, tool: &str| {
            let range = range_of(&std::fs::read_to_string(file).ok()?, &name, uid.as_raw())?;
            let path = std::env::var_os("PATH").unwrap_or_default();
            Some((std::env::split_paths(&path).map(|directory| directory.join(tool)).find(|file| file.is_file())?, range))
        };
        Some(Self { users: granted("/etc/subuid", "newuidmap")?, groups: granted("/etc/subgid", "newgidmap")? })
    }

    /// Maps this user to root of the namespace of a process, and the others behind it.
    pub(super) fn map(&self, process: i32) -> std::io::Result<()> {
        let own = [nix::unistd::getuid().to_string(), nix::unistd::getgid().to_string()];
        for ((tool, range), own) in [&self.users, &self.groups].into_iter().zip(own) {
            let mut command = Command::new(tool);
            command.args([process.to_string().as_str(), "0", &own, "1", "1"]).args(range.split(':'));
            let output = command.stdin(Stdio::null()).output()?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(std::io::Error::other(format!("{}: {}", tool.display(), said.trim())));
            }
        }
        Ok(())
    }
}

/// The first range of a user: `START:COUNT`.
fn range_of(file: &str, name: &str, uid: u32) -> Option<String> {
    file.lines().find_map(|line| {
        let (who, range) = line.trim().split_once(':')?;
        let (start, count) = range.split_once(':')?;
        let ours = (who == name && !name.is_empty()) || who == uid.to_string();
        (ours && start.parse::<u32>().is_ok() && count.parse::<u32>().is_ok_and(|count| count > 0)).then(|| range.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_tell_who_is_here() {
        assert!(whole("         0          0 4294967295\n"));
        let one = "         0       1000          1\n";
        assert!(!whole(one) && has(one, 0) && !has(one, 1));
        let many = "0 1000 1\n1 100000 65536\n";
        assert!(has(many, 65_536) && !has(many, 65_537));
        assert!(!has("", 0));
    }

    #[test]
    fn a_range_is_granted_by_name_or_number() {
        let file = "# ours\nmary:100000:65536\n1001:165536:10\nbroken:x:1\nempty:5:0\n";
        assert_eq!(range_of(file, "mary", 7).as_deref(), Some("100000:65536"));
        assert_eq!(range_of(file, "", 1001).as_deref(), Some("165536:10"));
        for name in ["broken", "empty", "", "nobody"] {
            assert_eq!(range_of(file, name, 7), None, "{name}");
        }
    }
}

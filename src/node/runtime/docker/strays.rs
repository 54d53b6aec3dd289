//! Processes that the engine lost: it died after it had them started and before it took note, and says that their container
//! never ran. Like the kubelet with the groups of pods that are over, the node kills what is left in them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Docker, blocking};
use crate::runtime::RuntimeError;
use crate::runtime::native::cgroup;

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

impl Docker {
    /// Kills what runs in the control groups that are named for a container, and removes the groups.
    pub(super) async fn kill_strays(&self, container: &str) -> Result<(), RuntimeError> {
        let id = container.to_owned();
        blocking(move || {
            let deadline = Instant::now() + PATIENCE;
            let mut groups = BTreeSet::new();
            loop {
                let (processes, found) = strays(&id);
                groups.extend(found);
                if processes.is_empty() {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(RuntimeError::Engine { message: format!("processes of container {id} do not end: {processes:?}") });
                }
                for process in processes {
                    tracing::info!(container = id, process, "a process that the engine lost is killed");
                    // it may just have ended
                    let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
                }
                std::thread::sleep(PAUSE);
            }
            groups.iter().for_each(|group| cgroup::remove(group));
            Ok(())
        })
        .await
    }
}

/// Processes in control groups named for a container, and these groups.
fn strays(id: &str) -> (Vec<i32>, BTreeSet<PathBuf>) {
    let mut groups = BTreeSet::new();
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let text = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let found: Vec<PathBuf> = named(&text, id).collect();
        if !found.is_empty() {
            processes.push(process);
            groups.extend(found);
        }
    }
    (processes, groups)
}

/// Of a process' control groups those whose last part has the container's id: `<id>`, `docker-<id>.scope`, `libpod-<id>`.
fn named<'a>(text: &'a str, id: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.filter(move |path| path.rsplit('/').next().is_some_and(|name| name.contains(id))).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn groups_are_known_by_the_container_in_their_name() {
        let text =
            "12:pids:/coracle-1-n/besteffort/podu/abc\n11:cpu,cpuacct:/other/abcd/x\n1:name=systemd:/\n0::/a.slice/docker-abc.scope\n";
        let found: Vec<_> = named(text, "abc").collect();
        assert_eq!(found, [PathBuf::from("/coracle-1-n/besteffort/podu/abc"), PathBuf::from("/a.slice/docker-abc.scope")]);
    }

    #[test]
    fn no_process_is_in_a_group_of_nobody() {
        assert_eq!(strays(&"f".repeat(64)), (Vec::new(), BTreeSet::new()));
    }
}

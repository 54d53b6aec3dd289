//! What a cluster left behind: nothing, it is hoped.

use std::fs;
use std::path::{Path, PathBuf};

use super::network;
use super::place::Place;

/// Links and routes in the test's network, mounts, control groups, processes and run files of the cluster made here.
pub fn of(place: &Place) -> Vec<String> {
    let directory = place.path().to_string_lossy().into_owned();
    let mut left = if nix::unistd::geteuid().is_root() { network::links_and_routes() } else { Vec::new() };
    let id = place.cluster_id();
    let run_directory = id.as_ref().map(|id| PathBuf::from("/run/coracle").join(id));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = |line: &&str| line.contains(&directory) || run_directory.as_ref().is_some_and(|run| line.contains(&*run.to_string_lossy()));
    left.extend(mounts.lines().filter(ours).map(|line| format!("mount {line}")));
    left.extend(run_directory.filter(|path| path.exists()).map(|path| format!("run directory {}", path.display())));
    // a plain user's
    left.extend(Some(place.data().join("anchor")).filter(|path| path.exists()).map(|path| format!("anchor {}", path.display())));
    if let Some(id) = &id {
        left.extend(control_groups(id).iter().map(|path| format!("control group {}", path.display())));
    }
    left.extend(containers(place).into_iter().map(|container| format!("container {container}")));
    left.extend(processes(place).into_iter().map(|(process, command)| format!("process {process} {command}")));
    left
}

/// The top control groups of a cluster, in every hierarchy.
fn control_groups(id: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let parents = std::iter::once(root.to_owned()).chain(hierarchies);
    let entries = parents.flat_map(|parent| fs::read_dir(parent).into_iter().flatten().flatten());
    let ours = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&format!("coracle-{id}"));
    entries.filter(ours).map(|entry| entry.path()).collect()
}

/// What the cluster has at an engine, if it has one.
fn containers(place: &Place) -> Vec<String> {
    let asks = std::fs::read_to_string(place.data().join("cluster.json")).is_ok_and(|text| text.contains("docker"));
    let Some(id) = place.cluster_id().filter(|_| asks) else { return Vec::new() };
    let list = place.command("docker").args(["ps", "-aq", "--filter", &format!("label=coracle.cluster={id}")]).output();
    list.map(|listed| String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()).unwrap_or_default()
}

/// Processes that name the place or are in one of the cluster's control groups.
pub fn processes(place: &Place) -> Vec<(i32, String)> {
    let directory = place.path().to_string_lossy().into_owned();
    let group = place.cluster_id().map(|id| format!("/coracle-{id}"));
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(process) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let command = read("cmdline").replace('\0', " ");
        if command.contains(&directory) || group.as_ref().is_some_and(|group| read("cgroup").contains(group)) {
            found.push((process, command));
        }
    }
    found
}

/// After a failed test: ends and removes what can be found, so that other tests and the machine do not suffer.
pub fn sweep(place: &Place) {
    for container in containers(place) {
        let _ = place.command("docker").args(["rm", "-f", "-v", &container]).output();
    }
    let own = std::process::id().cast_signed();
    for (process, _) in processes(place).into_iter().filter(|(process, _)| *process != own) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), nix::sys::signal::Signal::SIGKILL);
    }
    let Some(id) = place.cluster_id() else { return };
    let (run_directory, directory) = (format!("/run/coracle/{id}"), place.path().to_string_lossy().into_owned());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().rev().filter_map(|line| line.split(' ').nth(4));
    for point in points.filter(|point| point.contains(&run_directory) || point.contains(&directory)) {
        let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
    }
    let _ = fs::remove_dir_all(&run_directory);
    for group in control_groups(&id) {
        remove_group(&group);
    }
}

fn remove_group(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

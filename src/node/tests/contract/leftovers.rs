//! What a runtime left behind: nothing, it is hoped.

use std::fs;
use std::path::Path;

use crate::subject::Place;

pub fn of(place: &Place) -> Vec<String> {
    let directory = place.directory.path().to_string_lossy().into_owned();
    let mut left = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(mounts.lines().filter(|line| line.contains(&directory)).map(|line| format!("mount {line}")));
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if command.contains(&directory) {
            left.push(format!("process {} {}", entry.file_name().to_string_lossy(), command.replace('\0', " ")));
        }
    }
    let group = place.cgroup_root.strip_prefix("/").unwrap();
    let mut roots = vec![Path::new("/sys/fs/cgroup").to_owned()];
    roots.extend(fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path()));
    left.extend(
        roots.iter().map(|root| root.join(group)).filter(|path| path.exists()).map(|path| format!("control group {}", path.display())),
    );
    let sandboxes = place.directory.path().join("data/sandboxes");
    left.extend(fs::read_dir(sandboxes).into_iter().flatten().flatten().map(|entry| format!("{}", entry.path().display())));
    left
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource};
use rstest::rstest;
use tempfile::tempdir;

use super::atomic::{File, Files};
use super::*;

fn files(list: &[(&str, &str)]) -> Files {
    list.iter().map(|(path, text)| ((*path).to_owned(), File { content: text.as_bytes().to_vec(), mode: 0o640, owner: None })).collect()
}

#[test]
fn files_change_all_at_once() {
    let dir = tempdir().unwrap();
    assert!(atomic::write(dir.path(), &files(&[("a", "1"), ("sub/b", "2")])).unwrap());
    let first = std::fs::read_link(dir.path().join("..data")).unwrap();
    assert_eq!(std::fs::read_link(dir.path().join("a")).unwrap(), PathBuf::from("..data/a"));
    assert_eq!(std::fs::read_to_string(dir.path().join("sub/b")).unwrap(), "2");
    assert_eq!(std::fs::metadata(dir.path().join("a")).unwrap().mode() & 0o777, 0o640);

    assert!(!atomic::write(dir.path(), &files(&[("a", "1"), ("sub/b", "2")])).unwrap());
    assert_eq!(std::fs::read_link(dir.path().join("..data")).unwrap(), first);

    assert!(atomic::write(dir.path(), &files(&[("a", "3")])).unwrap());
    assert_eq!(std::fs::read_to_string(dir.path().join("a")).unwrap(), "3");
    assert!(std::fs::symlink_metadata(dir.path().join("sub")).is_err());
    assert!(!dir.path().join(first).exists());
}

#[rstest]
#[case("../x")]
#[case("/x")]
#[case("a/../b")]
fn paths_that_lead_out_are_refused(#[case] path: &str) {
    let dir = tempdir().unwrap();
    assert!(atomic::write(dir.path(), &files(&[(path, "1")])).is_err());
}

#[test]
fn a_group_can_use_what_it_is_given() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("v");
    disk::empty_dir(&path, &EmptyDirVolumeSource::default(), None).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
    std::fs::write(path.join("f"), "x").unwrap();
    std::fs::set_permissions(path.join("f"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let own = std::fs::metadata(&path).unwrap().gid();
    ownership::give(&path, own, true).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o2777);
    assert_eq!(std::fs::metadata(path.join("f")).unwrap().mode() & 0o777, 0o640);
}

#[rstest]
#[case("Directory", "dir", None)]
#[case("Directory", "file", Some("is not a directory"))]
#[case("File", "file", None)]
#[case("File", "dir", Some("is not a file"))]
#[case("File", "none", Some("is not a file"))]
#[case("Socket", "file", Some("is not a socket file"))]
#[case("CharDevice", "file", Some("is not a character device"))]
#[case("BlockDevice", "file", Some("is not a block device"))]
#[case("DirectoryOrCreate", "none", None)]
#[case("FileOrCreate", "none", None)]
#[case("", "none", None)]
fn host_paths(#[case] kind: &str, #[case] name: &str, #[case] expected: Option<&str>) {
    let dir = tempdir().unwrap();
    std::fs::create_dir(dir.path().join("dir")).unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let path = dir.path().join(name).display().to_string();
    let result = host_path::check(&HostPathVolumeSource { path: path.clone(), type_: Some(kind.into()) });
    let expected = expected.map(|text| format!("hostPath type check failed: {path} {text}"));
    assert_eq!(result.err().map(|error| error.to_string()), expected);
    assert_eq!(dir.path().join(name).exists(), name != "none" || kind.ends_with("OrCreate"));
}

#[test]
fn a_sub_path_is_made_and_stays_inside() {
    let dir = tempdir().unwrap();
    let base = dir.path().join("base");
    std::fs::create_dir(&base).unwrap();
    std::fs::write(base.join("file"), "x").unwrap();
    symlink(dir.path(), base.join("esc")).unwrap();
    let bound = |name: &str| dir.path().join("bound").join(name);
    subpath::prepare(&base, "d1/d2", &bound("a")).unwrap();
    assert!(base.join("d1/d2").is_dir());
    let escape = subpath::prepare(&base, "esc", &bound("b"));
    let below = subpath::prepare(&base, "file/x", &bound("c"));
    let parent = subpath::prepare(&base, "../base", &bound("d"));
    let _ = nix::mount::umount2(&bound("a"), nix::mount::MntFlags::MNT_DETACH);
    assert!(escape.is_err() && below.is_err() && parent.is_err());
}

#[test]
fn names_of_what_volumes_need() {
    let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [], "volumes": [
        {"name": "a", "configMap": {"name": "m1"}},
        {"name": "b", "projected": {"sources": [{"configMap": {"name": "m2"}}, {"secret": {"name": "s2"}}]}},
        {"name": "c", "secret": {"secretName": "s1"}},
    ]}}))
    .unwrap();
    assert_eq!(config_maps(&pod), ["m1", "m2"]);
    assert_eq!(secrets(&pod), ["s2", "s1"]);
}

#[tokio::test]
async fn what_is_being_made_is_waited_for_though_its_pod_is_not() {
    let tasks = tokio_util::task::TaskTracker::new();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let dir = tempdir().unwrap();
    let made = dir.path().join("made");
    let target = made.clone();
    let mut making = Box::pin(disk::blocking(&tasks, move || {
        released.recv().unwrap();
        std::fs::create_dir(target)
    }));
    assert!(futures::poll!(&mut making).is_pending());
    drop(making);
    tasks.close();
    assert!(futures::poll!(std::pin::pin!(tasks.wait())).is_pending());
    release.send(()).unwrap();
    tasks.wait().await;
    assert!(made.is_dir());
}

//! What a machine may run out of, or have wrong: descriptors, memory, a disk that can be written, the right time. Each is said
//! or survived, nothing acknowledged is lost, and when it is over all goes on without help.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::pods::SOON;
use harness::run::run;
use harness::wait::so;
use harness::{Cluster, Need, Place, story, until};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use serde_json::json;

fn limit_descriptors(process: u32, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // reads what it is given
    let done = unsafe { libc::prlimit(process.cast_signed(), libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

fn answers(cluster: &Cluster) {
    until("the cluster answers", SOON, || cluster.kubectl(&["get", "nodes", "--request-timeout=10s"]).try_ok());
}

#[test]
fn descriptors() {
    story("shortages descriptors", &[Need::Native, Need::Kubectl], || {
        let mut cluster = Cluster::simulated(&[]);
        cluster.kubectl(&["create", "configmap", "before"]).ok();
        let status: serde_json::Value = serde_json::from_str(&cluster.kubectl(&["get", "--raw", "/coracle/v1/status"]).ok()).unwrap();
        let server = status["server"].as_str().unwrap().trim_start_matches("https://").to_owned();
        let open = fs::read_dir(format!("/proc/{}/fd", cluster.process())).unwrap().count() as u64;
        limit_descriptors(cluster.process(), open + 16);
        let taken: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(&server).unwrap()).collect();
        until("it is said that there are no more", SOON, || {
            let log = cluster.place.log_end();
            so(log.contains("Too many open files"), log)
        });
        assert!(cluster.kubectl(&["get", "nodes", "--request-timeout=2s"]).code != Some(0), "there was no descriptor to answer with");
        drop(taken);
        answers(&cluster);
        cluster.kubectl(&["create", "configmap", "after"]).ok();
        cluster.kill();
        cluster.restart();
        cluster.kubectl(&["get", "configmaps", "before", "after"]).ok();
        cluster.down();

        // a start that cannot be
        let place = Place::new();
        let mut command = place.coracle(&["up", "--runtime", "simulated"]);
        // the call is safe between fork and exec
        unsafe { command.pre_exec(|| setrlimit(Resource::RLIMIT_NOFILE, 14, 14).map_err(Into::into)) };
        let said = run(&mut command, b"", SOON).failed(1);
        assert!(said.starts_with("error: ") && said.contains("Too many open files") && !said.contains("panicked"), "{said}");
    });
}

/// A memory control group of the machine's, either version; `None` where there is none to be made.
struct Group(PathBuf);

impl Group {
    fn make() -> Option<Self> {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let root = if v1.is_dir() { v1 } else { Path::new("/sys/fs/cgroup") };
        let path = root.join(format!("shortages-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        let group = Self(path);
        let limited =
            ["memory.limit_in_bytes", "memory.max"].iter().any(|file| fs::write(group.0.join(file), (48 << 20).to_string()).is_ok());
        for (file, none) in [("memory.memsw.limit_in_bytes", (48 << 20).to_string()), ("memory.swap.max", "0".to_owned())] {
            let _ = fs::write(group.0.join(file), none);
        }
        limited.then_some(group)
    }

    fn take(&self, process: u32) -> bool {
        fs::write(self.0.join("cgroup.procs"), process.to_string()).is_ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn memory() {
    story("shortages memory", &[Need::Native, Need::Kubectl], || {
        let mut cluster = Cluster::simulated(&[]);
        let Some(group) = Group::make().filter(|group| group.take(cluster.process())) else {
            eprintln!("skipped shortages memory: there is no memory control group to be had");
            return cluster.down();
        };
        let large = "x".repeat(900 << 10);
        let mut acknowledged = BTreeSet::new();
        let process = cluster.process();
        let lives = || fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        for number in 0..200 {
            let name = format!("large-{number}");
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": large}});
            let ran = cluster.kubectl_with(&["create", "--request-timeout=20s", "-f", "-"], object.to_string().as_bytes());
            if ran.code == Some(0) {
                acknowledged.insert(name);
            }
            if !lives() {
                break;
            }
        }
        assert!(!lives(), "{} large objects, and nobody ended it", acknowledged.len());
        assert!(!acknowledged.is_empty());
        cluster.kill();
        cluster.restart();
        let found = cluster.kubectl(&["get", "configmaps", "-o", "custom-columns=N:.metadata.name,L:.data.k", "--no-headers"]).ok();
        let whole: BTreeSet<String> = found
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(_, data)| data.trim() == large)
            .map(|(name, _)| name.to_owned())
            .collect();
        assert!(whole.is_superset(&acknowledged), "lost: {:?}", acknowledged.difference(&whole).collect::<Vec<_>>());
        cluster.down();
        drop(group);
    });
}

#[test]
fn a_disk_that_cannot_be_written() {
    story("shortages read-only", &[Need::Native, Need::Kubectl], || {
        let mut cluster = Cluster::simulated(&[]);
        cluster.kubectl(&["create", "configmap", "before"]).ok();
        cluster.kill();
        let data = cluster.place.data();
        let wrapped = cluster.place.coracle(&["up", "--runtime", "simulated"]);
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            "d=$1 && shift && mount --bind \"$d\" \"$d\" && mount -o remount,ro,bind \"$d\" && exec \"$@\"",
            "sh",
        ]);
        command.arg(&data).arg(wrapped.get_program()).args(wrapped.get_args());
        command.env("HOME", cluster.place.path().join("home")).env_remove("KUBECONFIG");
        let said = run(&mut command, b"", SOON).failed(1);
        assert!(said.starts_with("error: ") && said.contains("Read-only file system") && said.contains(data.to_str().unwrap()), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        cluster.restart();
        cluster.kubectl(&["get", "configmap", "before"]).ok();
        cluster.down();
    });
}

/// Makes the time of a program another: adds as many seconds as a file says.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <fcntl.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    const char *path = getenv("CLOCK_OFFSET");
    if (result == 0 && clock == CLOCK_REALTIME && path) {
        char text[32] = {0};
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, 31) > 0) time->tv_sec += atol(text);
            close(file);
        }
    }
    return result;
}
"#;

fn shim(place: &Place) -> PathBuf {
    let (source, library) = (place.write("clock.c", SHIM), place.path().join("clock.so"));
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

#[test]
fn time_that_jumps() {
    story("shortages time", &[Need::Native, Need::Kubectl], || {
        let mut place = Place::new();
        let (library, offset) = (shim(&place), place.write("offset", "0"));
        place.environment = vec![("LD_PRELOAD".to_owned(), library), ("CLOCK_OFFSET".to_owned(), offset.clone())];
        let mut cluster = Cluster::start(place, &["--runtime", "simulated"]);
        // whole, or a reader may find it empty
        let jump = |seconds: i64| {
            fs::write(offset.with_extension("new"), seconds.to_string()).unwrap();
            fs::rename(offset.with_extension("new"), &offset).unwrap();
        };
        cluster.kubectl(&["create", "deployment", "web", "--image=i:1"]).ok();
        let hour = 3600;
        // ahead by a day, back to before it began, ahead by a month, and right again
        for (turn, seconds) in [24 * hour, -hour / 2, 30 * 24 * hour, 0].into_iter().enumerate() {
            jump(seconds);
            let name = format!("at-{turn}");
            until("writes are taken", SOON, || cluster.kubectl(&["create", "configmap", &name, "--request-timeout=10s"]).try_ok());
            if turn == 0 {
                let stamp = cluster.get(&["configmap", &name])["metadata"]["creationTimestamp"]
                    .as_str()
                    .unwrap()
                    .parse::<jiff::Timestamp>()
                    .unwrap();
                assert!(stamp.as_second() > jiff::Timestamp::now().as_second() + 20 * hour, "the cluster lives in a day to come");
            }
            let replicas = turn % 2 + 2;
            cluster.kubectl(&["scale", "deployment/web", &format!("--replicas={replicas}")]).ok();
            cluster.ready_pods("app=web", replicas);
            cluster.kubectl(&["wait", "nodes", "--all", "--for=condition=Ready", "--timeout=90s"]).ok();
        }
        let log = cluster.place.log_end();
        assert!(!log.contains("panic"), "{log}");
        cluster.kill();
        jump(-2 * hour);
        cluster.restart();
        for turn in 0..4 {
            cluster.kubectl(&["get", "configmap", &format!("at-{turn}")]).ok();
        }
        jump(0);
        cluster.kubectl(&["create", "configmap", "at-last"]).ok();
        cluster.down();
    });
}

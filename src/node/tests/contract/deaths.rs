//! What holds a pod dies, or looks away.

use std::time::Duration;

use coracle_node::runtime::RuntimeError;

use super::{sh, words};
use crate::subject::Subject;

pub async fn a_restart_of_the_agent(subject: &Subject) {
    let script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let (sandbox, id) = subject.started("restart", &subject.script("c", script)).await;
    let (_, other) = subject.started("restart-ended", &subject.script("c", "sleep 0.05; exit 3")).await;
    subject.log(&id, "ready").await;
    let before = subject.container(&id).await.unwrap();
    let runtime = subject.reopen().await;
    assert_eq!(subject.container(&id).await.unwrap(), before);
    assert!(runtime.sandboxes().await.unwrap().iter().any(|s| s.id == sandbox && s.ready));
    assert_eq!(sh(subject, &id, "echo hello").await, "hello\n");
    assert_eq!(subject.ended(&other).await, (3, "Error".to_owned()));
    runtime.stop_container(&id, None, Duration::from_secs(20)).await.unwrap();
    assert_eq!(subject.ended(&id).await, (0, "Completed".to_owned()));
    subject.reopen().await;
    assert_eq!(subject.ended(&id).await, (0, "Completed".to_owned()));
}

pub async fn the_death_of_a_shim(subject: &Subject) {
    let runtime = subject.runtime();
    let (sandbox, id) = subject.started("death", &subject.script("c", "sleep 1000")).await;
    let pid = subject.container(&id).await.unwrap().pid.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let shim: i32 = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(subject.ended(&id).await, (137, "ContainerStatusUnknown".to_owned()));
    let mut events = runtime.events();
    while runtime.sandboxes().await.unwrap().iter().any(|s| s.id == sandbox && s.ready) {
        let _ = tokio::time::timeout(Duration::from_millis(100), events.recv()).await;
    }
    // Whoever adopts the orphan may take its time to reap it.
    let alive = || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while alive() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(runtime.exec_sync(&id, &words("true"), None).await, Err(RuntimeError::NotRunning { .. })));
}

pub async fn the_death_of_a_sandbox(subject: &Subject) {
    let runtime = subject.runtime();
    let (sandbox, id) = subject.started("death", &subject.script("c", "sleep 1000")).await;
    let netns = runtime.netns(&sandbox).await.unwrap();
    let pid = netns.components().nth(2).unwrap().as_os_str().to_string_lossy().parse().unwrap();
    let mut events = runtime.events();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    while runtime.sandboxes().await.unwrap().iter().any(|s| s.id == sandbox && s.ready) {
        let _ = tokio::time::timeout(Duration::from_secs(1), events.recv()).await;
    }
    assert_eq!(runtime.netns(&sandbox).await, None);
    assert!(runtime.create_container(&sandbox, &subject.script("d", "true")).await.is_err());
    runtime.stop_sandbox(&sandbox).await.unwrap();
    assert_eq!(subject.ended(&id).await.0, 137);
}

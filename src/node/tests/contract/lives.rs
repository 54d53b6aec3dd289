//! Containers begin, are told of, and end.

use std::time::Duration;

use coracle_node::runtime::{ContainerConfig, ContainerState, Limits, Mount, RuntimeError, RuntimeEvent};

use super::{sh, words};
use crate::subject::{IMAGE, Subject};

pub async fn states_are_told(subject: &Subject) {
    let runtime = subject.runtime();
    let mut events = runtime.events();
    let (_, other) = subject.started("other", &subject.script("c", "sleep 1000")).await;
    let sandbox = runtime.run_sandbox(&subject.sandbox("told")).await.unwrap();
    let image = runtime.image(IMAGE).await.unwrap().unwrap();
    let mut config = subject.script("c", "sleep 1000");
    (config.attempt, config.image_id) = (3, image.id.clone());
    config.labels = [("hash".to_owned(), "abc".to_owned())].into();
    let id = runtime.create_container(&sandbox, &config).await.unwrap();
    let made = subject.container(&id).await.unwrap();
    assert_eq!((&made.state, made.attempt, made.pid), (&ContainerState::Created, 3, None));
    assert_eq!((&made.sandbox_id, made.labels["hash"].as_str(), &made.image_id), (&sandbox, "abc", &image.id));
    runtime.start_container(&id).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    assert!(matches!(subject.container(&id).await.unwrap().state, ContainerState::Running { .. }));
    let (sandboxes, containers) = runtime.pod("uid-told").await.unwrap();
    assert_eq!((sandboxes.len(), containers.len(), containers[0].id == other), (1, 1, false));
    assert!(sandboxes[0].ready && sandboxes[0].name == "told" && sandboxes[0].namespace == "default");
    runtime.stop_container(&id, None, Duration::ZERO).await.unwrap();
    assert!(matches!(subject.container(&id).await.unwrap().state, ContainerState::Exited { started: Some(_), .. }));
    let told = async { while events.recv().await.unwrap() != (RuntimeEvent::Container { pod_uid: "uid-told".to_owned() }) {} };
    tokio::time::timeout(Duration::from_secs(60), told).await.unwrap();
}

pub async fn exit_codes_and_logs(subject: &Subject) {
    let runtime = subject.runtime();
    let (sandbox, id) = subject.started("codes", &subject.script("c", "echo out; echo err >&2; printf rest; exit 3")).await;
    assert_eq!(subject.ended(&id).await, (3, "Error".to_owned()));
    let log = subject.log(&id, "rest").await;
    for line in ["stdout F out\n", "stderr F err\n"] {
        assert!(log.contains(line), "{log:?}");
    }
    // an engine's own log does not tell that the last line has no end
    assert!(log.contains("stdout P rest\n") || log.contains("stdout F rest\n"), "{log:?}");
    for (script, end) in [("exit 0", (0, "Completed")), ("kill -9 $$", (137, "Error"))] {
        // The first process of a namespace does not hear its own KILL: let a child die and pass its code on.
        let script = if script == "exit 0" { script.to_owned() } else { format!("sh -c '{script}'; exit $?") };
        let id = runtime.create_container(&sandbox, &subject.script("d", &script)).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        assert_eq!(subject.ended(&id).await, (end.0, end.1.to_owned()));
    }
    let container = subject.container(&id).await.unwrap();
    assert_eq!((container.name.as_str(), container.pod_uid.as_str(), container.image.as_str()), ("c", "uid-codes", IMAGE));
    assert!(container.id.len() == 64 && container.image_id.starts_with("sha256:"));
}

pub async fn a_command_that_cannot_start(subject: &Subject) {
    let runtime = subject.runtime();
    let sandbox = runtime.run_sandbox(&subject.sandbox("nostart")).await.unwrap();
    let cases = [
        ("nope", "exec: \"nope\": executable file not found in $PATH"),
        ("/no/such/bin", "exec: \"/no/such/bin\": stat /no/such/bin: no such file or directory"),
    ];
    for (command, expected) in cases {
        let mut config = subject.script("c", "");
        config.command = vec![command.to_owned()];
        let id = runtime.create_container(&sandbox, &config).await.unwrap();
        let error = runtime.start_container(&id).await.unwrap_err();
        assert!(matches!(&error, RuntimeError::Start { message } if message == expected), "{error:?}");
        let ContainerState::Exited { started: None, code: 128, reason, message, .. } = subject.container(&id).await.unwrap().state else {
            panic!("not exited")
        };
        assert_eq!((reason.as_str(), message.as_str()), ("StartError", expected));
    }
    let mut config = subject.script("c", "true");
    config.working_dir = "/etc/passwd".to_owned();
    // The engine has its own words for both of these, and says them earlier.
    let failure = async |config: &ContainerConfig| match runtime.create_container(&sandbox, config).await {
        Ok(id) => runtime.start_container(&id).await.unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    let error = failure(&config).await;
    assert!(error == "mkdir /etc/passwd: not a directory" || subject.is("docker") && error.contains("/etc/passwd"), "{error}");
    config.working_dir.clear();
    let lost = Mount { source: "/no/such/source".into(), destination: "/x".into(), ..Mount::default() };
    config.mounts = vec![lost];
    let error = failure(&config).await;
    assert!(error.contains("/no/such/source"), "{error}");
    config.mounts.clear();
    config.image = "coracle.local/none:1".to_owned();
    assert!(matches!(runtime.create_container(&sandbox, &config).await, Err(RuntimeError::NotFound { .. })));
}

pub async fn stopping(subject: &Subject) {
    let runtime = subject.runtime();
    let script = "trap 'exit 12' USR1; sleep 1000 & echo ready; wait";
    let (_, id) = subject.started("stop", &subject.script("c", script)).await;
    subject.log(&id, "ready").await;
    runtime.stop_container(&id, Some("SIGUSR1"), Duration::from_secs(20)).await.unwrap();
    assert_eq!(subject.ended(&id).await, (12, "Error".to_owned()));
    runtime.stop_container(&id, None, Duration::ZERO).await.unwrap();

    for (name, grace) in [("deaf", Duration::from_millis(100)), ("at-once", Duration::ZERO)] {
        let (_, id) = subject.started(name, &subject.script("c", "trap '' TERM; echo ready; while :; do sleep 1; done")).await;
        subject.log(&id, "ready").await;
        runtime.stop_container(&id, None, grace).await.unwrap();
        assert_eq!(subject.ended(&id).await, (137, "Error".to_owned()));
    }
}

pub async fn out_of_memory(subject: &Subject) {
    let mut config = subject.script("c", "tail /dev/zero; exit $?");
    config.command = words("tail /dev/zero");
    config.limits = Limits { memory: 24 << 20, cpu_shares: 100, cpu_quota: 50_000, pids: 50, oom_score_adj: 900 };
    let (_, id) = subject.started("oom", &config).await;
    assert_eq!(subject.ended(&id).await, (137, "OOMKilled".to_owned()));
    config.command = words("sleep 1000");
    let (_, id) = subject.started("limits", &config).await;
    assert_eq!(sh(subject, &id, "cat /proc/1/oom_score_adj /proc/self/oom_score_adj").await, "900\n900\n");
    let usage = subject.runtime().usage(&id).await.unwrap();
    assert!(usage.cpu_nanoseconds > 0 && usage.memory_bytes > 0 && usage.memory_bytes < 24 << 20, "{usage:?}");
}

pub async fn removal(subject: &Subject) {
    let runtime = subject.runtime();
    let (sandbox, id) = subject.started("removal", &subject.script("c", "sleep 1000")).await;
    runtime.remove_container(&id).await.unwrap();
    assert!(subject.container(&id).await.is_none());
    runtime.remove_container(&id).await.unwrap();
    let id = runtime.create_container(&sandbox, &subject.script("d", "sleep 1000")).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    runtime.stop_sandbox(&sandbox).await.unwrap();
    assert_eq!(subject.ended(&id).await.0, 137);
    runtime.stop_sandbox(&sandbox).await.unwrap();
    runtime.remove_sandbox(&sandbox).await.unwrap();
    runtime.remove_sandbox(&sandbox).await.unwrap();
    assert!(subject.container(&id).await.is_none());
    assert!(runtime.sandboxes().await.unwrap().iter().all(|s| s.id != sandbox));
}

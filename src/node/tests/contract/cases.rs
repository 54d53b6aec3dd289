//! What every runtime with processes promises.

use std::io::{Read, Write};
use std::time::Duration;

use coracle_api::seams::{Session, StreamOptions, TerminalSize};
use coracle_node::runtime::{ContainerConfig, ContainerState, Limits, Mount, NamespaceMode, RuntimeError, RuntimeEvent, Seccomp};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::subject::{IMAGE, Subject};

pub struct Case {
    pub name: &'static str,
    pub run: for<'a> fn(&'a Subject) -> BoxFuture<'a, ()>,
}

macro_rules! cases {
    ($($name:ident),* $(,)?) => { vec![$(Case { name: stringify!($name), run: |subject| $name(subject).boxed() }),*] };
}

/// What holds without processes too.
pub fn simulated() -> Vec<Case> {
    cases![states_are_told, removal]
}

pub fn docker() -> Vec<Case> {
    let mut all = with_processes();
    all.extend(cases![the_death_of_a_sandbox, profiles_of_system_calls]);
    all
}

pub fn native() -> Vec<Case> {
    let mut all = with_processes();
    all.extend(cases![the_death_of_a_shim, many_commands_leak_nothing]);
    all
}

fn with_processes() -> Vec<Case> {
    cases![
        states_are_told,
        exit_codes_and_logs,
        a_command_that_cannot_start,
        commands_in_a_container,
        a_terminal,
        standard_input,
        attach_to_output,
        stopping,
        out_of_memory,
        identity_and_root,
        capabilities_and_privileges,
        namespaces_of_the_pod,
        a_shared_pid_namespace,
        logs_are_rotated,
        images_are_listed_and_removed,
        the_demo_server,
        a_restart_of_the_agent,
        removal,
    ]
}

fn both() -> StreamOptions {
    StreamOptions { stdin: false, stdout: true, stderr: true, tty: false }
}

async fn text(session: &mut Session) -> String {
    let mut text = String::new();
    session.stdout.as_mut().unwrap().read_to_string(&mut text).await.unwrap();
    text
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

async fn sh(subject: &Subject, id: &str, script: &str) -> String {
    let command = ["sh", "-c", script].map(str::to_owned);
    let result = subject.runtime().exec_sync(id, &command, Some(Duration::from_secs(20))).await.unwrap();
    String::from_utf8(result.output).unwrap()
}

async fn states_are_told(subject: &Subject) {
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

async fn exit_codes_and_logs(subject: &Subject) {
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

async fn a_command_that_cannot_start(subject: &Subject) {
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

async fn commands_in_a_container(subject: &Subject) {
    let runtime = subject.runtime();
    let (_, id) = subject.started("exec", &subject.script("c", "sleep 1000")).await;
    let result = runtime.exec_sync(&id, &["sh".into(), "-c".into(), "echo a; echo b >&2; exit 7".into()], None).await.unwrap();
    // Of two streams of an engine nobody knows which was written to first.
    let outputs: &[&[u8]] = if subject.is("docker") { &[b"a\nb\n", b"b\na\n"] } else { &[b"a\nb\n"] };
    assert!(result.code == 7 && outputs.contains(&result.output.as_slice()), "{result:?}");
    let long = runtime.exec_sync(&id, &["sh".into(), "-c".into(), "head -c 100000 /dev/zero | tr '\\0' x".into()], None).await.unwrap();
    assert_eq!((long.code, long.output.len()), (0, 10 << 10));
    let after = Duration::from_millis(200);
    let late = runtime.exec_sync(&id, &words("sleep 999"), Some(after)).await.unwrap_err();
    assert!(matches!(late, RuntimeError::Timeout { .. }), "{late:?}");
    let missing = runtime.exec_sync(&id, &words("nope"), None).await.unwrap_err();
    assert_eq!(missing.to_string(), "exec: \"nope\": executable file not found in $PATH");

    let mut session = runtime.exec(&id, &["sh".into(), "-c".into(), "echo out; echo err >&2; exit 4".into()], both()).await.unwrap();
    let mut errors = String::new();
    session.stderr.as_mut().unwrap().read_to_string(&mut errors).await.unwrap();
    assert_eq!((text(&mut session).await.as_str(), errors.as_str()), ("out\n", "err\n"));
    assert_eq!(session.exit.await.unwrap(), 4);

    let streams = StreamOptions { stdin: true, ..both() };
    let mut session = runtime.exec(&id, &words("cat"), streams).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    let big = "0123456789".repeat(30_000);
    let written = big.clone();
    tokio::spawn(async move {
        stdin.write_all(written.as_bytes()).await.unwrap();
    });
    assert_eq!(text(&mut session).await, big);
    assert_eq!(session.exit.await.unwrap(), 0);
    assert!(!sh(subject, &id, "ps ax").await.contains("sleep 999"));
}

async fn a_terminal(subject: &Subject) {
    let runtime = subject.runtime();
    let (_, id) = subject.started("tty", &subject.script("c", "sleep 1000")).await;
    let streams = StreamOptions { stdin: true, stdout: true, stderr: false, tty: true };
    let mut session = runtime.exec(&id, &words("sh"), streams).await.unwrap();
    session.resize.as_ref().unwrap().send(TerminalSize { width: 101, height: 43 }).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    // The size is set by another task: ask until it is there.
    stdin.write_all(b"until [ \"$(stty size)\" = '43 101' ]; do :; done; echo size $(stty size) $TERM; exit 5\n").await.unwrap();
    let shown = text(&mut session).await;
    assert!(shown.contains("size 43 101 xterm\r\n"), "{shown:?}");
    assert_eq!(session.exit.await.unwrap(), 5);

    let mut config = subject.script("t", "stty size; read line; echo got $line; exit 6");
    (config.tty, config.stdin) = (true, true);
    let (_, id) = subject.started("tty-first", &config).await;
    let mut session = runtime.attach(&id, streams).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"hello\n").await.unwrap();
    let shown = text(&mut session).await;
    assert!(shown.contains("got hello\r\n"), "{shown:?}");
    assert_eq!(session.exit.await.unwrap(), 6);
    assert!(subject.log(&id, "got hello").await.contains("stdout F got hello\n"));
}

async fn standard_input(subject: &Subject) {
    let runtime = subject.runtime();
    let mut config = subject.script("c", "cat; echo end");
    (config.stdin, config.stdin_once) = (true, true);
    let (_, id) = subject.started("stdin", &config).await;
    let mut session = runtime.attach(&id, StreamOptions { stdin: true, ..both() }).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"one\n").await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(text(&mut session).await, "one\nend\n");
    assert_eq!(session.exit.await.unwrap(), 0);

    config.stdin_once = false;
    config.command = ["sh", "-c", "while read line; do echo got $line; done"].map(str::to_owned).into();
    let (_, id) = subject.started("stdin-kept", &config).await;
    for word in ["first", "second"] {
        let mut session = runtime.attach(&id, StreamOptions { stdin: true, stdout: false, stderr: false, tty: false }).await.unwrap();
        session.stdin.as_mut().unwrap().write_all(format!("{word}\n").as_bytes()).await.unwrap();
        drop(session);
        subject.log(&id, &format!("got {word}")).await;
    }
}

async fn attach_to_output(subject: &Subject) {
    let runtime = subject.runtime();
    let (_, id) = subject
        .started("attach", &subject.script("c", "echo before; sleep 1000 & trap 'echo bye; kill $!; exit 9' TERM; echo ready; wait"))
        .await;
    subject.log(&id, "ready").await;
    let mut session = runtime.attach(&id, both()).await.unwrap();
    let (stop, shown) = tokio::join!(runtime.stop_container(&id, None, Duration::from_secs(20)), text(&mut session));
    stop.unwrap();
    assert_eq!(shown, "bye\n");
    assert_eq!(session.exit.await.unwrap(), 9);
    assert!(matches!(runtime.attach(&id, both()).await, Err(RuntimeError::NotRunning { .. })));
}

async fn stopping(subject: &Subject) {
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

async fn out_of_memory(subject: &Subject) {
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

async fn identity_and_root(subject: &Subject) {
    let runtime = subject.runtime();
    let sandbox = runtime.run_sandbox(&subject.sandbox("identity")).await.unwrap();
    let mut config = subject.script("c", "id -u; id -g; id -G; pwd; echo $HOSTNAME $A $B; touch /x 2>/dev/null || echo read-only");
    config.security.run_as_user = Some(1000);
    config.security.run_as_group = Some(2000);
    config.security.supplemental_groups = vec![3000];
    config.security.read_only_root = true;
    config.working_dir = "/made/here".to_owned();
    config.env = [("A", "1"), ("B", "2"), ("A", "3")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let id = runtime.create_container(&sandbox, &config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    subject.ended(&id).await;
    let log = subject.log(&id, "read-only").await.replace("stdout F ", "");
    assert_eq!(log, "1000\n2000\n2000 3000\n/made/here\nidentity 3 2\nread-only\n");
    config.security.run_as_user = None;
    config.image = IMAGE.to_owned();
    config.security.run_as_group = None;
    config.security.supplemental_groups.clear();
    config.command = ["sh", "-c", "echo $(id -u) $(id -g) $HOME"].map(str::to_owned).into();
    let id = runtime.create_container(&sandbox, &config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    assert!(subject.log(&id, "0 0 /root").await.contains("stdout F 0 0 /root\n"));
}

async fn capabilities_and_privileges(subject: &Subject) {
    let runtime = subject.runtime();
    let sandbox = runtime.run_sandbox(&subject.sandbox("caps")).await.unwrap();
    let show = "while read name value; do case $name in CapEff:|CapBnd:|NoNewPrivs:) echo $name $value;; esac; done < /proc/self/status";
    let capabilities =
        |log: &str| log.lines().find_map(|line| line.split("CapEff: ").nth(1)).map(|hex| u64::from_str_radix(hex, 16).unwrap());
    let mut config = subject.script("c", &format!("{show}; cat /proc/kcore 2>&1 | head -c 1; ls -d /dev/null; echo done"));
    config.security.no_new_privileges = true;
    let id = runtime.create_container(&sandbox, &config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let log = subject.log(&id, "done").await;
    assert_eq!(capabilities(&log), Some(0x0000_0000_a804_25fb), "{log}");
    assert!(log.contains("NoNewPrivs: 1"), "{log}");
    config.security.no_new_privileges = false;
    config.security.drop_capabilities = vec!["ALL".to_owned()];
    config.security.add_capabilities = vec!["NET_BIND_SERVICE".to_owned()];
    config.log_path = "d/0.log".into();
    let id = runtime.create_container(&sandbox, &config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let log = subject.log(&id, "done").await;
    assert_eq!(capabilities(&log), Some(1 << 10), "{log}");
    if subject.is("docker") && !may_everything() {
        println!("test docker::capabilities_and_privileges ... privileged is skipped: this machine has not all capabilities to give");
        return;
    }
    config = subject.script("e", &format!("{show}; echo 1 > /proc/sys/net/ipv4/ip_forward && echo done"));
    config.security.privileged = true;
    let id = runtime.create_container(&sandbox, &config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let log = subject.log(&id, "done").await;
    assert!(capabilities(&log).unwrap().count_ones() > 35, "{log}");
}

/// Engines give a privileged container every capability that there is, or fail.
fn may_everything() -> bool {
    let number = |path: &str, name: &str, radix| {
        let text = std::fs::read_to_string(path).unwrap();
        let word = text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        u64::from_str_radix(&word, radix).unwrap()
    };
    number("/proc/self/status", "CapBnd:", 16).count_ones() as u64 == number("/proc/sys/kernel/cap_last_cap", "", 10) + 1
}

async fn namespaces_of_the_pod(subject: &Subject) {
    let runtime = subject.runtime();
    let volume = tempfile::tempdir().unwrap();
    std::fs::write(volume.path().join("file"), "from the host\n").unwrap();
    let mut pod = subject.sandbox("pod");
    pod.sysctls =
        [("net.ipv4.ip_unprivileged_port_start", "80"), ("kernel.shm_rmid_forced", "1")].map(|(k, v)| (k.into(), v.into())).into();
    let sandbox = runtime.run_sandbox(&pod).await.unwrap();
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        let mut config = subject.script(name, "sleep 1000");
        let mount = |destination: &str, read_only| Mount {
            source: volume.path().to_owned(),
            destination: destination.into(),
            read_only,
            propagation: "private".to_owned(),
            ..Mount::default()
        };
        config.mounts = vec![mount("/data", false), mount("/frozen", true)];
        let id = runtime.create_container(&sandbox, &config).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        ids.push(id);
    }
    // An engine's containers have names of the host of their own, equal ones.
    let uts = if subject.is("docker") { "" } else { "/proc/self/ns/uts" };
    let links = &format!("readlink /proc/self/ns/ipc {uts} /proc/self/ns/net; hostname");
    let (a, b) = (sh(subject, &ids[0], links).await, sh(subject, &ids[1], links).await);
    assert_eq!(a, b);
    assert!(a.ends_with("\npod\n"), "{a}");
    let own = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_string_lossy().into_owned();
    assert!(!a.contains(&own("ipc")) && !a.contains(&own("uts")) && !a.contains(&own("net")));
    assert_eq!(
        sh(
            subject,
            &ids[0],
            "cat /data/file; echo changed > /data/file; echo x > /dev/shm/y; echo $$ > /dev/null; { echo 1 > /frozen/x; } 2>/dev/null || echo no"
        )
        .await
        .lines()
        .next(),
        Some("from the host")
    );
    assert_eq!(sh(subject, &ids[1], "cat /frozen/file /dev/shm/y; [ -e /frozen/x ] || echo absent").await, "changed\nx\nabsent\n");
    let set = sh(subject, &ids[0], "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced").await;
    assert_eq!(set, "80\n1\n");
    let processes = sh(subject, &ids[0], "cat /proc/1/cmdline | tr '\\0' ' '").await;
    assert_eq!(processes, "sh -c sleep 1000 ");
    // what the shell itself says of it may come before or after
    let said = sh(subject, &ids[0], "cd /sys/fs/cgroup; [ -d cpu ] && cd cpu; ls >/dev/null && echo 1 > x || echo read-only").await;
    assert!(said.lines().any(|line| line == "read-only"), "{said}");
}

async fn a_shared_pid_namespace(subject: &Subject) {
    let runtime = subject.runtime();
    let mut shared = subject.sandbox("shared");
    shared.pid = NamespaceMode::Pod;
    let sandbox = runtime.run_sandbox(&shared).await.unwrap();
    let mut ids = Vec::new();
    for (name, script) in [("a", "sleep 4321"), ("b", "sleep 1234 & sleep 1234")] {
        let id = runtime.create_container(&sandbox, &subject.script(name, script)).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        ids.push(id);
    }
    let seen = sh(subject, &ids[1], "ps ax").await;
    assert!(seen.contains("sleep 4321") && seen.contains("sleep 1234"), "{seen}");
    // All processes of a container end with its first one.
    runtime.stop_container(&ids[1], None, Duration::ZERO).await.unwrap();
    let seen = sh(subject, &ids[0], "ps ax").await;
    assert!(seen.contains("sleep 4321") && !seen.contains("sleep 1234"), "{seen}");
    runtime.stop_sandbox(&sandbox).await.unwrap();
    assert_eq!(subject.ended(&ids[0]).await, (137, "Error".to_owned()));
}

async fn logs_are_rotated(subject: &Subject) {
    let runtime = subject.runtime();
    let mut config = subject.script("c", "while read line; do echo $line; done");
    config.stdin = true;
    let (_, id) = subject.started("rotate", &config).await;
    let mut session = runtime.attach(&id, StreamOptions { stdin: true, ..both() }).await.unwrap();
    let stdin = session.stdin.as_mut().unwrap();
    stdin.write_all(b"before\n").await.unwrap();
    subject.log(&id, "before").await;
    let path = subject.container(&id).await.unwrap().log_path;
    std::fs::rename(&path, path.with_extension("old")).unwrap();
    runtime.reopen_log(&id).await.unwrap();
    stdin.write_all(b"after\n").await.unwrap();
    assert_eq!(subject.log(&id, "after").await, "stdout F after\n");
}

async fn images_are_listed_and_removed(subject: &Subject) {
    let runtime = subject.runtime();
    let image = runtime.image(IMAGE).await.unwrap().unwrap();
    assert_eq!(image.tags, [IMAGE]);
    assert!(image.size > 100_000);
    assert_eq!(runtime.image(&image.id).await.unwrap(), Some(image.clone()));
    assert!(runtime.images().await.unwrap().contains(&image));
    assert!(runtime.image("none").await.unwrap().is_none());
    let error = runtime.pull_image("127.0.0.1:9/none", &[]).await.unwrap_err().to_string();
    assert!(error.starts_with("failed to pull and unpack image \"127.0.0.1:9/none:latest\": failed to resolve image"), "{error}");
    assert!(matches!(runtime.remove_image("none").await, Err(RuntimeError::NotFound { .. })));
    assert!(runtime.load_images(std::path::Path::new("/dev/null")).await.is_err());
}

async fn the_demo_server(subject: &Subject) {
    let runtime = subject.runtime();
    let mut config = subject.script("web", "");
    config.command.clear();
    config.image = "coracle.local/kubia:1.1".to_owned();
    assert!(runtime.image(&config.image).await.unwrap().is_some());
    let (sandbox, id) = subject.started("kubia", &config).await;
    subject.log(&id, "Listening on port 8080").await;
    let connect = || {
        let mut stream = std::net::TcpStream::connect("127.0.0.1:8080").unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let answer = subject.inside(&sandbox, connect).await;
    assert!(answer.ends_with("\n\r\nHey there, this is kubia. Your IP is 127.0.0.1.\n"), "{answer}");
    assert!(subject.log(&id, "Received request for /").await.contains("from 127.0.0.1"));
    runtime.stop_container(&id, None, Duration::from_secs(20)).await.unwrap();
    assert_eq!(subject.ended(&id).await, (0, "Completed".to_owned()));

    config.image = "coracle.local/kubia:1.0-stdin".to_owned();
    config.stdin = true;
    let (_, id) = subject.started("kubia-stdin", &config).await;
    let mut session = runtime.attach(&id, StreamOptions { stdin: true, ..both() }).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"Howdy\n").await.unwrap();
    subject.log(&id, "Greeting set to: Howdy").await;
    // Without a handler the first process does not hear TERM.
    runtime.stop_container(&id, None, Duration::from_millis(100)).await.unwrap();
    assert_eq!(subject.ended(&id).await.0, 137);
}

async fn a_restart_of_the_agent(subject: &Subject) {
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

async fn the_death_of_a_shim(subject: &Subject) {
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

async fn the_death_of_a_sandbox(subject: &Subject) {
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

async fn profiles_of_system_calls(subject: &Subject) {
    let runtime = subject.runtime();
    let sandbox = runtime.run_sandbox(&subject.sandbox("seccomp")).await.unwrap();
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#;
    subject.seccomp_profile("own/no-mkdir.json", profile);
    let no_mkdir = "[ -d /x ] && echo made || echo not made";
    let cases = [
        (Seccomp::Unconfined, "0", "made"),
        (Seccomp::RuntimeDefault, "2", "made"),
        (Seccomp::Localhost("own/no-mkdir.json".to_owned()), "2", "not made"),
    ];
    for (number, (seccomp, mode, made)) in cases.into_iter().enumerate() {
        let script =
            format!("while read name value; do [ $name = Seccomp: ] && echo mode $value; done < /proc/self/status; mkdir /x; {no_mkdir}");
        let mut config = subject.script(&format!("s{number}"), &script);
        config.security.seccomp = seccomp;
        let id = runtime.create_container(&sandbox, &config).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        subject.ended(&id).await;
        let log = subject.log(&id, "made").await;
        assert!(log.contains(&format!("stdout F mode {mode}\n")) && log.ends_with(&format!("stdout F {made}\n")), "{log}");
    }
    let mut config = subject.script("none", "true");
    config.security.seccomp = Seccomp::Localhost("no/such.json".to_owned());
    let error = runtime.create_container(&sandbox, &config).await.unwrap_err().to_string();
    assert!(error.starts_with("failed to load seccomp profile"), "{error}");
}

async fn many_commands_leak_nothing(subject: &Subject) {
    let runtime = subject.runtime();
    let (_, id) = subject.started("leak", &subject.script("c", "sleep 1000")).await;
    let pid = subject.container(&id).await.unwrap().pid.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let shim = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned();
    let open = || std::fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count();
    sh(subject, &id, "true").await;
    let before = open();
    let tty = StreamOptions { stdin: true, stdout: true, stderr: false, tty: true };
    for _ in 0..10 {
        sh(subject, &id, "true").await;
        let mut session = runtime.exec(&id, &words("id"), tty).await.unwrap();
        text(&mut session).await;
        session.exit.await.unwrap();
        assert!(runtime.exec_sync(&id, &words("nope"), None).await.is_err());
        drop(runtime.attach(&id, both()).await.unwrap());
    }
    sh(subject, &id, "echo").await;
    // The shim notices closed connections when it next looks.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while open() > before + 2 {
        let names = || std::fs::read_dir(format!("/proc/{shim}/fd")).unwrap().flatten();
        let shown: Vec<_> = names().filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
        assert!(std::time::Instant::now() < deadline, "{before} before, now {shown:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn removal(subject: &Subject) {
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

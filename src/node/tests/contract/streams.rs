//! Commands, terminals, input and logs.

use std::time::Duration;

use coracle_api::seams::{StreamOptions, TerminalSize};
use coracle_node::runtime::RuntimeError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{both, sh, text, words};
use crate::subject::Subject;

pub async fn commands_in_a_container(subject: &Subject) {
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

pub async fn a_terminal(subject: &Subject) {
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

pub async fn standard_input(subject: &Subject) {
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
    // the end of what is typed is not the end of what is heard
    let mut session = runtime.attach(&id, StreamOptions { stdin: true, ..both() }).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"third\n").await.unwrap();
    stdin.shutdown().await.unwrap();
    drop(stdin);
    let mut heard = [0; 10];
    session.stdout.as_mut().unwrap().read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"got third\n");
}

/// What is one session's is kept for it, also when there is no more to come; of much only the end.
pub async fn output_before_the_first_session(subject: &Subject) {
    let runtime = subject.runtime();
    let streams = StreamOptions { stdin: true, ..both() };
    let once = |script: &str| {
        let mut config = subject.script("c", script);
        (config.stdin, config.stdin_once) = (true, true);
        config
    };
    let (_, id) = subject.started("early", &once("echo early; echo wrong >&2; read line; echo got $line")).await;
    subject.log(&id, "early").await;
    subject.log(&id, "wrong").await;
    let mut session = runtime.attach(&id, streams).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"one\n").await.unwrap();
    let mut errors = String::new();
    session.stderr.as_mut().unwrap().read_to_string(&mut errors).await.unwrap();
    assert_eq!((text(&mut session).await.as_str(), errors.as_str()), ("early\ngot one\n", "wrong\n"));
    assert_eq!(session.exit.await.unwrap(), 0);

    let (_, id) = subject.started("closed", &once("echo said; exec >&- 2>&-; read line; exit 3")).await;
    subject.log(&id, "said").await;
    let mut session = runtime.attach(&id, streams).await.unwrap();
    session.stdin.as_mut().unwrap().shutdown().await.unwrap();
    drop(session.stdin.take());
    assert_eq!(text(&mut session).await, "said\n");
    assert_eq!(session.exit.await.unwrap(), 3);

    let (_, id) = subject
        .started("much", &once("head -c 1000000 /dev/zero | tr '\\0' x; echo last; read line; echo got $line; read line; echo end"))
        .await;
    subject.log(&id, "last").await;
    let mut session = runtime.attach(&id, streams).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"two\n").await.unwrap();
    let mut shown = Vec::new();
    while !shown.ends_with(b"last\ngot two\n") {
        let count = session.stdout.as_mut().unwrap().read_buf(&mut shown).await.unwrap();
        assert!(count > 0, "it ends with {:?}", String::from_utf8_lossy(&shown[shown.len().saturating_sub(100)..]));
    }
    assert!((1 << 10..300 << 10).contains(&shown.len()), "{} bytes", shown.len());
    // a second one is not given it again
    let mut second = runtime.attach(&id, both()).await.unwrap();
    drop(stdin);
    assert_eq!(text(&mut second).await, "end\n");
    assert_eq!(second.exit.await.unwrap(), 0);
}

pub async fn attach_to_output(subject: &Subject) {
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

pub async fn logs_are_rotated(subject: &Subject) {
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

pub async fn many_commands_leak_nothing(subject: &Subject) {
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

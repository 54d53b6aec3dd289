//! Streams of commands that do not run.

use coracle_api::seams::{Session, StreamOptions, TerminalSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{mpsc, watch};

use super::Simulated;
use super::script::Script;
use crate::runtime::Runtime;

const BUFFER: usize = 16 * 1024;

fn resize(streams: StreamOptions) -> Option<mpsc::Sender<TerminalSize>> {
    streams.tty.then(|| mpsc::channel(1).0)
}

/// A shell reads what it is given and says it again; any other command prints its script's output and ends.
pub(super) fn exec(script: &Script, command: &[String], streams: StreamOptions) -> Session {
    let (ours, theirs) = duplex(BUFFER);
    let (input, stdin) = duplex(BUFFER);
    let shell = command.len() == 1 && command[0].rsplit('/').next().is_some_and(|name| matches!(name, "sh" | "bash" | "cat"));
    let interactive = streams.stdin && shell;
    let output = script.exec_output(command);
    let code = script.exec_code;
    let done = tokio::spawn(run(ours, input, output, interactive, streams.tty));
    Session {
        stdin: streams.stdin.then(|| Box::new(stdin) as _),
        stdout: streams.stdout.then(|| Box::new(theirs) as _),
        stderr: (streams.stderr && !streams.tty).then(|| Box::new(tokio::io::empty()) as _),
        resize: resize(streams),
        exit: Box::pin(async move {
            let _ = done.await;
            Ok(code)
        }),
    }
}

async fn run(mut output: DuplexStream, mut input: DuplexStream, text: String, interactive: bool, tty: bool) {
    if output.write_all(text.as_bytes()).await.is_err() || !interactive {
        return;
    }
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = input.read(&mut buffer).await {
        // ctrl-d ends a terminal's input.
        let end = buffer[..count].iter().position(|&byte| tty && byte == 4).unwrap_or(count);
        if output.write_all(&buffer[..end]).await.is_err() || end < count {
            return;
        }
    }
}

/// The container's log from now on, until it ends.
pub(super) fn attach(runtime: Simulated, id: String, mut ended: watch::Receiver<bool>, streams: StreamOptions) -> Session {
    let (mut ours, theirs) = duplex(BUFFER);
    let (_, stdin) = duplex(BUFFER);
    let follow = async move {
        let mut after = Some(runtime.now());
        loop {
            let Some(log) = runtime.scripted_log(&id, after).await else { return };
            for (time, line) in log.lines {
                after = Some(time);
                if ours.write_all(format!("{line}\n").as_bytes()).await.is_err() {
                    return;
                }
            }
            match log.next {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        }
    };
    let done = tokio::spawn(async move {
        tokio::select! {
            () = follow => {}
            _ = ended.wait_for(|&ended| ended) => {}
        }
    });
    Session {
        stdin: streams.stdin.then(|| Box::new(stdin) as _),
        stdout: streams.stdout.then(|| Box::new(theirs) as _),
        stderr: None,
        resize: resize(streams),
        exit: Box::pin(async move {
            let _ = done.await;
            Ok(0)
        }),
    }
}

//! kubectl's verbs.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use coracle_verbs::edit::Edit;
use coracle_verbs::exec::{Attach, Exec};
use coracle_verbs::run::Run;
use coracle_verbs::{Out, Session, Verb, VerbError};

use super::arguments::Global;
use super::failure::Failure;
use super::{connection, shown, terminal};

pub(crate) async fn run(global: &Global, verb: &Verb) -> Result<ExitCode, Failure> {
    let session = connection::session(global).await?;
    verb.run(&session, &mut Out { text: &mut shown::stdout(), beside: &mut shown::stderr() }).await?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn exec(global: &Global, verb: &Exec) -> Result<ExitCode, Failure> {
    let session = connection::session(global).await?;
    let mut raw = None;
    let console = || terminal::console(verb.at.stdin, verb.at.tty, &mut raw);
    let ended = verb.run(&session, console, &mut Out { text: &mut shown::stdout(), beside: &mut shown::stderr() }).await;
    drop(raw);
    ended?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn attach(global: &Global, verb: &Attach) -> Result<ExitCode, Failure> {
    let session = connection::session(global).await?;
    join(&session, verb).await?;
    Ok(ExitCode::SUCCESS)
}

async fn join(session: &Session, verb: &Attach) -> Result<(), VerbError> {
    let mut raw = None;
    let console = || terminal::console(verb.stdin, verb.tty, &mut raw);
    let ended = verb.run(session, console, &mut Out { text: &mut shown::stdout(), beside: &mut shown::stderr() }).await;
    drop(raw);
    ended
}

pub(crate) async fn edit(global: &Global, verb: &Edit) -> Result<ExitCode, Failure> {
    let session = connection::session(global).await?;
    verb.run(&session, edited, &mut Out { text: &mut shown::stdout(), beside: &mut shown::stderr() }).await?;
    Ok(ExitCode::SUCCESS)
}

/// What `$KUBE_EDITOR` or `$EDITOR` makes of a text, which stands in a file that nobody else may read.
fn edited(text: &str) -> Result<String, String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor = set("KUBE_EDITOR").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    let file = tempfile::Builder::new().prefix("coracle-edit-").suffix(".yaml").tempfile().map_err(|error| error.to_string())?;
    std::fs::write(file.path(), text).map_err(|error| error.to_string())?;
    // as a shell reads it: it may have arguments
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file.path());
    let status = command.status().map_err(|error| format!("{editor}: {error}"))?;
    if !status.success() {
        return Err(format!("{editor} failed: {status}"));
    }
    std::fs::read_to_string(file.path()).map_err(|error| error.to_string())
}

/// How long a pod that is joined has to start.
const START: Duration = Duration::from_secs(120);

pub(crate) async fn run_pod(global: &Global, verb: &Run) -> Result<ExitCode, Failure> {
    let session = connection::session(global).await?;
    let mut out = Out { text: &mut shown::stdout(), beside: &mut shown::stderr() };
    let pod = verb.pod()?;
    if !verb.stdin || verb.making.dry_run != "none" {
        verb.making.make(&session, pod, "created", &mut out).await?;
        return Ok(ExitCode::SUCCESS);
    }
    verb.making.make(&session, pod, "created", &mut Out { text: &mut io::sink(), beside: &mut shown::stderr() }).await?;
    let ended = joined(&session, verb, &mut out).await;
    if verb.rm {
        let target = session.one(&[format!("pod/{}", verb.name)]).await?;
        session.ask(&coracle_verbs::call::Call::delete(&target, "Background", None)).await?;
        out.line(format!("pod {:?} deleted", verb.name));
    }
    Ok(ExitCode::from(ended?))
}

/// Joins the pod once it runs, or prints what it wrote if it has ended by then; the exit code of its container.
async fn joined(session: &Session, verb: &Run, out: &mut Out<'_>) -> Result<u8, Failure> {
    let path = session.one(&[format!("pod/{}", verb.name)]).await?.path();
    let phase = async |wanted: &[&str]| -> Result<serde_json::Value, Failure> {
        let deadline = tokio::time::Instant::now() + START;
        loop {
            let pod = session.read(path.clone()).await?;
            if wanted.iter().any(|phase| pod["status"]["phase"] == *phase) {
                return Ok(pod);
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(VerbError::wrong("timed out waiting for the condition").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ends = ["Succeeded", "Failed"];
    let pod = phase(&["Running", ends[0], ends[1]]).await?;
    let mut missed = pod["status"]["phase"] != "Running";
    if !missed {
        let attach = Attach { pod: verb.name.clone(), container: None, stdin: true, tty: verb.tty };
        if let Err(error) = join(session, &attach).await {
            out.aside(format!("warning: couldn't attach to pod/{}, falling back to streaming logs: {error}", verb.name));
            missed = true;
        }
    }
    if missed {
        let call = coracle_verbs::call::Call::get(format!("{path}/log?follow=true"));
        let request = call.request().map_err(|fault| Failure::plain(fault.message))?;
        let log = session.client.request_stream(request).await.map_err(VerbError::from)?;
        let copied = futures::io::copy(log, &mut futures::io::AllowStdIo::new(shown::stdout())).await;
        copied.map_err(|error| VerbError::Unreachable(error.to_string()))?;
    }
    if verb.restart == "Always" {
        return Ok(0);
    }
    let pod = phase(&ends).await?;
    let code = pod.pointer("/status/containerStatuses/0/state/terminated/exitCode").and_then(serde_json::Value::as_u64);
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

//! A command in the container: exit code 0 is success.

use std::time::Duration;

use super::Finding;
use crate::agent::Agent;
use crate::runtime::RuntimeError;

pub(super) async fn probe(agent: &Agent, id: &str, command: &[String], timeout: Duration) -> Finding {
    let words = command.join(" ");
    let timed_out = || Finding::Failure(format!("command timed out: \"{words}\" timed out after {}s", timeout.as_secs()));
    // The runtime ends the command in time; the second clock is for a runtime that does not.
    let run = agent.runtime.exec_sync(id, command, Some(timeout));
    match tokio::time::timeout(timeout + Duration::from_secs(5), run).await {
        Ok(Ok(output)) if output.code == 0 => Finding::Success,
        Ok(Ok(output)) => Finding::Failure(String::from_utf8_lossy(&output.output).into_owned()),
        Ok(Err(RuntimeError::Timeout { .. })) | Err(_) => timed_out(),
        Ok(Err(error)) => Finding::Unknown(crate::pod::hooks::exec_error(&error)),
    }
}

//! `postStart` and `preStop`.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{LifecycleHandler, Pod};

use super::{display, member};
use crate::agent::Agent;
use crate::probes::http;
use crate::runtime::{Container, RuntimeError};

/// Runs a hook; the error's text is what `PostStartHookError` shows.
pub(crate) async fn run(agent: &Agent, pod: &Pod, ips: &[IpAddr], container: &Container, hook: &LifecycleHandler) -> Result<(), String> {
    let place = format!("for Container \"{}\" in Pod \"{}\" failed - error", container.name, display(pod));
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let words = command.join(" ");
        return match agent.runtime.exec_sync(&container.id, &command, None).await {
            Ok(output) if output.code == 0 => Ok(()),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.output);
                let code = output.code;
                Err(format!("Exec lifecycle hook ([{words}]) {place}: command '{words}' exited with {code}: , message: {text:?}"))
            }
            Err(error) => Err(format!("Exec lifecycle hook ([{words}]) {place}: {}, message: \"\"", exec_error(&error))),
        };
    }
    if let Some(get) = &hook.http_get {
        let path = get.path.clone().unwrap_or_default();
        let member = member(pod, &container.name);
        let spec = member.as_ref().map(|member| member.spec.as_ref());
        let request = http::Request::of(get, spec, ips).map_err(|error| format!("HTTP lifecycle hook ({path}) {place}: {error}"))?;
        return match http::get(agent, super::host_network(pod), &request, Duration::from_secs(30)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("HTTP lifecycle hook ({path}) {place}: {error}")),
        };
    }
    if let Some(sleep) = &hook.sleep {
        let container_end = tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0)));
        container_end.await;
    }
    Ok(())
}

/// Why a command gave no answer.
pub(crate) fn exec_error(error: &RuntimeError) -> String {
    match error {
        RuntimeError::Start { message } => format!("failed to exec in container: {message}"),
        RuntimeError::NotRunning { .. } => "failed to exec in container: container is in CONTAINER_EXITED state".to_owned(),
        other => other.to_string(),
    }
}

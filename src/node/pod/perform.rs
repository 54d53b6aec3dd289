//! What is planned is done: containers end, the sandbox is made, others start or wait.

use std::time::Duration;

use coracle_client::EventType;
use jiff::Timestamp;

use super::Role;
use super::life::{Life, Next, earliest};
use super::plan::{Kill, Observed, Plan, SandboxPlan, Wait, plan};
use crate::runtime::RuntimeError;
use crate::status::Reason;

/// How long a worker lets a container that failed be, before it says that it waits.
const LOOK: Duration = Duration::from_secs(10);

impl Life {
    /// Does what is planned.
    pub(super) async fn act(&mut self, observed: &Observed, deadline: Option<Timestamp>) -> Result<Next, RuntimeError> {
        let now = self.now();
        let mut plan = next_plan(self, observed);
        if plan.kill_pod {
            self.kill_pod(observed, None).await?;
            return Ok(Next::Again);
        }
        let resizing = !self.resizes.conditions.is_empty();
        plan.kill.extend(self.resize(observed).await.into_iter().map(|container| Kill {
            message: format!("Container {} resize requires restart", container.name),
            id: container.id,
            name: container.name,
            probe: None,
        }));
        if resizing && self.resizes.conditions.is_empty() {
            return Ok(Next::Again);
        }
        if let SandboxPlan::Create { attempt, changed } = plan.sandbox {
            if changed {
                let message = "Pod sandbox changed, it will be killed and re-created.";
                self.agent.event(&self.pod, None, EventType::Normal, "SandboxChanged", message);
                self.kill_pod(observed, None).await?;
            }
            if let Err(message) = self.create_sandbox(attempt).await {
                let message = format!("Failed to create pod sandbox: {message}");
                self.agent.event(&self.pod, None, EventType::Warning, "FailedCreatePodSandBox", message);
                return Ok(Next::Wait(earliest(Some(now + Duration::from_secs(10)), deadline)));
            }
            if self.agent.runtime.has_files() {
                return Ok(Next::Again);
            }
            // Without processes the next state is there at once: the one in between is not worth a write.
            let observed = self.observe().await?;
            let next = next_plan(self, &observed);
            return self.start_some(next, &observed, deadline, true).await;
        }
        if self.kill_some(&plan.kill, observed).await && !self.worker.ending.is_cancelled() {
            // Killed and started again in one step: readers see the new instance, not the gap.
            let observed = self.observe().await?;
            let again = next_plan(self, &observed);
            return self.start_some(again, &observed, deadline, true).await;
        }
        self.start_some(plan, observed, deadline, false).await
    }

    /// Starts what is due; `acted`: something has been done before.
    async fn start_some(
        &mut self,
        plan: Plan,
        observed: &Observed,
        deadline: Option<Timestamp>,
        acted: bool,
    ) -> Result<Next, RuntimeError> {
        let now = self.now();
        let mut acted = acted;
        for wait in &plan.wait {
            self.announce(wait, observed);
        }
        for (role, container) in &plan.start {
            if self.worker.ending.is_cancelled() {
                break;
            }
            if self.retry.get(container).is_some_and(|&until| until > now) {
                continue;
            }
            let started = self.start_container(*role, container, observed).await;
            acted |= started || !self.later.contains_key(container);
            if !started && *role != Role::Main && *role != Role::Ephemeral {
                break;
            }
        }
        if acted {
            return Ok(Next::Again);
        }
        let waits = plan.wait.iter().map(|wait| wait.until).chain(self.retry.values().copied().filter(|&until| until > now));
        let until = waits.fold(earliest(deadline, self.volumes.refresh_at()), |until, wait| earliest(until, Some(wait)));
        let until = self.later.values().fold(until, |until, (at, _)| earliest(until, Some(*at)));
        self.retry.retain(|_, until| *until > now);
        Ok(Next::Wait(until))
    }

    /// Says that a container is in back-off, once for each instance.
    fn announce(&mut self, wait: &Wait, observed: &Observed) {
        let instance = observed.newest(&wait.name).map(|container| container.id.clone()).unwrap_or_default();
        let pod = super::display(&self.pod);
        let message = format!("back-off {} restarting failed container={} pod={pod}", go_duration(wait.delay), wait.name);
        let reason = Reason { reason: "CrashLoopBackOff".to_owned(), message };
        if self.announced.insert(wait.name.clone(), instance.clone()) == Some(instance) {
            return;
        }
        self.show_later(&wait.name, wait.until, reason);
        let path = super::member(&self.pod, &wait.name).map(|member| member.field_path());
        let message = format!("Back-off restarting failed container {} in pod {pod}", wait.name);
        self.agent.event(&self.pod, path, EventType::Warning, "BackOff", message);
    }

    /// The status shows this wait, which ends at `until`, in a while, at the latest when it ends.
    pub(super) fn show_later(&mut self, name: &str, until: Timestamp, reason: Reason) {
        let at = (self.now() + LOOK).min(until);
        self.later.insert(name.to_owned(), (at, reason));
    }
}

fn next_plan(life: &Life, observed: &Observed) -> Plan {
    plan(&life.pod, observed, &life.worker.probes.probed(observed), &life.backoffs, life.now())
}

/// A duration as Go prints it: `10s`, `2m40s`, `5m0s`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

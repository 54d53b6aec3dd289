//! A pod's end: what runs is ended, what is left is taken back, the object is deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use coracle_client::{is_conflict, is_not_found};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, Preconditions};

use super::life::{Life, Next, Stage};
use super::{name, namespace, spec};
use crate::runtime::RuntimeError;
use crate::status;
use crate::volumes;

/// How soon something that could not be removed is tried again.
const AGAIN: Duration = Duration::from_secs(10);

impl Life {
    /// Ends what runs, then says how it went.
    pub(super) async fn end(&mut self) -> Result<Next, RuntimeError> {
        self.worker.ending.cancel();
        let observed = self.observe().await?;
        let old = self.api_status();
        let rejected = self.verdict.is_some() && observed.sandboxes.is_empty() && old.start_time.is_none();
        if rejected {
            let new = self.rejected(&old);
            return Ok(if self.write(old, new).await { self.stage_ended() } else { Next::Wait(Some(self.now() + Duration::from_secs(1))) });
        }
        if !status::is_final(&old) {
            // The answer to a delete comes before its work.
            let new = status::hold(self.generate(&observed, &old, true), &old);
            self.write(old, new).await;
        }
        self.kill_pod(&observed, Some(self.grace())).await?;
        self.worker.probes.stop();
        let observed = self.observe().await?;
        if observed.running().next().is_some() {
            return Ok(Next::Wait(Some(self.now() + Duration::from_millis(500))));
        }
        let mut old = self.api_status();
        let ended_all = observed.containers.iter().map(|container| &container.name).collect::<BTreeSet<_>>().len();
        if !status::is_final(&old) && ended_all > 0 && ended_all < spec(&self.pod).containers.len() {
            // Some ended, others never ran: how those ended is shown before it is said that the others are lost.
            let new = status::hold(self.generate(&observed, &old, true), &old);
            self.write(old, new).await;
            old = self.api_status();
        }
        if !status::is_final(&old) {
            let new = status::finish(self.generate(&observed, &old, true), &self.pod);
            if !self.write(old, new).await {
                return Ok(Next::Wait(Some(self.now() + Duration::from_secs(1))));
            }
        }
        Ok(self.stage_ended())
    }

    fn stage_ended(&mut self) -> Next {
        self.stage = Stage::Ended;
        Next::Again
    }

    /// The status of a pod that the node did not take.
    fn rejected(&self, old: &PodStatus) -> PodStatus {
        let verdict = self.verdict.clone();
        PodStatus {
            phase: Some("Failed".to_owned()),
            reason: verdict.as_ref().map(|verdict| verdict.reason.clone()),
            message: verdict.map(|verdict| verdict.message),
            observed_generation: self.pod.metadata.generation,
            start_time: Some(Time(Timestamp::from_second(self.start_time.as_second()).unwrap_or(self.start_time))),
            ..old.clone()
        }
    }

    /// How long containers may take to end: what the delete said, else what the pod says; at least a second.
    fn grace(&self) -> Duration {
        if self.worker.eviction().is_some() {
            return Duration::from_secs(1);
        }
        let asked = self.pod.metadata.deletion_grace_period_seconds.filter(|_| self.pod.metadata.deletion_timestamp.is_some());
        let seconds = asked.or(spec(&self.pod).termination_grace_period_seconds).unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1))
    }

    /// A running pod shows what changes while it ends.
    pub(super) async fn refresh_while_ending(&mut self) {
        let Ok(observed) = self.observe().await else { return };
        let old = self.api_status();
        if !status::is_final(&old) && self.stage == Stage::Ending {
            let new = status::hold(self.generate(&observed, &old, true), &old);
            self.write(old, new).await;
        }
    }

    /// Takes back what the pod had on the node; a deleted pod is forgotten everywhere.
    pub(super) async fn clean_up(&mut self) -> Result<Next, RuntimeError> {
        let has_files = self.agent.runtime.has_files();
        let deleted = self.worker.is_removed() || self.pod.metadata.deletion_timestamp.is_some();
        let evicted = self.api_status().reason.as_deref() == Some(status::EVICTED);
        if !deleted && !evicted {
            let done = !has_files || self.tear_down().await;
            return Ok(Next::Wait((!done).then(|| self.now() + AGAIN)));
        }
        // An evicted pod goes with all that it wrote; its object tells how it ended.
        let (sandboxes, _) = self.agent.runtime.pod(&self.worker.uid).await?;
        for sandbox in sandboxes {
            self.agent.runtime.remove_sandbox(&sandbox.id).await?;
        }
        if has_files {
            let gone = self.agent.remove(self.agent.pod_dir(&self.worker.uid)).await;
            let _ = tokio::fs::remove_dir_all(self.agent.log_dir(&self.pod)).await;
            if !gone {
                return Ok(Next::Wait(Some(self.now() + AGAIN)));
            }
        }
        self.worker.note_cleared();
        if !deleted {
            return Ok(Next::Wait(None));
        }
        if !self.worker.is_removed() && !self.delete_object().await {
            return Ok(Next::Wait(Some(self.now() + Duration::from_secs(1))));
        }
        self.stage = Stage::Gone;
        Ok(Next::Again)
    }

    /// Takes back the volumes; says whether they are gone.
    async fn tear_down(&self) -> bool {
        let dir = self.agent.pod_dir(&self.worker.uid);
        let done = self.agent.tasks.spawn_blocking(move || volumes::tear_down(&dir)).await.map_err(std::io::Error::other);
        if let Err(error) = done.flatten() {
            tracing::warn!(pod = super::display(&self.pod), %error, "the pod's volumes were not removed: it is tried again");
            return false;
        }
        true
    }

    async fn delete_object(&self) -> bool {
        let api: Api<Pod> = Api::namespaced(self.agent.client.clone(), namespace(&self.pod));
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(self.worker.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(name(&self.pod), &parameters).await {
            Ok(_) => true,
            Err(error) if is_not_found(&error) || is_conflict(&error) => true,
            Err(error) => {
                tracing::warn!(pod = super::display(&self.pod), %error, "the pod could not be deleted");
                false
            }
        }
    }
}

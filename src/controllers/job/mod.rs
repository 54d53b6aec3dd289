//! Jobs: pods that run until enough of them succeeded.
//!
//! `plan` decides from the job and its pods; `tally` counts ended pods once and only once, with finalizers; `finish` says
//! when a job is over and why; `failure_policy` what a failure means. This file carries plans out.

mod failure_policy;
pub(crate) mod finish;
mod indexes;
mod plan;
mod pod;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_client::{Change, Queue, is_not_found, revision_of};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::json;

use crate::Context;
use crate::family::Family;
use crate::ownership::{controller_of, selector};
use crate::pod_control::{PodControl, is_ending};
use crate::pods;
use crate::replicaset::expectations::Expectations;
use crate::wiring::{Key, Outcome, Run, follow, follow_latest, name_of, namespace_of, together, uid_of, uids, work};
use plan::Plan;
use pod::FINALIZER;

const NAME: &str = "job-controller";
const WORKERS: usize = 5;
const GATHER: Duration = Duration::from_millis(10);
const IN_FLIGHT: usize = 32;
const MANAGER: &str = "kubernetes.io/job-controller";

/// What the caches must show before a job is planned for again.
#[derive(Default)]
struct Done {
    pods: Expectations,
    /// Revision of the last written status.
    job: u64,
}

struct Controller {
    hands: PodControl,
    clock: Arc<dyn Clock>,
    family: Family<Job, Pod>,
    /// By uid of the job.
    done: Mutex<HashMap<String, Done>>,
}

pub(crate) async fn run(context: Context) -> Run {
    let selector = |job: &Job| job.spec.as_ref().and_then(|spec| selector(spec.selector.as_ref()?));
    let controller = Arc::new(Controller {
        hands: PodControl { client: context.client(NAME), recorder: context.recorder(NAME) },
        clock: context.clock.clone(),
        family: Family::new(&context.informers, selector),
        done: Mutex::default(),
    });
    controller.family.synced().await;
    let (queue, orphans) = (Queue::new(), Queue::new());
    let jobs = follow_latest(controller.family.owners.clone(), |job| queue.add(Key::of(job.as_ref())));
    let pods = follow(controller.family.dependents.clone(), |change| {
        controller.family.changed(&queue, &change, GATHER);
        if let Change::Added(pod) | Change::Updated { new: pod, .. } = &change
            && pod::is_tracked(pod)
            && controller.is_orphan(pod)
        {
            orphans.add(Key::of(pod.as_ref()));
        }
    });
    let (reconciler, releaser) = (controller.clone(), controller.clone());
    let orphaned = orphans.clone();
    let workers = work(queue.clone(), WORKERS, move |key: Key| {
        let (controller, orphans) = (reconciler.clone(), orphaned.clone());
        async move { controller.reconcile(&key, &orphans).await }
    });
    let releases = work(orphans.clone(), 2, move |key: Key| {
        let controller = releaser.clone();
        async move { controller.release_orphan(&key).await }
    });
    tokio::join!(jobs, pods, workers, releases).2
}

impl Controller {
    /// No job will count this pod.
    fn is_orphan(&self, pod: &Pod) -> bool {
        match controller_of(&pod.metadata) {
            Some(owner) if owner.kind != "Job" => true,
            Some(owner) => self.family.owners.get(namespace_of(pod), &owner.name).is_none_or(|job| uid_of(job.as_ref()) != owner.uid),
            None => true,
        }
    }

    async fn release_orphan(&self, key: &Key) -> Outcome {
        let Some(pod) = self.family.dependents.get(&key.namespace, &key.name) else { return Ok(None) };
        if pod::is_tracked(&pod) && self.is_orphan(&pod) {
            self.finalizer(&pod, false).await?;
        }
        Ok(None)
    }

    async fn reconcile(&self, key: &Key, orphans: &Queue<Key>) -> Outcome {
        let Some(job) = self.family.owners.get(&key.namespace, &key.name) else {
            let left = self.family.dependents.list_in(&key.namespace);
            let ours = |pod: &&Arc<Pod>| controller_of(&pod.metadata).is_some_and(|owner| owner.kind == "Job" && owner.name == key.name);
            left.iter().filter(ours).filter(|pod| pod::is_tracked(pod)).for_each(|pod| orphans.add(Key::of(pod.as_ref())));
            let known = uids(&self.family.owners);
            self.done.lock().retain(|uid, _| known.contains(uid));
            return Ok(None);
        };
        if job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref()).is_some_and(|manager| manager != MANAGER) {
            return Ok(None);
        }
        let uid = uid_of(job.as_ref()).to_owned();
        let settled = self
            .done
            .lock()
            .get(&uid)
            .is_none_or(|done| done.pods.are_met(&key.namespace, &self.family.dependents) && self.family.owners.revision() >= done.job);
        if !settled {
            // The change that is missing brings the key back; a little later in case it came just now.
            return Ok(Some(Duration::from_millis(50)));
        }
        // Read again: the cache may have moved on.
        let Some(job) = self.family.owners.get(&key.namespace, &key.name) else { return Ok(None) };
        let all = self.family.members(&self.hands.client, &job, pods::is_active).await?;
        let plan = plan::plan(&job, &all, self.clock.now());
        let again = plan.again;
        let mut done = Done::default();
        let outcome = self.carry_out(&job, plan, &mut done).await;
        self.done.lock().insert(uid, done);
        outcome.map(|()| again)
    }

    async fn carry_out(&self, job: &Job, plan: Plan, done: &mut Done) -> Result<(), kube::Error> {
        for pod in &plan.track {
            done.pods.created(self.finalizer(pod, true).await?);
        }
        let mut failure = None;
        let doomed = plan.withdraw.iter().map(|pod| (pod, true)).chain(plan.stop.iter().map(|pod| (pod, false)));
        for deleted in together(doomed.map(|(pod, uncounted)| self.delete(job, pod, uncounted)).collect(), IN_FLIGHT).await {
            match deleted {
                Ok(pod) => done.pods.deleted(pod),
                Err(error) => failure = Some(error),
            }
        }
        let mut missing = 0;
        for created in together(plan.create.iter().map(|pod| self.hands.create(job, pod)).collect(), IN_FLIGHT).await {
            match created {
                Ok(created) => done.pods.created(revision_of(&created)),
                Err(error) => {
                    missing += 1;
                    failure = failure.or_else(|| Some(error).filter(|error| !is_ending(error)));
                }
            }
        }
        let (mut interim, mut status) = (plan.interim, plan.status);
        for status in [&mut interim, &mut status] {
            status.active = status.active.map(|active| active - missing).filter(|active| *active > 0);
        }
        let mut current = job.clone();
        if !plan.release.is_empty() {
            current = self.write_status(current, interim, done).await?;
            for released in together(plan.release.iter().map(|pod| self.finalizer(pod, false)).collect(), IN_FLIGHT).await {
                done.pods.created(released?);
            }
        }
        self.write_status(current, status, done).await?;
        for (kind, reason, message) in plan.events {
            self.hands.tell(job, kind, &reason, message);
        }
        failure.map_or(Ok(()), Err)
    }

    async fn delete<'a>(&self, job: &Job, pod: &'a Pod, uncounted: bool) -> Result<&'a Pod, kube::Error> {
        if uncounted && pod::is_tracked(pod) {
            self.finalizer(pod, false).await?;
        }
        self.hands.delete(job, pod).await.map(|()| pod)
    }

    /// Adds or removes the finalizer; answers with the revision to wait for.
    async fn finalizer(&self, pod: &Pod, wanted: bool) -> Result<u64, kube::Error> {
        let key = if wanted { "finalizers" } else { "$deleteFromPrimitiveList/finalizers" };
        let patch = json!({"metadata": {"uid": pod.metadata.uid, key: [FINALIZER]}});
        let api = Api::<Pod>::namespaced(self.hands.client.clone(), namespace_of(pod));
        match api.patch(name_of(pod), &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(pod) => Ok(revision_of(&pod)),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => Ok(0),
            Err(error) => Err(error),
        }
    }

    async fn write_status(&self, mut job: Job, status: JobStatus, done: &mut Done) -> Result<Job, kube::Error> {
        if job.status.as_ref() == Some(&status) {
            return Ok(job);
        }
        job.status = Some(status);
        let api = Api::<Job>::namespaced(self.hands.client.clone(), namespace_of(&job));
        match api.replace_status(name_of(&job), &PostParams::default(), &job).await {
            Ok(written) => {
                done.job = revision_of(&written);
                Ok(written)
            }
            Err(error) if is_not_found(&error) => Ok(job),
            Err(error) => Err(error),
        }
    }
}

//! Cron jobs: a job whenever it is time. `plan` decides, this file carries out.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use coracle_api::clock::Clock;
use coracle_client::{Change, EventRecorder, EventType, Index, Informer, Queue, is_conflict, is_exists, is_not_found, revision_of};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Resource};

use crate::Context;
use crate::ownership::{controller_key, controller_of};
use crate::pod_control::{is_ending, message_of};
use crate::wiring::{Key, Outcome, Run, follow, follow_latest, name_of, namespace_of, uid_of, work};

const NAME: &str = "cronjob-controller";
const WORKERS: usize = 3;

struct Controller {
    client: kube::Client,
    recorder: EventRecorder,
    clock: Arc<dyn Clock>,
    crons: Informer<CronJob>,
    jobs: Informer<Job>,
    jobs_of: Index<Job>,
}

pub(crate) async fn run(context: Context) -> Run {
    let jobs: Informer<Job> = context.informers.of();
    let controller = Arc::new(Controller {
        client: context.client(NAME),
        recorder: context.recorder(NAME),
        clock: context.clock.clone(),
        crons: context.informers.of(),
        jobs_of: jobs.index("controller", |job| controller_key(&job.metadata)),
        jobs,
    });
    controller.crons.synced().await;
    controller.jobs.synced().await;
    let queue = Queue::new();
    let crons = follow_latest(controller.crons.clone(), |cron| queue.add(Key::of(cron.as_ref())));
    let jobs = follow(controller.jobs.clone(), |change| {
        let (Change::Added(job) | Change::Deleted(job) | Change::Updated { new: job, .. }) = &change else { return };
        if let Some(owner) = controller_of(&job.metadata).filter(|owner| owner.kind == "CronJob") {
            queue.add(Key::new(namespace_of(job.as_ref()), &owner.name));
        }
    });
    let reconciler = controller.clone();
    let workers = work(queue.clone(), WORKERS, move |key: Key| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(crons, jobs, workers).2
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(cron) = self.crons.get(&key.namespace, &key.name) else { return Ok(None) };
        let plan = plan::plan(&cron, &self.jobs_of.get(uid_of(cron.as_ref())), self.clock.now());
        let mut status = plan.status;
        for (kind, reason, message) in plan.events {
            self.tell(&cron, kind, reason, message);
        }
        for job in plan.expired.iter().chain(&plan.replaced) {
            self.delete(&cron, job).await?;
        }
        let mut created = 0;
        if let Some(job) = plan.create {
            let Some(job) = self.create(&cron, &job).await? else { return Ok(None) };
            created = revision_of(&job);
            status.active.get_or_insert_default().push(plan::reference(&job));
        }
        let written = self.write_status(&cron, status).await?;
        // The next look must see both, or a job would be forgotten, and another started beside it.
        self.jobs.reached(created).await;
        self.crons.reached(written).await;
        Ok(plan.again)
    }

    /// `None` when nothing can be created any more.
    async fn create(&self, cron: &CronJob, job: &Job) -> Result<Option<Job>, kube::Error> {
        let api = Api::<Job>::namespaced(self.client.clone(), namespace_of(cron));
        match api.create(&PostParams::default(), job).await {
            Ok(created) => {
                self.tell(cron, EventType::Normal, "SuccessfulCreate", format!("Created job {}", name_of(&created)));
                Ok(Some(created))
            }
            Err(error) if is_ending(&error) => Ok(None),
            Err(error) if is_exists(&error) => {
                let known = api.get(name_of(job)).await?;
                let ours = controller_of(&known.metadata).is_some_and(|owner| owner.uid == uid_of(cron));
                if ours { Ok(Some(known)) } else { Err(error) }
            }
            Err(error) => {
                self.tell(cron, EventType::Warning, "FailedCreate", format!("Error creating job: {}", message_of(&error)));
                Err(error)
            }
        }
    }

    async fn delete(&self, cron: &CronJob, job: &Job) -> Result<(), kube::Error> {
        let api = Api::<Job>::namespaced(self.client.clone(), namespace_of(cron));
        let mut parameters = DeleteParams::background();
        parameters.preconditions = Some(Preconditions { uid: job.metadata.uid.clone(), resource_version: None });
        match api.delete(name_of(job), &parameters).await {
            Ok(_) => self.tell(cron, EventType::Normal, "SuccessfulDelete", format!("Deleted job {}", name_of(job))),
            Err(error) if is_not_found(&error) => {}
            Err(error) => {
                self.tell(cron, EventType::Warning, "FailedDelete", format!("Deleted job: {}", message_of(&error)));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes the status, also into a cron job that others changed meanwhile: as long as they left its status alone, what was
    /// planned holds. Answers with the revision to wait for.
    async fn write_status(&self, cron: &CronJob, status: CronJobStatus) -> Result<u64, kube::Error> {
        if cron.status.as_ref() == Some(&status) {
            return Ok(0);
        }
        let api = Api::<CronJob>::namespaced(self.client.clone(), namespace_of(cron));
        let mut current = cron.clone();
        loop {
            current.status = Some(status.clone());
            let refused = match api.replace_status(name_of(cron), &PostParams::default(), &current).await {
                Ok(written) => return Ok(revision_of(&written)),
                Err(error) if is_not_found(&error) => return Ok(0),
                Err(error) => error,
            };
            if !is_conflict(&refused) {
                return Err(refused);
            }
            match api.get_opt(name_of(cron)).await? {
                Some(newest) if newest.metadata.uid == cron.metadata.uid && newest.status == cron.status => current = newest,
                _ => return Err(refused),
            }
        }
    }

    fn tell(&self, cron: &CronJob, kind: EventType, reason: &str, message: String) {
        self.recorder.event(&cron.object_ref(&()), kind, reason, message);
    }
}

//! One worker per pod: looks at the spec and at the runtime, does what [`super::plan`] says, writes the status.
//!
//! ```text
//! starting ──admitted──► syncing ──deleted, evicted, deadline, all done──► ending ──nothing runs──► ended ──deleted──► gone
//!     └─────────────rejected─────────────────────────────────────────────────────────────────────────┘
//! ```
//! A pod that is ending never runs again. An idle worker holds no timer unless its pod has a reason for one.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::seams::PodAddress;
use coracle_client::{EventType, is_conflict, is_not_found};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::backoff::Backoffs;
use super::plan::{Observed, ended};
use super::resize::Resizes;
use super::worker::PodWorker;
use super::{host_network, is_terminal, spec};
use crate::agent::Agent;
use crate::agent::admission::admit;
use crate::agent::forbidden;
use crate::runtime::RuntimeError;
use crate::status::{self, Inputs, Reason, writer};
use crate::volumes;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Starting,
    Syncing,
    Ending,
    Ended,
    Gone,
}

/// What a step leads to.
pub(super) enum Next {
    Again,
    Wait(Option<Timestamp>),
}

/// What the worker remembers between steps.
pub(super) struct Life {
    pub(super) agent: Arc<Agent>,
    pub(super) worker: Arc<PodWorker>,
    pub(super) stage: Stage,
    pub(super) pod: Arc<Pod>,
    pub(super) reasons: BTreeMap<String, Reason>,
    /// Waits that the status does not show yet: as the kubelet's, it shows the cause for a while first.
    pub(super) later: BTreeMap<String, (Timestamp, Reason)>,
    pub(super) backoffs: Backoffs,
    /// By image.
    pub(super) pull_backoffs: Backoffs,
    pub(super) pull_failures: BTreeMap<String, (Timestamp, String)>,
    /// Containers that are not to be tried before this moment.
    pub(super) retry: BTreeMap<String, Timestamp>,
    /// Instance whose back-off has been announced, by container.
    pub(super) announced: BTreeMap<String, String>,
    messages: BTreeMap<String, String>,
    pub(super) address: Option<PodAddress>,
    /// The network namespace of the runtime's making that has the address.
    pub(super) plumbed: Option<std::path::PathBuf>,
    pub(super) start_time: Timestamp,
    /// Why the node ends the pod.
    pub(super) verdict: Option<Reason>,
    pub(super) volumes: volumes::State,
    mount_failures: u32,
    pub(super) resizes: Resizes,
    /// What ran at the last look: name and id.
    pub(super) ran_before: Box<[(String, String)]>,
    /// Containers started since the last look: readers are shown that they ran, however soon they ended.
    pub(super) fresh: BTreeSet<String>,
}

/// Runs until the pod is gone.
pub(crate) async fn run(agent: Arc<Agent>, worker: Arc<PodWorker>) {
    let mut life = Box::new(Life::new(agent, worker));
    while life.stage != Stage::Gone {
        // Boxed: a step's future is large, and most of the time there is none.
        let step = AssertUnwindSafe(life.step()).catch_unwind();
        let next = match Box::pin(step).await {
            Ok(next) => {
                // An idle worker keeps no version of the object that nobody else has.
                life.pod = life.agent.no_pod.clone();
                next
            }
            Err(_) => {
                tracing::error!(pod = super::display(&life.worker.pod()), "a pod worker panicked; it goes on in 10 s");
                Next::Wait(Some(life.now() + Duration::from_secs(10)))
            }
        };
        match next {
            Next::Again => tokio::task::yield_now().await,
            Next::Wait(None) => life.worker.woken().await,
            Next::Wait(Some(until)) => {
                let wait: Duration = until.duration_since(life.now()).try_into().unwrap_or_default();
                tokio::select! {
                    () = life.worker.woken() => {}
                    () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {}
                }
            }
        }
    }
    crate::agent::dispatch::finished(&life.agent, &life.worker);
}

pub(super) fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Life {
    fn new(agent: Arc<Agent>, worker: Arc<PodWorker>) -> Self {
        let pod = worker.pod();
        let start_time = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map_or_else(|| agent.clock.now(), |time| time.0);
        let resizes = Resizes::adopt(&pod);
        Self {
            backoffs: Backoffs::up_to(agent.longest_restart_delay),
            agent,
            worker,
            stage: Stage::Starting,
            pod,
            reasons: BTreeMap::new(),
            later: BTreeMap::new(),
            pull_backoffs: Backoffs::default(),
            pull_failures: BTreeMap::new(),
            retry: BTreeMap::new(),
            announced: BTreeMap::new(),
            messages: BTreeMap::new(),
            address: None,
            plumbed: None,
            start_time,
            verdict: None,
            volumes: volumes::State::default(),
            mount_failures: 0,
            resizes,
            ran_before: Box::default(),
            fresh: BTreeSet::new(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.agent.clock.now()
    }

    /// The status as the API server has it.
    pub(super) fn api_status(&self) -> PodStatus {
        self.worker.status()
    }

    /// The network's name of the pod's sandbox.
    pub(super) fn network_id(&self, attempt: u32) -> String {
        format!("{}_{attempt}", self.worker.uid)
    }

    async fn step(&mut self) -> Next {
        self.pod = self.resizes.effective(self.worker.pod());
        let result = match self.stage {
            Stage::Starting => self.start(),
            Stage::Syncing => self.sync().await,
            // Boxed, as what follows a write: it is not there while the write waits for its turn.
            Stage::Ending => Box::pin(self.end()).await,
            Stage::Ended => Box::pin(self.clean_up()).await,
            Stage::Gone => Ok(Next::Wait(None)),
        };
        result.unwrap_or_else(|error| {
            tracing::warn!(pod = super::display(&self.pod), %error, "a pod could not be brought forward");
            Next::Wait(Some(self.now() + Duration::from_secs(1)))
        })
    }

    /// Decides whether the node takes the pod.
    fn start(&mut self) -> Result<Next, RuntimeError> {
        if self.worker.is_removed() || self.pod.metadata.deletion_timestamp.is_some() || is_terminal(&self.pod) {
            self.stage = Stage::Ending;
            return Ok(Next::Again);
        }
        if crate::agent::dispatch::name_is_taken(&self.agent, &self.worker) {
            return Ok(Next::Wait(None));
        }
        let adopted = self.pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        if !adopted {
            let others = crate::agent::dispatch::active_pods(&self.agent, &self.worker.uid);
            let node = self.agent.nodes.get("", &self.agent.name);
            let verdict = crate::agent::eviction::admit(&self.pod, &self.agent.pressures.now())
                .and_then(|()| forbidden::sysctls(&self.pod))
                .and_then(|()| forbidden::groups(&self.pod, self.agent.runtime.keeps_groups_strict()))
                .and_then(|()| admit(&self.pod, node.as_deref(), &self.agent.capacity, &others))
                .and_then(|()| self.confined());
            if let Err(verdict) = verdict {
                self.agent.event(&self.pod, None, EventType::Warning, &verdict.reason, verdict.message.clone());
                let message = format!("Pod was rejected: {}", verdict.message);
                self.verdict = Some(Reason { reason: verdict.reason, message });
                self.stage = Stage::Ending;
                return Ok(Next::Again);
            }
        }
        self.stage = Stage::Syncing;
        Ok(Next::Again)
    }

    /// What has no processes confines none, and need not.
    fn confined(&self) -> Result<(), Reason> {
        let runtime = &self.agent.runtime;
        if !runtime.has_files() {
            return Ok(());
        }
        forbidden::apparmor(&self.pod, forbidden::kernel_has_apparmor(), runtime.confines_with_apparmor())
    }

    /// The moment `activeDeadlineSeconds` ends.
    fn deadline(&self) -> Option<Timestamp> {
        let seconds = spec(&self.pod).active_deadline_seconds?;
        Some(self.start_time + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    pub(super) async fn observe(&mut self) -> Result<Observed, RuntimeError> {
        let (sandboxes, containers) = self.agent.runtime.pod(&self.worker.uid).await?;
        let observed = Observed::new(sandboxes, containers);
        for container in &observed.containers {
            if ended(container).is_some() && !self.messages.contains_key(&container.id) {
                let message = super::act::termination_message(&self.pod, container).await;
                self.messages.insert(container.id.clone(), message);
            }
        }
        self.messages.retain(|id, _| observed.containers.iter().any(|container| &container.id == id));
        if let (Some(sandbox), false) = (observed.ready_sandbox(), host_network(&self.pod)) {
            // A sandbox that was started again behind our back has another namespace.
            let netns = self.agent.runtime.netns(&sandbox.id).await;
            if self.address.is_none() || netns != self.plumbed {
                let id = self.network_id(sandbox.attempt);
                self.address = self.agent.network.attach(&self.agent.name, &id, netns.as_deref()).await.ok();
                self.plumbed = netns;
            }
        }
        self.worker.probes.observe(&self.pod, &observed);
        Ok(observed)
    }

    /// Addresses of the pod.
    pub(super) fn pod_ips(&self) -> Vec<std::net::IpAddr> {
        if host_network(&self.pod) {
            return self.agent.host_ips();
        }
        self.address.as_ref().map(|address| address.ips.clone()).unwrap_or_default()
    }

    pub(super) fn generate(&self, observed: &Observed, old: &PodStatus, ending: bool) -> PodStatus {
        let pod_ips = if observed.ready_sandbox().is_some() { self.pod_ips() } else { Vec::new() };
        status::generate(&Inputs {
            pod: &self.pod,
            old,
            observed,
            reasons: &self.reasons,
            messages: &self.messages,
            health: &self.worker.probes.health(observed),
            resizes: &self.resizes,
            runtime: self.agent.runtime.name(),
            host_ips: &self.agent.host_ips(),
            pod_ips: &pod_ips,
            start_time: self.start_time,
            ending,
            verdict: self.verdict.as_ref(),
            now: self.now(),
        })
    }

    /// Writes the status, unless the object is gone; says whether it is written.
    pub(super) async fn write(&mut self, old: PodStatus, new: PodStatus) -> bool {
        if self.worker.is_removed() {
            return true;
        }
        let Some(patch) = writer::patch(&self.pod, &old, &new) else { return true };
        // Thousands may wait for their turn.
        drop((old, new));
        let _turn = self.agent.turn().await;
        match Box::pin(writer::send(&self.agent.client, &self.pod, &patch)).await {
            Ok(pod) => {
                self.worker.wrote(pod);
                true
            }
            // Deleted, or replaced by another of that name: the informer will say so.
            Err(error) if is_not_found(&error) || is_conflict(&error) => true,
            Err(error) => {
                tracing::warn!(pod = super::display(&self.pod), %error, "the pod's status was not written");
                false
            }
        }
    }

    fn begin_ending(&mut self) -> Next {
        self.worker.ending.cancel();
        self.stage = Stage::Ending;
        Next::Again
    }

    async fn sync(&mut self) -> Result<Next, RuntimeError> {
        if self.worker.is_removed() || self.pod.metadata.deletion_timestamp.is_some() || is_terminal(&self.pod) {
            return Ok(self.begin_ending());
        }
        let now = self.now();
        let deadline = self.deadline();
        if deadline.is_some_and(|deadline| deadline <= now) {
            let message = "Pod was active on the node longer than the specified deadline";
            self.agent.event(&self.pod, None, EventType::Normal, status::DEADLINE, message);
            self.verdict = Some(Reason { reason: status::DEADLINE.to_owned(), message: message.to_owned() });
            return Ok(self.begin_ending());
        }
        let evicted = self.worker.eviction();
        if evicted.is_some() {
            self.verdict = evicted;
            return Ok(self.begin_ending());
        }
        let changed = self.worker.take_objects_changed();
        if changed {
            self.retry.clear();
        }
        let observed = self.observe().await?;
        self.ran_before = observed.running().map(|container| (container.name.clone(), container.id.clone())).collect();
        self.grant();
        let due: Vec<String> = self.later.iter().filter(|(_, (at, _))| *at <= now).map(|(name, _)| name.clone()).collect();
        for name in due {
            if let Some((_, reason)) = self.later.remove(&name) {
                self.reasons.insert(name, reason);
            }
        }
        let old = self.api_status();
        let fresh = std::mem::take(&mut self.fresh);
        let began = observed.as_begun(&fresh);
        let new = self.generate(began.as_ref().unwrap_or(&observed), &old, false);
        let (over, began) = (status::is_final(&new), began.is_some());
        let new = status::hold(new, &old);
        if !self.write(old, new).await {
            return Ok(Next::Wait(Some(now + Duration::from_secs(1))));
        }
        if began {
            return Ok(Next::Again);
        }
        if over {
            return Ok(self.begin_ending());
        }
        if let Some(wait) = Box::pin(self.mount(changed)).await {
            return Ok(Next::Wait(earliest(Some(wait), deadline)));
        }
        self.worker.probes.start(&self.agent, &self.worker, &observed);
        Box::pin(self.act(&observed, deadline)).await
    }

    /// Makes and refreshes volumes; `Some`: not all could be made, try again then.
    async fn mount(&mut self, changed: bool) -> Option<Timestamp> {
        let now = self.now();
        if self.volumes.is_current(now) && !changed {
            return None;
        }
        let first = !self.volumes.is_mounted();
        let facts = self.facts();
        match volumes::set_up(&self.agent, &self.pod, &facts, &mut self.volumes).await {
            Ok(()) => {
                self.mount_failures = 0;
                None
            }
            Err(failures) => {
                for failure in failures.iter().filter(|failure| failure.is_told()) {
                    self.agent.event(&self.pod, None, EventType::Warning, "FailedMount", failure.0.clone());
                }
                let wait = Duration::from_millis(500) * 2u32.saturating_pow(self.mount_failures.min(8));
                self.mount_failures += 1;
                first.then(|| now + wait)
            }
        }
    }

    pub(super) fn facts(&self) -> super::fields::Facts {
        super::fields::Facts {
            node: self.agent.name.clone(),
            host_ips: self.agent.host_ips(),
            pod_ips: self.pod_ips(),
            cpu_milli: self.agent.capacity.cpu_milli,
            memory: self.agent.capacity.memory,
            storage: self.agent.capacity.storage,
        }
    }
}

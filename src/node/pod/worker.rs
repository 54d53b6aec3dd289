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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coracle_api::seams::PodAddress;
use coracle_client::{EventType, is_conflict, is_not_found, revision_of};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, DeleteParams, Preconditions};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoffs;
use super::plan::{Observed, Plan, SandboxPlan, ended, plan};
use super::resize::Resizes;
use super::{host_network, is_terminal, name, namespace, spec, uid};
use crate::agent::Agent;
use crate::agent::admission::admit;
use crate::probes::Probes;
use crate::runtime::{Container, RuntimeError};
use crate::status::{self, Inputs, Reason, writer};
use crate::volumes;

/// What others see of a pod's worker.
pub(crate) struct PodWorker {
    pub(crate) uid: String,
    pod: Mutex<Arc<Pod>>,
    /// Revisions of the worker's own writes that the informer has not brought yet.
    written: Mutex<Vec<u64>>,
    /// The object is gone from the API server.
    removed: AtomicBool,
    /// A config map or secret of the pod's namespace changed.
    objects_changed: AtomicBool,
    wake: Notify,
    /// Why the node ends the pod for the good of others.
    evicted: Mutex<Option<Reason>>,
    /// Set when the pod is to end: long waits give up.
    pub(crate) ending: CancellationToken,
    pub(crate) probes: Probes,
}

impl PodWorker {
    pub(crate) fn new(pod: Arc<Pod>, stop: &CancellationToken) -> Self {
        Self {
            uid: uid(&pod).to_owned(),
            pod: Mutex::new(pod),
            written: Mutex::default(),
            removed: AtomicBool::new(false),
            objects_changed: AtomicBool::new(false),
            wake: Notify::new(),
            evicted: Mutex::default(),
            ending: stop.child_token(),
            probes: Probes::default(),
        }
    }

    /// The pod as last seen.
    pub(crate) fn pod(&self) -> Arc<Pod> {
        self.pod.lock().clone()
    }

    /// Another version of the object. The echo of the worker's own write wakes nobody. What others wrote just before does,
    /// though that write's answer, which has it too, came first.
    pub(crate) fn update(&self, pod: Arc<Pod>) {
        if pod.metadata.deletion_timestamp.is_some() {
            self.ending.cancel();
        }
        let mut known = self.pod.lock();
        let revision = revision_of(pod.as_ref());
        let mut written = self.written.lock();
        let echo = written.contains(&revision);
        written.retain(|&own| own > revision);
        if revision >= revision_of(known.as_ref()) {
            self.replace(&mut known, pod);
        }
        if !echo {
            self.wake.notify_one();
        }
    }

    fn replace(&self, known: &mut Arc<Pod>, pod: Arc<Pod>) {
        // Volumes, and what a container waits for, may show these.
        if pod.metadata.labels != known.metadata.labels || pod.metadata.annotations != known.metadata.annotations {
            self.objects_changed.store(true, Ordering::Release);
        }
        *known = pod;
    }

    /// What a write answered, until the informer has it.
    fn wrote(&self, pod: Pod) {
        let mut known = self.pod.lock();
        let revision = revision_of(&pod);
        if revision > revision_of(known.as_ref()) {
            self.written.lock().push(revision);
            self.replace(&mut known, Arc::new(pod));
        }
    }

    /// The object is gone.
    pub(crate) fn remove(&self) {
        self.removed.store(true, Ordering::Release);
        self.ending.cancel();
        self.wake.notify_one();
    }

    /// Ends the pod; says whether that was news.
    pub(crate) fn evict(&self, reason: Reason) -> bool {
        if self.ending.is_cancelled() {
            return false;
        }
        let first = self.evicted.lock().replace(reason).is_none();
        self.wake.notify_one();
        first
    }

    /// Something about the pod may have changed.
    pub(crate) fn poke(&self) {
        self.wake.notify_one();
    }

    /// A config map or secret changed in the pod's namespace.
    pub(crate) fn poke_objects(&self) {
        self.objects_changed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}

/// How long a worker lets a container that failed be, before it says that it waits.
const LOOK: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    Syncing,
    Ending,
    Ended,
    Gone,
}

/// What a step leads to.
enum Next {
    Again,
    Wait(Option<Timestamp>),
}

/// What the worker remembers between steps.
pub(crate) struct Life {
    pub(super) agent: Arc<Agent>,
    pub(super) worker: Arc<PodWorker>,
    stage: Stage,
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
    announced: BTreeMap<String, String>,
    messages: BTreeMap<String, String>,
    pub(super) address: Option<PodAddress>,
    /// The network namespace of the runtime's making that has the address.
    pub(super) plumbed: Option<std::path::PathBuf>,
    start_time: Timestamp,
    /// Why the node ends the pod.
    verdict: Option<Reason>,
    pub(super) volumes: volumes::State,
    mount_failures: u32,
    pub(super) resizes: Resizes,
    /// What ran at the last look.
    pub(super) observed_before: Vec<Container>,
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
            Next::Wait(None) => life.worker.wake.notified().await,
            Next::Wait(Some(until)) => {
                let wait: Duration = until.duration_since(life.now()).try_into().unwrap_or_default();
                tokio::select! {
                    () = life.worker.wake.notified() => {}
                    () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {}
                }
            }
        }
    }
    crate::agent::dispatch::finished(&life.agent, &life.worker);
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
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
            observed_before: Vec::new(),
            fresh: BTreeSet::new(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.agent.clock.now()
    }

    /// The status as the API server has it.
    fn api_status(&self) -> PodStatus {
        self.worker.pod.lock().status.clone().unwrap_or_default()
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
            Stage::Ending => self.end().await,
            Stage::Ended => self.clean_up().await,
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
            let pressed = || crate::agent::eviction::admit(&self.pod, &self.agent.pressures.now());
            if let Err(verdict) = admit(&self.pod, node.as_deref(), &self.agent.capacity, &others).and_then(|()| pressed()) {
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

    /// The moment `activeDeadlineSeconds` ends.
    fn deadline(&self) -> Option<Timestamp> {
        let seconds = spec(&self.pod).active_deadline_seconds?;
        Some(self.start_time + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    async fn observe(&mut self) -> Result<Observed, RuntimeError> {
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

    fn generate(&self, observed: &Observed, old: &PodStatus, ending: bool) -> PodStatus {
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
    async fn write(&mut self, old: &PodStatus, new: &PodStatus) -> bool {
        if self.worker.is_removed() {
            return true;
        }
        let _turn = self.agent.turn().await;
        match writer::write(&self.agent.client, &self.pod, old, new).await {
            Ok(None) => true,
            Ok(Some(pod)) => {
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
        let evicted = self.worker.evicted.lock().clone();
        if evicted.is_some() {
            self.verdict = evicted;
            return Ok(self.begin_ending());
        }
        let changed = self.worker.objects_changed.swap(false, Ordering::AcqRel);
        if changed {
            self.retry.clear();
        }
        let observed = self.observe().await?;
        self.observed_before = observed.running().cloned().collect();
        self.grant();
        let due: Vec<String> = self.later.iter().filter(|(_, (at, _))| *at <= now).map(|(name, _)| name.clone()).collect();
        for name in due {
            if let Some((_, reason)) = self.later.remove(&name) {
                self.reasons.insert(name, reason);
            }
        }
        let old = self.api_status();
        let fresh = std::mem::take(&mut self.fresh);
        let began = observed.as_begun(&fresh).filter(|_| self.agent.runtime.has_files());
        let new = self.generate(began.as_ref().unwrap_or(&observed), &old, false);
        let over = status::is_final(&new);
        let new = status::hold(new, &old);
        if !self.write(&old, &new).await {
            return Ok(Next::Wait(Some(now + Duration::from_secs(1))));
        }
        if began.is_some() {
            return Ok(Next::Again);
        }
        if over {
            return Ok(self.begin_ending());
        }
        if let Some(wait) = self.mount(changed).await {
            return Ok(Next::Wait(earliest(Some(wait), deadline)));
        }
        self.worker.probes.start(&self.agent, &self.worker, &observed);
        self.act(&observed, deadline).await
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

    /// Does what is planned.
    async fn act(&mut self, observed: &Observed, deadline: Option<Timestamp>) -> Result<Next, RuntimeError> {
        let now = self.now();
        let mut plan = next_plan(self, observed);
        if plan.kill_pod {
            self.kill_pod(observed, None).await?;
            return Ok(Next::Again);
        }
        let resizing = !self.resizes.conditions.is_empty();
        plan.kill.extend(self.resize(observed).await.into_iter().map(|container| super::plan::Kill {
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
            if !started && *role != super::Role::Main && *role != super::Role::Ephemeral {
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
    fn announce(&mut self, wait: &super::plan::Wait, observed: &Observed) {
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

    /// Ends what runs, then says how it went.
    async fn end(&mut self) -> Result<Next, RuntimeError> {
        self.worker.ending.cancel();
        let observed = self.observe().await?;
        let old = self.api_status();
        let rejected = self.verdict.is_some() && observed.sandboxes.is_empty() && old.start_time.is_none();
        if rejected {
            let new = self.rejected(&old);
            return Ok(if self.write(&old, &new).await {
                self.stage_ended()
            } else {
                Next::Wait(Some(self.now() + Duration::from_secs(1)))
            });
        }
        if !status::is_final(&old) {
            // The answer to a delete comes before its work.
            let new = status::hold(self.generate(&observed, &old, true), &old);
            self.write(&old, &new).await;
        }
        self.kill_pod(&observed, Some(self.grace())).await?;
        self.worker.probes.stop();
        let observed = self.observe().await?;
        if observed.running().next().is_some() {
            return Ok(Next::Wait(Some(self.now() + Duration::from_millis(500))));
        }
        let mut old = self.api_status();
        let ended_all = observed.containers.iter().map(|container| &container.name).collect::<std::collections::BTreeSet<_>>().len();
        if !status::is_final(&old) && ended_all > 0 && ended_all < spec(&self.pod).containers.len() {
            // Some ended, others never ran: how those ended is shown before it is said that the others are lost.
            let new = status::hold(self.generate(&observed, &old, true), &old);
            self.write(&old, &new).await;
            old = self.api_status();
        }
        if !status::is_final(&old) {
            let new = status::finish(self.generate(&observed, &old, true), &self.pod);
            if !self.write(&old, &new).await {
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
            start_time: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                Timestamp::from_second(self.start_time.as_second()).unwrap_or(self.start_time),
            )),
            ..old.clone()
        }
    }

    /// How long containers may take to end: what the delete said, else what the pod says; at least a second.
    fn grace(&self) -> Duration {
        if self.worker.evicted.lock().is_some() {
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
            self.write(&old, &new).await;
        }
    }

    /// Takes back what the pod had on the node; a deleted pod is forgotten everywhere.
    async fn clean_up(&mut self) -> Result<Next, RuntimeError> {
        let dir = self.agent.pod_dir(&self.worker.uid);
        volumes::tear_down(&dir, self.agent.runtime.has_files()).await;
        let deleted = self.worker.is_removed() || self.pod.metadata.deletion_timestamp.is_some();
        if !deleted {
            return Ok(Next::Wait(None));
        }
        let (sandboxes, _) = self.agent.runtime.pod(&self.worker.uid).await?;
        for sandbox in sandboxes {
            self.agent.runtime.remove_sandbox(&sandbox.id).await?;
        }
        if self.agent.runtime.has_files() {
            let _ = tokio::fs::remove_dir_all(&dir).await;
            let _ = tokio::fs::remove_dir_all(self.agent.log_dir(&self.pod)).await;
        }
        if !self.worker.is_removed() && !self.delete_object().await {
            return Ok(Next::Wait(Some(self.now() + Duration::from_secs(1))));
        }
        self.stage = Stage::Gone;
        Ok(Next::Again)
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

fn next_plan(life: &Life, observed: &Observed) -> Plan {
    plan(&life.pod, observed, &life.worker.probes.probed(observed), &life.backoffs, life.now())
}

/// A duration as Go prints it: `10s`, `2m40s`, `5m0s`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use futures::FutureExt;
    use serde_json::json;

    use super::*;

    fn pod(revision: u64, generation: i64) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": "p", "uid": "u", "resourceVersion": revision.to_string(), "generation": generation}}),
        )
        .unwrap()
    }

    #[test]
    fn what_others_wrote_before_our_own_write_wakes() {
        let worker = PodWorker::new(Arc::new(pod(1, 1)), &CancellationToken::new());
        let woken = || worker.wake.notified().now_or_never().is_some();
        worker.wrote(pod(3, 2));
        worker.update(Arc::new(pod(2, 2)));
        assert!(woken());
        worker.update(Arc::new(pod(3, 2)));
        assert!(!woken());
        worker.update(Arc::new(pod(4, 3)));
        assert!(woken());
        assert_eq!(worker.pod().metadata.generation, Some(3));
    }
}

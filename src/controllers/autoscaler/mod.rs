//! Horizontal pod autoscalers: replicas follow what pods use, or figures that others know.
//!
//! `sources` asks the APIs of metrics; `metrics` (figures of each pod) and `values` (one figure for all) say how many replicas
//! they call for, `proposals` which of them applies; `behavior` says how fast to get there. This file looks and scales.

mod behavior;
mod metrics;
mod proposals;
mod sources;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_api::selector::LabelSelector;
use coracle_client::{EventRecorder, EventType, Informer, Queue};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus, MetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Resource};
use parking_lot::Mutex;

use crate::Context;
use crate::pod_control::message_of;
use crate::wiring::{Key, Outcome, Run, follow_latest, name_of, namespace_of, uid_of, uids, unless_gone, work};
use behavior::{History, bound, minimum};
use metrics::{Tolerance, milli};
use proposals::Target;
use sources::{Sources, no_match};

const NAME: &str = "horizontal-pod-autoscaler";
/// The longest period a policy may have.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);

/// How autoscalers work: the controller manager's flags that begin with `horizontal-pod-autoscaler-`.
#[derive(Debug, Clone, PartialEq)]
pub struct Autoscaling {
    /// Between two looks at a target.
    pub sync_period: Duration,
    /// How long a target that needs less replicas keeps them.
    pub downscale_stabilization: Duration,
    /// How long after its start what a pod uses may be what its start uses.
    pub cpu_initialization_period: Duration,
    /// How soon after its start a pod that is not ready was never ready.
    pub initial_readiness_delay: Duration,
    /// Use that differs by a smaller share from the target changes nothing.
    pub tolerance: f64,
}

impl Default for Autoscaling {
    /// Upstream's defaults.
    fn default() -> Self {
        Self {
            sync_period: Duration::from_secs(15),
            downscale_stabilization: Duration::from_secs(300),
            cpu_initialization_period: Duration::from_secs(300),
            initial_readiness_delay: Duration::from_secs(30),
            tolerance: 0.1,
        }
    }
}

struct Controller {
    options: Autoscaling,
    sources: Sources,
    recorder: EventRecorder,
    clock: Arc<dyn Clock>,
    autoscalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    /// By uid of the autoscaler.
    histories: Mutex<HashMap<String, History>>,
    /// What the autoscalers' targets select, as last seen.
    selectors: Mutex<BTreeMap<Key, LabelSelector>>,
}

pub(crate) async fn run(context: Context) -> Run {
    let controller = Arc::new(Controller {
        options: context.autoscaling.clone(),
        sources: Sources(context.client(NAME)),
        recorder: context.recorder(NAME),
        clock: context.clock.clone(),
        autoscalers: context.informers.of(),
        pods: context.informers.of(),
        histories: Mutex::default(),
        selectors: Mutex::default(),
    });
    controller.autoscalers.synced().await;
    controller.pods.synced().await;
    let queue = Queue::new();
    let mut generations: HashMap<String, Option<i64>> = HashMap::new();
    // Its own writes are no reason to look: the next look comes by the clock.
    let changes = follow_latest(controller.autoscalers.clone(), |one: &Arc<HorizontalPodAutoscaler>| {
        if generations.insert(uid_of(one.as_ref()).to_owned(), one.metadata.generation) != Some(one.metadata.generation) {
            queue.add(Key::of(one.as_ref()));
        }
    });
    let reconciler = controller.clone();
    let workers = work(queue.clone(), 2, move |key: Key| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(changes, workers).1
}

fn note(status: &mut HorizontalPodAutoscalerStatus, kind: &str, holds: bool, reason: &str, message: &str, now: Timestamp) {
    let all = status.conditions.get_or_insert_default();
    let value = if holds { "True" } else { "False" };
    let known = all.iter_mut().find(|one| one.type_ == kind);
    let since = known.as_ref().filter(|one| one.status == value).and_then(|one| one.last_transition_time.clone());
    let fresh = HorizontalPodAutoscalerCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: since.or(Some(Time(now))),
    };
    match known {
        Some(known) => *known = fresh,
        None => all.push(fresh),
    }
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(autoscaler) = self.autoscalers.get(&key.namespace, &key.name) else {
            let known = uids(&self.autoscalers);
            self.histories.lock().retain(|uid, _| known.contains(uid));
            self.selectors.lock().remove(key);
            return Ok(None);
        };
        let mut status = autoscaler.status.clone().unwrap_or_default();
        status.observed_generation = autoscaler.metadata.generation;
        let now = self.clock.now();
        match self.target(&autoscaler).await {
            Ok((api, scale)) => self.follow_use(&autoscaler, &api, scale, &mut status, now).await,
            Err(error) => {
                let message = format!("the HPA controller was unable to get the target's current scale: {error}");
                note(&mut status, "AbleToScale", false, "FailedGetScale", &message, now);
                self.recorder.event(&autoscaler.object_ref(&()), EventType::Warning, "FailedGetScale", error);
            }
        }
        self.write_status(&autoscaler, status).await?;
        Ok(Some(self.options.sync_period))
    }

    async fn target(&self, autoscaler: &HorizontalPodAutoscaler) -> Result<(Api<DynamicObject>, Scale), String> {
        let target = &autoscaler.spec.scale_target_ref;
        let version = target.api_version.as_deref().unwrap_or("v1");
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = GroupVersionKind::gvk(group, version, &target.kind);
        let (resource, _) = kube::discovery::pinned_kind(&self.sources.0, &kind).await.map_err(|_| no_match(&kind))?;
        let api = Api::<DynamicObject>::namespaced_with(self.sources.0.clone(), namespace_of(autoscaler), &resource);
        let scale = api.get_scale(&target.name).await.map_err(|error| message_of(&error))?;
        Ok((api, scale))
    }

    async fn follow_use(
        &self,
        autoscaler: &HorizontalPodAutoscaler,
        api: &Api<DynamicObject>,
        mut scale: Scale,
        status: &mut HorizontalPodAutoscalerStatus,
        now: Timestamp,
    ) {
        let spec = &autoscaler.spec;
        let current = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        status.current_replicas = Some(current);
        let before = status.current_metrics.take();
        note(status, "AbleToScale", true, "SucceededGetScale", "the HPA controller was able to get the target's current scale", now);
        let uid = uid_of(autoscaler).to_owned();
        self.histories.lock().entry(uid.clone()).or_insert_with(|| History::begin(current, now));
        let (desired, reason) = if current == 0 && minimum(spec) != 0 {
            let message = "scaling is disabled since the replica count of the target is zero";
            note(status, "ScalingActive", false, "ScalingDisabled", message, now);
            (0, String::new())
        } else if current > spec.max_replicas {
            (spec.max_replicas, "Current number of replicas above Spec.MaxReplicas".to_owned())
        } else if current < minimum(spec) {
            (minimum(spec), "Current number of replicas below Spec.MinReplicas".to_owned())
        } else {
            let Some((wanted, metric)) = self.wanted(autoscaler, &scale, status, now).await else { return };
            let mut histories = self.histories.lock();
            let history = histories.entry(uid.clone()).or_default();
            history.scaled.retain(|(at, _)| now.duration_since(*at) < REMEMBERED);
            let bounded = bound(spec, history, current, wanted, self.options.downscale_stabilization, now);
            let (reason, message) = bounded.stabilized.unwrap_or(("ReadyForNewScale", "recommended size matches current size"));
            note(status, "AbleToScale", true, reason, message, now);
            let (reason, message) = bounded.limited.unwrap_or(("DesiredWithinRange", "the desired count is within the acceptable range"));
            note(status, "ScalingLimited", bounded.limited.is_some(), reason, message, now);
            let reason = if wanted > current { format!("{metric} above target") } else { "All metrics below target".to_owned() };
            (bounded.replicas, reason)
        };
        if desired == current {
            status.desired_replicas = desired;
            return;
        }
        scale.spec.get_or_insert_default().replicas = Some(desired);
        let subject = autoscaler.object_ref(&());
        let target = &spec.scale_target_ref.name;
        match api.replace_scale(target, &PostParams::default(), &scale).await {
            Ok(_) => {
                self.recorder.event(&subject, EventType::Normal, "SuccessfulRescale", format!("New size: {desired}; reason: {reason}"));
                let message = format!("the HPA controller was able to update the target scale to {desired}");
                note(status, "AbleToScale", true, "SucceededRescale", &message, now);
                status.desired_replicas = desired;
                status.last_scale_time = Some(Time(now));
                if spec.behavior.is_some() {
                    self.histories.lock().entry(uid).or_default().scaled.push((now, desired - current));
                }
            }
            Err(error) => {
                let error = message_of(&error);
                status.current_metrics = before;
                let message = format!("New size: {desired}; reason: {reason}; error: {error}");
                self.recorder.event(&subject, EventType::Warning, "FailedRescale", message);
                let message = format!("the HPA controller was unable to update the target scale: {error}");
                note(status, "AbleToScale", false, "FailedUpdateScale", &message, now);
            }
        }
    }

    /// The target's pods. An error is told, and its message is that of the failed look.
    fn targets(
        &self,
        autoscaler: &HorizontalPodAutoscaler,
        selector: &str,
        status: &mut HorizontalPodAutoscalerStatus,
        now: Timestamp,
    ) -> Result<Vec<Arc<Pod>>, String> {
        let mut refuse = |event: &str, reason: &str, condition: &str, error: String| {
            self.recorder.event(&autoscaler.object_ref(&()), EventType::Warning, event, error.clone());
            note(status, "ScalingActive", false, reason, condition, now);
            error
        };
        if selector.is_empty() {
            let message = "the HPA target's scale is missing a selector";
            return Err(refuse("SelectorRequired", "InvalidSelector", message, "selector is required".to_owned()));
        }
        let parsed = LabelSelector::parse(selector).map_err(|error| {
            let error = format!("couldn't convert selector into a corresponding internal selector object: {error}");
            refuse("InvalidSelector", "InvalidSelector", &error.clone(), error)
        })?;
        let none = BTreeMap::new();
        let fits = |selector: &LabelSelector, pod: &Pod| selector.matches(pod.metadata.labels.as_ref().unwrap_or(&none));
        let pods: Vec<_> = self.pods.list_in(namespace_of(autoscaler)).into_iter().filter(|pod| fits(&parsed, pod)).collect();
        let rivals: Vec<String> = {
            let mut selectors = self.selectors.lock();
            selectors.insert(Key::of(autoscaler), parsed);
            let here = selectors.iter().filter(|(key, _)| key.namespace == namespace_of(autoscaler));
            here.filter(|(_, selector)| pods.iter().any(|pod| fits(selector, pod))).map(|(key, _)| key.to_string()).collect()
        };
        if rivals.len() > 1 {
            let error = format!("pods by selector {selector} are controlled by multiple HPAs: [{}]", rivals.join(" "));
            return Err(refuse("AmbiguousSelector", "AmbiguousSelector", &error.clone(), error));
        }
        Ok(pods)
    }

    /// The most that any metric asks for, and which; `None` when none can be read, or one cannot that might ask for more.
    async fn wanted(
        &self,
        autoscaler: &HorizontalPodAutoscaler,
        scale: &Scale,
        status: &mut HorizontalPodAutoscalerStatus,
        now: Timestamp,
    ) -> Option<(i32, String)> {
        let subject = autoscaler.object_ref(&());
        let tell = |reason: &str, message: &str| self.recorder.event(&subject, EventType::Warning, reason, message);
        let selector = scale.status.as_ref().and_then(|status| status.selector.as_deref()).unwrap_or_default();
        let pods = match self.targets(autoscaler, selector, status, now) {
            Ok(pods) => pods,
            Err(error) => {
                tell("FailedComputeMetricsReplicas", &error);
                return None;
            }
        };
        let told = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        let target = Target {
            namespace: namespace_of(autoscaler),
            selector,
            told,
            existing: scale.status.as_ref().map_or(0, |status| status.replicas),
            pods: &pods,
            tolerance: self.tolerance(autoscaler),
            options: &self.options,
            now,
        };
        let metrics = autoscaler.spec.metrics.as_deref().unwrap_or_default();
        let (mut best, mut unknown, mut shown) = (None::<(i32, String)>, Vec::new(), Vec::new());
        for spec in metrics {
            match target.ask(&self.sources, spec).await {
                Ok(wanted) => {
                    shown.push(wanted.status);
                    if best.as_ref().is_none_or(|(most, _)| wanted.replicas > *most) {
                        best = Some((wanted.replicas, wanted.name));
                    }
                }
                Err(error) => {
                    tell(error.reason, &error.message);
                    // Readers pair what is aimed at with what is, by their places in the lists.
                    shown.push(MetricStatus::default());
                    unknown.push(error);
                }
            }
        }
        status.current_metrics = Some(shown).filter(|all| !all.is_empty());
        // A metric that cannot be read might have asked for more: then the target at least does not shrink.
        let best = best.filter(|(most, _)| unknown.is_empty() || *most >= told);
        match (&best, unknown.first()) {
            (Some((_, metric)), _) => {
                let message = format!("the HPA was able to successfully calculate a replica count from {metric}");
                note(status, "ScalingActive", true, "ValidMetricFound", &message, now);
            }
            (None, Some(first)) => {
                let message = format!("the HPA was unable to compute the replica count: {}", first.message);
                note(status, "ScalingActive", false, first.reason, &message, now);
                let (bad, of, whole) = (unknown.len(), metrics.len(), &first.whole);
                tell("FailedComputeMetricsReplicas", &format!("invalid metrics ({bad} invalid out of {of}), first error is: {whole}"));
            }
            (None, None) => {}
        }
        best
    }

    fn tolerance(&self, autoscaler: &HorizontalPodAutoscaler) -> Tolerance {
        let behavior = autoscaler.spec.behavior.as_ref();
        let own = |rules: Option<&HPAScalingRules>| {
            let stated = rules.and_then(|rules| rules.tolerance.as_ref());
            stated.map_or(self.options.tolerance, |stated| milli(Some(stated)) as f64 / 1000.0)
        };
        (own(behavior.and_then(|one| one.scale_down.as_ref())), own(behavior.and_then(|one| one.scale_up.as_ref())))
    }

    async fn write_status(&self, autoscaler: &HorizontalPodAutoscaler, status: HorizontalPodAutoscalerStatus) -> Result<(), kube::Error> {
        if autoscaler.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let update = HorizontalPodAutoscaler { status: Some(status), ..autoscaler.clone() };
        let api = Api::<HorizontalPodAutoscaler>::namespaced(self.sources.0.clone(), namespace_of(autoscaler));
        unless_gone(api.replace_status(name_of(autoscaler), &PostParams::default(), &update).await)
    }
}

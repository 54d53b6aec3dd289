//! Horizontal pod autoscalers: replicas follow what pods use, by the resource metrics API.
//!
//! `metrics` says how many replicas the use calls for, `behavior` how fast to get there. This file asks and scales.

mod behavior;
mod metrics;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_api::quantity::Quantity as Number;
use coracle_client::{EventRecorder, EventType, Informer, Queue, is_not_found};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition,
    HorizontalPodAutoscalerStatus, MetricSpec, MetricStatus, MetricValueStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Resource};
use parking_lot::Mutex;
use serde_json::Value;

use crate::Context;
use crate::wiring::{Key, Outcome, Run, follow_latest, name_of, namespace_of, uid_of, work};
use behavior::{History, bound, minimum};
use metrics::{Metric, Proposal, Sample, Usage, propose};

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
    client: kube::Client,
    recorder: EventRecorder,
    clock: Arc<dyn Clock>,
    autoscalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    /// By uid of the autoscaler.
    histories: Mutex<HashMap<String, History>>,
}

pub(crate) async fn run(context: Context) -> Run {
    let controller = Arc::new(Controller {
        options: context.autoscaling.clone(),
        client: context.client(NAME),
        recorder: context.recorder(NAME),
        clock: context.clock.clone(),
        autoscalers: context.informers.of(),
        pods: context.informers.of(),
        histories: Mutex::default(),
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

/// A metric that pods' use decides.
fn by_use(metric: &MetricSpec) -> Option<Metric<'_>> {
    match (&metric.resource, &metric.container_resource) {
        (Some(one), _) => Some(Metric { resource: &one.name, container: None, target: &one.target }),
        (None, Some(one)) => Some(Metric { resource: &one.name, container: Some(&one.container), target: &one.target }),
        (None, None) => None,
    }
}

/// Why a metric of another source cannot be read: nothing of this project serves those.
fn unserved(metric: &MetricSpec) -> (&'static str, String) {
    let custom = |name: &str| format!("unable to get metric {name}: no custom metrics API (custom.metrics.k8s.io) registered");
    match (&metric.pods, &metric.object, &metric.external) {
        (Some(pods), _, _) => ("FailedGetPodsMetric", custom(&pods.metric.name)),
        (_, Some(object), _) => ("FailedGetObjectMetric", custom(&object.metric.name)),
        (_, _, Some(external)) => {
            let name = &external.metric.name;
            (
                "FailedGetExternalMetric",
                format!("unable to get external metric {name}: no external metrics API (external.metrics.k8s.io) registered"),
            )
        }
        _ => ("InvalidMetricSourceType", format!("unknown metric source type {:?}", metric.type_)),
    }
}

fn shown(spec: &MetricSpec, metric: Metric, proposal: &Proposal) -> MetricStatus {
    let average = if metric.resource == "cpu" { format!("{}m", proposal.average) } else { (proposal.average / 1000).to_string() };
    let current = MetricValueStatus { average_utilization: proposal.utilization, average_value: Some(Quantity(average)), value: None };
    let mut status = MetricStatus { type_: spec.type_.clone(), ..MetricStatus::default() };
    let name = metric.resource.to_owned();
    match metric.container {
        None => status.resource = Some(ResourceMetricStatus { name, current }),
        Some(container) => {
            status.container_resource = Some(ContainerResourceMetricStatus { container: container.to_owned(), name, current });
        }
    }
    status
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(autoscaler) = self.autoscalers.get(&key.namespace, &key.name) else {
            let known: HashSet<String> = self.autoscalers.list().iter().map(|one| uid_of(one.as_ref()).to_owned()).collect();
            self.histories.lock().retain(|uid, _| known.contains(uid));
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
        let (resource, _) = kube::discovery::pinned_kind(&self.client, &kind).await.map_err(|error| error.to_string())?;
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace_of(autoscaler), &resource);
        let scale = api.get_scale(&target.name).await.map_err(|error| error.to_string())?;
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
            let selector = scale.status.as_ref().and_then(|status| status.selector.clone()).unwrap_or_default();
            let Some((wanted, metric)) = self.wanted(autoscaler, &selector, current, status, now).await else {
                status.desired_replicas = current;
                return;
            };
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
        status.desired_replicas = desired;
        if desired == current {
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
                status.last_scale_time = Some(Time(now));
                if spec.behavior.is_some() {
                    self.histories.lock().entry(uid).or_default().scaled.push((now, desired - current));
                }
            }
            Err(error) => {
                let message = format!("New size: {desired}; reason: {reason}; error: {error}");
                self.recorder.event(&subject, EventType::Warning, "FailedRescale", message);
                let message = format!("the HPA controller was unable to update the target scale: {error}");
                note(status, "AbleToScale", false, "FailedUpdateScale", &message, now);
            }
        }
    }

    /// The target's pods; why there are none to look at, as reason and message, is said by the condition.
    fn targets(&self, autoscaler: &HorizontalPodAutoscaler, selector: &str) -> Result<Vec<Arc<Pod>>, (&'static str, String)> {
        if selector.is_empty() {
            return Err(("InvalidSelector", "the HPA target's scale is missing a selector".to_owned()));
        }
        let parsed = coracle_api::selector::LabelSelector::parse(selector);
        let parsed = parsed.map_err(|error| {
            ("InvalidSelector", format!("couldn't convert selector into a corresponding internal selector object: {error}"))
        })?;
        let none = BTreeMap::new();
        let here = self.pods.list_in(namespace_of(autoscaler)).into_iter();
        Ok(here.filter(|pod| parsed.matches(pod.metadata.labels.as_ref().unwrap_or(&none))).collect())
    }

    /// The most that any metric asks for, and which; `None` when none can be read, or one cannot that might ask for more.
    async fn wanted(
        &self,
        autoscaler: &HorizontalPodAutoscaler,
        selector: &str,
        current: i32,
        status: &mut HorizontalPodAutoscalerStatus,
        now: Timestamp,
    ) -> Option<(i32, String)> {
        let subject = autoscaler.object_ref(&());
        let all = match self.targets(autoscaler, selector) {
            Ok(all) => all,
            Err((reason, message)) => {
                self.recorder.event(&subject, EventType::Warning, reason, message.clone());
                note(status, "ScalingActive", false, reason, &message, now);
                return None;
            }
        };
        let metrics = autoscaler.spec.metrics.as_deref().unwrap_or_default();
        let (mut best, mut invalid, mut shown_metrics) = (None::<(i32, String)>, Vec::new(), Vec::new());
        for spec in metrics {
            match self.proposal(autoscaler, spec, selector, current, &all, now).await {
                Ok((metric, proposal)) => {
                    shown_metrics.push(shown(spec, metric, &proposal));
                    if best.as_ref().is_none_or(|(most, _)| proposal.replicas > *most) {
                        best = Some((proposal.replicas, metric.name()));
                    }
                }
                Err((reason, why)) => {
                    self.recorder.event(&subject, EventType::Warning, reason, why.clone());
                    invalid.push((reason, why));
                }
            }
        }
        status.current_metrics = Some(shown_metrics).filter(|all| !all.is_empty());
        // A metric that cannot be read might have asked for more: then the target at least does not shrink.
        let best = best.filter(|(most, _)| invalid.is_empty() || *most >= current);
        match (best, invalid.first()) {
            (Some((replicas, metric)), _) => {
                let message = format!("the HPA was able to successfully calculate a replica count from {metric}");
                note(status, "ScalingActive", true, "ValidMetricFound", &message, now);
                Some((replicas, metric))
            }
            (None, Some((reason, why))) => {
                note(status, "ScalingActive", false, reason, &format!("the HPA was unable to compute the replica count: {why}"), now);
                let (bad, of) = (invalid.len(), metrics.len());
                let message = format!("invalid metrics ({bad} invalid out of {of}), first error is: {why}");
                self.recorder.event(&subject, EventType::Warning, "FailedComputeMetricsReplicas", message);
                None
            }
            (None, None) => None,
        }
    }

    /// What one metric asks for, or why it cannot be read: reason and message.
    async fn proposal<'a>(
        &self,
        autoscaler: &HorizontalPodAutoscaler,
        spec: &'a MetricSpec,
        selector: &str,
        current: i32,
        all: &[Arc<Pod>],
        now: Timestamp,
    ) -> Result<(Metric<'a>, Proposal), (&'static str, String)> {
        let metric = by_use(spec).ok_or_else(|| unserved(spec))?;
        let behavior = autoscaler.spec.behavior.as_ref();
        let own = |rules: Option<&HPAScalingRules>| {
            let quantity = rules.and_then(|rules| rules.tolerance.as_ref()?.0.parse::<Number>().ok());
            quantity.map_or(self.options.tolerance, |number| number.milli_value() as f64 / 1000.0)
        };
        let tolerance = (own(behavior.and_then(|one| one.scale_down.as_ref())), own(behavior.and_then(|one| one.scale_up.as_ref())));
        let usage = self.usage(namespace_of(autoscaler), selector, metric.resource).await;
        let proposal = usage.and_then(|usage| propose(metric, tolerance, current, all, &usage, &self.options, now));
        let (reason, what) = match metric.container {
            Some(_) => {
                ("FailedGetContainerResourceMetric", if metric.target.average_utilization.is_some() { "utilization" } else { "usage" })
            }
            None => ("FailedGetResourceMetric", if metric.target.average_utilization.is_some() { "utilization" } else { "usage" }),
        };
        proposal.map(|proposal| (metric, proposal)).map_err(|error| (reason, format!("failed to get {} {what}: {error}", metric.resource)))
    }

    /// What the pods use, by the resource metrics API.
    async fn usage(&self, namespace: &str, selector: &str, resource: &str) -> Result<Usage, String> {
        let query: String = selector
            .bytes()
            .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect();
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={query}");
        let unable = |error: &str| format!("unable to get metrics for resource {resource}: {error}");
        let unfetched = |error: String| unable(&format!("unable to fetch metrics from resource metrics API: {error}"));
        let request = http::Request::get(path).body(Vec::new()).map_err(|error| unfetched(error.to_string()))?;
        let list: Value = self.client.request(request).await.map_err(|error| match error {
            kube::Error::Api(status) => unfetched(format!("{} (get pods.metrics.k8s.io)", status.message)),
            error => unfetched(error.to_string()),
        })?;
        let usage: Usage = list["items"].as_array().into_iter().flatten().filter_map(|pod| sample(pod, resource)).collect();
        if usage.is_empty() { Err(unable("no metrics returned from resource metrics API")) } else { Ok(usage) }
    }

    async fn write_status(&self, autoscaler: &HorizontalPodAutoscaler, status: HorizontalPodAutoscalerStatus) -> Result<(), kube::Error> {
        if autoscaler.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let update = HorizontalPodAutoscaler { status: Some(status), ..autoscaler.clone() };
        let api = Api::<HorizontalPodAutoscaler>::namespaced(self.client.clone(), namespace_of(autoscaler));
        match api.replace_status(name_of(autoscaler), &PostParams::default(), &update).await {
            Err(error) if !is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Name and sample of an object of the resource metrics API.
fn sample(pod: &Value, resource: &str) -> Option<(String, Sample)> {
    let of_container = |container: &Value| {
        let used = container["usage"][resource].as_str()?.parse::<Number>().ok()?.milli_value();
        Some((container["name"].as_str()?.to_owned(), used))
    };
    let containers = pod["containers"].as_array()?.iter().filter_map(of_container).collect();
    let at = pod["timestamp"].as_str().and_then(|text| text.parse().ok());
    let window = pod["window"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
    Some((pod["metadata"]["name"].as_str()?.to_owned(), Sample { at, window, containers }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_metrics_api_says_is_read() {
        let pod = json!({"metadata": {"name": "p"}, "timestamp": "2024-05-01T10:00:00Z", "window": "1m15.5s", "containers": [
            {"name": "a", "usage": {"cpu": "1500000n", "memory": "4Ki"}}, {"name": "b", "usage": {"cpu": "2m"}}]});
        let (name, sample) = sample(&pod, "cpu").unwrap();
        assert_eq!((name.as_str(), sample.window), ("p", SignedDuration::from_millis(75_500)));
        assert!(sample.at.is_some());
        assert_eq!(sample.containers, BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 2)]));
        assert_eq!(self::sample(&pod, "memory").unwrap().1.containers["a"], 4_096_000);
    }
}

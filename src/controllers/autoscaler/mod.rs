//! Horizontal pod autoscalers: replicas follow what pods use, by the resource metrics API.
//!
//! `metrics` says how many replicas the use calls for, `behavior` how fast to get there. This file asks and scales.

mod behavior;
mod metrics;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_api::quantity::Quantity as Number;
use coracle_client::{EventRecorder, EventType, Informer, Queue, is_not_found};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus, MetricSpec,
    MetricStatus, MetricTarget, MetricValueStatus, ResourceMetricStatus,
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
use metrics::{Proposal, Usage, propose};

const NAME: &str = "horizontal-pod-autoscaler";
/// Between two looks.
const PERIOD: Duration = Duration::from_secs(15);
const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);

struct Controller {
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

/// The resource, container and target of a metric that pods' use decides.
fn by_use(metric: &MetricSpec) -> Option<(&str, Option<&str>, &MetricTarget)> {
    match (&metric.resource, &metric.container_resource) {
        (Some(resource), _) => Some((&resource.name, None, &resource.target)),
        (None, Some(resource)) => Some((&resource.name, Some(&resource.container), &resource.target)),
        (None, None) => None,
    }
}

fn shown(metric: &MetricSpec, resource: &str, container: Option<&str>, proposal: &Proposal) -> MetricStatus {
    let average = if resource == "cpu" { format!("{}m", proposal.average) } else { (proposal.average / 1000).to_string() };
    let current = MetricValueStatus { average_utilization: proposal.utilization, average_value: Some(Quantity(average)), value: None };
    let mut status = MetricStatus { type_: metric.type_.clone(), ..MetricStatus::default() };
    match container {
        None => status.resource = Some(ResourceMetricStatus { name: resource.to_owned(), current }),
        Some(container) => {
            let (container, name) = (container.to_owned(), resource.to_owned());
            status.container_resource = Some(ContainerResourceMetricStatus { container, name, current });
        }
    }
    status
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(autoscaler) = self.autoscalers.get(&key.namespace, &key.name) else { return Ok(None) };
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
        Ok(Some(PERIOD))
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
        status.current_replicas = Some(scale.status.as_ref().map_or(0, |status| status.replicas));
        note(status, "AbleToScale", true, "SucceededGetScale", "the HPA controller was able to get the target's current scale", now);
        let uid = uid_of(autoscaler).to_owned();
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
            let bounded = bound(spec, history, current, wanted, now);
            if bounded.stabilized {
                let message = "recent recommendations were higher than current one, applying the highest recent recommendation";
                note(status, "AbleToScale", true, "ScaleDownStabilized", message, now);
            } else {
                note(status, "AbleToScale", true, "ReadyForNewScale", "recommended size matches current size", now);
            }
            match bounded.limited {
                Some((reason, message)) => note(status, "ScalingLimited", true, reason, message, now),
                None => {
                    note(status, "ScalingLimited", false, "DesiredWithinRange", "the desired count is within the acceptable range", now)
                }
            }
            let direction =
                if bounded.replicas > current { format!("{metric} above target") } else { "All metrics below target".to_owned() };
            (bounded.replicas, direction)
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
                self.histories.lock().entry(uid).or_default().scaled.push((now, desired - current));
            }
            Err(error) => {
                let message = format!("New size: {desired}; reason: {reason}; error: {error}");
                self.recorder.event(&subject, EventType::Warning, "FailedRescale", message);
                let message = format!("the HPA controller was unable to update the target scale: {error}");
                note(status, "AbleToScale", false, "FailedUpdateScale", &message, now);
            }
        }
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
        let parsed = coracle_api::selector::LabelSelector::parse(selector).ok()?;
        let none = BTreeMap::new();
        let here = self.pods.list_in(namespace_of(autoscaler)).into_iter();
        let all: Vec<_> = here.filter(|pod| parsed.matches(pod.metadata.labels.as_ref().unwrap_or(&none))).collect();
        let mut best: Option<(i32, String)> = None;
        let mut failure = None;
        let mut shown_metrics = Vec::new();
        for metric in autoscaler.spec.metrics.iter().flatten() {
            let Some((resource, container, target)) = by_use(metric) else {
                failure = Some(("FailedGetMetric", format!("no API serves metrics of type {}", metric.type_)));
                continue;
            };
            let usage = self.usage(namespace_of(autoscaler), selector, resource).await;
            match usage.and_then(|usage| propose(resource, container, target, current, &all, &usage)) {
                Ok(proposal) => {
                    let how = if target.average_utilization.is_some() { " utilization (percentage of request)" } else { "" };
                    shown_metrics.push(shown(metric, resource, container, &proposal));
                    if best.as_ref().is_none_or(|(most, _)| proposal.replicas > *most) {
                        best = Some((proposal.replicas, format!("{resource} resource{how}")));
                    }
                }
                Err(error) => failure = Some(("FailedGetResourceMetric", format!("failed to get {resource} utilization: {error}"))),
            }
        }
        status.current_metrics = Some(shown_metrics).filter(|all| !all.is_empty());
        // A metric that cannot be read might have asked for more: then the target at least does not shrink.
        if let Some((reason, why)) = &failure
            && best.as_ref().is_none_or(|(most, _)| *most < current)
        {
            let message = format!("the HPA was unable to compute the replica count: {why}");
            note(status, "ScalingActive", false, reason, &message, now);
            self.recorder.event(&autoscaler.object_ref(&()), EventType::Warning, reason, why.clone());
            return None;
        }
        let (_, metric) = best.as_ref()?;
        let message = format!("the HPA was able to successfully calculate a replica count from {metric}");
        note(status, "ScalingActive", true, "ValidMetricFound", &message, now);
        best
    }

    /// What the pods use, by the resource metrics API.
    async fn usage(&self, namespace: &str, selector: &str, resource: &str) -> Result<Usage, String> {
        let query: String = selector
            .bytes()
            .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect();
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={query}");
        let unable = |error: String| {
            format!("unable to get metrics for resource {resource}: unable to fetch metrics from resource metrics API: {error}")
        };
        let request = http::Request::get(path).body(Vec::new()).map_err(|error| unable(error.to_string()))?;
        let list: Value = self.client.request(request).await.map_err(|error| match error {
            kube::Error::Api(status) => unable(format!("{} (get pods.metrics.k8s.io)", status.message)),
            error => unable(error.to_string()),
        })?;
        let of_container = |container: &Value| {
            let used = container["usage"][resource].as_str()?.parse::<Number>().ok()?.milli_value();
            Some((container["name"].as_str()?.to_owned(), used))
        };
        let of_pod = |pod: &Value| {
            let containers = pod["containers"].as_array()?.iter().filter_map(of_container).collect();
            Some((pod["metadata"]["name"].as_str()?.to_owned(), containers))
        };
        Ok(list["items"].as_array().into_iter().flatten().filter_map(of_pod).collect())
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

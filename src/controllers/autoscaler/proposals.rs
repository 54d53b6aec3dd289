//! What one metric asks for: by its source, the figure and the replicas that it calls for, or why there is none.

use std::sync::Arc;

use coracle_api::quantity::Quantity as Number;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricSource, ExternalMetricStatus, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
    ObjectMetricSource, ObjectMetricStatus, PodsMetricSource, PodsMetricStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::Autoscaling;
use super::metrics::{Metric, Tolerance, milli, propose};
use super::sources::Sources;
use super::values::{by_average, by_value};
use crate::ownership::as_go_prints;

/// What a metric says.
#[derive(Debug)]
pub(super) struct Wanted {
    pub replicas: i32,
    /// As messages and events call the metric.
    pub name: String,
    pub status: MetricStatus,
}

/// Why a metric says nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    /// Reason of the event and of the condition `ScalingActive`.
    pub reason: &'static str,
    /// The event's message.
    pub message: String,
    /// The same as the first error of all metrics.
    pub whole: String,
}

/// The target of an autoscaler when its metrics are looked at.
pub(super) struct Target<'a> {
    pub namespace: &'a str,
    pub selector: &'a str,
    /// Replicas it is told to have.
    pub told: i32,
    /// Replicas it has.
    pub existing: i32,
    pub pods: &'a [Arc<Pod>],
    pub tolerance: Tolerance,
    pub options: &'a Autoscaling,
    pub now: Timestamp,
}

fn average(milli: i64) -> MetricValueStatus {
    MetricValueStatus { average_value: Some(quantity(milli)), ..MetricValueStatus::default() }
}

fn value(milli: i64) -> MetricValueStatus {
    MetricValueStatus { value: Some(quantity(milli)), ..MetricValueStatus::default() }
}

fn quantity(milli: i64) -> Quantity {
    Quantity(Number::milli(milli).to_string())
}

impl Target<'_> {
    /// Asks the metric's source.
    pub(super) async fn ask(&self, sources: &Sources, spec: &MetricSpec) -> Result<Wanted, Unknown> {
        match (&spec.resource, &spec.container_resource, &spec.pods, &spec.object, &spec.external) {
            (Some(one), ..) => {
                let metric = Metric { resource: &one.name, container: None, target: &one.target };
                let prefix = format!("{} resource", one.name);
                self.resource(sources, metric).await.map_err(|error| failed("FailedGetResourceMetric", &prefix, error.clone(), error))
            }
            (_, Some(one), ..) => {
                let metric = Metric { resource: &one.name, container: Some(&one.container), target: &one.target };
                let prefix = format!("{} container", one.container);
                self.resource(sources, metric)
                    .await
                    .map_err(|error| failed("FailedGetContainerResourceMetric", &prefix, error.clone(), error))
            }
            (_, _, Some(one), ..) => {
                self.of_pods(sources, one).await.map_err(|error| failed("FailedGetPodsMetric", "pods", error.clone(), error))
            }
            (_, _, _, Some(one), _) => {
                let about = |error: &String| match one.target.average_value {
                    Some(_) => format!("failed to get {} object metric: {error}", one.metric.name),
                    None => error.clone(),
                };
                self.of_object(sources, one).await.map_err(|error| failed("FailedGetObjectMetric", "object", about(&error), error))
            }
            (_, _, _, _, Some(one)) => {
                let name = &one.metric.name;
                let about = |error: &String| match (&one.target.average_value, &one.target.value) {
                    (Some(_), _) => format!("failed to get {name} external metric: {error}"),
                    (None, Some(_)) => format!("failed to get external metric {name}: {error}"),
                    (None, None) => error.clone(),
                };
                let prefix = format!("{name} external");
                self.external(sources, one).await.map_err(|error| failed("FailedGetExternalMetric", &prefix, about(&error), error))
            }
            (None, None, None, None, None) => {
                let message = format!("unknown metric source type {:?}", spec.type_);
                Err(Unknown { reason: "InvalidMetricSourceType", whole: message.clone(), message })
            }
        }
    }

    async fn resource(&self, sources: &Sources, metric: Metric<'_>) -> Result<Wanted, String> {
        let what = if metric.target.average_utilization.is_some() { "utilization" } else { "usage" };
        let usage = sources.usage(self.namespace, self.selector, metric.resource).await;
        let proposal = usage.and_then(|usage| propose(metric, self.tolerance, self.told, self.pods, &usage, self.options, self.now));
        let proposal = proposal.map_err(|error| format!("failed to get {} {what}: {error}", metric.resource))?;
        let current = MetricValueStatus { average_utilization: proposal.utilization, ..average(proposal.average) };
        let (name, mut status) = (metric.resource.to_owned(), MetricStatus::default());
        match metric.container {
            None => {
                status.type_ = "Resource".to_owned();
                status.resource = Some(ResourceMetricStatus { name, current });
            }
            Some(container) => {
                status.type_ = "ContainerResource".to_owned();
                status.container_resource = Some(ContainerResourceMetricStatus { container: container.to_owned(), name, current });
            }
        }
        Ok(Wanted { replicas: proposal.replicas, name: metric.name(), status })
    }

    async fn of_pods(&self, sources: &Sources, one: &PodsMetricSource) -> Result<Wanted, String> {
        let usage = sources.of_pods(self.namespace, self.selector, &one.metric).await?;
        let metric = Metric { resource: "", container: None, target: &one.target };
        let proposal = propose(metric, self.tolerance, self.told, self.pods, &usage, self.options, self.now)?;
        let pods = PodsMetricStatus { metric: one.metric.clone(), current: average(proposal.average) };
        let status = MetricStatus { type_: "Pods".to_owned(), pods: Some(pods), ..MetricStatus::default() };
        Ok(Wanted { replicas: proposal.replicas, name: format!("pods metric {}", one.metric.name), status })
    }

    async fn of_object(&self, sources: &Sources, one: &ObjectMetricSource) -> Result<Wanted, String> {
        let figure = sources.of_object(self.namespace, &one.described_object, &one.metric);
        let invalid = "invalid object metric source: neither a value target nor an average value target was set";
        let (replicas, current) = self.figure(&one.target, figure, invalid).await?;
        let name = match current.value {
            Some(_) => format!("{} metric {}", one.described_object.kind, one.metric.name),
            // Upstream calls it that.
            None => format!("external metric {}({})", one.metric.name, as_go_prints(one.metric.selector.as_ref())),
        };
        let object = ObjectMetricStatus { described_object: one.described_object.clone(), metric: one.metric.clone(), current };
        let status = MetricStatus { type_: "Object".to_owned(), object: Some(object), ..MetricStatus::default() };
        Ok(Wanted { replicas, name, status })
    }

    async fn external(&self, sources: &Sources, one: &ExternalMetricSource) -> Result<Wanted, String> {
        let figure = sources.external(self.namespace, &one.metric);
        let invalid = "invalid external metric source: neither a value target nor an average value target was set";
        let (replicas, current) = self.figure(&one.target, figure, invalid).await?;
        let name = format!("external metric {}({})", one.metric.name, as_go_prints(one.metric.selector.as_ref()));
        let external = ExternalMetricStatus { metric: one.metric.clone(), current };
        let status = MetricStatus { type_: "External".to_owned(), external: Some(external), ..MetricStatus::default() };
        Ok(Wanted { replicas, name, status })
    }

    /// Replicas and what is shown for a figure about the whole target, against a value or an average over the pods.
    async fn figure(
        &self,
        target: &MetricTarget,
        figure: impl Future<Output = Result<i64, String>>,
        invalid: &str,
    ) -> Result<(i32, MetricValueStatus), String> {
        if target.average_value.is_some() {
            let (replicas, each) = by_average(figure.await?, milli(target.average_value.as_ref()), self.existing, self.tolerance);
            Ok((replicas, average(each)))
        } else if target.value.is_some() {
            let figure = figure.await?;
            Ok((by_value(figure, milli(target.value.as_ref()), self.told, self.tolerance, self.pods)?, value(figure)))
        } else {
            Err(invalid.to_owned())
        }
    }
}

fn failed(reason: &'static str, prefix: &str, inner: String, message: String) -> Unknown {
    Unknown { reason, message, whole: format!("failed to get {prefix} metric value: {inner}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::super::sources::tests::served;
    use super::*;

    fn pod(name: &str) -> Arc<Pod> {
        let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"containers": []}, "status": status})).unwrap())
    }

    /// An object's metric says 9, an external one 9, and the two pods 3 and 5.
    fn sources() -> Sources {
        served(json!({
            "/apis/custom.metrics.k8s.io": {"versions": [{"version": "v1beta1"}], "preferredVersion": {"version": "v1beta1"}},
            "/apis/custom.metrics.k8s.io/v1beta1/namespaces/n/pods/*/hits?labelSelector=a%3Db": {"items": [
                {"describedObject": {"name": "p"}, "value": "3"}, {"describedObject": {"name": "q"}, "value": "5"}]},
            "/apis/custom.metrics.k8s.io/v1beta1/namespaces/n/metrics/hits": {"items": [{"value": "9"}]},
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/n/queue": {"items": [{"value": "9"}]},
        }))
    }

    async fn ask(spec: Value) -> Result<Wanted, Unknown> {
        let (pods, options) = ([pod("p"), pod("q")], Autoscaling::default());
        let target = Target {
            namespace: "n",
            selector: "a=b",
            told: 2,
            existing: 2,
            pods: &pods,
            tolerance: (0.1, 0.1),
            options: &options,
            now: Timestamp::UNIX_EPOCH,
        };
        target.ask(&sources(), &serde_json::from_value(spec).unwrap()).await
    }

    fn object(name: &str, target: Value) -> Value {
        json!({"type": "Object", "object": {"describedObject": {"kind": "Namespace", "name": "n"}, "metric": {"name": name}, "target": target}})
    }

    fn external(name: &str, target: Value) -> Value {
        json!({"type": "External", "external": {"metric": {"name": name}, "target": target}})
    }

    #[rstest]
    #[case::pods(json!({"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "1"}}}),
        8, "pods metric hits", "/pods/current/averageValue", "4")]
    #[case::object(object("hits", json!({"type": "Value", "value": "3"})), 6, "Namespace metric hits", "/object/current/value", "9")]
    #[case::object_on_average(object("hits", json!({"type": "AverageValue", "averageValue": "2"})),
        5, "external metric hits(nil)", "/object/current/averageValue", "4500m")]
    #[case::external(external("queue", json!({"type": "Value", "value": "3"})), 6, "external metric queue(nil)", "/external/current/value", "9")]
    #[case::external_on_average(external("queue", json!({"type": "AverageValue", "averageValue": "3"})),
        3, "external metric queue(nil)", "/external/current/averageValue", "4500m")]
    #[tokio::test]
    async fn metrics_call_for_replicas(
        #[case] spec: Value,
        #[case] replicas: i32,
        #[case] name: &str,
        #[case] at: &str,
        #[case] shown: &str,
    ) {
        let kind = spec["type"].clone();
        let wanted = ask(spec).await.unwrap();
        assert_eq!((wanted.replicas, wanted.name.as_str()), (replicas, name));
        let status = serde_json::to_value(wanted.status).unwrap();
        assert_eq!((&status["type"], status.pointer(at).unwrap()), (&kind, &json!(shown)));
    }

    #[rstest]
    #[case::resource(json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}),
        "FailedGetResourceMetric", "failed to get cpu utilization: unable to get metrics for resource cpu: ", "failed to get cpu resource metric value: ")]
    #[case::container(json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
        "target": {"type": "AverageValue", "averageValue": "1"}}}),
        "FailedGetContainerResourceMetric", "failed to get cpu usage: ", "failed to get c container metric value: ")]
    #[case::pods(json!({"type": "Pods", "pods": {"metric": {"name": "misses"}, "target": {"type": "AverageValue", "averageValue": "1"}}}),
        "FailedGetPodsMetric", "unable to get metric misses: ", "failed to get pods metric value: ")]
    #[case::object(object("misses", json!({"type": "Value", "value": "3"})),
        "FailedGetObjectMetric", "unable to get metric misses: Namespace on n n/", "failed to get object metric value: ")]
    #[case::object_on_average(object("misses", json!({"type": "AverageValue", "averageValue": "3"})),
        "FailedGetObjectMetric", "unable to get metric misses: ", "failed to get object metric value: failed to get misses object metric: ")]
    #[case::external(external("jam", json!({"type": "Value", "value": "3"})),
        "FailedGetExternalMetric", "unable to get external metric n/jam/nil: ", "failed to get jam external metric value: failed to get external metric jam: ")]
    #[case::external_on_average(external("jam", json!({"type": "AverageValue", "averageValue": "3"})),
        "FailedGetExternalMetric", "unable to get external metric n/jam/nil: ", "failed to get jam external metric value: failed to get jam external metric: ")]
    #[case::targetless(external("queue", json!({"type": "Value"})), "FailedGetExternalMetric",
        "invalid external metric source: neither a value target nor an average value target was set", "failed to get queue external metric value: ")]
    #[case::unheard_of(json!({"type": "Moon"}), "InvalidMetricSourceType", "unknown metric source type \"Moon\"", "")]
    #[tokio::test]
    async fn what_is_not_known_is_said(#[case] spec: Value, #[case] reason: &str, #[case] message: &str, #[case] prefix: &str) {
        let unknown = ask(spec).await.unwrap_err();
        assert_eq!(unknown.reason, reason);
        assert!(unknown.message.starts_with(message), "{}", unknown.message);
        assert_eq!(unknown.whole, format!("{prefix}{}", unknown.message));
    }
}

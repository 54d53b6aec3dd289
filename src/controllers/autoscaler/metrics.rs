//! From what pods use to how many there should be: upstream's replica calculator.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::quantity::Quantity as Number;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::MetricTarget;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::Autoscaling;
use crate::pods;
use crate::wiring::name_of;

/// What a pod used.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    pub at: Option<Timestamp>,
    /// Over how long it was measured.
    pub window: SignedDuration,
    /// Thousandths of the resource by container; of a metric about the whole pod, by the empty name.
    pub containers: BTreeMap<String, i64>,
}

/// By pod.
pub(super) type Usage = BTreeMap<String, Sample>;

/// What a metric is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metric<'a> {
    /// Empty for a metric that is no resource.
    pub resource: &'a str,
    /// One container of each pod; all without.
    pub container: Option<&'a str>,
    pub target: &'a MetricTarget,
}

/// How far use may be from the target without anything being changed: below and above.
pub(super) type Tolerance = (f64, f64);

/// What a metric says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Proposal {
    pub replicas: i32,
    /// Percent of the requests, where the target is one.
    pub utilization: Option<i32>,
    /// Thousandths, per pod.
    pub average: i64,
}

pub(super) fn milli(quantity: Option<&Quantity>) -> i64 {
    quantity.and_then(|quantity| quantity.0.parse::<Number>().ok()).map_or(0, |number| number.milli_value())
}

/// Thousandths of a quantity in an answer; some servers write whole ones as numbers.
pub(super) fn milli_of(value: &Value) -> i64 {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.parse::<Number>().map_or(0, |number| number.milli_value())
}

/// So near to the target that nothing is changed.
pub(super) fn is_near(ratio: f64, tolerance: Tolerance) -> bool {
    (1.0 - tolerance.0..=1.0 + tolerance.1).contains(&ratio)
}

impl Metric<'_> {
    /// As messages and events call it.
    pub(super) fn name(&self) -> String {
        let container = self.container.map_or("", |_| "container ");
        let how = if self.target.average_utilization.is_some() { " utilization (percentage of request)" } else { "" };
        format!("{} {container}resource{how}", self.resource)
    }

    /// What the pod asks for: all of it, or one container.
    fn requested(&self, pod: &Pod) -> Result<i64, String> {
        let none = || format!("no spec in Pod {}", name_of(pod));
        let spec = pod.spec.as_ref().ok_or_else(none)?;
        let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get(self.resource));
        if let (None, Some(whole)) = (self.container, whole) {
            return Ok(milli(Some(whole)));
        }
        let sidecars = spec.init_containers.iter().flatten().filter(|one| one.restart_policy.as_deref() == Some("Always"));
        let all = spec.containers.iter().chain(sidecars).filter(|one| self.container.is_none_or(|name| one.name == name));
        let each = all.map(|one| {
            let request = one.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get(self.resource));
            let missing = || format!("missing request for {} in container {} of Pod {}", self.resource, one.name, name_of(pod));
            request.map(|request| milli(Some(request))).ok_or_else(missing)
        });
        each.sum()
    }

    fn used(&self, sample: &Sample) -> i64 {
        let counted = sample.containers.iter().filter(|(name, _)| self.container.is_none_or(|wanted| *name == wanted));
        counted.map(|(_, value)| value).sum()
    }

    /// What a pod may use: its request or the average that is aimed at.
    fn full(&self, request: i64) -> i64 {
        match self.target.average_utilization {
            Some(percent) => request * i64::from(percent.max(100)) / 100,
            None => milli(self.target.average_value.as_ref()),
        }
    }

    /// Use and request of pods, against the target.
    fn ratio(&self, pods: &[(i64, i64)]) -> f64 {
        let (used, requests) = pods.iter().fold((0, 0), |(used, requests), (one, request)| (used + one, requests + request));
        match self.target.average_utilization {
            Some(percent) => (used * 100 / requests.max(1)) as f64 / f64::from(percent.max(1)),
            None => (used / length(pods)) as f64 / milli(self.target.average_value.as_ref()).max(1) as f64,
        }
    }
}

fn length(pods: &[(i64, i64)]) -> i64 {
    i64::try_from(pods.len()).unwrap_or(i64::MAX).max(1)
}

/// A pod's sample does not count while it starts: it uses more then than it will. Until five minutes after its start that
/// is while it is not ready or was not for the whole window; later, if it never was ready.
fn is_starting(pod: &Pod, sample: &Sample, options: &Autoscaling, now: Timestamp) -> bool {
    let ready = pods::condition(pod, "Ready");
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let (Some(ready), Some(started)) = (ready, started) else { return true };
    let changed = ready.last_transition_time.as_ref().map_or(started, |time| time.0);
    let after =
        |start: Timestamp, period| start.saturating_add(SignedDuration::try_from(period).unwrap_or_default()).unwrap_or(Timestamp::MAX);
    if after(started, options.cpu_initialization_period) > now {
        let measured = sample.at.is_none_or(|at| at >= changed.saturating_add(sample.window).unwrap_or(Timestamp::MAX));
        ready.status == "False" || !measured
    } else {
        ready.status == "False" && after(started, options.initial_readiness_delay) > changed
    }
}

/// How many replicas keep the use at the target. `all` are the target's pods; `usage` what is known of them.
pub(super) fn propose(
    metric: Metric,
    tolerance: Tolerance,
    current: i32,
    all: &[Arc<Pod>],
    usage: &Usage,
    options: &Autoscaling,
    now: Timestamp,
) -> Result<Proposal, String> {
    if all.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let request = |pod: &Pod| if metric.target.average_utilization.is_some() { metric.requested(pod) } else { Ok(0) };
    let (mut counted, mut starting, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for pod in all {
        let request = request(pod)?;
        match usage.get(name_of(pod.as_ref())) {
            _ if pods::is_terminating(pod) || pods::phase(pod) == "Failed" => {}
            _ if pods::phase(pod) == "Pending" => starting.push(request),
            None => missing.push(request),
            Some(sample) if metric.resource == "cpu" && is_starting(pod, sample, options, now) => starting.push(request),
            Some(sample) => counted.push((metric.used(sample), request)),
        }
    }
    if counted.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let (total, requests) = counted.iter().fold((0, 0), |(used, requests), (one, request)| (used + one, requests + request));
    let utilization = metric.target.average_utilization.map(|_| i32::try_from(total * 100 / requests.max(1)).unwrap_or(i32::MAX));
    let average = total / length(&counted);
    let keep = |replicas| Ok(Proposal { replicas, utilization, average });
    let near = |ratio| is_near(ratio, tolerance);
    let first = metric.ratio(&counted);
    let grows_with_starting = !starting.is_empty() && first > 1.0;
    if !grows_with_starting && missing.is_empty() {
        return keep(if near(first) { current } else { (first * counted.len() as f64).ceil() as i32 });
    }
    // Where it is not known, assume what speaks against the change.
    counted.extend(missing.into_iter().map(|request| (if first < 1.0 { metric.full(request) } else { 0 }, request)));
    if grows_with_starting {
        counted.extend(starting.into_iter().map(|request| (0, request)));
    }
    let second = metric.ratio(&counted);
    if near(second) || (first < 1.0 && second > 1.0) || (first > 1.0 && second < 1.0) {
        return keep(current);
    }
    let replicas = (second * counted.len() as f64).ceil() as i32;
    keep(if (second < 1.0 && replicas > current) || (second > 1.0 && replicas < current) { current } else { replicas })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    const NEAR: Tolerance = (0.1, 0.1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod(name: &str, phase: &str, ready: &str, resources: Value) -> Arc<Pod> {
        let conditions = json!([{"type": "Ready", "status": ready, "lastTransitionTime": at(10).to_string()}]);
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "resources": resources}]},
            "status": {"phase": phase, "startTime": at(0).to_string(), "conditions": conditions}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn sample(used: i64, second: i64) -> Sample {
        let containers = BTreeMap::from([("c".to_owned(), used)]);
        Sample { at: Some(at(second)), window: SignedDuration::from_secs(15), containers }
    }

    /// Pods that ask for 1 CPU; `None` for one without a figure, a negative figure for one that starts.
    fn proposal(target: &MetricTarget, used: &[Option<i64>]) -> Result<Proposal, String> {
        let name = |number| format!("p{number}");
        let ready = |used: &Option<i64>| if used.is_some_and(|used| used < 0) { "False" } else { "True" };
        let cpu = json!({"requests": {"cpu": "1"}});
        let all: Vec<_> = used.iter().enumerate().map(|(number, used)| pod(&name(number), "Running", ready(used), cpu.clone())).collect();
        let known = used.iter().enumerate().filter_map(|(number, used)| Some((name(number), sample(used.as_ref()?.abs(), 100))));
        let metric = Metric { resource: "cpu", container: None, target };
        propose(metric, NEAR, i32::try_from(used.len()).unwrap(), &all, &known.collect(), &Autoscaling::default(), at(110))
    }

    fn percent(percent: i32) -> MetricTarget {
        MetricTarget { type_: "Utilization".to_owned(), average_utilization: Some(percent), ..MetricTarget::default() }
    }

    #[rstest]
    #[case::grows(50, &[Some(1000), Some(1000)], 4)]
    #[case::shrinks(50, &[Some(100), Some(100), Some(100)], 1)]
    #[case::near(50, &[Some(520), Some(520)], 2)]
    #[case::unknown_counts_as_idle(50, &[Some(1000), None], 2)]
    #[case::unknown_counts_as_busy(50, &[Some(100), None], 2)]
    #[case::unknown_counts_as_busy_as_may_be(200, &[Some(100), Some(100), None], 2)]
    #[case::starting_counts_as_idle(30, &[Some(1000), Some(-900)], 4)]
    #[case::starting_does_not_count(50, &[Some(100), Some(-900)], 1)]
    fn replicas(#[case] target: i32, #[case] used: &[Option<i64>], #[case] expected: i32) {
        assert_eq!(proposal(&percent(target), used).unwrap().replicas, expected);
    }

    #[test]
    fn by_average_value() {
        let target =
            MetricTarget { type_: "AverageValue".to_owned(), average_value: Some(Quantity("200m".to_owned())), ..MetricTarget::default() };
        let proposal = proposal(&target, &[Some(400), Some(400)]).unwrap();
        assert_eq!((proposal.replicas, proposal.average, proposal.utilization), (4, 400, None));
    }

    #[test]
    fn what_is_not_known_is_said() {
        let unready = proposal(&percent(50), &[None]).unwrap_err();
        assert_eq!(unready, "did not receive metrics for targeted pods (pods might be unready)");
        assert_eq!(proposal(&percent(50), &[]).unwrap_err(), "no pods returned by selector while calculating replica count");
        let target = percent(50);
        let metric = Metric { resource: "cpu", container: None, target: &target };
        let silent = pod("p", "Running", "True", json!({}));
        assert_eq!(metric.requested(&silent).unwrap_err(), "missing request for cpu in container c of Pod p");
        assert_eq!(
            (metric.name().as_str(), Metric { container: Some("c"), ..metric }.name().as_str()),
            ("cpu resource utilization (percentage of request)", "cpu container resource utilization (percentage of request)")
        );
    }

    #[rstest]
    #[case::young_and_measured_before_it_was_ready("True", 20, 100, true)]
    #[case::young_and_measured_since("True", 25, 100, false)]
    #[case::young_and_not_ready("False", 90, 100, true)]
    #[case::old_and_never_ready("False", 400, 400, true)]
    #[case::old_and_ready("True", 5, 400, false)]
    fn samples_of_starting_pods_do_not_count(#[case] ready: &str, #[case] measured: i64, #[case] now: i64, #[case] expected: bool) {
        let pod = pod("p", "Running", ready, json!({}));
        assert_eq!(is_starting(&pod, &sample(1, measured), &Autoscaling::default(), at(now)), expected);
    }
}

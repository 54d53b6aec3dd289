//! From what pods use to how many there should be.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::quantity::Quantity as Number;
use k8s_openapi::api::autoscaling::v2::MetricTarget;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::pods;
use crate::wiring::name_of;

/// Use that differs less than this from the target changes nothing.
const TOLERANCE: f64 = 0.1;

/// Thousandths of a resource by pod and container.
pub(super) type Usage = BTreeMap<String, BTreeMap<String, i64>>;

/// What a metric says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Proposal {
    pub replicas: i32,
    /// Percent of the requests, where the target is one.
    pub utilization: Option<i32>,
    /// Thousandths, per pod.
    pub average: i64,
}

fn milli(quantity: Option<&Quantity>) -> i64 {
    quantity.and_then(|quantity| quantity.0.parse::<Number>().ok()).map_or(0, |number| number.milli_value())
}

/// What the pod asks for of a resource, all containers or one; `None` when it does not say.
fn requested(pod: &Pod, resource: &str, container: Option<&str>) -> Option<i64> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let all = spec.containers.iter().chain(sidecars).filter(|one| container.is_none_or(|name| one.name == name));
    all.map(|one| Some(milli(Some(one.resources.as_ref()?.requests.as_ref()?.get(resource)?)))).sum()
}

/// How many replicas keep the use of `resource` at the target. `all` are the target's pods; `usage` what is known of them.
pub(super) fn propose(
    resource: &str,
    container: Option<&str>,
    target: &MetricTarget,
    current: i32,
    all: &[Arc<Pod>],
    usage: &Usage,
) -> Result<Proposal, String> {
    let alive: Vec<_> = all.iter().filter(|pod| !pods::is_terminating(pod) && pods::phase(pod) != "Failed").collect();
    let used = |pod: &Pod| {
        let containers = usage.get(name_of(pod))?;
        Some(containers.iter().filter(|(name, _)| container.is_none_or(|wanted| *name == wanted)).map(|(_, value)| value).sum::<i64>())
    };
    // A pod that starts uses more CPU than it will: until it is ready it does not count.
    let is_starting = |pod: &Pod| pods::phase(pod) == "Pending" || resource == "cpu" && !pods::is_ready(pod);
    let (starting, started): (Vec<_>, Vec<_>) = alive.into_iter().partition(|pod| is_starting(pod));
    let (known, missing): (Vec<_>, Vec<_>) = started.into_iter().partition(|pod| used(pod).is_some());
    if known.is_empty() {
        return Err(format!("no metrics returned from resource metrics API for {resource}"));
    }
    let request = |pod: &Pod| match target.average_utilization {
        Some(_) => requested(pod, resource, container)
            .ok_or_else(|| format!("missing request for {resource} in container of Pod {}", name_of(pod))),
        None => Ok(0),
    };
    let sums = |pods: &[(i64, i64)]| pods.iter().fold((0, 0), |(used, requests), (one, request)| (used + one, requests + request));
    let ratio = |pods: &[(i64, i64)]| {
        let (used, requests) = sums(pods);
        match target.average_utilization {
            Some(percent) => (used * 100 / requests.max(1)) as f64 / f64::from(percent.max(1)),
            None => used as f64 / (pods.len().max(1) as f64 * milli(target.average_value.as_ref()).max(1) as f64),
        }
    };
    let mut counted = known.iter().map(|pod| Ok((used(pod).unwrap_or(0), request(pod)?))).collect::<Result<Vec<_>, String>>()?;
    let (total, requests) = sums(&counted);
    let utilization = target.average_utilization.map(|_| i32::try_from(total * 100 / requests.max(1)).unwrap_or(i32::MAX));
    let average = total / i64::try_from(counted.len()).unwrap_or(1).max(1);
    let keep = |replicas| Ok(Proposal { replicas, utilization, average });
    let first = ratio(&counted);
    let unsure = !missing.is_empty() || !starting.is_empty() && first > 1.0;
    if !unsure {
        let near = (1.0 - first).abs() <= TOLERANCE;
        return keep(if near { current } else { (first * counted.len() as f64).ceil() as i32 });
    }
    // Where it is not known, assume what speaks against the change.
    let full = |request: i64| if target.average_utilization.is_some() { request } else { milli(target.average_value.as_ref()) };
    for pod in &missing {
        let request = request(pod)?;
        counted.push((if first < 1.0 { full(request) } else { 0 }, request));
    }
    if first > 1.0 {
        for pod in &starting {
            counted.push((0, request(pod)?));
        }
    }
    let second = ratio(&counted);
    if (1.0 - second).abs() <= TOLERANCE || (first < 1.0) != (second < 1.0) {
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

    /// Pods that ask for 1 CPU; `None` for one without a figure, a negative figure for one that starts.
    fn proposal(target: MetricTarget, used: &[Option<i64>]) -> Result<Proposal, String> {
        let pod = |number: usize, used: &Option<i64>| {
            let ready = if used.is_some_and(|used| used < 0) { "False" } else { "True" };
            Arc::new(
                serde_json::from_value(json!({"metadata": {"name": format!("p{number}")},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}}))
                .unwrap(),
            )
        };
        let all: Vec<Arc<Pod>> = used.iter().enumerate().map(|(number, used)| pod(number, used)).collect();
        let known = used
            .iter()
            .enumerate()
            .filter_map(|(number, used)| Some((format!("p{number}"), BTreeMap::from([("c".to_owned(), used.as_ref()?.abs())]))));
        propose("cpu", None, &target, i32::try_from(used.len()).unwrap(), &all, &known.collect())
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
    #[case::starting_counts_as_idle(30, &[Some(1000), Some(-900)], 4)]
    fn replicas(#[case] target: i32, #[case] used: &[Option<i64>], #[case] expected: i32) {
        assert_eq!(proposal(percent(target), used).unwrap().replicas, expected);
    }

    #[test]
    fn by_average_value() {
        let target =
            MetricTarget { type_: "AverageValue".to_owned(), average_value: Some(Quantity("200m".to_owned())), ..MetricTarget::default() };
        let proposal = proposal(target, &[Some(400), Some(400)]).unwrap();
        assert_eq!((proposal.replicas, proposal.average, proposal.utilization), (4, 400, None));
        assert!(self::proposal(percent(50), &[None]).is_err());
    }
}

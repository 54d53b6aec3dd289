//! From a figure about the whole target to how many replicas there should be. Figures and targets are in thousandths.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::metrics::{Tolerance, is_near};
use crate::pods;

/// The figure grows and shrinks with the ready pods: as many of them as bring it to the target.
pub(super) fn by_value(value: i64, target: i64, told: i32, tolerance: Tolerance, all: &[Arc<Pod>]) -> Result<i32, String> {
    let ratio = value as f64 / target as f64;
    if told == 0 {
        return Ok(ratio.ceil() as i32);
    }
    if is_near(ratio, tolerance) {
        return Ok(told);
    }
    if all.is_empty() {
        return Err("unable to calculate ready pods: no pods returned by selector while calculating replica count".to_owned());
    }
    let ready = all.iter().filter(|pod| pods::phase(pod) == "Running" && pods::is_ready(pod)).count();
    Ok((ratio * ready as f64).ceil() as i32)
}

/// The replicas share the figure: as many as have the target each. Also what each of those there are has now.
pub(super) fn by_average(value: i64, target: i64, existing: i32, tolerance: Tolerance) -> (i32, i64) {
    let ratio = value as f64 / (target as f64 * f64::from(existing));
    let replicas = if is_near(ratio, tolerance) { existing } else { (value as f64 / target as f64).ceil() as i32 };
    (replicas, (value as f64 / f64::from(existing.max(1))).ceil() as i64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const NEAR: Tolerance = (0.1, 0.1);

    fn pods(ready: &[bool]) -> Vec<Arc<Pod>> {
        let pod = |ready: &bool| {
            let conditions = json!([{"type": "Ready", "status": if *ready { "True" } else { "False" }}]);
            Arc::new(serde_json::from_value(json!({"metadata": {}, "status": {"phase": "Running", "conditions": conditions}})).unwrap())
        };
        ready.iter().map(pod).collect()
    }

    #[rstest]
    #[case::twice_as_much(2000, 1000, 2, &[true, true], 4)]
    #[case::half(500, 1000, 2, &[true, true], 1)]
    #[case::near(1050, 1000, 2, &[true, true], 2)]
    #[case::only_ready_ones_count(2000, 1000, 3, &[true, false, false], 2)]
    #[case::from_none(2500, 1000, 0, &[], 3)]
    #[case::nothing_to_do(0, 1000, 2, &[true, true], 0)]
    fn values(#[case] value: i64, #[case] target: i64, #[case] told: i32, #[case] ready: &[bool], #[case] expected: i32) {
        assert_eq!(by_value(value, target, told, NEAR, &pods(ready)), Ok(expected));
    }

    #[test]
    fn without_pods_there_is_nothing_to_count() {
        let error = by_value(2000, 1000, 1, NEAR, &[]).unwrap_err();
        assert_eq!(error, "unable to calculate ready pods: no pods returned by selector while calculating replica count");
    }

    #[rstest]
    #[case::more(9000, 2000, 2, (5, 4500))]
    #[case::fewer(1000, 2000, 4, (1, 250))]
    #[case::near(4100, 2000, 2, (2, 2050))]
    #[case::from_none(9000, 2000, 0, (5, 9000))]
    fn averages(#[case] value: i64, #[case] target: i64, #[case] existing: i32, #[case] expected: (i32, i64)) {
        assert_eq!(by_average(value, target, existing, NEAR), expected);
    }
}

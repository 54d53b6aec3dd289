//! How fast a target may grow and shrink: the rules of `spec.behavior`, with upstream's defaults.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerSpec};

/// What an autoscaler remembers between two looks.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// What was recommended when.
    pub recommended: Vec<(Timestamp, i32)>,
    /// By how much the target was scaled when.
    pub scaled: Vec<(Timestamp, i32)>,
}

/// A number of replicas, and what held it back: reason and message of the condition `ScalingLimited`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bounded {
    pub replicas: i32,
    pub limited: Option<(&'static str, &'static str)>,
    /// Why it is not what was recommended a moment ago.
    pub stabilized: bool,
}

fn rules(given: Option<&HPAScalingRules>, up: bool) -> HPAScalingRules {
    let policy = |kind: &str, value| HPAScalingPolicy { type_: kind.to_owned(), value, period_seconds: 15 };
    let default = if up { vec![policy("Pods", 4), policy("Percent", 100)] } else { vec![policy("Percent", 100)] };
    let given = given.cloned().unwrap_or_default();
    HPAScalingRules {
        policies: given.policies.filter(|policies| !policies.is_empty()).or(Some(default)),
        select_policy: given.select_policy.or_else(|| Some("Max".to_owned())),
        stabilization_window_seconds: given.stabilization_window_seconds.or(Some(if up { 0 } else { 300 })),
        tolerance: given.tolerance,
    }
}

pub(super) fn minimum(spec: &HorizontalPodAutoscalerSpec) -> i32 {
    spec.min_replicas.unwrap_or(1)
}

/// The recommendation, held within the window's other ones, the policies and the limits.
pub(super) fn bound(spec: &HorizontalPodAutoscalerSpec, history: &mut History, current: i32, wanted: i32, now: Timestamp) -> Bounded {
    let behavior = spec.behavior.as_ref();
    let up = rules(behavior.and_then(|behavior| behavior.scale_up.as_ref()), true);
    let down = rules(behavior.and_then(|behavior| behavior.scale_down.as_ref()), false);
    let stable = stabilize(history, &up, &down, current, wanted, now);
    let (least, most) = (minimum(spec), spec.max_replicas);
    let mut limited = None;
    let mut replicas = stable;
    if stable > current {
        let limit = limit(&up, &history.scaled, current, true, now);
        let allowed = most.min(limit.max(current));
        if stable > allowed {
            replicas = allowed;
            limited = Some(match allowed == most {
                true => ("TooManyReplicas", "the desired replica count is more than the maximum replica count"),
                false => ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"),
            });
        }
    } else if stable < current {
        let limit = limit(&down, &history.scaled, current, false, now);
        let allowed = least.max(limit.min(current));
        if stable < allowed {
            replicas = allowed;
            limited = Some(match allowed == least {
                true => ("TooFewReplicas", "the desired replica count is less than the minimum replica count"),
                false => ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"),
            });
        }
    }
    if replicas > most {
        (replicas, limited) = (most, Some(("TooManyReplicas", "the desired replica count is more than the maximum replica count")));
    } else if replicas < least {
        (replicas, limited) = (least, Some(("TooFewReplicas", "the desired replica count is less than the minimum replica count")));
    }
    Bounded { replicas, limited, stabilized: stable != wanted }
}

/// Of the recommendations in the windows the least to grow to, the most to shrink to.
fn stabilize(history: &mut History, up: &HPAScalingRules, down: &HPAScalingRules, current: i32, wanted: i32, now: Timestamp) -> i32 {
    let window = |rules: &HPAScalingRules| SignedDuration::from_secs(rules.stabilization_window_seconds.unwrap_or(0).into());
    let (up, down) = (window(up), window(down));
    history.recommended.retain(|(at, _)| now.duration_since(*at) < up.max(down));
    let within =
        |window: SignedDuration| history.recommended.iter().filter(move |(at, _)| now.duration_since(*at) < window).map(|(_, one)| *one);
    let floor = within(up).chain([wanted]).min().unwrap_or(wanted);
    let ceiling = within(down).chain([wanted]).max().unwrap_or(wanted);
    history.recommended.push((now, wanted));
    current.max(floor).min(ceiling)
}

/// How far the policies let the target go now.
fn limit(rules: &HPAScalingRules, scaled: &[(Timestamp, i32)], current: i32, up: bool, now: Timestamp) -> i32 {
    let select = rules.select_policy.as_deref().unwrap_or("Max");
    if select == "Disabled" {
        return current;
    }
    let limits = rules.policies.iter().flatten().map(|policy| {
        let period = SignedDuration::from_secs(policy.period_seconds.into());
        let in_period = scaled.iter().filter(|(at, by)| now.duration_since(*at) < period && (*by > 0) == up);
        let start = current - in_period.map(|(_, by)| by).sum::<i32>();
        let share = f64::from(start) * f64::from(policy.value) / 100.0;
        match (policy.type_.as_str(), up) {
            ("Pods", true) => start + policy.value,
            ("Pods", false) => start - policy.value,
            (_, true) => (f64::from(start) + share).ceil() as i32,
            (_, false) => (f64::from(start) - share) as i32,
        }
    });
    // The most change is the highest number going up and the lowest going down.
    let chosen = if (select == "Max") == up { limits.max() } else { limits.min() };
    chosen.unwrap_or(current)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn spec(behavior: Value) -> HorizontalPodAutoscalerSpec {
        serde_json::from_value(
            json!({"minReplicas": 2, "maxReplicas": 20, "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "behavior": behavior}),
        )
        .unwrap()
    }

    #[rstest]
    #[case::doubles_or_four_more(json!({}), 10, 19, 19, None)]
    #[case::not_faster(json!({}), 3, 19, 7, Some("ScaleUpLimit"))]
    #[case::most(json!({}), 15, 99, 20, Some("TooManyReplicas"))]
    #[case::least(json!({"scaleDown": {"stabilizationWindowSeconds": 0}}), 5, 0, 2, Some("TooFewReplicas"))]
    #[case::slowly(json!({"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}), 5, 2, 4,
        Some("ScaleDownLimit"))]
    #[case::never(json!({"scaleUp": {"selectPolicy": "Disabled"}}), 5, 9, 5, Some("ScaleUpLimit"))]
    #[case::least_change(json!({"scaleUp": {"selectPolicy": "Min"}}), 10, 19, 14, Some("ScaleUpLimit"))]
    fn goes_as_far_as_it_may(
        #[case] behavior: Value,
        #[case] current: i32,
        #[case] wanted: i32,
        #[case] expected: i32,
        #[case] why: Option<&str>,
    ) {
        let bounded = bound(&spec(behavior), &mut History::default(), current, wanted, Timestamp::UNIX_EPOCH);
        assert_eq!((bounded.replicas, bounded.limited.map(|(reason, _)| reason)), (expected, why));
    }

    #[test]
    fn a_short_lull_does_not_shrink() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (spec, mut history) = (spec(json!({})), History::default());
        assert_eq!(bound(&spec, &mut history, 10, 10, at(0)).replicas, 10);
        let lull = bound(&spec, &mut history, 10, 3, at(100));
        assert_eq!((lull.replicas, lull.stabilized), (10, true));
        assert_eq!(bound(&spec, &mut history, 10, 3, at(350)).replicas, 3);
    }

    proptest! {
        #[test]
        fn never_beyond_the_limits(steps in prop::collection::vec((0..40i32, 1..400i64), 1..30)) {
            let (spec, mut history, mut current, mut now) = (spec(json!({})), History::default(), 5, 0);
            for (wanted, pause) in steps {
                now += pause;
                let next = bound(&spec, &mut history, current, wanted, Timestamp::from_second(now).unwrap()).replicas;
                prop_assert!((2..=20).contains(&next));
                prop_assert!(next <= (current * 2).max(current + 4));
                current = next;
            }
        }
    }
}

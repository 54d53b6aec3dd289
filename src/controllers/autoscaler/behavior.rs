//! How fast a target may grow and shrink: the rules of `spec.behavior`, with upstream's defaults.

use std::time::Duration;

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

impl History {
    /// A target that is first seen was right as it is: it does not shrink at once.
    pub(super) fn begin(current: i32, now: Timestamp) -> Self {
        Self { recommended: vec![(now, current)], scaled: Vec::new() }
    }
}

/// A number of replicas, and what held it back: reason and message of the condition `ScalingLimited`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bounded {
    pub replicas: i32,
    pub limited: Option<(&'static str, &'static str)>,
    /// Why it is not what was recommended a moment ago: reason and message of the condition `AbleToScale`.
    pub stabilized: Option<(&'static str, &'static str)>,
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

/// The recommendation, held within the window's other ones, the policies and the limits. `patience` is the window for
/// shrinking of an autoscaler that does not say how it behaves.
pub(super) fn bound(
    spec: &HorizontalPodAutoscalerSpec,
    history: &mut History,
    current: i32,
    wanted: i32,
    patience: Duration,
    now: Timestamp,
) -> Bounded {
    let behavior = spec.behavior.as_ref();
    let mut up = rules(behavior.and_then(|behavior| behavior.scale_up.as_ref()), true);
    let mut down = rules(behavior.and_then(|behavior| behavior.scale_down.as_ref()), false);
    if behavior.is_none() {
        up.stabilization_window_seconds = Some(0);
        down.stabilization_window_seconds = i32::try_from(patience.as_secs()).ok();
    }
    let stable = stabilize(history, &up, &down, current, wanted, now);
    let (least, most) = (minimum(spec), spec.max_replicas);
    let too_many = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
    let too_few = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
    let mut bounded = (stable, None);
    if stable > current {
        let limit = if behavior.is_some() { limit(&up, &history.scaled, current, true, now) } else { (current * 2).max(4) };
        let allowed = most.min(limit.max(current));
        let why = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
        if stable > allowed {
            bounded = (allowed, Some(if allowed == most { too_many } else { why }));
        }
    } else if stable < current {
        let limit = if behavior.is_some() { limit(&down, &history.scaled, current, false, now) } else { i32::MIN };
        let allowed = least.max(limit.min(current));
        let why = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
        if stable < allowed {
            bounded = (allowed, Some(if allowed == least { too_few } else { why }));
        }
    }
    let (replicas, limited) = match bounded {
        (replicas, _) if replicas > most => (most, Some(too_many)),
        (replicas, _) if replicas < least => (least, Some(too_few)),
        within => within,
    };
    let stabilized = (stable != wanted).then_some(match wanted >= current {
        true => ("ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation"),
        false => ("ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation"),
    });
    Bounded { replicas, limited, stabilized }
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
        let in_period = scaled.iter().filter(|(at, _)| now.duration_since(*at) < period);
        let start = current - in_period.map(|(_, by)| by).sum::<i32>();
        let share = f64::from(policy.value) / 100.0;
        match (policy.type_.as_str(), up) {
            ("Pods", true) => start.saturating_add(policy.value),
            ("Pods", false) => start.saturating_sub(policy.value),
            // Rounded up: otherwise a small target would never grow.
            (_, true) => (f64::from(start) * (1.0 + share)).ceil() as i32,
            (_, false) => (f64::from(start) * (1.0 - share)) as i32,
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

    const PATIENCE: Duration = Duration::from_secs(300);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[rstest]
    #[case::unspoken_doubles(Value::Null, 10, 99, 20, Some("TooManyReplicas"))]
    #[case::unspoken_doubles_or_four(Value::Null, 3, 19, 6, Some("ScaleUpLimit"))]
    #[case::unspoken_few(Value::Null, 2, 19, 4, Some("ScaleUpLimit"))]
    #[case::unspoken_shrinks_at_once(Value::Null, 19, 3, 3, None)]
    #[case::doubles_or_four_more(json!({}), 10, 19, 19, None)]
    #[case::not_faster(json!({}), 3, 19, 7, Some("ScaleUpLimit"))]
    #[case::most(json!({}), 15, 99, 20, Some("TooManyReplicas"))]
    #[case::least(json!({"scaleDown": {"stabilizationWindowSeconds": 0}}), 5, 0, 2, Some("TooFewReplicas"))]
    #[case::slowly(json!({"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}), 5, 2, 4,
        Some("ScaleDownLimit"))]
    #[case::a_tenth(json!({"scaleDown": {"policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]}}), 15, 2, 13, Some("ScaleDownLimit"))]
    #[case::never(json!({"scaleUp": {"selectPolicy": "Disabled"}}), 5, 9, 5, Some("ScaleUpLimit"))]
    #[case::never_down(json!({"scaleDown": {"selectPolicy": "Disabled"}}), 9, 5, 9, Some("ScaleDownLimit"))]
    #[case::least_change(json!({"scaleUp": {"selectPolicy": "Min"}}), 10, 19, 14, Some("ScaleUpLimit"))]
    #[case::percent_rounds_up(json!({"scaleUp": {"policies": [{"type": "Percent", "value": 1, "periodSeconds": 60}]}}), 3, 9, 4, Some("ScaleUpLimit"))]
    fn goes_as_far_as_it_may(
        #[case] behavior: Value,
        #[case] current: i32,
        #[case] wanted: i32,
        #[case] expected: i32,
        #[case] why: Option<&str>,
    ) {
        let bounded = bound(&spec(behavior), &mut History::default(), current, wanted, PATIENCE, Timestamp::UNIX_EPOCH);
        assert_eq!((bounded.replicas, bounded.limited.map(|(reason, _)| reason)), (expected, why));
    }

    #[rstest]
    #[case::unspoken(Value::Null)]
    #[case::spoken(json!({}))]
    fn a_short_lull_does_not_shrink(#[case] behavior: Value) {
        let (spec, mut history) = (spec(behavior), History::begin(10, at(0)));
        let lull = bound(&spec, &mut history, 10, 3, PATIENCE, at(100));
        assert_eq!((lull.replicas, lull.stabilized.unwrap().0), (10, "ScaleDownStabilized"));
        assert_eq!(bound(&spec, &mut history, 10, 3, PATIENCE, at(350)).replicas, 3);
    }

    #[test]
    fn a_short_peak_does_not_grow_where_growing_waits() {
        let (spec, mut history) = (spec(json!({"scaleUp": {"stabilizationWindowSeconds": 60}})), History::begin(3, at(0)));
        let peak = bound(&spec, &mut history, 3, 6, PATIENCE, at(30));
        assert_eq!((peak.replicas, peak.stabilized.unwrap().0), (3, "ScaleUpStabilized"));
        assert_eq!(bound(&spec, &mut history, 3, 6, PATIENCE, at(70)).replicas, 6);
    }

    /// What went up in a period may be undone in it on top of what may go down.
    #[test]
    fn a_period_begins_before_the_steps_in_it() {
        let policy = json!([{"type": "Pods", "value": 2, "periodSeconds": 60}]);
        let spec = spec(json!({"scaleUp": {"policies": policy}, "scaleDown": {"stabilizationWindowSeconds": 0, "policies": policy}}));
        let mut history = History { recommended: Vec::new(), scaled: vec![(at(0), 2)] };
        assert_eq!(bound(&spec, &mut history, 7, 20, PATIENCE, at(30)).replicas, 7, "it grew by two");
        assert_eq!(bound(&spec, &mut history, 7, 20, PATIENCE, at(60)).replicas, 9);
        history.recommended.clear();
        assert_eq!(bound(&spec, &mut history, 7, 2, PATIENCE, at(30)).replicas, 3, "to two less than five");
    }

    proptest! {
        #[test]
        fn never_beyond_the_limits(spoken in any::<bool>(), steps in prop::collection::vec((0..40i32, 1..400i64), 1..30)) {
            let spec = spec(if spoken { json!({}) } else { Value::Null });
            let (mut history, mut current, mut now) = (History::begin(5, at(0)), 5, 0);
            for (wanted, pause) in steps {
                now += pause;
                let next = bound(&spec, &mut history, current, wanted, PATIENCE, at(now)).replicas;
                prop_assert!((2..=20).contains(&next));
                prop_assert!(spoken || next <= (current * 2).max(4));
                prop_assert!(next >= current.min(wanted.max(2)), "no lower than was asked for");
                history.scaled.push((at(now), next - current));
                current = next;
            }
        }
    }
}

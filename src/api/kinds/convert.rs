//! Resources that are served in two versions: the same object in either's words.

use serde_json::{Map, Value, json};

use super::Kind;

/// Rewrites an object of `from` in the words of `to`, apiVersion included. Kinds with one version stay as they are.
pub fn convert(from: &Kind, to: &Kind, object: &mut Value) {
    if (&from.group, &from.version) == (&to.group, &to.version) {
        return;
    }
    object["apiVersion"] = json!(to.api_version());
    let Some(map) = object.as_object_mut() else { return };
    match (&*from.kind, &*from.version, &*to.version) {
        ("Event", ..) if from.group.is_empty() => rename(map, EVENT_WORDS),
        ("Event", ..) => event_to_core(map),
        ("HorizontalPodAutoscaler", "v1", _) => autoscaler_to_v2(map),
        ("HorizontalPodAutoscaler", ..) => autoscaler_to_v1(map),
        _ => {}
    }
}

/// core/v1, events.k8s.io/v1.
const EVENT_WORDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The storage version's name of a field that a field selector names in the words of `kind`; `None` where only the other
/// version has that word.
pub fn stored_field(kind: &Kind, field: &str) -> Option<String> {
    if kind.group != "events.k8s.io" {
        return Some(field.to_owned());
    }
    let (first, rest) = field.split_once('.').map_or((field, None), |(first, rest)| (first, Some(rest)));
    if EVENT_WORDS.iter().any(|(core, _)| *core == first) {
        return None;
    }
    let stored = EVENT_WORDS.iter().find(|(_, new)| *new == first).map_or(first, |(core, _)| core);
    Some(rest.map_or_else(|| stored.to_owned(), |rest| format!("{stored}.{rest}")))
}

fn rename(map: &mut Map<String, Value>, words: &[(&str, &str)]) {
    for (old, new) in words {
        if let Some(value) = map.remove(*old) {
            map.insert((*new).to_owned(), value);
        }
    }
    // The two versions differ in which empty texts they write.
    for key in ["reportingController", "reportingInstance"] {
        if map.get(key).is_some_and(|value| value == "") {
            map.remove(key);
        }
    }
}

fn event_to_core(map: &mut Map<String, Value>) {
    for (core, new) in EVENT_WORDS {
        if let Some(value) = map.remove(*new) {
            map.insert((*core).to_owned(), value);
        }
    }
    for key in ["involvedObject", "source"] {
        map.entry(key).or_insert_with(|| json!({}));
    }
    for key in ["reportingComponent", "reportingInstance"] {
        map.entry(key).or_insert_with(|| json!(""));
    }
}

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

fn take_annotation(map: &mut Map<String, Value>, key: &str) -> Option<Value> {
    let annotations = map.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(key)?;
    let empty = annotations.is_empty();
    if empty && let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

fn put_annotation(map: &mut Map<String, Value>, key: &str, value: &Value) {
    map.entry("metadata").or_insert_with(|| json!({}))["annotations"][key] = json!(value.to_string());
}

fn autoscaler_to_v2(map: &mut Map<String, Value>) {
    let mut metrics = Vec::new();
    let spec = map.get_mut("spec").and_then(Value::as_object_mut);
    if let Some(target) = spec.and_then(|spec| spec.remove("targetCPUUtilizationPercentage")) {
        metrics.push(json!({
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}},
        }));
    }
    if let Some(Value::Array(more)) = take_annotation(map, METRICS) {
        metrics.extend(more);
    }
    let behavior = take_annotation(map, BEHAVIOR);
    if let Some(spec) = map.get_mut("spec").and_then(Value::as_object_mut) {
        if !metrics.is_empty() {
            spec.insert("metrics".to_owned(), Value::Array(metrics));
        }
        if let Some(behavior) = behavior {
            spec.insert("behavior".to_owned(), behavior);
        }
    }
    let mut current = Vec::new();
    let status = map.get_mut("status").and_then(Value::as_object_mut);
    if let Some(cpu) = status.and_then(|status| status.remove("currentCPUUtilizationPercentage")) {
        current.push(json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": cpu}}}));
    }
    if let Some(Value::Array(more)) = take_annotation(map, CURRENT_METRICS) {
        current.extend(more);
    }
    let conditions = take_annotation(map, CONDITIONS);
    if let Some(status) = map.get_mut("status").and_then(Value::as_object_mut) {
        if !current.is_empty() {
            status.insert("currentMetrics".to_owned(), Value::Array(current));
        }
        if let Some(conditions) = conditions {
            status.insert("conditions".to_owned(), conditions);
        }
    }
}

/// Takes the CPU utilization out of a list of metrics; the first one that carries it.
fn take_cpu(metrics: &mut Vec<Value>, pointer: &str) -> Option<Value> {
    let at = metrics.iter().position(|metric| {
        metric["type"] == "Resource" && metric["resource"]["name"] == "cpu" && metric.pointer(pointer).is_some_and(Value::is_number)
    })?;
    metrics.remove(at).pointer(pointer).cloned()
}

fn autoscaler_to_v1(map: &mut Map<String, Value>) {
    let mut kept = Vec::new();
    if let Some(spec) = map.get_mut("spec").and_then(Value::as_object_mut) {
        if let Some(Value::Array(mut metrics)) = spec.remove("metrics") {
            if let Some(cpu) = take_cpu(&mut metrics, "/resource/target/averageUtilization") {
                spec.insert("targetCPUUtilizationPercentage".to_owned(), cpu);
            }
            kept.push((METRICS, Value::Array(metrics)));
        }
        kept.extend(spec.remove("behavior").map(|behavior| (BEHAVIOR, behavior)));
    }
    if let Some(status) = map.get_mut("status").and_then(Value::as_object_mut) {
        if let Some(Value::Array(mut metrics)) = status.remove("currentMetrics") {
            if let Some(cpu) = take_cpu(&mut metrics, "/resource/current/averageUtilization") {
                status.insert("currentCPUUtilizationPercentage".to_owned(), cpu);
            }
            kept.push((CURRENT_METRICS, Value::Array(metrics)));
        }
        kept.extend(status.remove("conditions").map(|conditions| (CONDITIONS, conditions)));
    }
    for (key, value) in kept {
        if value.as_array().is_none_or(|list| !list.is_empty()) {
            put_annotation(map, key, &value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::kinds::by_api_version;

    #[test]
    fn events_change_words_and_come_back() {
        let core = by_api_version("v1", "Event").unwrap();
        let new = by_api_version("events.k8s.io/v1", "Event").unwrap();
        let before = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"}, "source": {},
            "message": "m", "count": 2, "reportingComponent": "", "reportingInstance": ""});
        let mut event = before.clone();
        convert(core, new, &mut event);
        assert_eq!(
            event,
            json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "regarding": {"kind": "Pod"},
                "deprecatedSource": {}, "note": "m", "deprecatedCount": 2})
        );
        convert(new, core, &mut event);
        assert_eq!(event, before);
    }

    #[test]
    fn autoscalers_keep_what_v1_cannot_say() {
        let v1 = by_api_version("autoscaling/v1", "HorizontalPodAutoscaler").unwrap();
        let v2 = by_api_version("autoscaling/v2", "HorizontalPodAutoscaler").unwrap();
        let before = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
            "spec": {"maxReplicas": 3, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}]},
            "status": {"conditions": [{"type": "AbleToScale", "status": "True"}]}});
        let mut object = before.clone();
        convert(v2, v1, &mut object);
        assert_eq!(object["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}));
        assert!(object["metadata"]["annotations"][METRICS].as_str().unwrap().contains("memory"));
        convert(v1, v2, &mut object);
        assert_eq!(object, before);
    }

    #[test]
    fn fields_are_selected_in_the_words_of_the_version() {
        let (core, events) =
            (crate::kinds::find("", "v1", "events").unwrap(), crate::kinds::find("events.k8s.io", "v1", "events").unwrap());
        assert_eq!(stored_field(core, "involvedObject.name").as_deref(), Some("involvedObject.name"));
        let cases = [
            ("regarding.name", Some("involvedObject.name")),
            ("reportingController", Some("reportingComponent")),
            ("metadata.name", Some("metadata.name")),
            ("involvedObject.name", None),
        ];
        for (field, stored) in cases {
            assert_eq!(stored_field(events, field).as_deref(), stored, "{field}");
        }
    }
}

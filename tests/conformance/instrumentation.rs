//! Rows of `[sig-instrumentation]`.

use serde_json::{Value, json};

use super::here::{Here, MERGE, STRATEGIC, row};
use super::operations::names;

const NOW: &str = "2026-01-02T03:04:05.000000Z";

fn core_event(here: &Here, name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"test": here.namespace}}, "type": "Normal", "reason": "Test", "message": "first",
        "involvedObject": {"kind": "Namespace", "name": here.namespace, "namespace": here.namespace}})
}

fn event(here: &Here, name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"test": here.namespace}}, "eventTime": NOW, "type": "Normal", "action": "Do",
        "reason": "Test", "note": "first", "reportingController": "test-controller", "reportingInstance": "test-node",
        "regarding": {"kind": "Namespace", "name": here.namespace, "namespace": here.namespace}})
}

fn selected(here: &Here, path: &str) -> String {
    format!("{path}?labelSelector=test%3D{}", here.namespace)
}

/// [sig-instrumentation] Events should manage the lifecycle of an event [Conformance]
#[test]
fn an_event_is_patched_updated_and_deleted() {
    row("event lifecycle", &[], async |here| {
        let events = here.path("v1", "events");
        let one = format!("{events}/one");
        here.post(&events, &core_event(here, "one")).await.ok();
        assert_eq!(names(&here.get(&selected(here, "/api/v1/events")).await.ok()), ["one"]);
        here.patch(&one, STRATEGIC, &json!({"message": "second"})).await.ok();
        let mut read = here.get(&one).await.ok();
        assert_eq!(read["message"], "second");
        read["series"] = json!({"count": 100, "lastObservedTime": NOW});
        here.put(&one, &read).await.ok();
        assert_eq!(here.get(&one).await.ok()["series"], json!({"count": 100, "lastObservedTime": NOW}));
        here.delete(&one).await.ok();
        assert!(names(&here.get(&selected(here, "/api/v1/events")).await.ok()).is_empty());
    });
}

/// [sig-instrumentation] Events should delete a collection of events [Conformance]
#[test]
fn a_collection_of_events_is_deleted() {
    row("events deleted", &[], async |here| {
        let events = here.path("v1", "events");
        for name in ["a", "b", "c"] {
            here.post(&events, &core_event(here, name)).await.ok();
        }
        let mut other = core_event(here, "other");
        other["metadata"]["labels"] = json!({"test": "other"});
        here.post(&events, &other).await.ok();
        assert_eq!(names(&here.get(&selected(here, &events)).await.ok()), ["a", "b", "c"]);
        here.delete(&selected(here, &events)).await.ok();
        assert!(names(&here.get(&selected(here, &events)).await.ok()).is_empty());
        here.get(&format!("{events}/other")).await.ok();
    });
}

/// [sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and listed [Conformance]
#[test]
fn an_event_of_the_events_api_is_fetched_patched_updated_and_deleted() {
    row("events api", &[], async |here| {
        let events = here.path("events.k8s.io/v1", "events");
        let one = format!("{events}/one");
        here.post(&events, &event(here, "one")).await.ok();
        assert_eq!(names(&here.get(&selected(here, "/apis/events.k8s.io/v1/events")).await.ok()), ["one"]);
        assert_eq!(names(&here.get(&selected(here, &events)).await.ok()), ["one"]);
        let controlled = format!("{events}?fieldSelector=reportingController%3Dtest-controller");
        assert_eq!(names(&here.get(&controlled).await.ok()), ["one"]);
        here.patch(&one, MERGE, &json!({"series": {"count": 2, "lastObservedTime": NOW}})).await.ok();
        let mut read = here.get(&one).await.ok();
        assert_eq!((&read["series"]["count"], &read["note"]), (&json!(2), &json!("first")));
        read["series"] = json!({"count": 100, "lastObservedTime": NOW});
        here.put(&one, &read).await.ok();
        assert_eq!(here.get(&one).await.ok()["series"]["count"], 100);
        // the same object in the other group
        assert_eq!(here.get(&here.path("v1", "events/one")).await.ok()["message"], "first");
        here.delete(&one).await.ok();
        assert!(names(&here.get(&selected(here, &events)).await.ok()).is_empty());
    });
}

/// [sig-instrumentation] Events API should delete a collection of events [Conformance]
#[test]
fn a_collection_of_events_of_the_events_api_is_deleted() {
    row("events api deleted", &[], async |here| {
        let events = here.path("events.k8s.io/v1", "events");
        for name in ["a", "b", "c"] {
            here.post(&events, &event(here, name)).await.ok();
        }
        assert_eq!(names(&here.get(&selected(here, &events)).await.ok()), ["a", "b", "c"]);
        here.delete(&selected(here, &events)).await.ok();
        assert!(names(&here.get(&selected(here, &events)).await.ok()).is_empty());
    });
}

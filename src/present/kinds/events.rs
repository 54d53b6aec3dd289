//! Events, of both groups.

use jiff::Timestamp;
use serde_json::Value;

use super::{Printer, row};
use crate::Column;
use crate::text::{UNKNOWN, age_at, int_at, str_at};

pub(crate) static EVENT: Printer = Printer {
    columns: &[
        Column::text("Last Seen", "@io.k8s.api.core.v1.Event.lastTimestamp"),
        Column::text("Type", "@io.k8s.api.core.v1.Event.type"),
        Column::text("Reason", "@io.k8s.api.core.v1.Event.reason"),
        Column::text("Object", "@io.k8s.api.core.v1.Event.involvedObject"),
        Column::wide("Subobject", "@io.k8s.api.core.v1.ObjectReference.fieldPath"),
        Column::wide("Source", "@io.k8s.api.core.v1.Event.source"),
        Column::text("Message", "@io.k8s.api.core.v1.Event.message"),
        Column::wide("First Seen", "@io.k8s.api.core.v1.Event.firstTimestamp"),
        Column::wide("Count", "@io.k8s.api.core.v1.Event.count"),
        Column { priority: 1, ..Column::name() },
    ],
    cells,
};

/// The first of two fields that is set: an event has other names in its two groups.
fn either<'a>(event: &'a Value, core: &str, other: &str) -> &'a str {
    match str_at(event, core) {
        "" => str_at(event, other),
        text => text,
    }
}

fn cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let regarding = if event.get("regarding").is_some() { "/regarding" } else { "/involvedObject" };
    let about = |field: &str| str_at(event, &format!("{regarding}/{field}"));
    let age = |pointers: &[&str]| {
        let ages = pointers.iter().map(|pointer| age_at(event, pointer, now));
        ages.into_iter().find(|age| age != UNKNOWN).unwrap_or_else(|| UNKNOWN.to_owned())
    };
    let first = age(&["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"]);
    let last = if event.get("series").is_some() {
        age(&["/series/lastObservedTime"])
    } else {
        let last = age(&["/lastTimestamp", "/deprecatedLastTimestamp"]);
        if last == UNKNOWN { first.clone() } else { last }
    };
    let count = match (int_at(event, "/series/count"), int_at(event, "/count").max(int_at(event, "/deprecatedCount"))) {
        (0, 0) => 1,
        (0, count) => count,
        (series, _) => series,
    };
    let component = match either(event, "/source/component", "/deprecatedSource/component") {
        "" => either(event, "/reportingComponent", "/reportingController"),
        component => component,
    };
    let host = either(event, "/source/host", "/deprecatedSource/host");
    let object = match about("name") {
        "" => about("kind").to_ascii_lowercase(),
        name => format!("{}/{name}", about("kind").to_ascii_lowercase()),
    };
    row![
        last,
        str_at(event, "/type"),
        str_at(event, "/reason"),
        object,
        about("fieldPath"),
        if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") },
        either(event, "/message", "/note").trim(),
        first,
        count,
        str_at(event, "/metadata/name"),
    ]
}

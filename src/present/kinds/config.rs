//! Configuration: config maps, secrets, quotas.

use serde_json::Value;

use super::{Printer, row};
use crate::Column;
use crate::text::{age, str_at};

fn size(object: &Value, field: &str) -> usize {
    object.get(field).and_then(Value::as_object).map_or(0, serde_json::Map::len)
}

pub(crate) static CONFIG_MAP: Printer = Printer {
    columns: &[Column::name(), Column::text("Data", "@io.k8s.api.core.v1.ConfigMap.data"), Column::age()],
    cells: |object, now| row![str_at(object, "/metadata/name"), size(object, "data") + size(object, "binaryData"), age(object, now)],
};

pub(crate) static SECRET: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Type", "@io.k8s.api.core.v1.Secret.type"),
        Column::text("Data", "@io.k8s.api.core.v1.Secret.data"),
        Column::age(),
    ],
    cells: |object, now| row![str_at(object, "/metadata/name"), str_at(object, "/type"), size(object, "data"), age(object, now)],
};

pub(crate) static RESOURCE_QUOTA: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
        Column::text(
            "Limit",
            "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
        ),
        Column::age(),
    ],
    cells: |object, now| {
        let hard = object.pointer("/status/hard").and_then(Value::as_object);
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (resource, amount) in hard.into_iter().flatten() {
            let used = object.pointer("/status/used").and_then(|used| used.get(resource)).and_then(Value::as_str).unwrap_or("0");
            let text = format!("{resource}: {used}/{}", amount.as_str().unwrap_or_default());
            if resource.starts_with("limits") { limits.push(text) } else { requests.push(text) }
        }
        row![str_at(object, "/metadata/name"), requests.join(", "), limits.join(", "), age(object, now)]
    },
};

//! Devices that are handed out: claims to them, and what nodes offer.

use serde_json::Value;

use super::{Printer, row};
use crate::Column;
use crate::text::{age, list_at, str_at};

pub(crate) static CLAIM: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("State", "A summary of the current state (allocated, pending, reserved, etc.)."),
        Column::age(),
    ],
    cells: |object, now| row![str_at(object, "/metadata/name"), state(object), age(object, now)],
};

fn state(claim: &Value) -> String {
    let is_deleted = claim.pointer("/metadata/deletionTimestamp").is_some();
    let is_allocated = claim.pointer("/status/allocation").is_some();
    let is_reserved = !list_at(claim, "/status/reservedFor").is_empty();
    let words = [
        (is_deleted, "deleted"),
        (!is_allocated && !is_deleted, "pending"),
        (is_allocated, "allocated"),
        (is_allocated && is_reserved, "reserved"),
        (is_allocated && !is_reserved && is_deleted, "deallocating"),
    ];
    words.iter().filter(|(is_so, _)| *is_so).map(|(_, word)| *word).collect::<Vec<_>>().join(",")
}

pub(crate) static SLICE: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Node", "@io.k8s.api.resource.v1.ResourceSliceSpec.nodeName"),
        Column::text("Driver", "@io.k8s.api.resource.v1.ResourceSliceSpec.driver"),
        Column::text("Pool", "@io.k8s.api.resource.v1.ResourcePool.name"),
        Column::age(),
    ],
    cells: |object, now| {
        let spec = |field: &str| str_at(object, &format!("/spec/{field}"));
        row![str_at(object, "/metadata/name"), spec("nodeName"), spec("driver"), spec("pool/name"), age(object, now)]
    },
};

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({}), json!({}), "pending")]
    #[case(json!({"allocation": {}}), json!({}), "allocated")]
    #[case(json!({"allocation": {}, "reservedFor": [{}]}), json!({}), "allocated,reserved")]
    #[case(json!({"allocation": {}}), json!({"deletionTimestamp": "x"}), "deleted,allocated,deallocating")]
    #[case(json!({}), json!({"deletionTimestamp": "x"}), "deleted")]
    fn states_of_a_claim(#[case] status: Value, #[case] metadata: Value, #[case] expected: &str) {
        assert_eq!(state(&json!({"metadata": metadata, "status": status})), expected);
    }
}

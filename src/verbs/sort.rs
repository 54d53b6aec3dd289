//! `--sort-by`: objects in the order of one of their fields.

use std::cmp::Ordering;

use coracle_api::quantity::Quantity;
use serde_json::Value;

use crate::error::VerbError;
use crate::jsonpath;

/// Sorts by the field that a path names: numbers and quantities by their amount, other texts by their bytes. What has no
/// such field comes first; what is equal stays as it was.
///
/// # Errors
/// Nothing has the field, or what stands there has no order.
pub fn sort<T>(all: Vec<T>, path: &str, object: impl Fn(&T) -> &Value) -> Result<Vec<T>, VerbError> {
    let mut keyed = Vec::with_capacity(all.len());
    for one in all {
        let found = jsonpath::find(path, object(&one)).map_err(VerbError::wrong)?;
        let field = found.first().copied().filter(|field| !field.is_null()).cloned();
        keyed.push((field, one));
    }
    let known: Vec<&Value> = keyed.iter().filter_map(|(field, _)| field.as_ref()).collect();
    if known.is_empty() && !keyed.is_empty() {
        return Err(VerbError::wrong(format!("couldn't find any field with path {path:?} in the list of objects")));
    }
    let Some(order) = order_of(&known) else {
        return Err(VerbError::wrong(format!("fields with path {path:?} are neither all numbers nor all strings: they have no order")));
    };
    keyed.sort_by(|(a, _), (b, _)| match (a, b) {
        (Some(a), Some(b)) => order(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    });
    Ok(keyed.into_iter().map(|(_, one)| one).collect())
}

/// One order for all of them: with more than one, there might be circles.
fn order_of(known: &[&Value]) -> Option<fn(&Value, &Value) -> Ordering> {
    let all = |is: fn(&Value) -> bool| known.iter().all(|field| is(field));
    let order: fn(&Value, &Value) -> Ordering = if all(Value::is_number) {
        by_number
    } else if all(|field| amount(field).is_some()) {
        by_amount
    } else if all(Value::is_string) {
        by_text
    } else {
        return None;
    };
    Some(order)
}

fn by_number(a: &Value, b: &Value) -> Ordering {
    a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default())
}

fn amount(field: &Value) -> Option<Quantity> {
    field.as_str()?.parse().ok()
}

fn by_amount(a: &Value, b: &Value) -> Ordering {
    amount(a).cmp(&amount(b))
}

fn by_text(a: &Value, b: &Value) -> Ordering {
    a.as_str().cmp(&b.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_sorted() {
        let sorted = |fields: Value| sort(fields.as_array().unwrap().clone(), "{.f}", |object| object).map(Value::from);
        for (given, expected) in [
            (json!([{"f": 10}, {"f": 9}, {"f": -1.5}]), json!([{"f": -1.5}, {"f": 9}, {"f": 10}])),
            (json!([{"f": "1Gi"}, {"f": "500Mi"}, {"f": "2k"}]), json!([{"f": "2k"}, {"f": "500Mi"}, {"f": "1Gi"}])),
            (json!([{"f": "web-9"}, {"f": "web-10"}, {"f": "web"}]), json!([{"f": "web"}, {"f": "web-10"}, {"f": "web-9"}])),
            (json!([{"f": "b"}, {"n": 1}, {"f": null}, {"f": "a"}]), json!([{"n": 1}, {"f": null}, {"f": "a"}, {"f": "b"}])),
            (json!([{"f": "a", "n": 1}, {"f": "a", "n": 0}]), json!([{"f": "a", "n": 1}, {"f": "a", "n": 0}])),
            (json!([]), json!([])),
        ] {
            assert_eq!(sorted(given.clone()).unwrap(), expected, "{given}");
        }
        let missing = sorted(json!([{"n": 1}])).unwrap_err();
        assert_eq!(missing.to_string(), "error: couldn't find any field with path \"{.f}\" in the list of objects");
        for mixed in [json!([{"f": 1}, {"f": "a"}]), json!([{"f": {}}, {"f": {}}])] {
            assert!(sorted(mixed.clone()).unwrap_err().to_string().contains("have no order"), "{mixed}");
        }
    }
}

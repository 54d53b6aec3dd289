//! Label selectors in objects: `matchLabels` and `matchExpressions`.

use serde_json::Value;

use super::check::{Errors, Path, Read};
use crate::names;
use crate::selector::LabelSelector;

/// Whether the selector asks for nothing, and so selects everything.
pub(crate) fn is_empty(selector: &Value) -> bool {
    selector.map("matchLabels").is_empty() && selector.items("matchExpressions").is_empty()
}

/// Whether the selector could be parsed.
pub(crate) fn is_valid(selector: &Value) -> bool {
    let mut out = Errors::default();
    validate(selector, &Path::new(""), &mut out);
    out.is_empty()
}

/// Whether labels (an object or null) are selected.
pub(crate) fn matches(selector: &Value, labels: &Value) -> bool {
    LabelSelector::from_object(selector).is_ok_and(|selector| selector.matches(labels))
}

/// Checks a selector.
pub(crate) fn validate(selector: &Value, path: &Path, out: &mut Errors) {
    super::meta::labels(&selector["matchLabels"], &path.child("matchLabels"), out);
    for (at, requirement) in selector.each("matchExpressions", path) {
        let values = requirement.items("values");
        match requirement.text("operator") {
            "In" | "NotIn" => {
                if values.is_empty() {
                    out.required(at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    out.forbidden(at.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
                }
            }
            other => out.invalid(at.child("operator"), other, "not a valid selector operator"),
        }
        out.all(&at.child("key"), requirement.text("key"), names::qualified_name(requirement.text("key")));
        for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
            out.all(&at.child("values").index(index), value, names::label_value(value));
        }
    }
}

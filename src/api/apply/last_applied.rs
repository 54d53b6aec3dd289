//! What `kubectl apply` on the client wrote down, so that `kubectl apply --server-side` can go on from it (KEP-2155).

use serde_json::Value;

use super::set::FieldSet;
use super::walk::{Comparison, fields_set};
use crate::schema::Type;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Another manager says with its name that it wants none of this.
pub(super) const MANAGER: &str = "kubectl";
/// Annotations may not be larger together.
const LONGEST: usize = 256 * 1024;

fn annotation(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][ANNOTATION].as_str().filter(|text| !text.is_empty())
}

/// Fields that may be taken from whoever has them: those applied on the client that still are what was applied.
pub(super) fn yielded(live: Option<&Value>, manager: &str, ty: &Type) -> FieldSet {
    let last = live.filter(|_| manager == MANAGER).and_then(annotation).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let (Some(live), Some(last)) = (live, last) else { return FieldSet::default() };
    let Ok(applied) = fields_set(ty, &last) else { return FieldSet::default() };
    let Comparison { taken, removed } = Comparison::of(ty, live, &last);
    applied.difference(&taken).difference(&removed)
}

/// Keeps what was written down in step with what is applied on the server.
pub(super) fn renew(object: &mut Value, mut config: Value) {
    if annotation(object).is_none() {
        return;
    }
    if let Some(annotations) = config["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    let text = format!("{config}\n");
    object["metadata"]["annotations"][ANNOTATION] = Value::String(if text.len() > LONGEST { String::new() } else { text });
}

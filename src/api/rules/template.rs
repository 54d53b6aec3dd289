//! What workloads share: a selector and a pod template.

use serde_json::Value;

use super::check::{Errors, Path, Read};
use super::{meta, pod, selector};

/// How a workload may restart its pods.
pub(crate) enum Restart {
    /// Only `Always`.
    Always,
    /// `OnFailure` or `Never`.
    OnFailureOrNever,
}

/// A template: labels, annotations and the pod's spec.
pub(crate) fn validate(template: &Value, path: &Path, out: &mut Errors) {
    meta::labels(&template["metadata"]["labels"], &path.child("labels"), out);
    meta::annotations(&template["metadata"]["annotations"], &path.child("annotations"), out);
    pod::spec::validate(&template["spec"], false, &path.child("spec"), out);
    if !template["spec"].items("ephemeralContainers").is_empty() {
        out.forbidden(path.child("spec").child("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// The selector of a workload of `apps`, which must select something, and its template, which it must match.
pub(crate) fn validate_selected(spec: &Value, path: &Path, restart: &Restart, out: &mut Errors) {
    let labels = &spec["template"]["metadata"]["labels"];
    let at = path.child("template");
    let selector = &spec["selector"];
    // a selector that is missing selects nothing, an empty one everything
    let misses =
        selector.is_null() || selector::is_valid(selector) && !selector::is_empty(selector) && !selector::matches(selector, labels);
    if misses && matches!(restart, Restart::Always) {
        out.invalid(at.child("metadata").child("labels"), labels.clone(), "`selector` does not match template `labels`");
    }
    validate(&spec["template"], &at, out);
    let policy = spec["template"]["spec"].text("restartPolicy");
    let at = at.child("spec");
    match restart {
        Restart::Always => {
            out.one_of(at.child("restartPolicy"), policy, &["Always"]);
            if spec["template"]["spec"].has("activeDeadlineSeconds") {
                out.forbidden(at.child("activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicaSet is not Supported");
            }
        }
        Restart::OnFailureOrNever => out.one_of(at.child("restartPolicy"), policy, &["OnFailure", "Never"]),
    }
}

/// `spec.selector` of a workload of `apps`.
pub(crate) fn validate_selector(spec: &Value, path: &Path, empty: &str, out: &mut Errors) {
    let at = path.child("selector");
    if spec["selector"].is_null() {
        out.required(&at, "");
        return;
    }
    selector::validate(&spec["selector"], &at, out);
    if selector::is_empty(&spec["selector"]) {
        out.invalid(&at, spec["selector"].clone(), empty);
    }
}

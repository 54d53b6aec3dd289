//! Priorities, budgets, limits, leases, events.

use serde_json::{Value, json};

use super::check::{Errors, Fill, Path, Read, quantity};
use super::{Rules, selector};
use crate::names;

pub(crate) static EVENT: Rules = Rules {
    create_on_update: true,
    validate: |object, out| {
        let about = if object.has("regarding") { "regarding" } else { "involvedObject" };
        let (own, named) = (object["metadata"].text("namespace"), object[about].text("namespace"));
        let fits = if named.is_empty() { matches!(own, "" | "default" | "kube-system") } else { named == own };
        if !fits {
            out.invalid(Path::new("involvedObject").child("namespace"), named, "does not match event.namespace");
        }
        if object.has("eventTime") {
            reported(object, out);
        }
    },
    fields: &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
    ..Rules::PLAIN
};

/// Events that tell their time to the microsecond tell who reports them, too.
fn reported(event: &Value, out: &mut Errors) {
    let (controller, at) = (event.text("reportingComponent"), Path::new("reportingComponent"));
    if controller.is_empty() {
        out.required(&at, "");
    }
    out.all(&at, controller, names::qualified_name(controller));
    for key in ["reportingInstance", "action", "reason"] {
        if event.text(key).is_empty() {
            out.required(key, "");
        }
        if event.text(key).len() > 128 {
            out.invalid(key, "", "can have at most 128 characters");
        }
    }
    if event.text("message").len() > 1024 {
        out.invalid("message", "", "can have at most 1024 characters");
    }
}

pub(crate) static LEASE: Rules = Rules {
    create_on_update: true,
    unconditional_update: false,
    validate: |object, out| {
        out.positive(&Path::new("spec.leaseDurationSeconds"), object["spec"].int("leaseDurationSeconds"));
        out.non_negative(&Path::new("spec.leaseTransitions"), object["spec"].int("leaseTransitions"));
    },
    ..Rules::PLAIN
};

pub(crate) static PRIORITY_CLASS: Rules = Rules {
    generation: true,
    desired: &[],
    default: |object| object.fill("preemptionPolicy", "PreemptLowerPriority"),
    validate: |object, out| {
        const HIGHEST: i64 = 1_000_000_000;
        let (name, value) = (object["metadata"].text("name"), object.int("value").unwrap_or(0));
        if name.starts_with("system-") {
            let known = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
            if !known.contains(&(name, value)) {
                let message = "priority class names with 'system-' prefix are reserved for system use only. error: only system priority \
                               classes can have these names";
                out.forbidden("metadata.name", message);
            }
        } else if value > HIGHEST {
            out.forbidden("value", format!("maximum allowed value of a user defined priority is {HIGHEST}"));
        }
        out.one_of_if_set("preemptionPolicy", object.text("preemptionPolicy"), &["Never", "PreemptLowerPriority"]);
    },
    validate_update: |new, old, _, out| {
        if new["value"] != old["value"] {
            out.forbidden("value", "may not be changed in an update.");
        }
        out.immutable(&Path::new("preemptionPolicy"), &new["preemptionPolicy"], &old["preemptionPolicy"]);
    },
    ..Rules::PLAIN
};

pub(crate) static BUDGET: Rules = Rules {
    generation: true,
    status: |_| json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}),
    validate: |object, out| {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        if spec.has("minAvailable") && spec.has("maxUnavailable") {
            out.invalid(&path, spec.clone(), "minAvailable and maxUnavailable cannot be both set");
        }
        for key in ["minAvailable", "maxUnavailable"] {
            out.count_or_percent(&path.child(key), &spec[key]);
            super::deployment::not_more_than_all(&path.child(key), &spec[key], out);
        }
        if spec.has("selector") {
            selector::validate(&spec["selector"], &path.child("selector"), out);
        }
        let policies = ["AlwaysAllow", "IfHealthyBudget"];
        out.one_of_if_set(path.child("unhealthyPodEvictionPolicy"), spec.text("unhealthyPodEvictionPolicy"), &policies);
    },
    ..Rules::PLAIN
};

pub(crate) static LIMIT_RANGE: Rules = Rules {
    default: |object| object.with("spec", |spec| spec.for_each("limits", default_limit)),
    validate: validate_limits,
    ..Rules::PLAIN
};

/// Limits and requests of containers follow from each other, from the largest and from the smallest.
fn default_limit(item: &mut Value) {
    if item.text("type") != "Container" {
        return;
    }
    let copy = |item: &mut Value, from: &str, to: &str| {
        let source = item.map(from).clone();
        item.within(to, |target| source.into_iter().for_each(|(name, value)| target.fill(&name, value)));
        if item.map(to).is_empty() {
            item.cut(to);
        }
    };
    copy(item, "max", "default");
    copy(item, "default", "defaultRequest");
    copy(item, "min", "defaultRequest");
}

fn validate_limits(object: &Value, out: &mut Errors) {
    let path = Path::new("spec");
    let mut seen = super::check::Seen::default();
    for (at, item) in object["spec"].each("limits", &path) {
        let kind = item.text("type");
        if !seen.first(kind) {
            out.duplicate(at.child("type"), kind);
        }
        if kind == "Pod" {
            for key in ["default", "defaultRequest"] {
                if !item.map(key).is_empty() {
                    out.forbidden(at.child(key), "may not be specified when `type` is 'Pod'");
                }
            }
        }
        for (low, high, words) in [
            ("min", "max", "min value {a} is greater than max value {b}"),
            ("min", "defaultRequest", "min value {a} is greater than default request value {b}"),
            ("defaultRequest", "max", "default request value {a} is greater than max value {b}"),
            ("defaultRequest", "default", "default request value {a} is greater than default limit value {b}"),
            ("default", "max", "default value {a} is greater than max value {b}"),
        ] {
            for (name, small) in item.map(low) {
                let large = &item[high][name];
                let (Some(a), Some(b)) = (quantity(small), quantity(large)) else { continue };
                if a > b {
                    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    let message = words.replace("{a}", &text(small)).replace("{b}", &text(large));
                    out.invalid(at.child(low).key(name), small.clone(), message);
                }
            }
        }
    }
}

//! StatefulSets, DaemonSets and pod templates.

use serde_json::{Value, json};

use super::check::{Errors, Fill, Path, Read};
use super::deployment::{not_more_than_all, number};
use super::template::{self, Restart};
use super::{Rules, pod, volumes};
use crate::names;

pub(crate) static STATEFUL_SET: Rules = Rules {
    generation: true,
    status: |_| json!({"replicas": 0, "availableReplicas": 0}),
    default: default_stateful_set,
    validate: validate_stateful_set,
    validate_update: update_stateful_set,
    warnings: |object| pod::template_warnings(object, &["spec", "template"]),
    ..Rules::PLAIN
};

pub(crate) static DAEMON_SET: Rules = Rules {
    generation: true,
    status: |_| json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0}),
    default: default_daemon_set,
    create: |object| template_generation(object, 1),
    update: update_daemon_set,
    validate: validate_daemon_set,
    validate_update: |new, old, subresource, out| {
        if subresource.is_empty() {
            out.immutable(&Path::new("spec.selector"), &new["spec"]["selector"], &old["spec"]["selector"]);
        }
    },
    warnings: |object| pod::template_warnings(object, &["spec", "template"]),
    ..Rules::PLAIN
};

pub(crate) static POD_TEMPLATE: Rules = Rules {
    generation: true,
    desired: &["template"],
    default: |object| object.within("template", pod::defaults::template),
    validate: |object, out| template::validate(&object["template"], &Path::new("template"), out),
    warnings: |object| pod::template_warnings(object, &["template"]),
    ..Rules::PLAIN
};

pub(crate) static CONTROLLER_REVISION: Rules = Rules {
    validate: |object, out| {
        if !object["data"].is_object() {
            out.required("data", "data is mandatory");
        }
        out.non_negative(&Path::new("revision"), object.int("revision"));
    },
    validate_update: |new, old, _, out| out.immutable(&Path::new("data"), &new["data"], &old["data"]),
    ..Rules::PLAIN
};

fn default_stateful_set(object: &mut Value) {
    object.within("spec", |spec| {
        spec.fill_zero("podManagementPolicy", "OrderedReady");
        spec.within("updateStrategy", |strategy| {
            if strategy.text("type").is_empty() {
                strategy.put("type", "RollingUpdate");
                strategy.within("rollingUpdate", |_| {});
            }
            // with the type given, an absent strategy stays absent
            if strategy.text("type") == "RollingUpdate" {
                strategy.with("rollingUpdate", |rolling| {
                    rolling.fill("partition", 0);
                    rolling.fill("maxUnavailable", 1);
                });
            }
        });
        spec.within("persistentVolumeClaimRetentionPolicy", |policy| {
            policy.fill_zero("whenDeleted", "Retain");
            policy.fill_zero("whenScaled", "Retain");
        });
        spec.fill("replicas", 1);
        spec.fill("revisionHistoryLimit", 10);
        spec.within("template", pod::defaults::template);
        spec.for_each("volumeClaimTemplates", |claim| {
            claim.put("apiVersion", "v1");
            claim.put("kind", "PersistentVolumeClaim");
            claim.within("spec", |spec| spec.fill("volumeMode", "Filesystem"));
            claim.within("status", |status| status.fill_zero("phase", "Pending"));
        });
    });
}

fn validate_stateful_set(object: &Value, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    out.required_one_of(&path.child("podManagementPolicy"), spec.text("podManagementPolicy"), &["OrderedReady", "Parallel"]);
    let (strategy, at) = (&spec["updateStrategy"], path.child("updateStrategy"));
    match strategy.text("type") {
        "" => out.required(at.child("type"), ""),
        "OnDelete" => {
            if strategy.has("rollingUpdate") {
                let message = "only allowed for updateStrategy 'RollingUpdate'";
                out.invalid(at.child("rollingUpdate"), strategy["rollingUpdate"].clone(), message);
            }
        }
        "RollingUpdate" => {
            let (rolling, at) = (&strategy["rollingUpdate"], at.child("rollingUpdate"));
            out.non_negative(&at.child("partition"), rolling.int("partition"));
            out.count_or_percent(&at.child("maxUnavailable"), &rolling["maxUnavailable"]);
            if rolling.has("maxUnavailable") && number(&rolling["maxUnavailable"]) == 0 {
                out.invalid(at.child("maxUnavailable"), rolling["maxUnavailable"].clone(), "cannot be 0");
            }
            not_more_than_all(&at.child("maxUnavailable"), &rolling["maxUnavailable"], out);
        }
        other => out.invalid(at, strategy.clone(), format!("must be 'RollingUpdate' or 'OnDelete', not {other:?}")),
    }
    let (retention, at) = (&spec["persistentVolumeClaimRetentionPolicy"], path.child("persistentVolumeClaimRetentionPolicy"));
    for key in ["whenDeleted", "whenScaled"] {
        out.one_of_if_set(at.child(key), retention.text(key), &["Delete", "Retain"]);
    }
    out.non_negative(&path.child("replicas"), spec.int("replicas"));
    out.non_negative(&path.child("minReadySeconds"), spec.int("minReadySeconds"));
    out.non_negative(&path.child("ordinals").child("start"), spec["ordinals"].int("start"));
    template::validate_selector(spec, &path, "empty selector is invalid for statefulset", out);
    template::validate_selected(&with_claims(spec), &path, &Restart::Always, out);
    if !spec.text("serviceName").is_empty() {
        out.all(&path.child("serviceName"), spec.text("serviceName"), names::dns1123_subdomain(spec.text("serviceName")));
    }
    for (at, claim) in spec.each("volumeClaimTemplates", &path) {
        volumes::claim_spec(&claim["spec"], &at.child("spec"), out);
    }
}

/// A stateful set whose pods have the volumes that its claims will give them.
fn with_claims(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let claims: Vec<Value> = spec.items("volumeClaimTemplates").iter().map(|claim| claim["metadata"]["name"].clone()).collect();
    if claims.is_empty() || !spec["template"]["spec"].is_object() {
        return spec;
    }
    let volumes = &mut spec["template"]["spec"]["volumes"];
    let mut all = volumes.as_array().cloned().unwrap_or_default();
    all.retain(|volume| !claims.contains(&volume["name"]));
    all.extend(claims.into_iter().map(|name| json!({"name": name, "emptyDir": {}})));
    *volumes = all.into();
    spec
}

const STATEFUL_SET_FIELDS: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn update_stateful_set(new: &Value, old: &Value, subresource: &str, out: &mut Errors) {
    if !subresource.is_empty() {
        return;
    }
    let mut munged = new["spec"].clone();
    for key in STATEFUL_SET_FIELDS {
        munged.take_from(key, &old["spec"]);
    }
    if munged != old["spec"] {
        let message = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                       'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        out.forbidden("spec", message);
    }
}

fn default_daemon_set(object: &mut Value) {
    object.within("spec", |spec| {
        spec.within("updateStrategy", |strategy| {
            strategy.fill_zero("type", "RollingUpdate");
            if strategy.text("type") == "RollingUpdate" {
                strategy.within("rollingUpdate", |rolling| {
                    rolling.fill("maxUnavailable", 1);
                    rolling.fill("maxSurge", 0);
                });
            }
        });
        spec.fill("revisionHistoryLimit", 10);
        spec.within("template", pod::defaults::template);
    });
}

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(object: &mut Value, generation: i64) {
    object.within("metadata", |meta| {
        meta.within("annotations", |annotations| annotations.put(TEMPLATE_GENERATION, generation.to_string()));
    });
}

fn update_daemon_set(new: &mut Value, old: &Value, subresource: &str) {
    if subresource.is_empty() {
        let before = old["metadata"]["annotations"].text(TEMPLATE_GENERATION).parse().unwrap_or(1);
        let changed = new["spec"]["template"] != old["spec"]["template"];
        template_generation(new, before + i64::from(changed));
    }
}

fn validate_daemon_set(object: &Value, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    if spec.has("selector") {
        template::validate_selector(spec, &path, "empty selector is invalid for daemonset", out);
    }
    template::validate_selected(spec, &path, &Restart::Always, out);
    out.non_negative(&path.child("minReadySeconds"), spec.int("minReadySeconds"));
    let (strategy, at) = (&spec["updateStrategy"], path.child("updateStrategy"));
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" if strategy["rollingUpdate"].is_null() => out.required(at.child("rollingUpdate"), ""),
        "RollingUpdate" => {
            let (rolling, at) = (&strategy["rollingUpdate"], at.child("rollingUpdate"));
            let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            out.count_or_percent(&at.child("maxUnavailable"), unavailable);
            out.count_or_percent(&at.child("maxSurge"), surge);
            match (number(unavailable), number(surge)) {
                (0, 0) => out.required(at.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
                (a, b) if a != 0 && b != 0 => {
                    out.invalid(at.child("maxSurge"), surge.clone(), "may not be set when maxUnavailable is non-zero");
                }
                _ => {}
            }
            not_more_than_all(&at.child("maxUnavailable"), unavailable, out);
            not_more_than_all(&at.child("maxSurge"), surge, out);
        }
        other => out.one_of(at.child("type"), other, &["RollingUpdate", "OnDelete"]),
    }
    out.non_negative(&path.child("revisionHistoryLimit"), spec.int("revisionHistoryLimit"));
}

//! Jobs and CronJobs.

use serde_json::{Value, json};

use super::check::{Errors, Fill, Path, Read};
use super::template::{self, Restart};
use super::{Rules, job_policies, pod, selector};
use crate::cron;

pub(crate) static JOB: Rules = Rules {
    generation: true,
    status: |_| json!({}),
    default: default_job,
    create: own_labels,
    validate: |object, out| validate_job(&object["spec"], false, &Path::new("spec"), out),
    validate_create: generated_selector,
    validate_update: update_job,
    name_is_used_in: "Pod names and hostnames",
    warnings: |object| pod::template_warnings(object, &["spec", "template"]),
    fields: &["status.successful"],
    ..Rules::PLAIN
};

pub(crate) static CRON_JOB: Rules = Rules {
    generation: true,
    status: |_| json!({}),
    default: |object| {
        object.within("spec", |spec| {
            spec.fill_zero("concurrencyPolicy", "Allow");
            spec.fill("suspend", false);
            spec.fill("successfulJobsHistoryLimit", 3);
            spec.fill("failedJobsHistoryLimit", 1);
            spec.within("jobTemplate", |job| {
                job.within("spec", |spec| spec.within("template", pod::defaults::template));
            });
        });
    },
    validate: validate_cron_job,
    validate_create: |object, out| schedule_without_zone(object, None, out),
    validate_update: |new, old, _, out| schedule_without_zone(new, Some(old), out),
    name_is_used_in: "Pod names and hostnames",
    warnings: |object| pod::template_warnings(object, &["spec", "jobTemplate", "spec", "template"]),
    ..Rules::PLAIN
};

fn default_job(object: &mut Value) {
    object.within("spec", |spec| {
        if !spec.has("completions") && !spec.has("parallelism") {
            spec.put("completions", 1);
        }
        spec.fill("parallelism", 1);
        let limit = if spec.has("backoffLimitPerIndex") { i32::MAX } else { 6 };
        spec.fill("backoffLimit", limit);
        spec.fill("completionMode", "NonIndexed");
        spec.fill("suspend", false);
        spec.fill("manualSelector", false);
        let replacement = if spec.has("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        spec.fill("podReplacementPolicy", replacement);
        spec.with("podFailurePolicy", |policy| {
            policy.for_each("rules", |rule| {
                rule.for_each("onPodConditions", |condition| condition.fill_zero("status", "True"));
            });
        });
        spec.within("template", pod::defaults::template);
    });
    labels_of_template(object);
}

fn labels_of_template(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if object["metadata"].map("labels").is_empty() && labels.as_object().is_some_and(|map| !map.is_empty()) {
        object.within("metadata", |meta| meta.put("labels", labels));
    }
}

/// Unless asked not to, a job selects its pods by its own uid; the object must have its name and uid by now.
fn own_labels(object: &mut Value) {
    let (name, uid) = (object["metadata"].text("name").to_owned(), object["metadata"].text("uid").to_owned());
    if object["spec"].yes("manualSelector") || uid.is_empty() {
        return;
    }
    object.within("spec", |spec| {
        spec.within("template", |template| {
            template.within("metadata", |meta| {
                meta.within("labels", |labels| {
                    for (key, value) in [
                        ("batch.kubernetes.io/controller-uid", &uid),
                        ("controller-uid", &uid),
                        ("batch.kubernetes.io/job-name", &name),
                        ("job-name", &name),
                    ] {
                        labels.fill(key, value.as_str());
                    }
                });
            });
        });
        spec.within("selector", |selector| {
            selector.within("matchLabels", |labels| labels.fill("batch.kubernetes.io/controller-uid", uid.as_str()));
        });
    });
    labels_of_template(object);
}

/// A selector that the system makes is made of the job's name and uid, and of nothing else.
fn generated_selector(object: &Value, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    if spec.yes("manualSelector") || spec["selector"].is_null() {
        return;
    }
    let (name, uid) = (object["metadata"].text("name"), object["metadata"].text("uid"));
    let own =
        json!({"batch.kubernetes.io/controller-uid": uid, "controller-uid": uid, "batch.kubernetes.io/job-name": name, "job-name": name});
    let labels = spec["template"]["metadata"].map("labels");
    let at = path.child("template").child("metadata").child("labels");
    for (key, wanted) in own.as_object().into_iter().flatten() {
        if labels.get(key) != Some(wanted) {
            out.required(at.key(key), &format!("must be '{}'", wanted.as_str().unwrap_or_default()));
        }
    }
    if selector::is_valid(&spec["selector"]) && !selector::matches(&spec["selector"], &own) {
        out.invalid(path.child("selector"), spec["selector"].clone(), "`selector` not auto-generated");
    }
}

fn validate_job(spec: &Value, in_cron_job: bool, path: &Path, out: &mut Errors) {
    for key in ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex"] {
        out.non_negative(&path.child(key), spec.int(key));
    }
    let mode = spec.text("completionMode");
    out.one_of_if_set(path.child("completionMode"), mode, &["Indexed", "NonIndexed"]);
    if mode == "Indexed" {
        match spec.int("completions") {
            None => out.required(path.child("completions"), "when completion mode is Indexed"),
            Some(_) => {
                if let Some(parallelism) = spec.int("parallelism").filter(|n| *n > 100_000) {
                    let message = "must be less than or equal to 100000 when completion mode is Indexed";
                    out.invalid(path.child("parallelism"), parallelism, message);
                }
            }
        }
    } else if spec.has("backoffLimitPerIndex") {
        out.invalid(path.child("backoffLimitPerIndex"), spec["backoffLimitPerIndex"].clone(), "requires indexed completion mode");
    }
    if spec.has("podFailurePolicy") && spec["template"]["spec"].text("restartPolicy") != "Never" {
        let at = path.child("template").child("spec").child("restartPolicy");
        out.invalid(at, spec["template"]["spec"].text("restartPolicy"), "only \"Never\" is supported when podFailurePolicy is specified");
    }
    job_policies::validate(spec, path, out);
    out.one_of_if_set(path.child("podReplacementPolicy"), spec.text("podReplacementPolicy"), &["Failed", "TerminatingOrFailed"]);
    if in_cron_job {
        if spec.yes("manualSelector") {
            out.0.push(crate::field::FieldError::not_supported(path.child("manualSelector"), true, &["nil", "false"]));
        }
    } else if spec["selector"].is_null() {
        out.required(path.child("selector"), "");
    } else {
        selector::validate(&spec["selector"], &path.child("selector"), out);
        let labels = &spec["template"]["metadata"]["labels"];
        if selector::is_valid(&spec["selector"]) && !selector::matches(&spec["selector"], labels) {
            let at = path.child("template").child("metadata").child("labels");
            out.invalid(at, labels.clone(), "`selector` does not match template `labels`");
        }
    }
    let bare = json!({"template": spec["template"]});
    template::validate_selected(&bare, path, &Restart::OnFailureOrNever, out);
}

fn update_job(new: &Value, old: &Value, subresource: &str, out: &mut Errors) {
    if !subresource.is_empty() {
        return;
    }
    let path = Path::new("spec");
    let (new, before) = (&new["spec"], &old["spec"]);
    let elastic = new.text("completionMode") == "Indexed" && new["completions"] == new["parallelism"];
    if new["completions"] != before["completions"] && !elastic {
        out.invalid(path.child("completions"), new["completions"].clone(), super::check::IMMUTABLE);
    }
    out.immutable(&path.child("selector"), &new["selector"], &before["selector"]);
    let mut template = new["template"].clone();
    let is_suspended = old["status"].items("conditions").iter().any(|one| one.text("type") == "Suspended" && one.text("status") == "True");
    let stands_still = is_suspended && old["status"].int("active").unwrap_or(0) == 0;
    if before.yes("suspend") && (stands_still || !old["status"].has("startTime")) {
        // a job that does not run may still be told where to run, and with how much
        template.within("metadata", |meta| {
            meta.take_from("labels", &before["template"]["metadata"]);
            meta.take_from("annotations", &before["template"]["metadata"]);
        });
        template.within("spec", |spec| {
            for key in ["nodeSelector", "affinity", "tolerations", "schedulingGates"] {
                spec.take_from(key, &before["template"]["spec"]);
            }
            for list in ["containers", "initContainers"] {
                let known = before["template"]["spec"].items(list).to_vec();
                spec.for_each(list, |container| {
                    if let Some(known) = known.iter().find(|known| known["name"] == container["name"]) {
                        container.take_from("resources", known);
                    }
                });
            }
        });
    }
    if template != before["template"] {
        out.invalid(path.child("template"), new["template"].clone(), super::check::IMMUTABLE);
    }
    for key in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        out.immutable(&path.child(key), &new[key], &before[key]);
    }
}

fn time_zone(zone: &str, path: &Path, out: &mut Errors) {
    if zone.is_empty() {
        out.invalid(path, zone, "timeZone must be nil or non-empty string");
        return;
    }
    if zone.eq_ignore_ascii_case("local") {
        out.invalid(path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    }
    if jiff::tz::TimeZone::get(zone).is_err() {
        out.invalid(path, zone, format!("unknown time zone {zone}"));
    }
}

/// A schedule may go on naming its zone, where it always did.
fn schedule_without_zone(new: &Value, old: Option<&Value>, out: &mut Errors) {
    let (spec, at) = (&new["spec"], Path::new("spec").child("schedule"));
    let names_zone = |object: &Value| object["spec"].text("schedule").contains("TZ");
    if !names_zone(new) {
        return;
    }
    if !old.is_some_and(names_zone) {
        out.invalid(at, spec.text("schedule"), "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if spec.has("timeZone") {
        out.invalid(at, spec.text("schedule"), "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    }
}

fn validate_cron_job(object: &Value, out: &mut Errors) {
    let name = object["metadata"].text("name");
    let (spec, path) = (&object["spec"], Path::new("spec"));
    if spec.text("schedule").is_empty() {
        out.required(path.child("schedule"), "");
    } else {
        if let Err(message) = cron::parse(spec.text("schedule")) {
            out.invalid(path.child("schedule"), spec.text("schedule"), message);
        }
    }
    out.non_negative(&path.child("startingDeadlineSeconds"), spec.int("startingDeadlineSeconds"));
    if spec.has("timeZone") {
        time_zone(spec.text("timeZone"), &path.child("timeZone"), out);
    }
    out.required_one_of(&path.child("concurrencyPolicy"), spec.text("concurrencyPolicy"), &["Allow", "Forbid", "Replace"]);
    validate_job(&spec["jobTemplate"]["spec"], true, &path.child("jobTemplate").child("spec"), out);
    for key in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        out.non_negative(&path.child(key), spec.int(key));
    }
    if name.len() > 52 {
        // the jobs' names add a dash and the time
        out.invalid("metadata.name", name, "must be no more than 52 characters");
    }
}

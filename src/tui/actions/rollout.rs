//! Rollouts: their revisions, progress, rolling back, pausing; and jobs of cron jobs.

use serde_json::{Value, json};

use super::object::{on_object, selector, target, targets};
use crate::action::Scopes;
use crate::app::App;
use crate::keep::changes::write;
use crate::kinds::{Kinds, Target};
use crate::message::News;
use crate::shared::Level;
use crate::source::call::Call;
use crate::source::observe::{Seen, observe, path_of};
use crate::source::printer::moment;
use crate::source::watch::RowEvent;
use crate::source::work::{Outside, work};
use crate::table::{Column, ColumnKind, Health, Row};
use crate::text::diff::diff;
use crate::text::yaml;
use crate::views::table::{Made, TableView};
use crate::widgets::dialog::Dialog;
use crate::widgets::diff::DiffLayer;

const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map(crate::source::printer::shown).unwrap_or_default()
}

/// A revision of a workload: its number, what keeps it, and its pod template.
#[derive(Debug, Clone, PartialEq)]
struct Revision {
    number: i64,
    keeper: Value,
    template: Value,
    current: bool,
}

/// Revisions kept in replica sets (deployments) or controller revisions (stateful sets, daemon sets), newest first.
fn revisions(workload: &Value, keepers: &[Value]) -> Vec<Revision> {
    let uid = workload.pointer("/metadata/uid");
    let owned = |keeper: &&Value| {
        let owners = keeper.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        owners.is_some_and(|owners| owners.iter().any(|owner| owner.get("uid") == uid && owner.get("controller") == Some(&json!(true))))
    };
    let mut found: Vec<Revision> = keepers
        .iter()
        .filter(owned)
        .filter_map(|keeper| {
            let own = keeper.get("revision").and_then(Value::as_i64);
            let number = own.or_else(|| keeper.pointer(REVISION)?.as_str()?.parse().ok())?;
            let template = keeper.pointer("/data/spec/template").or_else(|| keeper.pointer("/spec/template")).cloned().unwrap_or_default();
            Some(Revision { number, keeper: keeper.clone(), template: plain(template), current: false })
        })
        .collect();
    found.sort_by_key(|revision| std::cmp::Reverse(revision.number));
    let now = plain(workload.pointer("/spec/template").cloned().unwrap_or_default());
    let by_hash = |revision: &Revision| {
        Some(revision.keeper.pointer("/metadata/name")?.as_str()? == workload.pointer("/status/updateRevision")?.as_str()?)
    };
    for revision in &mut found {
        revision.current = by_hash(revision).unwrap_or_else(|| revision.template == now);
    }
    found
}

/// A template without what controllers put into it.
fn plain(mut template: Value) -> Value {
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    if let Some(map) = template.as_object_mut() {
        map.remove("$patch");
    }
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| !value.is_null());
    }
    template
}

fn columns() -> Vec<Column> {
    let mut columns: Vec<Column> = [
        ("Revision", "integer"),
        ("Name", "string"),
        ("State", "string"),
        ("Pods", "string"),
        ("Progress", "string"),
        ("Images", "string"),
        ("Cause", "string"),
    ]
    .iter()
    .map(|(name, of)| Column::new(name, of, false))
    .collect();
    columns.push(Column { name: "AGE".to_owned(), kind: ColumnKind::Time(0), wide: false });
    columns
}

/// `███░░`: so many of so many.
fn bar(have: i64, want: i64) -> String {
    const WIDTH: i64 = 10;
    if want <= 0 {
        return String::new();
    }
    let full = (have * WIDTH / want).clamp(0, WIDTH);
    (0..WIDTH).map(|at| if at < full { '█' } else { '░' }).collect()
}

fn row(revision: &Revision, workload: &Value, kinds: &Kinds) -> Row {
    let keeper = &revision.keeper;
    let number = |pointer: &str| keeper.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let whole = |pointer: &str| workload.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let replica_set = keeper.get("revision").is_none();
    let (ready, wanted) = match (replica_set, revision.current) {
        (true, _) => (number("/status/readyReplicas"), number("/spec/replicas")),
        (false, true) => (
            whole("/status/updatedReplicas") + whole("/status/updatedNumberScheduled"),
            whole("/spec/replicas") + whole("/status/desiredNumberScheduled"),
        ),
        (false, false) => (0, 0),
    };
    let paused = workload.pointer("/spec/paused") == Some(&json!(true));
    let (state, health) = match (revision.current, ready == wanted, paused) {
        (true, true, false) => ("current", Health::Fine),
        (true, false, false) => ("rolling out", Health::Pending),
        (true, _, true) => ("paused", Health::Pending),
        (false, _, _) if wanted > 0 => ("going away", Health::Leaving),
        (false, ..) => ("old", Health::Done),
    };
    let images = revision.template.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let images: Vec<String> = images.map(|container| text(container, "/image")).collect();
    let cells = [
        revision.number.to_string(),
        text(keeper, "/metadata/name"),
        state.to_owned(),
        if wanted > 0 || ready > 0 { format!("{ready}/{wanted}") } else { String::new() },
        bar(ready, wanted),
        images.join(","),
        text(keeper, "/metadata/annotations/kubernetes.io~1change-cause"),
        String::new(),
    ];
    let plural = if replica_set { "replicasets" } else { "controllerrevisions" };
    let about = kinds.find(plural).map(|kind| Target {
        kind,
        namespace: text(keeper, "/metadata/namespace"),
        name: text(keeper, "/metadata/name"),
    });
    Row::made(&cells, health)
        .keyed(&format!("{:020}", i64::MAX - revision.number))
        .timed(vec![moment(keeper, "/metadata/creationTimestamp")])
        .with([revision.template.to_string(), text(workload, "/metadata/name")])
        .about(about)
}

async fn follow(outside: Outside, workload: Target, kinds: Kinds) {
    let Ok(client) = outside.client() else { return };
    let keepers = if workload.kind.plural == "deployments" { "replicasets" } else { "controllerrevisions" };
    let keepers = format!("/apis/apps/v1/namespaces/{}/{keepers}", workload.namespace);
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let other = sender.clone();
    let watching = async {
        futures::join!(
            observe(client.clone(), path_of(&workload), move |seen| sender.send((true, seen)).is_ok()),
            observe(client.clone(), keepers, move |seen| other.send((false, seen)).is_ok()),
        );
    };
    let telling = async {
        let (mut whole, mut parts): (Option<Value>, Option<Vec<Value>>) = (None, None);
        while let Some((is_whole, seen)) = seen.recv().await {
            match (is_whole, seen) {
                (_, Seen::Lost(fault)) => drop(outside.tell(News::Rows(RowEvent::Lost(fault)))),
                (true, Seen::Now(objects)) => whole = objects.into_values().next(),
                (false, Seen::Now(objects)) => parts = Some(objects.into_values().collect()),
            }
            if let (Some(whole), Some(parts)) = (&whole, &parts) {
                let rows = revisions(whole, parts).iter().map(|revision| row(revision, whole, &kinds)).collect();
                if !outside.table(&columns(), rows) {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = watching => {}
        () = telling => {}
    }
}

/// The rollout of a workload: its revisions, and how far they are.
pub fn show(app: &mut App) {
    let Some(workload) = target(app) else { return };
    let of = workload.shown();
    let made = Made {
        of,
        command: Some(format!("rollout {} {}", workload.kind.plural, workload.name)),
        scopes: Scopes::REVISIONS,
        hints: &["help", "back", "revision-diff", "rollback", "pause-rollout", "logs", "yaml"],
        ..Made::new("revisions", move |shared| {
            let (workload, kinds) = (workload.clone(), shared.kinds.clone());
            work(move |outside| follow(outside, workload, kinds))
        })
    };
    app.push(Box::new(TableView::made(made)));
}

/// The workload whose revisions are shown, and the template and number of the one under the cursor.
fn chosen(app: &mut App) -> Option<(Target, Value, String)> {
    let mut found = None;
    app.with(|view: &mut TableView, _| {
        found = view.row().map(|row| (row.extra.clone(), row.cell(0).to_owned(), view.made_of().to_owned()));
    });
    let (extra, number, of) = found?;
    let [template, name] = extra.into_vec().try_into().ok()?;

    let namespace = target(app)?.namespace;
    let kind = app.shared.kinds.find(of.split(' ').next()?)?;
    Some((Target { kind, namespace, name }, serde_json::from_str(&template).ok()?, number))
}

/// The difference between the template of a revision and that of now.
pub fn diff_revision(app: &mut App) {
    let Some((workload, template, number)) = chosen(app) else { return };
    on_object(app, workload, move |app, workload, object| {
        let now = plain(object.pointer("/spec/template").cloned().unwrap_or_default());
        let lines = diff(&yaml::print(&now), &yaml::print(&template));
        if lines.is_empty() {
            return app.shared.say(Level::Info, format!("revision {number} is the current one"));
        }
        let title = format!("roll {} back to revision {number}", workload.shown());
        app.lay(Box::new(DiffLayer::new(title, Vec::new(), lines, move |app| roll_back(app, &workload, &template, &number))));
    });
}

/// Rolls back to the revision under the cursor, after asking.
pub fn rollback(app: &mut App) {
    let Some((workload, template, number)) = chosen(app) else { return };
    let lines = vec![format!("Roll {} back to revision {number}?", workload.shown())];
    let dialog = Dialog::confirm("rollback", lines, move |app| roll_back(app, &workload, &template, &number)).guarded(&app.shared);
    app.lay(Box::new(dialog));
}

fn roll_back(app: &mut App, workload: &Target, template: &Value, number: &str) {
    // the template as a whole, as `kubectl rollout undo` does: what it does not have goes
    let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
    let call = Call { content_type: "application/json-patch+json", ..Call::merge(workload, "", patch, false) };
    write(app, workload, call, format!("{} rolled back to revision {number}", workload.shown()));
}

/// Rolls the deployment of a replica set back to it.
pub fn rollback_replicaset(app: &mut App) {
    let Some(replicaset) = target(app) else { return };
    let Some(kind) = app.shared.kinds.find("deployments") else { return };
    on_object(app, replicaset, move |app, replicaset, object| {
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).cloned().unwrap_or_default();
        let owner = owners.iter().find(|owner| owner["kind"] == "Deployment").map(|owner| text(owner, "/name"));
        let Some(name) = owner else { return app.shared.say(Level::Warning, format!("{} is of no deployment", replicaset.shown())) };
        let workload = Target { kind, namespace: replicaset.namespace, name };
        let (template, number) = (plain(object.pointer("/spec/template").cloned().unwrap_or_default()), text(&object, REVISION));
        let lines = vec![format!("Roll {} back to revision {number}?", workload.shown())];
        let dialog = Dialog::confirm("rollback", lines, move |app| roll_back(app, &workload, &template, &number)).guarded(&app.shared);
        app.lay(Box::new(dialog));
    });
}

/// Pauses a rollout, or lets it go on.
pub fn pause(app: &mut App) {
    let Some((workload, _, _)) = chosen(app) else { return };
    on_object(app, workload, |app, workload, object| {
        let paused = object.pointer("/spec/paused") == Some(&json!(true));
        let value = if paused { Value::Null } else { json!(true) };
        let done = format!("{} {}", workload.shown(), if paused { "goes on" } else { "paused" });
        write(app, &workload, Call::merge(&workload, "", json!({"spec": {"paused": value}}), false), done);
    });
}

/// The replica sets of a deployment.
pub fn replicasets(app: &mut App) {
    let (Some(deployment), Some(kind)) = (target(app), app.shared.kinds.find("replicasets")) else { return };
    on_object(app, deployment, |app, deployment, object| {
        let title = deployment.shown();
        app.push(Box::new(TableView::fixed(kind, Some(deployment.namespace), selector(&object), None, title)));
    });
}

/// The jobs of a cron job.
pub fn jobs_of(app: &mut App, cronjob: Target) {
    let Some(kind) = app.shared.kinds.find("jobs") else { return };
    let kinds = kind.clone();
    let of = cronjob.shown();
    let made = Made {
        of,
        command: None,
        scopes: Scopes::OBJECT,
        hints: &["help", "back", "drill-in", "logs", "describe", "yaml", "delete"],
        ..Made::new("jobs", move |_| {
            let (cronjob, kind) = (cronjob.clone(), kinds.clone());
            work(move |outside| async move {
                let Ok(client) = outside.client() else { return };
                let path = kind.path(Some(&cronjob.namespace));
                let columns: Vec<Column> =
                    ["Name", "Status", "Completions"].iter().map(|name| Column::new(name, "string", false)).collect();
                let told = outside.clone();
                let tell = move |seen: Seen| match seen {
                    Seen::Lost(fault) => told.tell(News::Rows(RowEvent::Lost(fault))),
                    Seen::Now(jobs) => {
                        let owned = |job: &&Value| text(job, "/metadata/ownerReferences/0/name") == cronjob.name;
                        let rows = jobs.values().filter(owned).map(|job| job_row(job, &cronjob, &kind)).collect();
                        told.table(&columns, rows)
                    }
                };
                observe(client, path, tell).await;
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

fn job_row(job: &Value, cronjob: &Target, kind: &std::sync::Arc<crate::kinds::Kind>) -> Row {
    let number = |pointer: &str| job.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let (state, health) = match (number("/status/active"), number("/status/succeeded"), number("/status/failed")) {
        (1.., _, _) => ("Running", Health::Pending),
        (_, 1.., _) => ("Complete", Health::Done),
        (_, _, 1..) => ("Failed", Health::Faulty),
        _ => ("Waiting", Health::Pending),
    };
    let name = text(job, "/metadata/name");
    let wanted = job.pointer("/spec/completions").and_then(Value::as_i64).unwrap_or(1);
    let cells = [name.clone(), state.to_owned(), format!("{}/{wanted}", number("/status/succeeded"))];
    Row::made(&cells, health).about(Some(Target { kind: kind.clone(), namespace: cronjob.namespace.clone(), name }))
}

/// Starts a job of a cron job now, as `kubectl create job --from` does.
pub fn trigger(app: &mut App) {
    let (Some(cronjob), Some(jobs)) = (target(app), app.shared.kinds.find("jobs")) else { return };
    on_object(app, cronjob, move |app, cronjob, object| {
        let short: String = cronjob.name.chars().take(42).collect();
        let name = format!("{short}-manual-{}", app.shared.now.as_second());
        let template = object.pointer("/spec/jobTemplate").cloned().unwrap_or_default();
        let mut annotations = template.pointer("/metadata/annotations").cloned().unwrap_or_else(|| json!({}));
        annotations["cronjob.kubernetes.io/instantiate"] = json!("manual");
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "spec": template.get("spec"),
            "metadata": {
                "name": name, "namespace": cronjob.namespace, "annotations": annotations, "labels": template.pointer("/metadata/labels"),
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": cronjob.name, "uid": object.pointer("/metadata/uid"), "controller": true}],
            },
        });
        let target = Target { kind: jobs.clone(), namespace: cronjob.namespace.clone(), name };
        write(app, &target, Call::post(jobs.path(Some(&cronjob.namespace)), job), format!("{} started", target.shown()));
    });
}

/// Suspends a cron job, or lets it go on.
pub fn suspend(app: &mut App) {
    for cronjob in targets(app) {
        on_object(app, cronjob, |app, cronjob, object| {
            let suspended = object.pointer("/spec/suspend") == Some(&json!(true));
            let done = format!("{} {}", cronjob.shown(), if suspended { "goes on" } else { "suspended" });
            write(app, &cronjob, Call::merge(&cronjob, "", json!({"spec": {"suspend": !suspended}}), false), done);
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn revisions_are_those_of_the_workload_and_the_one_that_is_now_is_known() {
        let template = |image: &str, hash: Option<&str>| {
            let mut template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": image}]}});
            if let Some(hash) = hash {
                template["metadata"]["labels"]["pod-template-hash"] = hash.into();
            }
            template
        };
        let workload = json!({"metadata": {"uid": "u"}, "spec": {"template": template("b", None)}});
        let set = |name: &str, owner: &str, revision: &str, image: &str| {
            json!({"metadata": {"name": name, "annotations": {"deployment.kubernetes.io/revision": revision},
                "ownerReferences": [{"uid": owner, "controller": true}]}, "spec": {"template": template(image, Some(name))}})
        };
        let found = revisions(&workload, &[set("one", "u", "1", "a"), set("two", "u", "2", "b"), set("other", "x", "3", "b")]);
        let seen: Vec<(i64, bool)> = found.iter().map(|revision| (revision.number, revision.current)).collect();
        assert_eq!(seen, [(2, true), (1, false)]);
        assert_eq!((bar(1, 4).as_str(), bar(0, 0).as_str()), ("██░░░░░░░░", ""));
    }
}

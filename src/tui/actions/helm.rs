//! Helm releases, read from the secrets that helm keeps them in; no helm is needed.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::object::target;
use crate::action::Scopes;
use crate::app::App;
use crate::kinds::{Kinds, Target};
use crate::message::News;
use crate::shared::Level;
use crate::source::call::{Call, encode};
use crate::source::observe::{Seen, observe};
use crate::source::printer::moment;
use crate::source::watch::RowEvent;
use crate::source::work::{Outside, work};
use crate::table::{Column, ColumnKind, Health, Row};
use crate::text::diff::diff;
use crate::text::yaml;
use crate::views::table::{Made, TableView};
use crate::views::text::TextView;
use crate::widgets::diff::DiffLayer;

/// Longest a release may be when unpacked.
const LIMIT: u64 = 64 << 20;

/// The release in a secret: base64 twice, gzip, JSON.
fn release(secret: &Value) -> Option<Value> {
    let outer = STANDARD.decode(secret.pointer("/data/release")?.as_str()?).ok()?;
    let inner = STANDARD.decode(outer).ok()?;
    if !inner.starts_with(&[0x1f, 0x8b]) {
        return serde_json::from_slice(&inner).ok();
    }
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(inner.as_slice()).take(LIMIT).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The secret of a release.
fn packed(release: &Value) -> Option<String> {
    use std::io::Write;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(release.to_string().as_bytes()).ok()?;
    Some(STANDARD.encode(STANDARD.encode(packer.finish().ok()?)))
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map(crate::source::printer::shown).unwrap_or_default()
}

fn columns(history: bool) -> Vec<Column> {
    let first = if history { ("Revision", "integer") } else { ("Name", "string") };
    let second = if history { ("Name", "string") } else { ("Revision", "integer") };
    let mut columns: Vec<Column> =
        [first, second, ("Status", "string"), ("Chart", "string"), ("App Version", "string"), ("Description", "string")]
            .iter()
            .map(|(name, of)| Column::new(name, of, false))
            .collect();
    columns.push(Column { name: "AGE".to_owned(), kind: ColumnKind::Time(0), wide: false });
    columns
}

fn row(secret: &Value, history: bool, kinds: &Kinds) -> Option<Row> {
    let label = |name: &str| text(secret, &format!("/metadata/labels/{name}"));
    let release = release(secret).unwrap_or_default();
    let (name, revision, status) = (label("name"), label("version"), label("status"));
    let chart = format!("{}-{}", text(&release, "/chart/metadata/name"), text(&release, "/chart/metadata/version"));
    let health = match status.as_str() {
        "deployed" => Health::Fine,
        "superseded" | "uninstalled" => Health::Done,
        "failed" => Health::Faulty,
        _ => Health::Pending,
    };
    let (first, second) = if history { (revision.clone(), name.clone()) } else { (name.clone(), revision.clone()) };
    let cells =
        [first, second, status, chart, text(&release, "/chart/metadata/appVersion"), text(&release, "/info/description"), String::new()];
    let namespace = text(secret, "/metadata/namespace");
    let about = Target { kind: kinds.find("secrets")?, namespace: namespace.clone(), name: text(secret, "/metadata/name") };
    let number: u64 = revision.parse().ok()?;
    let key = if history { format!("{namespace}/{:010}", u64::from(u32::MAX) - number) } else { format!("{namespace}/{name}") };
    let at = release.pointer("/info/last_deployed").map_or(0, |_| moment(&release, "/info/last_deployed"));
    let at = if at > 0 { at } else { moment(secret, "/metadata/creationTimestamp") };
    Some(Row::made(&cells, health).keyed(&key).timed(vec![at]).about(Some(about)))
}

async fn follow(outside: Outside, namespace: Option<String>, name: Option<String>, kinds: Kinds) {
    let Ok(client) = outside.client() else { return };
    let place = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    let selector = format!("owner=helm{}", name.as_ref().map(|name| format!(",name={name}")).unwrap_or_default());
    let path = format!("/api/v1{place}/secrets?labelSelector={}", encode(&selector));
    let told = outside.clone();
    let tell = move |seen: Seen| match seen {
        Seen::Lost(fault) => told.tell(News::Rows(RowEvent::Lost(fault))),
        Seen::Now(secrets) => {
            let mut secrets: Vec<&Value> = secrets.values().collect();
            let number = |secret: &Value| text(secret, "/metadata/labels/version").parse::<u64>().unwrap_or_default();
            secrets.sort_by_key(|secret| std::cmp::Reverse(number(secret)));
            if name.is_none() {
                // only the newest revision of each release
                let mut seen = std::collections::HashSet::new();
                secrets.retain(|secret| seen.insert((text(secret, "/metadata/namespace"), text(secret, "/metadata/labels/name"))));
            }
            let rows = secrets.into_iter().filter_map(|secret| row(secret, name.is_some(), &kinds)).collect();
            told.table(&columns(name.is_some()), rows)
        }
    };
    observe(client, path, tell).await;
}

/// Releases in the namespaces shown.
pub fn releases(app: &mut App) {
    let made = Made {
        scopes: Scopes::HELM,
        namespaced: true,
        hints: &["help", "filter", "back", "helm-history", "helm-values", "helm-manifest", "helm-notes"],
        ..Made::new("helm", |shared| {
            let (namespace, kinds) = (shared.namespaces.single().map(str::to_owned), shared.kinds.clone());
            work(move |outside| follow(outside, namespace, None, kinds))
        })
    };
    app.push(Box::new(TableView::made(made)));
}

/// Revisions of a release.
pub fn history(app: &mut App) {
    let Some(secret) = target(app) else { return };
    let mut name = None;
    app.with(|view: &mut TableView, _| name = view.row().map(|row| row.cell(0).to_owned()));
    let Some(name) = name else { return };
    let made = Made {
        of: name.clone(),
        command: None,
        scopes: Scopes::HELM_HISTORY,
        hints: &["help", "back", "helm-values", "helm-manifest", "helm-notes", "helm-rollback"],
        ..Made::new("helm revisions", move |shared| {
            let (namespace, name, kinds) = (secret.namespace.clone(), name.clone(), shared.kinds.clone());
            work(move |outside| follow(outside, Some(namespace), Some(name), kinds))
        })
    };
    app.push(Box::new(TableView::made(made)));
}

fn with_release(app: &mut App, then: impl FnOnce(&mut App, Target, Value, Value) + Send + 'static) {
    let Some(target) = target(app) else { return };
    super::object::on_object(app, target, |app, target, secret| match release(&secret) {
        Some(release) => then(app, target, secret, release),
        None => app.shared.say(Level::Error, format!("{} holds no release that can be read", target.shown())),
    });
}

fn title(release: &Value, what: &str) -> String {
    format!("{what} of {} revision {}", text(release, "/name"), text(release, "/version"))
}

/// Values the release was made with.
pub fn values(app: &mut App) {
    with_release(app, |app, _, _, release| {
        let values = release.get("config").cloned().filter(|values| !values.is_null()).unwrap_or_else(|| json!({}));
        app.push(Box::new(TextView::document(title(&release, "values"), yaml::print(&values), true)));
    });
}

/// Manifest of the release.
pub fn manifest(app: &mut App) {
    with_release(app, |app, _, _, release| {
        app.push(Box::new(TextView::document(title(&release, "manifest"), text(&release, "/manifest"), true)))
    });
}

/// Notes of the release.
pub fn notes(app: &mut App) {
    with_release(app, |app, _, _, release| {
        app.push(Box::new(TextView::document(title(&release, "notes"), text(&release, "/info/notes"), false)))
    });
}

/// Rolls back to the revision under the cursor, as helm does: its manifest is applied, what only the present one has is
/// deleted, and a new revision says so. Hooks are not run.
pub fn rollback(app: &mut App) {
    with_release(app, |app, target, _, wanted| {
        let selector = encode(&format!("owner=helm,name={}", text(&wanted, "/name")));
        let path = format!("/api/v1/namespaces/{}/secrets?labelSelector={selector}", target.namespace);
        app.shared.call(
            Call::get(path),
            Box::new(move |app, answer| {
                let secrets = match answer {
                    Ok(answer) => answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default(),
                    Err(fault) => return app.shared.fail("helm", &fault),
                };
                let number = |secret: &Value| text(secret, "/metadata/labels/version").parse::<u64>().unwrap_or_default();
                let Some(last) = secrets.iter().max_by_key(|secret| number(secret)).cloned() else { return };
                let Some(now) = release(&last) else { return app.shared.say(Level::Error, "the present release cannot be read") };
                let lines = diff(&text(&now, "/manifest"), &text(&wanted, "/manifest"));
                let title = format!("roll {} back to revision {}", text(&wanted, "/name"), text(&wanted, "/version"));
                let warning = vec!["hooks are not run".to_owned()];
                let next = number(&last) + 1;
                app.lay(Box::new(DiffLayer::new(title, warning, lines, move |app| roll_back(app, target, last, now, wanted, next))));
            }),
        );
    });
}

/// Objects of a manifest, with their kinds.
fn objects(kinds: &Kinds, manifest: &str, namespace: &str) -> Vec<(Target, Value)> {
    let documents = coracle_api::yaml::documents(manifest).into_iter().filter_map(Result::ok).map(|document| document.value);
    documents
        .filter_map(|object| {
            let version = text(&object, "/apiVersion");
            let kind = kinds.by_kind(version.split_once('/').map_or("", |(group, _)| group), &text(&object, "/kind"))?;
            let own = text(&object, "/metadata/namespace");
            let namespace = if kind.namespaced { if own.is_empty() { namespace.to_owned() } else { own } } else { String::new() };
            Some((Target { kind, namespace, name: text(&object, "/metadata/name") }, object))
        })
        .collect()
}

fn roll_back(app: &mut App, target: Target, last: Value, now: Value, wanted: Value, next: u64) {
    let kinds = app.shared.kinds.clone();
    let (name, version) = (text(&wanted, "/name"), text(&wanted, "/version"));
    app.shared.jobs += 1;
    app.shared.work(move |outside| async move {
        let outcome = roll_back_outside(&outside, &kinds, &target, &last, &now, wanted, next).await;
        outside.then(move |app| {
            app.shared.jobs = app.shared.jobs.saturating_sub(1);
            match outcome {
                Ok(()) => app.shared.say(Level::Done, format!("helm release {name} rolled back to revision {version}, as revision {next}")),
                Err(fault) => app.shared.fail(&format!("helm release {name} was not rolled back"), &fault),
            }
        });
    });
}

async fn roll_back_outside(
    outside: &Outside,
    kinds: &Kinds,
    target: &Target,
    last: &Value,
    now: &Value,
    mut wanted: Value,
    next: u64,
) -> Result<(), crate::source::fault::Fault> {
    let manifest = text(&wanted, "/manifest");
    let (new, old) = (objects(kinds, &manifest, &target.namespace), objects(kinds, &text(now, "/manifest"), &target.namespace));
    for (target, object) in &new {
        let mut call = Call::merge(target, "", object.clone(), false);
        call.content_type = "application/apply-patch+yaml";
        call.path.push_str("&force=true");
        outside.ask(call).await?;
    }
    for (target, _) in old.iter().filter(|(target, _)| !new.iter().any(|(other, _)| other == target)) {
        match outside.ask(Call::delete(target, "Background", None)).await {
            Err(fault) if fault.kind != crate::source::fault::FaultKind::NotFound => return Err(fault),
            _ => {}
        }
    }
    let version = text(&wanted, "/version");
    wanted["version"] = json!(next);
    wanted["info"]["status"] = json!("deployed");
    wanted["info"]["last_deployed"] = json!(outside.now().to_string());
    wanted["info"]["description"] = json!(format!("Rollback to {version}"));
    let name = text(&wanted, "/name");
    let mut secret = last.clone();
    secret["metadata"] = json!({
        "name": format!("sh.helm.release.v1.{name}.v{next}"), "namespace": target.namespace,
        "labels": {"owner": "helm", "name": name, "status": "deployed", "version": next.to_string(), "modifiedAt": outside.now().as_second().to_string()},
    });
    secret["data"] = json!({"release": packed(&wanted)});
    outside.ask(Call::post(target.kind.path(Some(&target.namespace)), secret)).await?;
    let mut superseded = now.clone();
    superseded["info"]["status"] = json!("superseded");
    let before = Target { name: text(last, "/metadata/name"), ..target.clone() };
    let patch = json!({"metadata": {"labels": {"status": "superseded"}}, "data": {"release": packed(&superseded)}});
    outside.ask(Call::merge(&before, "", patch, false)).await.map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_helm_packs_is_read_and_packed_again() {
        let release_in = json!({"name": "shop", "version": 3, "config": {"replicas": 2}});
        let secret = json!({"data": {"release": packed(&release_in).unwrap()}});
        assert_eq!(release(&secret).unwrap(), release_in);
        assert!(release(&json!({"data": {"release": "!!"}})).is_none());
    }
}

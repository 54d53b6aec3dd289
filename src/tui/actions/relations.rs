//! How things hang together: trees, users, causes.

use std::time::Duration;

use serde_json::Value;

use super::object::target;
use crate::action::Scopes;
use crate::app::App;
use crate::kinds::{Kinds, Target};
use crate::shared::Level;
use crate::source::call::{Call, encode};
use crate::source::fault::Fault;
use crate::source::graph::{Object, children, dependents, gather, users};
use crate::source::observe::{observe, path_of};
use crate::source::work::{Outside, work};
use crate::table::{Column, Health, Row};
use crate::text::why::{self, note};
use crate::views::table::{Made, TableView};
use crate::views::text::TextView;
use crate::views::tree::{Branch, Told, TreeView};

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Where trees may begin.
enum Root {
    Object(Target),
    Kind(String),
}

/// The containers of a pod, those first that start first, and what each is.
fn containers(pod: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    [("/spec/initContainers", "init container"), ("/spec/containers", "container"), ("/spec/ephemeralContainers", "ephemeral container")]
        .into_iter()
        .flat_map(move |(list, what)| {
            pod.pointer(list).and_then(Value::as_array).into_iter().flatten().map(move |container| (what, container))
        })
        .map(|(what, container)| match (what, text(container, "/restartPolicy").as_str()) {
            ("init container", "Always") => ("sidecar container", container),
            _ => (what, container),
        })
}

fn grow(object: &Object, all: &[Object], depth: usize, branches: &mut Vec<Branch>) {
    branches.push(Branch {
        depth,
        label: object.target.shown(),
        note: note(&object.value),
        health: why::health_of(&object.value),
        target: Some(object.target.clone()),
    });
    if depth > 8 {
        return;
    }
    if object.target.kind.plural == "pods" {
        branches.extend(containers(&object.value).map(|(what, container)| Branch {
            depth: depth + 1,
            label: format!("{what} {}", text(container, "/name")),
            note: text(container, "/image"),
            health: Health::Fine,
            target: Some(object.target.clone()),
        }));
    }
    for (child, reference) in children(object, all) {
        match child {
            Some(child) => grow(child, all, depth + 1, branches),
            None => branches.push(Branch {
                depth: depth + 1,
                label: format!("{} {}", reference.kind.trim_end_matches('s'), reference.name),
                note: "does not exist".to_owned(),
                health: Health::Faulty,
                target: None,
            }),
        }
    }
}

/// What owns an object, refers to it, or selects what belongs to it.
fn consumers(object: &Object, all: &[Object], branches: &mut Vec<Branch>) {
    let target = &object.target;
    let owners = object.value.pointer("/metadata/ownerReferences").and_then(Value::as_array).cloned().unwrap_or_default();
    let owns = |other: &&Object| owners.iter().any(|owner| owner["uid"] == other.value["metadata"]["uid"]);
    let mut own: Vec<&Target> = dependents(std::slice::from_ref(target), all).into_iter().map(|object| &object.target).collect();
    own.push(target);
    let selects = |other: &&Object| {
        let services = other.target.kind.is("", "services") && other.target != *target;
        services && children(other, all).iter().any(|(child, _)| child.is_some_and(|child| own.contains(&&child.target)))
    };
    let mut add = |other: &Object, how: &str| {
        let label = format!("◂ {}", other.target.shown());
        let health = why::health_of(&other.value);
        branches.push(Branch { depth: 1, label, note: how.to_owned(), health, target: Some(other.target.clone()) });
    };
    all.iter().filter(owns).for_each(|owner| add(owner, "owns it"));
    users(target, all).into_iter().for_each(|user| add(user, "uses it"));
    all.iter().filter(selects).for_each(|service| add(service, "selects it"));
}

async fn tree(outside: Outside, kinds: Kinds, root: Root, namespace: Option<String>) {
    let Ok(client) = outside.client() else { return };
    // pods change when anything does: each of their changes has the tree grown again, at most twice a second
    let pods = kinds.find("pods").map(|kind| kind.path(namespace.as_deref())).unwrap_or_default();
    let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
    let watching = observe(client, pods, move |_| sender.send(()).is_ok());
    let growing = async {
        while changes.recv().await.is_some() {
            while changes.try_recv().is_ok() {}
            let told: Told = gather(&outside, &kinds, namespace.as_deref()).await.map(|all| {
                let mut branches = Vec::new();
                let mut roots: Vec<&Object> = all
                    .iter()
                    .filter(|object| match &root {
                        Root::Object(target) => object.target == *target,
                        Root::Kind(plural) => object.target.kind.plural == *plural,
                    })
                    .collect();
                roots.sort_by(|a, b| (&a.target.namespace, &a.target.name).cmp(&(&b.target.namespace, &b.target.name)));
                for object in roots {
                    grow(object, &all, 0, &mut branches);
                    if matches!(root, Root::Object(_)) {
                        consumers(object, &all, &mut branches);
                    }
                }
                branches
            });
            if !outside.told(told) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = growing => {}
    }
}

/// The tree of the object under the cursor.
pub fn xray(app: &mut App) {
    let Some(target) = target(app) else { return };
    let title = format!("xray of {}", target.shown());
    app.push(Box::new(TreeView::new(title, None, move |shared| {
        let (kinds, target) = (shared.kinds.clone(), target.clone());
        let namespace = Some(target.namespace.clone()).filter(|namespace| !namespace.is_empty());
        work(move |outside| tree(outside, kinds, Root::Object(target), namespace))
    })));
}

/// The trees of every object of a kind.
pub fn xray_kind(app: &mut App, word: &str) {
    let Some(kind) = app.shared.kinds.find(word) else {
        return app.shared.say(Level::Error, format!("no kind is called {word}"));
    };
    let plural = kind.plural.clone();
    let title = format!("xray {plural}");
    app.push(Box::new(TreeView::new(title.clone(), Some(title), move |shared| {
        let (kinds, plural) = (shared.kinds.clone(), plural.clone());
        let namespace = shared.namespaces.single().map(str::to_owned);
        work(move |outside| tree(outside, kinds, Root::Kind(plural), namespace))
    })));
}

/// Folds, or unfolds.
pub fn fold(app: &mut App) {
    app.with(|view: &mut TreeView, _| view.fold());
}

/// Folds everything, or unfolds it.
pub fn fold_all(app: &mut App) {
    app.with(|view: &mut TreeView, _| view.fold_all());
}

/// Goes to what is under the cursor of the tree.
pub fn open(app: &mut App) {
    super::object::enter(app);
}

/// What uses the object under the cursor.
pub fn used_by(app: &mut App) {
    let Some(target) = target(app) else { return };
    let made = Made {
        of: target.shown(),
        command: None,
        scopes: Scopes::OBJECT,
        hints: &["help", "back", "drill-in", "describe", "yaml", "edit"],
        ..Made::new("users", move |shared| {
            let (kinds, target) = (shared.kinds.clone(), target.clone());
            work(move |outside| async move {
                let namespace = Some(target.namespace.clone()).filter(|namespace| !namespace.is_empty());
                let columns: Vec<Column> =
                    ["Name", "Kind", "Namespace", "Status"].iter().map(|name| Column::new(name, "string", false)).collect();
                let rows = gather(&outside, &kinds, namespace.as_deref())
                    .await
                    .map(|all| users(&target, &all).into_iter().map(user_row).collect());
                outside.table_or_fault(&columns, rows);
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

fn user_row(object: &Object) -> Row {
    let target = &object.target;
    let cells = [target.name.clone(), target.kind.kind.clone(), target.namespace.clone(), note(&object.value)];
    Row::made(&cells, why::health_of(&object.value)).keyed(&format!("{} {}", target.kind.plural, target.name)).about(Some(target.clone()))
}

/// Why the object under the cursor is as it is.
pub fn why(app: &mut App) {
    let Some(target) = target(app) else { return };
    let title = format!("why {}", target.shown());
    let about = target.clone();
    app.push(Box::new(TextView::told(title, about, move |shared| {
        let (kinds, target) = (shared.kinds.clone(), target.clone());
        work(move |outside| async move {
            let Ok(client) = outside.client() else { return };
            let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
            let watching = observe(client, path_of(&target), move |_| sender.send(()).is_ok());
            let telling = async {
                while changes.recv().await.is_some() {
                    while changes.try_recv().is_ok() {}
                    if !outside.told(explained(&outside, &kinds, &target).await) {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            };
            tokio::select! {
                () = watching => {}
                () = telling => {}
            }
        })
    })));
}

async fn explained(outside: &Outside, kinds: &Kinds, target: &Target) -> Result<String, Fault> {
    let mut value = outside.ask(Call::read(target)).await?;
    value["apiVersion"] = target.kind.api_version().into();
    value["kind"] = target.kind.kind.clone().into();
    let namespace = Some(target.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let all = gather(outside, kinds, namespace).await?;
    let place = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    let events = outside.list(format!("/api/v1{place}/events?fieldSelector={}", encode("type=Warning"))).await.unwrap_or_default();
    // only the cluster in this process tells what its scheduler thought
    let decision = match target.kind.is("", "pods") {
        true => outside.ask(Call::get(format!("/coracle/v1/why?namespace={}&pod={}", target.namespace, target.name))).await.ok(),
        false => None,
    };
    Ok(why::explain(&Object { target: target.clone(), value }, &all, &events, decision.as_ref()))
}

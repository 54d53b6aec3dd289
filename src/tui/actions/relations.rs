//! How things hang together: trees, users, causes, timelines, the dashboard.

use std::time::Duration;

use serde_json::Value;

use super::object::target;
use crate::action::Scopes;
use crate::app::App;
use crate::kinds::{Kinds, Target};
use crate::message::News;
use crate::shared::Level;
use crate::source::call::{Call, encode};
use crate::source::describe::last_seen;
use crate::source::fault::Fault;
use crate::source::graph::{Object, children, dependents, gather, users};
use crate::source::observe::{Seen, observe, path_of};
use crate::source::printer::moment;
use crate::source::watch::RowEvent;
use crate::source::work::{Outside, work};
use crate::table::{Column, ColumnKind, Health, Row};
use crate::text::why::{self, note};
use crate::views::pulse::PulseView;
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
        for container in object.value.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten() {
            let label = format!("container {}", text(container, "/name"));
            branches.push(Branch {
                depth: depth + 1,
                label,
                note: text(container, "/image"),
                health: Health::Fine,
                target: Some(object.target.clone()),
            });
        }
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

/// What happened to the object under the cursor, in order: its own moments, its conditions and containers, writes, events.
pub fn timeline(app: &mut App) {
    let Some(target) = target(app) else { return };
    let made = Made {
        of: target.shown(),
        command: None,
        sort: Some(("AGE", false)),
        ..Made::new("timeline", move |_| {
            let target = target.clone();
            work(move |outside| follow_timeline(outside, target))
        })
    };
    app.push(Box::new(TableView::made(made)));
}

async fn follow_timeline(outside: Outside, target: Target) {
    let Ok(client) = outside.client() else { return };
    let mut columns = vec![Column { name: "AGE".to_owned(), kind: ColumnKind::Time(0), wide: false }];
    columns.extend(["Lane", "What", "Message"].iter().map(|name| Column::new(name, "string", false)));
    let place = if target.namespace.is_empty() { String::new() } else { format!("/namespaces/{}", target.namespace) };
    let about = encode(&format!("involvedObject.name={},involvedObject.kind={}", target.name, target.kind.kind));
    let events_path = format!("/api/v1{place}/events?fieldSelector={about}");
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let other = sender.clone();
    let watching = async {
        futures::join!(
            observe(client.clone(), path_of(&target), move |seen| sender.send((true, seen)).is_ok()),
            observe(client.clone(), events_path, move |seen| other.send((false, seen)).is_ok()),
        );
    };
    let telling = async {
        let (mut object, mut events): (Option<Value>, Vec<Value>) = (None, Vec::new());
        while let Some((is_object, seen)) = seen.recv().await {
            match (is_object, seen) {
                (_, Seen::Lost(fault)) => drop(outside.tell(News::Rows(RowEvent::Lost(fault)))),
                (true, Seen::Now(objects)) => object = objects.into_values().next().or(object),
                (false, Seen::Now(found)) => events = found.into_values().collect(),
            }
            let Some(object) = &object else { continue };
            if !outside.table(&columns, moments(object, &events)) {
                return;
            }
        }
    };
    tokio::select! {
        () = watching => {}
        () = telling => {}
    }
}

fn moments(object: &Value, events: &[Value]) -> Vec<Row> {
    let mut found: Vec<(i64, &str, String, String, Health)> = Vec::new();
    let mut add = |at: i64, lane: &'static str, what: String, message: String, health: Health| {
        if at > 0 {
            found.push((at, lane, what, message, health));
        }
    };
    let list = |pointer: &str| object.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    add(moment(object, "/metadata/creationTimestamp"), "object", "created".to_owned(), String::new(), Health::Done);
    add(moment(object, "/metadata/deletionTimestamp"), "object", "goes away".to_owned(), String::new(), Health::Leaving);
    for entry in list("/metadata/managedFields") {
        let sub = text(&entry, "/subresource");
        let what =
            format!("{}{}", text(&entry, "/operation").to_lowercase(), if sub.is_empty() { String::new() } else { format!(" of {sub}") });
        add(moment(&entry, "/time"), "writes", what, format!("by {}", text(&entry, "/manager")), Health::Fine);
    }
    for condition in list("/status/conditions") {
        let health = if condition["status"] == "False" { Health::Pending } else { Health::Fine };
        let what = format!("{} is {}", text(&condition, "/type"), text(&condition, "/status"));
        add(moment(&condition, "/lastTransitionTime"), "phases", what, text(&condition, "/message"), health);
    }
    for status in list("/status/initContainerStatuses").into_iter().chain(list("/status/containerStatuses")) {
        let name = text(&status, "/name");
        add(moment(&status, "/state/running/startedAt"), "containers", format!("{name} started"), String::new(), Health::Fine);
        for path in ["/state/terminated", "/lastState/terminated"] {
            let Some(ended) = status.pointer(path) else { continue };
            let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or_default();
            let health = if code == 0 { Health::Done } else { Health::Faulty };
            add(moment(ended, "/startedAt"), "containers", format!("{name} started"), String::new(), Health::Fine);
            add(moment(ended, "/finishedAt"), "containers", format!("{name} ended with {code}"), text(ended, "/reason"), health);
        }
    }
    for event in events {
        let warning = event["type"] == "Warning";
        let count = event
            .get("count")
            .and_then(Value::as_i64)
            .filter(|count| *count > 1)
            .map(|count| format!(" ({count} times)"))
            .unwrap_or_default();
        let lane = if warning { "warnings" } else { "events" };
        let health = if warning { Health::Faulty } else { Health::Fine };
        add(last_seen(event), lane, format!("{}{count}", text(event, "/reason")), text(event, "/message").replace('\n', " "), health);
    }
    found.sort_by_key(|moment| std::cmp::Reverse(moment.0));
    let row = |(index, (at, lane, what, message, health)): (usize, (i64, &str, String, String, Health))| {
        Row::made(&[String::new(), lane.to_owned(), what, message], health).keyed(&format!("{index:05}")).timed(vec![at])
    };
    found.into_iter().enumerate().map(row).collect()
}

/// The dashboard.
pub fn pulse(app: &mut App) {
    app.push(Box::new(PulseView::default()));
}

/// Goes to the kind under the cursor of the dashboard.
pub fn open_pulse(app: &mut App) {
    let mut kind = None;
    app.with(|view: &mut PulseView, _| kind = view.kind().map(str::to_owned));
    if let Some(kind) = kind {
        crate::command::run(app, &kind);
    }
}

/// The next chart of the dashboard.
pub fn next_pulse(app: &mut App) {
    app.with(|view: &mut PulseView, _| view.next());
}

/// Everything that runs pods, in one table.
pub fn workloads(app: &mut App) {
    let made = Made {
        scopes: Scopes::OBJECT,
        namespaced: true,
        hints: &["help", "filter", "back", "drill-in", "describe", "logs", "scale", "restart", "edit"],
        ..Made::new("workloads", |shared| {
            let (kinds, namespace) = (shared.kinds.clone(), shared.namespaces.single().map(str::to_owned));
            work(move |outside| async move {
                let Ok(client) = outside.client() else { return };
                let columns: Vec<Column> = ["Name", "Kind", "Ready"].iter().map(|name| Column::new(name, "string", false)).collect();
                let known: Vec<_> = ["deployments", "statefulsets", "daemonsets", "jobs", "cronjobs"]
                    .iter()
                    .filter_map(|plural| kinds.find(plural))
                    .collect();
                let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
                let watching = futures::future::join_all(known.iter().enumerate().map(|(index, kind)| {
                    let sender = sender.clone();
                    observe(client.clone(), kind.path(namespace.as_deref()), move |seen| sender.send((index, seen)).is_ok())
                }));
                let telling = async {
                    let mut parts: Vec<Option<Vec<Row>>> = vec![None; known.len()];
                    while let Some((index, seen)) = seen.recv().await {
                        match seen {
                            Seen::Now(objects) => {
                                let object = |value: Value| Object {
                                    target: Target {
                                        kind: known[index].clone(),
                                        namespace: text(&value, "/metadata/namespace"),
                                        name: text(&value, "/metadata/name"),
                                    },
                                    value,
                                };
                                parts[index] = Some(objects.into_values().map(object).map(|object| workload_row(&object)).collect());
                            }
                            Seen::Lost(fault) => drop(outside.tell(News::Rows(RowEvent::Lost(fault)))),
                        }
                        if parts.iter().all(Option::is_some)
                            && !outside.table(&columns, parts.iter().flatten().flatten().cloned().collect())
                        {
                            return;
                        }
                    }
                };
                tokio::select! {
                    _ = watching => {}
                    () = telling => {}
                }
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

fn workload_row(object: &Object) -> Row {
    let (target, value) = (&object.target, &object.value);
    let number = |pointer: &str| value.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let ready = match target.kind.plural.as_str() {
        "daemonsets" => format!("{}/{}", number("/status/numberReady"), number("/status/desiredNumberScheduled")),
        "jobs" => format!("{}/{}", number("/status/succeeded"), value.pointer("/spec/completions").and_then(Value::as_i64).unwrap_or(1)),
        "cronjobs" => text(value, "/spec/schedule"),
        _ => format!("{}/{}", number("/status/readyReplicas"), number("/spec/replicas")),
    };
    let cells = [target.name.clone(), target.kind.kind.clone(), ready];
    Row::made(&cells, why::health_of(value))
        .keyed(&format!("{}/{} {}", target.namespace, target.kind.plural, target.name))
        .about(Some(target.clone()))
}

/// Images of the pods in the namespaces shown, and how many containers have each.
pub fn images(app: &mut App) {
    let made = Made {
        namespaced: false,
        ..Made::new("images", |shared| {
            let path = format!(
                "/api/v1{}/pods",
                shared.namespaces.single().map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default()
            );
            work(move |outside| async move {
                let Ok(client) = outside.client() else { return };
                let columns: Vec<Column> = [("Name", "string"), ("Containers", "integer"), ("Pods", "string")]
                    .iter()
                    .map(|(name, of)| Column::new(name, of, false))
                    .collect();
                let told = outside.clone();
                let tell = move |seen: Seen| match seen {
                    Seen::Lost(fault) => told.tell(News::Rows(RowEvent::Lost(fault))),
                    Seen::Now(pods) => {
                        let mut images: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
                        for pod in pods.values() {
                            for container in pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten() {
                                images.entry(text(container, "/image")).or_default().push(text(pod, "/metadata/name"));
                            }
                        }
                        let row = |(image, pods): (String, Vec<String>)| {
                            Row::made(&[image.clone(), pods.len().to_string(), pods.join(",")], Health::Fine)
                                .keyed(&image.replace('/', "∕"))
                        };
                        told.table(&columns, images.into_iter().map(row).collect())
                    }
                };
                observe(client, path, tell).await;
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

/// How the clusters of all contexts are.
pub fn fleet(app: &mut App) {
    let made = Made {
        scopes: Scopes::CONTEXTS,
        hints: &["help", "filter", "back", "use-context"],
        ..Made::new("fleet", |shared| {
            let contexts = shared.options.contexts.clone();
            let home = shared.home.clone();
            work(move |outside| async move {
                let columns: Vec<Column> = ["Name", "Status", "Version", "Nodes", "Pods", "Message"]
                    .iter()
                    .map(|name| Column::new(name, "string", false))
                    .collect();
                let names: Vec<String> = match contexts.list() {
                    Ok(found) => found
                        .into_iter()
                        .map(|context| context.name)
                        .filter(|name| home.as_ref().is_none_or(|home| home.context != *name))
                        .collect(),
                    Err(_) => Vec::new(),
                };
                loop {
                    let own = home.iter().map(|home| {
                        let home = home.clone();
                        Box::pin(async move { fleet_row(home.context.clone(), Ok(home)).await }) as futures::future::BoxFuture<'static, Row>
                    });
                    let others = names.iter().map(|name| {
                        let (name, way) = (name.clone(), contexts.connect(name.clone()));
                        Box::pin(async move { fleet_row(name, way.await).await }) as futures::future::BoxFuture<'static, Row>
                    });
                    let rows = futures::future::join_all(own.chain(others)).await;
                    if !outside.table(&columns, rows) {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(15)).await;
                }
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

async fn fleet_row(name: String, way: Result<crate::boot::Connection, String>) -> Row {
    let failed = |message: String| {
        Row::made(&[name.clone(), "unreachable".to_owned(), String::new(), String::new(), String::new(), message], Health::Faulty)
    };
    let client = match way {
        Ok(connection) => connection.client,
        Err(message) => return failed(message),
    };
    let ask = async |path: &str| match tokio::time::timeout(Duration::from_secs(5), Call::get(path).send(&client)).await {
        Ok(answer) => answer,
        Err(_) => Err(Fault::silent(5)),
    };
    let version = match ask("/version").await {
        Ok(version) => text(&version, "/gitVersion"),
        Err(fault) => return failed(fault.message),
    };
    let count = |answer: &Result<Value, Fault>, well: fn(&Value) -> bool| match answer {
        Ok(answer) => {
            let items: Vec<&Value> = answer.get("items").and_then(Value::as_array).into_iter().flatten().collect();
            (items.iter().filter(|item| well(item)).count(), items.len())
        }
        Err(_) => (0, 0),
    };
    let ready = |node: &Value| {
        node.pointer("/status/conditions")
            .and_then(Value::as_array)
            .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    };
    let well = |pod: &Value| matches!(pod.pointer("/status/phase").and_then(Value::as_str), Some("Running" | "Succeeded"));
    let (nodes, pods) = (ask("/api/v1/nodes").await, ask("/api/v1/pods").await);
    let ((up, nodes), (fine, pods)) = (count(&nodes, ready), count(&pods, well));
    let health = if up < nodes || fine < pods { Health::Faulty } else { Health::Fine };
    let status = if health == Health::Fine { "well" } else { "faults" };
    Row::made(&[name, status.to_owned(), version, format!("{up}/{nodes}"), format!("{fine}/{pods}"), String::new()], health)
}

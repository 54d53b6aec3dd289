//! The whole at a glance: the dashboard, what runs, its images, the clusters of all contexts.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;

use crate::action::Scopes;
use crate::app::App;
use crate::boot::Connection;
use crate::kinds::Target;
use crate::message::News;
use crate::source::call::Call;
use crate::source::fault::Fault;
use crate::source::graph::Object;
use crate::source::observe::{Seen, observe};
use crate::source::watch::RowEvent;
use crate::source::work::work;
use crate::table::{Column, Health, Row};
use crate::text::why;
use crate::views::pulse::PulseView;
use crate::views::table::{Made, TableView};

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
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
                        let mut images: BTreeMap<String, Vec<String>> = BTreeMap::new();
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
                        Box::pin(async move { fleet_row(home.context.clone(), Ok(home)).await }) as BoxFuture<'static, Row>
                    });
                    let others = names.iter().map(|name| {
                        let (name, way) = (name.clone(), contexts.connect(name.clone()));
                        Box::pin(async move { fleet_row(name, way.await).await }) as BoxFuture<'static, Row>
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

async fn fleet_row(name: String, way: Result<Connection, String>) -> Row {
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

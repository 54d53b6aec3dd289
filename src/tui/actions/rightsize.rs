//! Requests against use: which containers ask for more than they need, or get less.

use serde_json::Value;

use crate::action::Scopes;
use crate::app::App;
use crate::keep::usage::{Amount, Usage, percent};
use crate::kinds::Target;
use crate::message::News;
use crate::shared::Shared;
use crate::source::fault::{Fault, FaultKind};
use crate::source::observe::{Seen, observe};
use crate::source::watch::RowEvent;
use crate::source::work::work;
use crate::table::{Column, ColumnKind, Health, Row};
use crate::views::table::{Made, TableView};

const COLUMNS: &[(&str, ColumnKind)] = &[
    ("NAME", ColumnKind::Text),
    ("CONTAINER", ColumnKind::Text),
    ("CPU", ColumnKind::Number),
    ("CPU-MAX", ColumnKind::Number),
    ("CPU/R", ColumnKind::Number),
    ("CPU/L", ColumnKind::Number),
    ("MEM", ColumnKind::Number),
    ("MEM-MAX", ColumnKind::Number),
    ("MEM/R", ColumnKind::Number),
    ("MEM/L", ColumnKind::Number),
    ("MESSAGE", ColumnKind::Text),
];

/// What is known of a container's use.
#[derive(Debug, Clone, Copy)]
struct Use {
    now: Amount,
    most: Amount,
    asked: Amount,
    limit: Amount,
}

/// What should be asked for, and why; and how badly it is wanted.
fn advice(of: Use) -> (String, Health) {
    let mut said = Vec::new();
    let mut health = Health::Fine;
    let (memory, cpu) = (of.most.mebibytes(), of.most.cpu);
    if percent(memory, of.limit.mebibytes()).is_some_and(|part| part >= 90) {
        said.push(format!("memory is at {} % of its limit: it will be killed", percent(memory, of.limit.mebibytes()).unwrap_or_default()));
        health = Health::Faulty;
    }
    // a quarter more than the most that was used
    let wanted = |most: u64| (most * 5 / 4).max(1);
    for (what, unit, most, asked) in [("cpu", "m", cpu, of.asked.cpu), ("memory", "Mi", memory, of.asked.mebibytes())] {
        match percent(most, asked) {
            None if most > 0 => said.push(format!("{what}: nothing is asked for; ask for {}{unit}", wanted(most))),
            Some(part) if part > 100 => said.push(format!("{what}: more is used than asked for; ask for {}{unit}", wanted(most))),
            Some(part) if part < 30 && asked > 10 => {
                said.push(format!("{what}: {part} % of what is asked for is used; ask for {}{unit}", wanted(most)))
            }
            _ => {}
        }
    }
    if health == Health::Fine && !said.is_empty() {
        health = Health::Pending;
    }
    (if said.is_empty() { "fits".to_owned() } else { said.join("; ") }, health)
}

fn rows(pods: impl Iterator<Item = Value>, target: impl Fn(&Value) -> Option<Target>, usage: &Usage) -> Vec<Row> {
    let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut rows = Vec::new();
    for pod in pods {
        let (namespace, name) = (text(&pod, "/metadata/namespace"), text(&pod, "/metadata/name"));
        for container in pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten() {
            let own = text(container, "/name");
            let Some(now) = usage.container(&namespace, &name, &own) else { continue };
            let of = Use {
                now,
                most: usage.most(&namespace, &name, &own).unwrap_or(now),
                asked: Amount::of(container.pointer("/resources/requests")),
                limit: Amount::of(container.pointer("/resources/limits")),
            };
            let (said, health) = advice(of);
            let mut cells = vec![name.clone(), own.clone()];
            cells.extend([of.now.cpu, of.most.cpu, of.asked.cpu, of.limit.cpu].map(|number| number.to_string()));
            cells.extend([of.now, of.most, of.asked, of.limit].map(|amount| amount.mebibytes().to_string()));
            cells.push(said);
            rows.push(Row::made(&cells, health).keyed(&format!("{namespace}/{name} {own}")).about(target(&pod)));
        }
    }
    rows
}

/// Requests and limits of the pods in the namespaces shown, against what they use.
pub fn show(app: &mut App) {
    let made = Made {
        scopes: Scopes::OBJECT,
        namespaced: true,
        sort: Some(("MESSAGE", true)),
        hints: &["help", "filter", "back", "describe", "edit", "faults"],
        ..Made::new("rightsize", |shared: &Shared| {
            let (kinds, namespace) = (shared.kinds.clone(), shared.namespaces.single().map(str::to_owned));
            let measured = shared.is_measured();
            work(move |outside| async move {
                let columns: Vec<Column> =
                    COLUMNS.iter().map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind, wide: false }).collect();
                let Some(pods) = kinds.find("pods").filter(|_| measured) else {
                    let none = "this server does not say what is used (it serves no metrics.k8s.io)";
                    outside.tell(News::Rows(RowEvent::Lost(Fault::new(FaultKind::NotFound, none))));
                    return;
                };
                let Ok(client) = outside.client() else { return };
                let path = pods.path(namespace.as_deref());
                let told = outside.clone();
                observe(client, path, move |seen: Seen| match seen {
                    Seen::Lost(fault) => told.tell(News::Rows(RowEvent::Lost(fault))),
                    Seen::Now(objects) => {
                        let (columns, pods, tell) = (columns.clone(), pods.clone(), told.clone());
                        // what is used is known where the rows are shown
                        told.then(move |app| {
                            let target = |pod: &Value| {
                                let of = |field: &str| Some(pod.pointer(field)?.as_str()?.to_owned());
                                Some(Target { kind: pods.clone(), namespace: of("/metadata/namespace")?, name: of("/metadata/name")? })
                            };
                            let rows = rows(objects.into_values(), target, &app.shared.usage);
                            tell.table(&columns, rows);
                        })
                    }
                })
                .await;
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case((100, 64), (100, 64), (0, 0), "fits", Health::Fine)]
    #[case((10, 64), (200, 64), (0, 0), "cpu: 5 % of what is asked for is used; ask for 12m", Health::Pending)]
    #[case((100, 64), (0, 64), (0, 0), "cpu: nothing is asked for; ask for 125m", Health::Pending)]
    #[case((50, 120), (50, 64), (0, 128), "memory is at 93 % of its limit: it will be killed; memory: more is used than asked for; ask for 150Mi", Health::Faulty)]
    fn advice_follows_from_the_most_that_was_used(
        #[case] most: (u64, u64),
        #[case] asked: (u64, u64),
        #[case] limit: (u64, u64),
        #[case] said: &str,
        #[case] health: Health,
    ) {
        let amount = |(cpu, mebibytes): (u64, u64)| Amount { cpu, memory: mebibytes << 20 };
        let of = Use { now: Amount::default(), most: amount(most), asked: amount(asked), limit: amount(limit) };
        assert_eq!(advice(of), (said.to_owned(), health));
    }
}

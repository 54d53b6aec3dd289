//! From an object, or from a server's `Table`, to a row.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::describe;
use super::jsonpath;
use crate::config::CustomColumn;
use crate::keep::usage;
use crate::kinds::Kind;
use crate::table::{Column, ColumnKind, Health, Row};

/// How rows of a kind are made.
#[derive(Debug, Clone)]
pub enum Printer {
    /// From whole objects, by the printers we share with our server.
    Objects(Vec<Column>),
    /// From the server's Table: kinds we have no printer for.
    Tables,
    /// From whole objects, as the person has configured it.
    Custom(Custom),
}

/// The printer of a kind, before anything has been read. `measured`: the server says what is used.
pub fn printer_of(kind: &Kind, custom: Option<Arc<Vec<CustomColumn>>>, measured: bool) -> Printer {
    let mut columns = known_columns(kind);
    if let Some((after, own)) = usage::columns(kind).filter(|_| measured && !columns.is_empty()) {
        let at = columns.iter().position(|column| column.name == after).map_or(columns.len(), |at| at + 1);
        columns.splice(at..at, own);
    }
    if let Some(custom) = custom {
        return Printer::Custom(Custom { base: if columns.is_empty() { plain_columns() } else { columns }, custom });
    }
    if columns.is_empty() { Printer::Tables } else { Printer::Objects(columns) }
}

/// Columns of our own printers; none for kinds they do not know, which the server prints.
fn known_columns(kind: &Kind) -> Vec<Column> {
    let known = coracle_present::columns(&kind.group, &kind.kind);
    if std::ptr::eq(known, coracle_present::columns("unknown.example", "Unknown")) {
        return Vec::new();
    }
    let moments = moments(kind);
    // k9s shows where pods are without being asked for more
    let always: &[&str] = if kind.is("", "pods") { &["IP", "Node"] } else { &[] };
    known
        .iter()
        .map(|column| {
            let mut shown = Column::new(column.name, column.type_, column.priority > 0 && !always.contains(&column.name));
            if let Some(at) = moments.iter().position(|(name, _)| *name == column.name) {
                shown.kind = if column.name == "Restarts" { ColumnKind::NumberSince(at) } else { ColumnKind::Time(at) };
            }
            shown
        })
        .collect()
}

type Moment = (&'static str, fn(&Value) -> i64);

/// Columns that show how long ago something was, and the moment behind each, in seconds since 1970.
fn moments(kind: &Kind) -> &'static [Moment] {
    const AGE: Moment = ("Age", created);
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("" | "events.k8s.io", "Event") => {
            &[("Last Seen", describe::last_seen), ("First Seen", |event| moment(event, "/firstTimestamp")), ("Age", created)]
        }
        ("", "Pod") => &[AGE, ("Restarts", last_restart)],
        ("batch", "CronJob") => &[AGE, ("Last Schedule", |job| moment(job, "/status/lastScheduleTime"))],
        _ => &[AGE],
    }
}

/// When a container of a pod last ended and was started again.
fn last_restart(pod: &Value) -> i64 {
    ["/status/initContainerStatuses", "/status/containerStatuses"]
        .iter()
        .flat_map(|list| pod.pointer(list).and_then(Value::as_array).into_iter().flatten())
        .map(|status| moment(status, "/lastState/terminated/finishedAt"))
        .max()
        .unwrap_or_default()
}

/// Columns of a Table answer.
pub fn table_columns(table: &Value) -> Vec<Column> {
    let mut times = 0;
    table
        .get("columnDefinitions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|definition| {
            let text = |field: &str| definition.get(field).and_then(Value::as_str).unwrap_or_default();
            let wide = definition.get("priority").and_then(Value::as_i64).unwrap_or_default() > 0;
            let mut column = Column::new(text("name"), text("type"), wide);
            if column.name == "AGE" && times == 0 {
                column.kind = ColumnKind::Time(0);
                times += 1;
            }
            column
        })
        .collect()
}

/// Rows of a Table answer.
pub fn table_rows(table: &Value, columns: &[Column]) -> Vec<Row> {
    table
        .get("rows")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|row| {
            let cells: Vec<String> = row.get("cells").and_then(Value::as_array).into_iter().flatten().map(shown).collect();
            let object = row.get("object").unwrap_or(&Value::Null);
            let health = health(object, &cells, columns);
            make_row(object, &cells, vec![created(object)], health)
        })
        .collect()
}

/// Columns of what neither we nor the server can print.
pub fn plain_columns() -> Vec<Column> {
    vec![Column::new("Name", "string", false), Column { name: "AGE".to_owned(), kind: ColumnKind::Time(0), wide: false }]
}

/// The row of a whole object.
pub fn object_row(kind: &Kind, object: &Value, columns: &[Column], now: Timestamp) -> Row {
    let known = coracle_present::cells(&kind.group, &kind.kind, object, now);
    let mut cells: Vec<String> = known.iter().map(shown).collect();
    if let Some((after, own)) = usage::columns(kind).filter(|(_, own)| cells.len() + own.len() == columns.len()) {
        let at = columns.iter().position(|column| column.name == after).map_or(cells.len(), |at| at + 1);
        debug_assert_eq!(own.len(), usage::cells(kind, object).len());
        cells.splice(at.min(cells.len())..at.min(cells.len()), usage::cells(kind, object));
    }
    if cells.len() != columns.len() {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let cells = vec![name.to_owned(), String::new()];
        return make_row(object, &cells, vec![created(object)], health(object, &cells, columns));
    }
    for (cell, column) in cells.iter_mut().zip(columns) {
        // `3 (5m ago)` was true when it was printed: the table counts on from the moment
        if matches!(column.kind, ColumnKind::NumberSince(_)) {
            cell.truncate(cell.find(' ').unwrap_or(cell.len()));
        }
    }
    let times = moments(kind).iter().map(|(_, moment)| moment(object)).collect();
    make_row(object, &cells, times, object_health(kind, object, &cells, columns))
}

fn object_health(kind: &Kind, object: &Value, cells: &[String], columns: &[Column]) -> Health {
    if object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null()) {
        return Health::Leaving;
    }
    // objects in a list do not say what they are, and health asks
    let typed = || {
        let mut object = object.clone();
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.clone().into();
        coracle_present::health(&object)
    };
    let found = if object.get("kind").is_some() { coracle_present::health(object) } else { typed() };
    match found {
        coracle_present::Health::Healthy => health(object, cells, columns),
        coracle_present::Health::Completed => Health::Done,
        coracle_present::Health::Progressing => Health::Pending,
        coracle_present::Health::Faulty => Health::Faulty,
    }
}

fn make_row(object: &Value, cells: &[String], times: Vec<i64>, health: Health) -> Row {
    let metadata = |field: &str| object.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).unwrap_or_default();
    Row::new(metadata("namespace"), metadata("name"), cells, times, health, metadata("uid"))
}

/// A cell as text.
pub fn shown(cell: &Value) -> String {
    match cell {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn created(object: &Value) -> i64 {
    moment(object, "/metadata/creationTimestamp")
}

/// A moment of an object in seconds since 1970; 0 if it has none.
pub fn moment(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok()).map_or(0, Timestamp::as_second)
}

/// How well something is, from what its row says.
fn health(object: &Value, cells: &[String], columns: &[Column]) -> Health {
    if object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null()) {
        return Health::Leaving;
    }
    let cell = |name: &str| columns.iter().position(|column| column.name == name).and_then(|index| cells.get(index)).map(String::as_str);
    let by_status = cell("STATUS").or_else(|| cell("PHASE")).or_else(|| cell("TYPE")).map(status_health).unwrap_or_default();
    if by_status != Health::Fine {
        return by_status;
    }
    match cell("READY").and_then(|ready| ready.split_once('/')) {
        Some((have, want)) if have != want => Health::Faulty,
        _ => Health::Fine,
    }
}

/// How well something with this status is.
pub fn status_health(status: &str) -> Health {
    let plain = status.strip_prefix("Init:").unwrap_or(status);
    match plain {
        "Running" | "Active" | "Bound" | "Ready" | "Available" | "Normal" => Health::Fine,
        "Completed" | "Succeeded" | "Complete" => Health::Done,
        "Terminating" => Health::Leaving,
        "ContainerCreating" | "PodInitializing" | "Pending" | "Released" | "SchedulingGated" => Health::Pending,
        text if text.contains("NotReady") || text.contains("Err") || text.contains("Fail") || text.contains("BackOff") => Health::Faulty,
        "Evicted" | "OOMKilled" | "Unknown" | "Lost" | "Warning" | "InvalidImageName" | "CreateContainerConfigError" => Health::Faulty,
        text if text.starts_with("ExitCode:") || text.starts_with("Signal:") => Health::Faulty,
        text if text.contains("SchedulingDisabled") => Health::Pending,
        text if status.starts_with("Init:") && text.contains('/') => Health::Pending,
        _ => Health::Fine,
    }
}

/// Columns a person has configured over those the kind has anyway.
#[derive(Debug, Clone)]
pub struct Custom {
    base: Vec<Column>,
    custom: Arc<Vec<CustomColumn>>,
}

impl Custom {
    fn shown(&self) -> impl Iterator<Item = &CustomColumn> {
        self.custom.iter().filter(|column| !column.hidden)
    }

    fn base_of(&self, column: &CustomColumn) -> Option<(usize, &Column)> {
        self.base.iter().enumerate().find(|(_, base)| column.path.is_none() && base.is_called(&column.name))
    }

    /// Its columns; the moments of its own time columns follow those of the kind.
    pub fn columns(&self) -> Vec<Column> {
        let mut times = self.times();
        self.shown()
            .map(|column| {
                let kind = match self.base_of(column) {
                    Some((_, base)) => base.kind,
                    None if column.time => {
                        times += 1;
                        ColumnKind::Time(times - 1)
                    }
                    None if column.number => ColumnKind::Number,
                    None => ColumnKind::Text,
                };
                Column { name: column.name.clone(), kind, wide: column.wide }
            })
            .collect()
    }

    /// How many moments rows of the kind have anyway.
    fn times(&self) -> usize {
        let time = |column: &Column| match column.kind {
            ColumnKind::Time(at) | ColumnKind::NumberSince(at) => at + 1,
            _ => 0,
        };
        self.base.iter().map(time).max().unwrap_or_default()
    }

    /// The row of an object.
    pub fn row(&self, kind: &Kind, object: &Value, now: Timestamp) -> Row {
        let base = object_row(kind, object, &self.base, now);
        let mut times = base.times.to_vec();
        times.resize(self.times(), 0);
        let cells: Vec<String> = self
            .shown()
            .map(|column| match (self.base_of(column), &column.path) {
                (Some((index, _)), _) => base.cell(index).to_owned(),
                (None, Some(path)) => {
                    let found = jsonpath::find(object, path).into_iter().map(shown).collect::<Vec<_>>().join(",");
                    if column.time {
                        times.push(found.parse::<Timestamp>().map_or(0, Timestamp::as_second));
                    }
                    found
                }
                (None, None) => String::new(),
            })
            .collect();
        Row::new(base.namespace(), base.name(), &cells, times, base.health, &base.uid)
    }
}

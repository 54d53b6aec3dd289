//! A listing that stays live: pages of a list, then a watch from its revision, for ever.
//!
//! ```text
//!  list ──pages──▶ Listed ──▶ watch ──ends──▶ watch again from the last revision
//!    ▲  └─fails─▶ Lost, wait                    │ 410 Gone or fails
//!    └──────────────────────────────────────────┘
//! ```
//! The rows shown so far stay in every state; only a complete new listing removes any.

use std::sync::Arc;
use std::time::Duration;

use futures::io::AsyncBufReadExt;
use jiff::Timestamp;
use serde_json::Value;

use super::call::{Call, encode};
use super::fault::{Fault, FaultKind};
use super::printer::{self, Printer};
use crate::config::CustomColumn;
use crate::kinds::Kind;
use crate::table::{Column, Row};

/// What is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Its kind.
    pub kind: Arc<Kind>,
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Label selector.
    pub labels: Option<String>,
    /// Field selector.
    pub fields: Option<String>,
    /// Columns the person has configured.
    pub columns: Option<Arc<Vec<CustomColumn>>>,
    /// As it was at this revision, instead of live.
    pub revision: Option<String>,
    /// With columns of use.
    pub measured: bool,
}

impl Query {
    /// Everything of a kind in a namespace, or in all.
    pub fn all(kind: Arc<Kind>, namespace: Option<String>) -> Self {
        Self { kind, namespace, labels: None, fields: None, columns: None, revision: None, measured: false }
    }

    fn path(&self, extra: &str) -> String {
        let mut path = format!("{}?{extra}", self.kind.path(self.namespace.as_deref()));
        for (name, value) in [("labelSelector", &self.labels), ("fieldSelector", &self.fields)] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", encode(value)));
            }
        }
        path
    }
}

/// News of a listing.
#[derive(Debug)]
pub enum RowEvent {
    /// A listing begins; these are the columns.
    Listing(Vec<Column>),
    /// Rows that are new or changed, and keys of those that are gone.
    Changed(Vec<Row>, Vec<Arc<str>>),
    /// The listing is complete.
    Listed,
    /// It cannot be read now, and is tried again.
    Lost(Fault),
    /// It can be read again.
    Back,
}

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const PAGE: usize = 500;
/// Longest silence accepted while listing, in seconds.
const PATIENCE: u64 = 5;

/// Lists and watches until `tell` says that nobody listens.
pub async fn follow(client: kube::Client, query: Query, now: impl Fn() -> Timestamp + Send, tell: impl Fn(RowEvent) -> bool + Send) {
    let mut state = Follow { client, query, columns: Vec::new(), printer: Printer::Tables, lost: false };
    state.printer = printer::printer_of(&state.query.kind, state.query.columns.clone(), state.query.measured);
    let mut pause = Duration::from_millis(250);
    loop {
        let end = match state.list(&now, &tell).await {
            Ok(_) if state.query.revision.is_some() => return,
            Ok(revision) => {
                pause = Duration::from_millis(250);
                state.watch(revision, &now, &tell).await
            }
            Err(end) => end,
        };
        match end {
            End::Closed => return,
            // a server that always says so is not asked without a pause
            End::Gone => tokio::time::sleep(Duration::from_millis(50)).await,
            End::Failed(fault) => {
                state.lost = true;
                if !tell(RowEvent::Lost(fault)) {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(4));
            }
        }
    }
}

enum End {
    /// Nobody listens any more.
    Closed,
    /// The revision is too old: list again.
    Gone,
    Failed(Fault),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        if fault.kind == FaultKind::Gone { Self::Gone } else { Self::Failed(fault) }
    }
}

struct Follow {
    client: kube::Client,
    query: Query,
    columns: Vec<Column>,
    printer: Printer,
    lost: bool,
}

impl Follow {
    fn accept(&self) -> &'static str {
        if matches!(self.printer, Printer::Tables) { TABLE } else { "application/json" }
    }

    async fn list(&mut self, now: &impl Fn() -> Timestamp, tell: &impl Fn(RowEvent) -> bool) -> Result<String, End> {
        let mut more: Option<String> = None;
        loop {
            let at = self.query.revision.as_ref().filter(|_| more.is_none());
            let at = at.map(|revision| format!("&resourceVersion={revision}&resourceVersionMatch=Exact")).unwrap_or_default();
            let page = format!("limit={PAGE}{at}{}", more.iter().map(|token| format!("&continue={}", encode(token))).collect::<String>());
            let call = Call { accept: self.accept(), ..Call::get(self.query.path(&page)) };
            let answer = match tokio::time::timeout(Duration::from_secs(PATIENCE), call.send(&self.client)).await {
                Ok(answer) => answer?,
                Err(_) => return Err(End::Failed(Fault::silent(PATIENCE))),
            };
            let first = more.is_none();
            if first {
                if std::mem::take(&mut self.lost) && !tell(RowEvent::Back) {
                    return Err(End::Closed);
                }
                self.columns = self.columns_of(&answer);
                if !tell(RowEvent::Listing(self.columns.clone())) {
                    return Err(End::Closed);
                }
            }
            if !tell(RowEvent::Changed(self.rows(&answer, now()), Vec::new())) {
                return Err(End::Closed);
            }
            let metadata = |field: &str| answer.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).map(str::to_owned);
            more = metadata("continue").filter(|token| !token.is_empty());
            if more.is_none() {
                return if tell(RowEvent::Listed) { Ok(metadata("resourceVersion").unwrap_or_default()) } else { Err(End::Closed) };
            }
        }
    }

    async fn watch(&mut self, mut revision: String, now: &impl Fn() -> Timestamp, tell: &impl Fn(RowEvent) -> bool) -> End {
        loop {
            let started = std::time::Instant::now();
            match self.watch_once(&mut revision, now, tell).await {
                Ok(()) if started.elapsed() < Duration::from_secs(1) => tokio::time::sleep(Duration::from_millis(200)).await,
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    async fn watch_once(
        &mut self,
        revision: &mut String,
        now: &impl Fn() -> Timestamp,
        tell: &impl Fn(RowEvent) -> bool,
    ) -> Result<(), End> {
        let extra = format!("watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion={revision}");
        let call = Call { accept: self.accept(), ..Call::get(self.query.path(&extra)) };
        let mut stream = Box::pin(self.client.request_stream(call.request()?).await.map_err(Fault::from)?);
        let mut line = Vec::new();
        let mut rows = Vec::new();
        let mut gone = Vec::new();
        loop {
            line.clear();
            // what has arrived is told together; waiting only begins when nothing is left to read
            let read = match futures::poll!(Box::pin(stream.read_until(b'\n', &mut line))) {
                std::task::Poll::Ready(read) => read,
                std::task::Poll::Pending => {
                    let news = !rows.is_empty() || !gone.is_empty();
                    if news && !tell(RowEvent::Changed(std::mem::take(&mut rows), std::mem::take(&mut gone))) {
                        return Err(End::Closed);
                    }
                    stream.read_until(b'\n', &mut line).await
                }
            };
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(End::Failed(Fault::new(FaultKind::Unreachable, format!("the watch broke: {error}")))),
            }
            let Ok(event) = serde_json::from_slice::<Value>(&line) else { continue };
            self.take_event(&event, revision, &mut rows, &mut gone, now())?;
            if rows.len() + gone.len() >= PAGE && !tell(RowEvent::Changed(std::mem::take(&mut rows), std::mem::take(&mut gone))) {
                return Err(End::Closed);
            }
        }
        if tell(RowEvent::Changed(rows, gone)) { Ok(()) } else { Err(End::Closed) }
    }

    fn take_event(
        &self,
        event: &Value,
        revision: &mut String,
        rows: &mut Vec<Row>,
        gone: &mut Vec<Arc<str>>,
        now: Timestamp,
    ) -> Result<(), End> {
        let object = event.get("object").unwrap_or(&Value::Null);
        if let Some(newer) = revision_of(object) {
            *revision = newer;
        }
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "ERROR" => return Err(Fault::from_status(object).into()),
            "DELETED" => {
                for row in self.rows(&one(object), now) {
                    rows.retain(|waiting| waiting.key != row.key);
                    gone.push(row.key);
                }
            }
            "ADDED" | "MODIFIED" => {
                for row in self.rows(&one(object), now) {
                    // deletions are applied before changes: what comes back after one stays
                    rows.push(row);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn columns_of(&self, answer: &Value) -> Vec<Column> {
        match &self.printer {
            Printer::Objects(columns) => columns.clone(),
            Printer::Custom(custom) => custom.columns(),
            Printer::Tables if is_table(answer) => printer::table_columns(answer),
            Printer::Tables => printer::plain_columns(),
        }
    }

    fn rows(&self, answer: &Value, now: Timestamp) -> Vec<Row> {
        if is_table(answer) {
            return printer::table_rows(answer, &self.columns);
        }
        let items = answer.get("items").and_then(Value::as_array).into_iter().flatten();
        match &self.printer {
            Printer::Custom(custom) => items.map(|object| custom.row(&self.query.kind, object, now)).collect(),
            _ => items.map(|object| printer::object_row(&self.query.kind, object, &self.columns, now)).collect(),
        }
    }
}

/// A watch event's object as a listing of one.
fn one(object: &Value) -> Value {
    if is_table(object) { object.clone() } else { serde_json::json!({"items": [object]}) }
}

fn is_table(answer: &Value) -> bool {
    answer.get("kind").and_then(Value::as_str) == Some("Table")
}

fn revision_of(object: &Value) -> Option<String> {
    let of = |value: &Value| {
        value.pointer("/metadata/resourceVersion").and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    of(object).or_else(|| object.pointer("/rows/0/object").and_then(of))
}

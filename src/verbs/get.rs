//! `get`: objects, as tables that the server makes, or as they are.

use std::sync::Arc;

use clap::Args;
use futures::io::AsyncBufReadExt;
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;

use crate::call::{Call, encode};
use crate::error::VerbError;
use crate::jsonpath;
use crate::kinds::{Kind, Target};
use crate::output::{Format, Table, objects};
use crate::session::{Named, Out, Session, shown};
use crate::sort::sort;

const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Prints objects
#[derive(Debug, Clone, Args)]
pub struct Get {
    /// As `pods`, `pod NAME`, `pod/NAME service/NAME`, `pods,services`, `all`
    #[arg(value_name = "TYPE", required = true)]
    what: Vec<String>,
    /// wide, name, yaml, json, jsonpath=TEMPLATE, jsonpath-file=FILE, custom-columns=SPEC or custom-columns-file=FILE
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    selection: Selection,
    /// Go on with what changes
    #[arg(short, long)]
    watch: bool,
    /// In the order of a field, as .metadata.name
    #[arg(long, value_name = "JSONPATH", value_parser = jsonpath::relaxed)]
    sort_by: Option<String>,
    /// No line of headings
    #[arg(long)]
    no_headers: bool,
    /// Labels in a column of their own
    #[arg(long)]
    show_labels: bool,
    /// One label in a column of its own
    #[arg(short = 'L', long, value_name = "LABEL", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// What is not there is no fault
    #[arg(long)]
    ignore_not_found: bool,
}

/// Which objects of a kind.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// Objects with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,
    /// Objects with these fields
    #[arg(long, value_name = "FIELDS")]
    pub field_selector: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

impl Selection {
    /// The path of the objects of a kind that are meant.
    pub fn path(&self, session: &Session, kind: &Kind) -> String {
        let namespace = (!self.all_namespaces).then_some(session.namespace.as_str());
        let selectors = [("labelSelector", &self.selector), ("fieldSelector", &self.field_selector)];
        let query: Vec<String> =
            selectors.iter().filter_map(|(name, value)| Some(format!("{name}={}", encode(value.as_deref()?)))).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{mark}{}", kind.path(namespace), query.join("&"))
    }

    /// The objects of a kind that are meant, with their apiVersion and kind.
    pub async fn list(&self, session: &Session, kind: &Kind) -> Result<Vec<Value>, VerbError> {
        let list = session.read(self.path(session, kind)).await?;
        let typed = |mut object: Value| {
            object["apiVersion"] = kind.api_version().into();
            object["kind"] = kind.kind.clone().into();
            object
        };
        Ok(list["items"].as_array().cloned().unwrap_or_default().into_iter().map(typed).collect())
    }
}

impl Get {
    /// Prints them.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let named = session.targets(&self.what).await?;
        match self.output.clone().unwrap_or_default() {
            Format::Table | Format::Wide => self.tables(session, &named, out).await,
            format => self.objects(session, &named, &format, out).await,
        }
    }

    async fn objects(&self, session: &Session, named: &[Named], format: &Format, out: &mut Out<'_>) -> Result<(), VerbError> {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for one in named {
            match one {
                Named::One(target) => match session.read(target.path()).await {
                    Ok(object) => found.push((&*target.kind, object)),
                    Err(error) => missing.push(error),
                },
                Named::All(kind) => found.extend(self.selection.list(session, kind).await?.into_iter().map(|object| (&**kind, object))),
            }
        }
        let alone = matches!(named, [Named::One(_)]);
        if let Some(field) = self.sort_by.as_deref().filter(|_| !alone) {
            found = sort(found, field, |(_, object)| object)?;
        }
        if !(alone && found.is_empty()) {
            objects(format, found, alone, !self.no_headers, out)?;
        }
        self.end(missing, out)
    }

    async fn tables(&self, session: &Session, named: &[Named], out: &mut Out<'_>) -> Result<(), VerbError> {
        let kinds: Vec<&Arc<Kind>> = named.iter().map(Named::kind).collect();
        let several = kinds.windows(2).any(|pair| !pair[0].is(&pair[1].group, &pair[1].plural));
        let mut missing = Vec::new();
        let mut printed = false;
        let mut at = 0;
        while let Some(kind) = kinds.get(at) {
            let same = kinds[at..].iter().take_while(|other| other.is(&kind.group, &kind.plural)).count();
            let mut columns = Columns { kind, several, get: self, table: Table::default(), headed: self.no_headers, written: false };
            let mut revision = String::new();
            for one in &named[at..at + same] {
                let path = match one {
                    Named::One(Target { .. }) if self.selection.selector.is_some() => {
                        return Err(VerbError::wrong("name cannot be provided when a selector is specified"));
                    }
                    Named::One(target) => target.path(),
                    Named::All(kind) => self.selection.path(session, kind),
                };
                // rows have only the metadata of their objects, if nothing is said
                let path = if self.sort_by.is_some() { with(&path, "includeObject=Object") } else { path };
                match session.ask(&Call { accept: AS_TABLE, ..Call::get(path) }).await {
                    Ok(mut answer) => {
                        if let (Some(field), Some(Value::Array(rows))) = (&self.sort_by, answer.get_mut("rows")) {
                            *rows = sort(std::mem::take(rows), field, |row| &row["object"])?;
                        }
                        answer["metadata"]["resourceVersion"].as_str().unwrap_or_default().clone_into(&mut revision);
                        columns.add(&answer, printed, out);
                    }
                    Err(error) => missing.push(error),
                }
            }
            columns.table.print(out);
            printed |= columns.written;
            at += same;
            if self.watch && at == kinds.len() {
                return columns.follow(session, &named[at - same], &revision, out).await;
            }
        }
        if !printed && missing.is_empty() {
            let everywhere = self.selection.all_namespaces || kinds.iter().any(|kind| !kind.namespaced);
            let place = if everywhere { String::new() } else { format!(" in {} namespace.", session.namespace) };
            out.aside(format!("No resources found{place}"));
        }
        self.end(missing, out)
    }

    /// Says what is missing: the last as the verb's own failure.
    fn end(&self, mut missing: Vec<VerbError>, out: &mut Out<'_>) -> Result<(), VerbError> {
        if self.ignore_not_found {
            missing.retain(|error| !error.is_not_found());
        }
        let last = missing.pop();
        missing.iter().for_each(|error| out.aside(error.to_string()));
        last.map_or(Ok(()), Err)
    }
}

/// The columns of one kind's table as it is printed.
struct Columns<'a> {
    kind: &'a Kind,
    /// Other kinds are printed too: names say their kind.
    several: bool,
    get: &'a Get,
    table: Table,
    headed: bool,
    written: bool,
}

impl Columns<'_> {
    /// Adds the rows of a Table; `below` when there is another table above.
    fn add(&mut self, answer: &Value, below: bool, out: &mut Out<'_>) {
        let wide = self.get.output == Some(Format::Wide);
        let none = Vec::new();
        let list = |field: &str| answer[field].as_array().unwrap_or(&none);
        let columns = list("columnDefinitions");
        let shows = |column: &Value| wide || column["priority"].as_i64().unwrap_or_default() == 0;
        let spaced = self.kind.namespaced && self.get.selection.all_namespaces;
        let rows = list("rows");
        if rows.is_empty() {
            return;
        }
        if !self.written && below && !self.get.no_headers {
            out.line("");
        }
        self.written = true;
        if !std::mem::replace(&mut self.headed, true) {
            let mut headings: Vec<String> = spaced.then(|| "NAMESPACE".to_owned()).into_iter().collect();
            headings.extend(columns.iter().filter(|column| shows(column)).map(|column| text(&column["name"]).to_uppercase()));
            let last = |label: &String| label.rsplit('/').next().unwrap_or(label).to_uppercase();
            headings.extend(self.get.label_columns.iter().map(last));
            headings.extend(self.get.show_labels.then(|| "LABELS".to_owned()));
            self.table.row(headings);
        }
        for row in rows {
            let metadata = &row["object"]["metadata"];
            let mut cells: Vec<String> = spaced.then(|| text(&metadata["namespace"])).into_iter().collect();
            for (column, cell) in columns.iter().zip(row["cells"].as_array().unwrap_or(&none)).filter(|(column, _)| shows(column)) {
                let cell = text(cell);
                cells.push(if self.several && column["format"] == "name" { shown(self.kind, &cell) } else { cell });
            }
            let labels = metadata["labels"].as_object();
            let label = |name: &String| labels.and_then(|labels| labels.get(name)).map(text).unwrap_or_default();
            cells.extend(self.get.label_columns.iter().map(label));
            cells.extend(self.get.show_labels.then(|| coracle_present::text::labels(metadata.get("labels"))));
            self.table.row(cells);
        }
    }

    /// Prints a row whenever one changes.
    async fn follow(&mut self, session: &Session, named: &Named, revision: &str, out: &mut Out<'_>) -> Result<(), VerbError> {
        let path = match named {
            Named::All(kind) => self.get.selection.path(session, kind),
            Named::One(target) => {
                format!("{}?fieldSelector={}", target.kind.path(Some(&target.namespace)), encode(&format!("metadata.name={}", target.name)))
            }
        };
        let path = with(&path, &format!("watch=true&resourceVersion={revision}"));
        let call = Call { accept: AS_TABLE, ..Call::get(path) };
        let request = call.request().map_err(|fault| VerbError::wrong(fault.message))?;
        let mut lines = self.stream(session, request).await?;
        let mut definitions = Value::Null;
        while let Some(line) = lines.next().await {
            let line = line.map_err(|error| VerbError::Unreachable(error.to_string()))?;
            let Ok(mut event) = serde_json::from_str::<Value>(&line) else { continue };
            if event["type"] == "ERROR" {
                return Err(VerbError::wrong(text(&event["object"]["message"])));
            }
            // only the first event says what the columns are
            let table = event["object"].take();
            if table["columnDefinitions"].as_array().is_some_and(|columns| !columns.is_empty()) {
                definitions = table["columnDefinitions"].clone();
            }
            let mut table = table;
            table["columnDefinitions"] = definitions.clone();
            self.add(&table, false, out);
            self.table.print(out);
        }
        Ok(())
    }

    async fn stream(
        &self,
        session: &Session,
        request: http::Request<Vec<u8>>,
    ) -> Result<impl futures::Stream<Item = std::io::Result<String>> + Unpin + use<>, VerbError> {
        Ok(Box::pin(session.client.request_stream(request).await?.lines().into_stream()))
    }
}

/// A path, asked more of.
fn with(path: &str, query: &str) -> String {
    let mark = if path.contains('?') { '&' } else { '?' };
    format!("{path}{mark}{query}")
}

/// A cell: the first line of a text.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => match text.find(['\x0c', '\n', '\r']) {
            Some(end) => format!("{}...", &text[..end]),
            None => text.clone(),
        },
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

//! How the cluster in this program is: its actors, their queues, its watches; what `coracle status --verbose` tells.

use std::time::Duration;

use serde_json::Value;

use crate::app::App;
use crate::message::News;
use crate::source::call::Call;
use crate::source::watch::RowEvent;
use crate::source::work::work;
use crate::table::{Column, Health, Row};
use crate::views::table::{Made, TableView};

/// Its server tells no changes of these counts: they are asked for while somebody looks.
const EVERY: Duration = Duration::from_secs(2);
/// What matters most stands first: a narrow terminal has no room for the last.
const COLUMNS: &[(&str, &str)] = &[
    ("Name", "string"),
    ("State", "string"),
    ("Restarts", "integer"),
    ("Queue", "integer"),
    ("Lag", "integer"),
    ("Retry", "integer"),
    ("Delay", "integer"),
    ("Work", "integer"),
    ("Objects", "integer"),
    ("Message", "string"),
    ("Group", "string"),
];

/// Opens the table. Only clusters of this program have it.
pub fn show(app: &mut App) {
    let made = Made {
        namespaced: false,
        ..Made::new("status", |_| {
            work(|outside| async move {
                let columns: Vec<Column> = COLUMNS.iter().map(|(name, of)| Column::new(name, of, false)).collect();
                loop {
                    let heard = match outside.ask(Call::get("/coracle/v1/status")).await {
                        Ok(status) => outside.table(&columns, rows(&status)),
                        Err(fault) => outside.tell(News::Rows(RowEvent::Lost(fault))),
                    };
                    if !heard {
                        return;
                    }
                    tokio::time::sleep(EVERY).await;
                }
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn rows(status: &Value) -> Vec<Row> {
    let items = |name: &str| status[name].as_array().cloned().unwrap_or_default();
    let actor = |actor: &Value| {
        let queue = &actor["queue"];
        // what nearly all of them are called takes room that a narrow terminal has not
        let name = cell(&actor["name"]);
        let short = Value::from(name.trim_end_matches("-controller"));
        let cells = [
            &short,
            &actor["state"],
            &actor["restarts"],
            &queue["ready"],
            &Value::Null,
            &queue["retries"],
            &queue["delayed"],
            &queue["inWork"],
            &Value::Null,
            &actor["lastFailure"],
            &Value::Null,
        ];
        let health = match actor["state"].as_str() {
            Some("failed") => Health::Faulty,
            _ => Health::Fine,
        };
        Row::made(&cells.map(cell), health).keyed(&format!("actor {name}"))
    };
    let watch = |watch: &Value| {
        let (state, health) = if watch["synced"] == true { ("synced", Health::Fine) } else { ("lists", Health::Pending) };
        let mut cells = vec![format!("watch {}", cell(&watch["resource"])), state.to_owned()];
        cells.resize(COLUMNS.len(), String::new());
        (cells[4], cells[8], cells[10]) = (cell(&watch["lag"]), cell(&watch["objects"]), cell(&watch["group"]));
        let key = format!("watch {}.{}", cells[10], cells[0]);
        Row::made(&cells, health).keyed(&key)
    };
    items("actors").iter().map(actor).chain(items("watches").iter().map(watch)).collect()
}

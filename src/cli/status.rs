//! `coracle status`: is it up, and what does it use.

use std::io::Write;
use std::process::ExitCode;

use serde_json::Value;

use super::arguments::Global;
use super::failure::Failure;
use super::{control, home, shown};

pub(crate) async fn run(global: &Global) -> Result<ExitCode, Failure> {
    let directory = home::data_directory(global)?;
    if directory.holder().is_none() {
        println!("down  data: {}", directory.path().display());
        return Ok(ExitCode::FAILURE);
    }
    let client = control::running(global).await?;
    let status = control::call(&client, "GET", "/status", Vec::new()).await?;
    let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
    let nodes = status["nodes"].as_array().map_or(0, Vec::len);
    let megabytes = status["residentBytes"].as_f64().unwrap_or_default() / 1e6;
    let mut out = shown::stdout();
    // whoever reads no more is told nothing
    let mut say = |line: String| drop(writeln!(out, "{line}"));
    say(format!("up    {}  process {}  runtime: {}  nodes: {nodes}", text("server"), status["pid"], text("runtime")));
    say(format!("uses  {megabytes:.0} MB of memory  data: {}", text("dataDirectory")));
    for actor in status["actors"].as_array().into_iter().flatten().filter(|actor| actor["restarts"] != 0) {
        let (name, why) = (actor["name"].as_str().unwrap_or_default(), actor["lastFailure"].as_str().unwrap_or_default());
        say(format!("actor {name} was restarted {} times, last because of: {}", actor["restarts"], why));
    }
    if global.verbose {
        say(format!("pods  {}  services: {}", text("podCIDR"), text("serviceCIDR")));
        say(format!("\n{}\n\n{}", actors(&status["actors"]), watches(&status["watches"])));
    }
    Ok(ExitCode::SUCCESS)
}

/// A value's text; a dash where there is none.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn actors(actors: &Value) -> String {
    let row = |actor: &Value| {
        let queue = ["ready", "delayed", "inWork", "retries"].map(|count| cell(&actor["queue"][count]));
        [vec![cell(&actor["name"]), cell(&actor["state"]), cell(&actor["restarts"])], queue.to_vec()].concat()
    };
    table(&["ACTOR", "STATE", "RESTARTS", "QUEUED", "DELAYED", "IN WORK", "RETRIES"], actors, row)
}

fn watches(watches: &Value) -> String {
    let row = |watch: &Value| {
        let group = watch["group"].as_str().filter(|group| !group.is_empty()).map(|group| format!(".{group}")).unwrap_or_default();
        let name = format!("{}{group}", cell(&watch["resource"]));
        let state = if watch["synced"] == true { "synced" } else { "lists" };
        [vec![name, state.to_owned()], ["objects", "lag", "unread"].map(|count| cell(&watch[count])).to_vec()].concat()
    };
    table(&["WATCH", "STATE", "OBJECTS", "LAG", "UNREAD"], watches, row)
}

/// A table as kubectl prints them.
fn table(head: &[&str], items: &Value, row: impl Fn(&Value) -> Vec<String>) -> String {
    let mut rows = vec![head.iter().map(|&name| name.to_owned()).collect()];
    rows.extend(items.as_array().into_iter().flatten().map(row));
    let widths: Vec<usize> =
        (0..head.len()).map(|at| rows.iter().map(|row: &Vec<String>| row[at].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    rows.iter().map(line).collect::<String>().trim_end().to_owned()
}

//! `events`: what happened, oldest first.

use clap::Args;
use coracle_present::text::duration;
use jiff::Timestamp;
use serde_json::Value;

use crate::call::encode;
use crate::error::VerbError;
use crate::output::Table;
use crate::session::{Out, Session};

/// Prints what happened, the last at the end
#[derive(Debug, Clone, Args)]
pub struct Events {
    /// What happened to this object, as `pod/NAME`
    #[arg(long = "for", value_name = "TYPE/NAME")]
    about: Option<String>,
    /// Only events of these types
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// No line of headings
    #[arg(long)]
    no_headers: bool,
}

impl Events {
    /// Prints them.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let mut place = if self.all_namespaces { String::new() } else { format!("/namespaces/{}", session.namespace) };
        let mut about = String::new();
        if let Some(named) = &self.about {
            let target = session.one(std::slice::from_ref(named)).await?;
            if target.namespace.is_empty() {
                place.clear();
            }
            about = format!(
                "?fieldSelector={}",
                encode(&format!("involvedObject.kind={},involvedObject.name={}", target.kind.kind, target.name))
            );
        }
        let list = session.read(format!("/api/v1{place}/events{about}")).await?;
        let is_wanted = |event: &&Value| {
            self.types.is_empty()
                || self.types.iter().any(|wanted| event["type"].as_str().is_some_and(|of| of.eq_ignore_ascii_case(wanted)))
        };
        let mut events: Vec<&Value> = list["items"].as_array().into_iter().flatten().filter(is_wanted).collect();
        events.sort_by_key(|event| last_seen(event));
        if events.is_empty() {
            let place = if self.all_namespaces { String::new() } else { format!(" in {} namespace.", session.namespace) };
            out.aside(format!("No events found{place}"));
            return Ok(());
        }
        let mut table = Table::default();
        let everywhere = self.all_namespaces;
        if !self.no_headers {
            let headings = ["NAMESPACE", "LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
            table.row(headings[usize::from(!everywhere)..].iter().copied());
        }
        let now = Timestamp::now().as_second();
        for event in events {
            let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let object = format!("{}/{}", text("/involvedObject/kind"), text("/involvedObject/name"));
            let cells =
                [text("/metadata/namespace"), seen(event, now), text("/type"), text("/reason"), object, text("/message").trim().to_owned()];
            table.row(cells.into_iter().skip(usize::from(!everywhere)));
        }
        table.print(out);
        Ok(())
    }
}

/// `5s`, or `5s (x3 over 2m)`.
fn seen(event: &Value, now: i64) -> String {
    let last = duration(now - last_seen(event));
    let count = event.pointer("/series/count").or(event.get("count")).and_then(Value::as_i64).unwrap_or_default();
    let first = ["/firstTimestamp", "/eventTime"].iter().map(|pointer| time(event, pointer)).find(|&time| time > 0).unwrap_or_default();
    if count > 1 { format!("{last} (x{count} over {})", duration(now - first)) } else { last }
}

fn time(event: &Value, pointer: &str) -> i64 {
    let text = event.pointer(pointer).and_then(Value::as_str);
    text.and_then(|text| text.parse::<Timestamp>().ok()).map(|time| time.as_second()).unwrap_or_default()
}

/// When an event was last seen, seconds since 1970.
pub fn last_seen(event: &Value) -> i64 {
    ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp", "/metadata/creationTimestamp"]
        .iter()
        .map(|pointer| time(event, pointer))
        .find(|&time| time > 0)
        .unwrap_or_default()
}

//! The describe text of an object, kept live: its object and its events.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;

use super::fault::Fault;
use super::observe::{Seen, observe, path_of};
use crate::kinds::Target;

pub use coracle_verbs::events::last_seen;

/// News of a description.
#[derive(Debug)]
pub enum Described {
    /// The text as of now; `None` when the object is gone.
    Text(Option<String>),
    /// It cannot be read now.
    Lost(Fault),
}

enum Part {
    Object(Seen),
    Events(Seen),
}

/// Describes `target` again whenever it or an event about it changes, until `tell` says that nobody listens.
pub async fn describe(client: kube::Client, target: Target, now: impl Fn() -> Timestamp + Send, tell: impl Fn(Described) -> bool + Send) {
    let (sender, mut parts) = mpsc::unbounded_channel();
    let events = {
        let place = if target.namespace.is_empty() { String::new() } else { format!("/namespaces/{}", target.namespace) };
        let about = format!("involvedObject.name={},involvedObject.kind={}", target.name, target.kind.kind);
        format!("/api/v1{place}/events?fieldSelector={}", super::call::encode(&about))
    };
    let object_sender = sender.clone();
    let objects = observe(client.clone(), path_of(&target), move |seen| object_sender.send(Part::Object(seen)).is_ok());
    let events = observe(client.clone(), events, move |seen| sender.send(Part::Events(seen)).is_ok());
    let writing = async {
        let mut object: Option<Option<Value>> = None;
        let mut events: Option<Vec<Value>> = None;
        while let Some(part) = parts.recv().await {
            let mut part = Some(part);
            // what comes together is described once
            while let Some(one) = part {
                match one {
                    Part::Object(Seen::Now(objects)) => object = Some(objects.into_values().next()),
                    Part::Object(Seen::Lost(fault)) => {
                        if !tell(Described::Lost(fault)) {
                            return;
                        }
                    }
                    Part::Events(Seen::Now(found)) => events = Some(sorted(found)),
                    // events may be forbidden where objects are not
                    Part::Events(Seen::Lost(_)) => events = Some(events.take().unwrap_or_default()),
                }
                part = tokio::time::timeout(Duration::from_millis(20), parts.recv()).await.ok().flatten();
            }
            let (Some(object), Some(events)) = (&object, &events) else { continue };
            let text = match object {
                Some(object) => Some(text(&client, object, events, now()).await),
                None => None,
            };
            if !tell(Described::Text(text)) {
                return;
            }
        }
    };
    tokio::select! {
        () = writing => {}
        ((), ()) = async { futures::join!(objects, events) } => {}
    }
}

fn sorted(events: BTreeMap<String, Value>) -> Vec<Value> {
    let mut events: Vec<Value> = events.into_values().collect();
    events.sort_by_key(last_seen);
    events
}

/// The text in kubectl's words where the kind has them, else field by field.
async fn text(client: &kube::Client, object: &Value, events: &[Value], now: Timestamp) -> String {
    match coracle_verbs::describe(client.clone(), object).await {
        Ok(text) => text,
        Err(_) => coracle_verbs::describe_plainly(object, events, now),
    }
}

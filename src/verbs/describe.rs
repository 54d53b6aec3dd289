//! `describe`: an object with what belongs to it, in kubectl's words. The texts come from the crate `deskribe`.

use std::convert::Infallible;

use clap::Args;
use coracle_api::kinds;
use coracle_present::text::duration;
use http::{Request, Response, StatusCode};
use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject};
use kube::client::Body;
use serde_json::{Value, json};

use crate::call::encode;
use crate::error::VerbError;
use crate::events::last_seen;
use crate::get::Selection;
use crate::session::{Named, Out, Session};

/// Prints objects with what belongs to them
#[derive(Debug, Clone, Args)]
pub struct Describe {
    /// As `pods`, `pod NAME` or `pod/NAME`; the beginning of a name will do
    #[arg(value_name = "TYPE", required = true)]
    what: Vec<String>,
    #[command(flatten)]
    selection: Selection,
}

impl Describe {
    /// Prints them, two empty lines between them.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let mut found = Vec::new();
        for one in session.targets(&self.what).await? {
            match one {
                Named::All(kind) => found.extend(self.selection.list(session, &kind).await?),
                Named::One(target) => match session.read(target.path()).await {
                    Ok(object) => found.push(object),
                    Err(missing) if missing.is_not_found() => {
                        let listed = Selection::default().list(session, &target.kind).await?;
                        let begins =
                            |object: &Value| object["metadata"]["name"].as_str().is_some_and(|name| name.starts_with(&target.name));
                        let before = found.len();
                        found.extend(listed.into_iter().filter(begins));
                        if found.len() == before {
                            return Err(missing);
                        }
                    }
                    Err(error) => return Err(error),
                },
            }
        }
        if found.is_empty() {
            out.aside(format!("No resources found in {} namespace.", session.namespace));
        }
        for (at, object) in found.iter().enumerate() {
            if at > 0 {
                out.put("\n\n");
            }
            out.put(text(session, object).await?);
        }
        Ok(())
    }
}

async fn text(session: &Session, object: &Value) -> Result<String, VerbError> {
    match describe(session.client.clone(), object).await {
        Ok(text) => return Ok(text),
        Err(DescribeError::Read { message }) => return Err(VerbError::wrong(message)),
        Err(DescribeError::Unsupported { .. }) => {}
    }
    let field = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    let place = match field("namespace") {
        "" => String::new(),
        namespace => format!("/namespaces/{namespace}"),
    };
    let about = encode(&format!("involvedObject.uid={}", field("uid")));
    let mut events =
        session.read(format!("/api/v1{place}/events?fieldSelector={about}")).await?["items"].as_array().cloned().unwrap_or_default();
    events.sort_by_key(last_seen);
    Ok(describe_plainly(object, &events, Timestamp::now()))
}

/// Why an object is not described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// Its kind has no description of its own.
    #[error("kind {kind} has no description of its own")]
    Unsupported {
        /// The kind.
        kind: String,
    },
    /// It, or what belongs to it, cannot be read.
    #[error("{message}")]
    Read {
        /// Why.
        message: String,
    },
}

/// Describes an object, which is read again, with its events.
pub async fn describe(client: kube::Client, object: &Value) -> Result<String, DescribeError> {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let unsupported = || DescribeError::Unsupported { kind: kind.clone() };
    let known = kinds::by_kind(group, version, &kind).ok_or_else(unsupported)?;
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.clone(),
        kind: kind.clone(),
        plural: known.plural.to_string(),
    };
    if !deskribe::supports(&resource) {
        return Err(unsupported());
    }
    let selected: DynamicObject =
        serde_json::from_value(object.clone()).map_err(|error| DescribeError::Read { message: error.to_string() })?;
    let (_, text) = deskribe::fetch(client, &resource, &selected).await.map_err(|message| DescribeError::Read { message })?;
    Ok(text)
}

/// Describes a pod template, as it stands in the descriptions of what has one.
///
/// # Errors
/// The template cannot be described.
pub(crate) async fn describe_template(template: &Value) -> Result<String, DescribeError> {
    let keeper = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "keeper"}, "spec": {"template": template}});
    let body = keeper.to_string().into_bytes();
    // what is described is read again: from a server that has this, and nothing that belongs to it
    let server = tower::service_fn(move |request: Request<Body>| {
        let mut answer = Response::new(Body::from(body.clone()));
        if !request.uri().path().ends_with("/replicasets/keeper") {
            answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::NOT_FOUND;
        }
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let text = describe(kube::Client::new(server, "default"), &keeper).await?;
    let at = text.find("Pod Template:").unwrap_or_default();
    Ok(text[at..].to_owned())
}

/// Any object, field by field, and its events.
pub fn describe_plainly(object: &Value, events: &[Value], now: Timestamp) -> String {
    let mut text = String::new();
    let metadata = |field: &str| object.pointer(&format!("/metadata/{field}"));
    for (label, value) in [
        ("Name", metadata("name")),
        ("Namespace", metadata("namespace")),
        ("Labels", metadata("labels")),
        ("Annotations", metadata("annotations")),
        ("API Version", object.get("apiVersion")),
        ("Kind", object.get("kind")),
        ("Created", metadata("creationTimestamp")),
    ] {
        write_field(&mut text, label, value.unwrap_or(&Value::Null), 0);
    }
    for (field, value) in object.as_object().into_iter().flatten() {
        if !matches!(field.as_str(), "apiVersion" | "kind" | "metadata") {
            write_field(&mut text, &title(field), value, 0);
        }
    }
    if events.is_empty() {
        text.push_str("Events:       <none>\n");
        return text;
    }
    text.push_str("Events:\n  Type     Reason                Age    From                  Message\n");
    for event in events {
        let field = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let from = if field("/source/component").is_empty() { field("/reportingComponent") } else { field("/source/component") };
        let age = duration(now.as_second() - last_seen(event));
        text.push_str(&format!("  {:<8} {:<21} {age:<6} {from:<21} {}\n", field("/type"), field("/reason"), field("/message").trim()));
    }
    text
}

fn write_field(text: &mut String, label: &str, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let label = format!("{indent}{label}:");
    match value {
        Value::Null if depth == 0 => text.push_str(&format!("{label:<14}<none>\n")),
        Value::Null => {}
        Value::Object(map) if map.is_empty() => text.push_str(&format!("{label:<14}<none>\n")),
        Value::Object(map) => {
            text.push_str(&format!("{label}\n"));
            // keys of labels and the like are names, not fields
            let names = ["Labels:", "Annotations:", "Match Labels:", "Selector:", "Data:", "Node Selector:"].contains(&label.trim());
            for (field, value) in map {
                let field = if names { field.clone() } else { title(field) };
                write_field(text, &field, value, depth + 1);
            }
        }
        Value::Array(items) => {
            text.push_str(&format!("{label}\n"));
            for (index, item) in items.iter().enumerate() {
                write_field(text, &format!("[{index}]"), item, depth + 1);
            }
        }
        Value::String(string) => text.push_str(&format!("{label:<14}{}{string}\n", if label.len() >= 14 { " " } else { "" })),
        other => text.push_str(&format!("{label:<14}{}{other}\n", if label.len() >= 14 { " " } else { "" })),
    }
}

/// `restartPolicy` as `Restart Policy`; names with dots or dashes stay.
fn title(field: &str) -> String {
    if field.contains(['.', '-', '/']) {
        return field.to_owned();
    }
    let mut title = String::new();
    for (index, c) in field.chars().enumerate() {
        if index == 0 {
            title.extend(c.to_uppercase());
        } else {
            if c.is_uppercase() && !title.ends_with(|before: char| before.is_uppercase()) {
                title.push(' ');
            }
            title.push(c);
        }
    }
    title
}

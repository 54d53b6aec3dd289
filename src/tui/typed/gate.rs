//! A client that lets no write pass unseen: none where nothing is to be written, none before the name of a context in
//! production was typed, and none that cannot be taken back without that being known.
//!
//! It stands at the request, not at the words: whatever a verb is called, and wherever its options stand, what it asks of the
//! server is what counts.

use std::collections::HashSet;
use std::sync::Arc;

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::Value;
use tokio::sync::{Mutex, oneshot};

use crate::keep::changes::{self, Before, Place};
use crate::source::call::Call;
use crate::source::fault::FaultKind;
use crate::source::work::Outside;
use crate::widgets::dialog::Dialog;

type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// What is to be known of a command before it runs.
pub(super) struct Rules {
    /// As it was typed.
    pub(super) text: String,
    /// Nothing is written.
    pub(super) readonly: bool,
    /// The name of the context, if it is in production.
    pub(super) production: Option<String>,
}

struct Gate {
    client: kube::Client,
    outside: Outside,
    rules: Rules,
    /// What was typed already.
    typed: Mutex<HashSet<String>>,
}

/// A client that does what `client` does, under these rules.
pub(super) fn guarded(client: kube::Client, outside: &Outside, rules: Rules) -> kube::Client {
    let namespace = client.default_namespace().to_owned();
    let gate = Arc::new(Gate { client, outside: outside.clone(), rules, typed: Mutex::default() });
    let service = tower::service_fn(move |request: Request<Body>| {
        let gate = gate.clone();
        async move { gate.pass(request).await }
    });
    kube::Client::new(service, namespace)
}

/// Whether a request changes something: a program that runs in a container may.
fn writes(request: &Request<Body>, place: Option<&Place>) -> bool {
    let path = request.uri().path();
    match *request.method() {
        Method::GET | Method::HEAD | Method::OPTIONS => {
            place.is_some_and(|place| matches!(place.subresource.as_deref(), Some("exec" | "attach")))
        }
        _ => !request.uri().query().unwrap_or_default().contains("dryRun=All") && !path.ends_with("reviews"),
    }
}

impl Gate {
    async fn pass(&self, request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let place = Place::of(request.uri().path());
        if !writes(&request, place.as_ref()) {
            return Ok(self.client.send(request).await?);
        }
        let method = request.method().clone();
        self.may(&method, request.uri().path().to_owned(), place.as_ref()).await?;
        let (Some(place), false) = (place, method == Method::GET) else { return Ok(self.client.send(request).await?) };
        let before = match &place.name {
            Some(_) => Some(Call::get(place.path()).send(&self.client).await),
            None => None,
        };
        let response = self.client.send(request).await?;
        // evictions and the like are no objects, nor is what is done to many at once
        let one = place.name.is_some() == (method != Method::POST);
        if !response.status().is_success() || !one {
            return Ok(response);
        }
        let made = response.status() == http::StatusCode::CREATED;
        let (parts, body) = response.into_parts();
        let bytes = body.collect_bytes().await?;
        let after = match (&method, &place.subresource) {
            (&Method::DELETE, _) => Ok(None),
            (_, None) => Ok(serde_json::from_slice::<Value>(&bytes).ok()),
            (_, Some(_)) => Call::get(place.path()).send(&self.client).await.map(Some),
        };
        let before = match before {
            None => Before::Nothing,
            Some(Ok(object)) => Before::Object(Box::new(object)),
            Some(Err(fault)) if made && fault.kind == FaultKind::NotFound => Before::Nothing,
            Some(Err(fault)) => Before::Unknown(fault.message),
        };
        let text = self.rules.text.clone();
        self.outside.then(move |app| changes::noted(app, &place, &text, before, after));
        Ok(Response::from_parts(parts, Body::from(bytes)))
    }

    async fn may(&self, method: &Method, path: String, place: Option<&Place>) -> Result<(), Refusal> {
        if self.rules.readonly {
            return Err(refusal("nothing is written with --readonly"));
        }
        let what = format!(":{} wants to {method} {path}.", self.rules.text);
        if let Some(context) = &self.rules.production {
            self.typed("context", context, vec![what.clone(), format!("This is {context}, in production. Type its name to go on.")])
                .await?;
        }
        match place {
            Some(Place { plural, name: Some(name), subresource: None, .. }) if plural == "namespaces" && *method == Method::DELETE => {
                let all = format!("Everything in namespace {name} is deleted too. Type its name to go on.");
                self.typed("name", name, vec![what, all]).await
            }
            _ => Ok(()),
        }
    }

    /// Goes on when a name was typed, once for the whole command.
    async fn typed(&self, label: &'static str, name: &str, lines: Vec<String>) -> Result<(), Refusal> {
        let mut typed = self.typed.lock().await;
        if typed.contains(name) {
            return Ok(());
        }
        // whoever waits for answers does not wait for a person
        self.outside.under_way();
        let (yes, answer) = oneshot::channel();
        let wanted = name.to_owned();
        self.outside.then(move |app| {
            app.lay(Box::new(Dialog::typed("write", lines, label, wanted, move |_| {
                let _ = yes.send(());
            })));
        });
        answer.await.map_err(|_| refusal("nothing was written: its name was not typed"))?;
        typed.insert(name.to_owned());
        Ok(())
    }
}

fn refusal(message: &str) -> Refusal {
    std::io::Error::other(message.to_owned()).into()
}

//! A watch, read event by event.

use std::time::Duration;

use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

use super::here::PATIENCE;

/// An open watch.
pub struct Watch {
    request: String,
    body: Body,
    rest: Vec<u8>,
    seen: Vec<String>,
}

/// Type, kind, name and revision of an event.
fn told(event: &Value) -> String {
    let object = &event["object"];
    let metadata = &object["metadata"];
    format!("{} {} {} {}", event["type"], object["kind"], metadata["name"], metadata["resourceVersion"])
}

impl Watch {
    pub(super) fn new(request: String, body: Body) -> Self {
        Self { request, body, rest: Vec::new(), seen: Vec::new() }
    }

    /// The next event, or `None` at the end of the watch.
    pub async fn next_or_end(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let event = serde_json::from_slice(&line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&line)));
                self.seen.push(told(&event));
                return Some(event);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let Ok(frame) = frame else { panic!("{}: no event in {PATIENCE:?}, seen before: {:#?}", self.request, self.seen) };
            match frame {
                Some(Ok(frame)) => self.rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Some(Err(error)) => panic!("{}: {error}", self.request),
                None => return None,
            }
        }
    }

    /// The next event.
    pub async fn next(&mut self) -> Value {
        let event = self.next_or_end().await;
        event.unwrap_or_else(|| panic!("{}: the watch ended, seen before: {:#?}", self.request, self.seen))
    }

    /// The object of the next event, which must be of this type.
    #[track_caller]
    pub fn expect(&mut self, kind: &str) -> impl Future<Output = Value> {
        let kind = kind.to_owned();
        async move {
            let mut event = self.next().await;
            assert_eq!(event["type"], kind, "{}: {event}", self.request);
            event["object"].take()
        }
    }

    /// Reads on until an event of this type is about an object that passes a look.
    pub async fn until(&mut self, kind: &str, mut look: impl FnMut(&Value) -> bool) -> Value {
        let reading = async {
            loop {
                let mut event = self.next().await;
                if event["type"] == kind && look(&event["object"]) {
                    return event["object"].take();
                }
            }
        };
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(object) => object,
            Err(_) => panic!("{}: no such {kind} event, seen: {:#?}", self.request, self.seen),
        }
    }
}

//! Events: what actors tell people about objects, written as client-go's recorder writes them.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::{Clock, SystemClock};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::correlate::{Correlator, Subject, Verdict, Written};
use crate::revision::is_not_found;

/// Events waiting to be written; more are dropped.
const WAITING: usize = 8192;
const TRIES: u32 = 12;
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Is it news or trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// Information.
    Normal,
    /// Something may go wrong.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// How fast events are written: so many at once, then so many a second.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Events that need not wait.
    pub burst: u32,
    /// Events a second once these are used up.
    pub per_second: u32,
}

impl Pace {
    /// The nodes' of one process, all together. (A kubelet alone has a burst of 100 and 50 a second: eventBurst, eventRecordQPS.)
    pub const NODES: Self = Self { burst: 100, per_second: 200 };
    /// The scheduler's: what it tells gives way to what it does. (Upstream's client for events has a burst of 100 too.)
    pub const SCHEDULER: Self = Self { burst: 100, per_second: 200 };
}

/// A pace that recorders keep together. Clones are one.
#[derive(Clone)]
pub struct Throttle(Arc<Mutex<Tokens>>);

impl Throttle {
    /// Nothing of the burst is used up.
    pub fn new(pace: Pace) -> Self {
        Self(Arc::new(Mutex::new(Tokens::new(pace))))
    }
}

/// What a pace leaves to be used: the moment at which the last event that was let through would have been due.
struct Tokens {
    pace: Pace,
    due: Instant,
}

impl Tokens {
    fn new(pace: Pace) -> Self {
        Self { pace, due: Instant::now() }
    }

    /// When the next event may be written.
    fn next(&mut self, now: Instant) -> Instant {
        let each = Duration::from_secs(1) / self.pace.per_second.max(1);
        let credit = each * self.pace.burst.saturating_sub(1);
        self.due = self.due.max(now) + each;
        (self.due - each).checked_sub(credit).unwrap_or(now).max(now)
    }
}

struct Recorded {
    object: ObjectReference,
    event_type: EventType,
    reason: String,
    message: String,
    at: Timestamp,
}

/// Records events about objects as one component. Clones share one writer, which keeps their order.
#[derive(Clone)]
pub struct EventRecorder {
    waiting: mpsc::Sender<Recorded>,
    clock: Arc<dyn Clock>,
}

impl EventRecorder {
    /// A recorder of `component` (as `kubelet`, `replicaset-controller`) on `host` (empty for controllers) that writes as
    /// the user of `client`. Must be called inside a tokio runtime.
    pub fn new(client: kube::Client, component: &str, host: &str) -> Self {
        Self::with_clock(client, component, host, Arc::new(SystemClock))
    }

    /// The same, with time from `clock`.
    pub fn with_clock(client: kube::Client, component: &str, host: &str, clock: Arc<dyn Clock>) -> Self {
        Self::throttled(client, component, host, clock, None)
    }

    /// The same, writing no faster than `throttle` allows: what comes in a burst is written later, in order.
    pub fn throttled(client: kube::Client, component: &str, host: &str, clock: Arc<dyn Clock>, throttle: Option<Throttle>) -> Self {
        let (waiting, queue) = mpsc::channel(WAITING);
        let (component, host) = (component.to_owned(), host.to_owned());
        let writer = Writer { client, component, host, correlator: Correlator::default(), throttle, newest: i128::MIN };
        // Ends when the last recorder is dropped and its events are written.
        tokio::spawn(writer.run(queue));
        Self { waiting, clock }
    }

    /// Records an event about `object` (see `kube::Resource::object_ref`). Never waits: the event is written later, in
    /// order; identical ones are counted in one object, similar ones combined, and too many are dropped.
    pub fn event(&self, object: &ObjectReference, event_type: EventType, reason: &str, message: impl Into<String>) {
        let event =
            Recorded { object: object.clone(), event_type, reason: reason.to_owned(), message: message.into(), at: self.clock.now() };
        if self.waiting.try_send(event).is_err() {
            tracing::debug!(reason, "too many events are waiting, one is dropped");
        }
    }
}

struct Writer {
    client: kube::Client,
    component: String,
    host: String,
    correlator: Correlator,
    throttle: Option<Throttle>,
    /// The nanosecond in the newest name: no two names are alike, though a clock is coarse, stands still or goes back.
    newest: i128,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Recorded>) {
        while let Some(event) = queue.recv().await {
            self.record(event).await;
        }
    }

    async fn record(&mut self, event: Recorded) {
        let subject = subject(&event);
        let Verdict::Write { key, message, earlier } = self.correlator.judge(&subject, &event.message, event.at) else { return };
        if let Some(Throttle(tokens)) = &self.throttle {
            let due = tokens.lock().next(Instant::now());
            tokio::time::sleep_until(due).await;
        }
        self.newest = event.at.as_nanosecond().max(self.newest.saturating_add(1));
        let mut delay = FIRST_RETRY;
        for attempt in 1..=TRIES {
            match self.write(&event, &message, earlier.as_ref()).await {
                Ok(written) => return self.correlator.wrote(key, written),
                Err(error @ kube::Error::Api(_)) => {
                    return tracing::debug!(reason = event.reason, %error, "event was refused");
                }
                Err(error) if attempt == TRIES => {
                    return tracing::warn!(reason = event.reason, %error, "event could not be written");
                }
                Err(_) => tokio::time::sleep(delay).await,
            }
            delay = (delay * 2).min(LONGEST_RETRY);
        }
    }

    async fn write(&self, event: &Recorded, message: &str, earlier: Option<&Written>) -> Result<Written, kube::Error> {
        let namespace = namespace(&event.object);
        let api = Api::<Event>::namespaced(self.client.clone(), namespace);
        if let Some(earlier) = earlier {
            let count = earlier.count + 1;
            let change = json!({"count": count, "lastTimestamp": Time(event.at), "message": message});
            match api.patch(&earlier.name, &PatchParams::default(), &Patch::Strategic(&change)).await {
                Ok(_) => return Ok(Written { count, ..earlier.clone() }),
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
        // A counted event that expired meanwhile is written anew, with its count.
        let count = earlier.map_or(1, |earlier| earlier.count + 1);
        let first = earlier.map_or(event.at, |earlier| earlier.first);
        let object = self.object(event, message, count, first);
        let name = object.metadata.name.clone().unwrap_or_default();
        api.create(&PostParams::default(), &object).await?;
        Ok(Written { name, count, first })
    }

    fn object(&self, event: &Recorded, message: &str, count: i32, first: Timestamp) -> Event {
        let named = event.object.name.as_deref().unwrap_or_default();
        let optional = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Event {
            metadata: ObjectMeta {
                name: Some(event_name(named, self.newest)),
                namespace: Some(namespace(&event.object).to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: event.object.clone(),
            reason: Some(event.reason.clone()),
            message: Some(message.to_owned()),
            source: Some(EventSource { component: optional(&self.component), host: optional(&self.host) }),
            first_timestamp: Some(Time(first)),
            last_timestamp: Some(Time(event.at)),
            count: Some(count),
            type_: Some(event.event_type.as_str().to_owned()),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(self.host.clone()),
            ..Event::default()
        }
    }
}

/// Events about objects without a namespace live in `default`.
fn namespace(object: &ObjectReference) -> &str {
    object.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default")
}

/// The object's name and the time in hexadecimal, at most 253 characters.
fn event_name(object: &str, nanoseconds: i128) -> String {
    let suffix = format!(".{nanoseconds:x}");
    let keep = object.char_indices().map(|(at, _)| at).chain([object.len()]).take_while(|at| at + suffix.len() <= 253).last().unwrap_or(0);
    format!("{}{suffix}", &object[..keep])
}

fn subject(event: &Recorded) -> Subject {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let object = &event.object;
    Subject {
        kind: text(&object.kind),
        namespace: text(&object.namespace),
        name: text(&object.name),
        uid: text(&object.uid),
        api_version: text(&object.api_version),
        field_path: text(&object.field_path),
        event_type: event.event_type.as_str(),
        reason: event.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use bytes::Bytes;
    use coracle_api::clock::ManualClock;
    use coracle_api::identity::Identity;
    use http_body_util::{BodyExt, Full};
    use serde_json::Value;
    use std::convert::Infallible;

    use crate::transport::in_process;

    #[test]
    fn names_are_bounded() {
        let at = 0x17ab_cdef_0123_4567;
        assert_eq!(event_name("kubia", at), "kubia.17abcdef01234567");
        assert_eq!(event_name(&"x".repeat(300), at).len(), 253);
    }

    #[test]
    fn a_pace_lets_a_burst_through_and_then_so_many_a_second() {
        let start = Instant::now();
        let mut tokens = Tokens { pace: Pace { burst: 3, per_second: 10 }, due: start };
        let after = |tokens: &mut Tokens, now| (tokens.next(now) - start).as_millis();
        let waits: Vec<_> = (0..5).map(|_| after(&mut tokens, start)).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
        let later = start + Duration::from_secs(5);
        let waits: Vec<_> = (0..4).map(|_| after(&mut tokens, later)).collect();
        assert_eq!(waits, [5000, 5000, 5000, 5100]);
    }

    #[tokio::test]
    async fn creates_then_counts_as_upstream_writes_them() {
        let (requests, mut seen) = mpsc::unbounded_channel::<(String, Value)>();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let requests = requests.clone();
            async move {
                let head = format!("{} {}", request.method(), request.uri().path());
                let body = request.into_body().collect().await.unwrap().to_bytes();
                requests.send((head, serde_json::from_slice(&body).unwrap())).unwrap();
                Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(r#"{"metadata":{},"involvedObject":{}}"#))))
            }
        });
        let client = in_process(service, Arc::new(|_| tokio::io::duplex(1).0), Identity::admin());
        let clock = ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap());
        let recorder = EventRecorder::with_clock(client, "kubelet", "node-1", Arc::new(clock.clone()));
        let object = ObjectReference {
            kind: Some("Pod".into()),
            namespace: Some("apps".into()),
            name: Some("kubia".into()),
            uid: Some("u".into()),
            ..ObjectReference::default()
        };
        recorder.event(&object, EventType::Normal, "Pulled", "image present");
        clock.advance(Duration::from_secs(60));
        recorder.event(&object, EventType::Normal, "Pulled", "image present");
        recorder.event(&object, EventType::Normal, "Created", "at the same moment");
        recorder.event(&object, EventType::Normal, "Started", "at the same moment");

        let (head, event) = seen.recv().await.unwrap();
        assert_eq!(head, "POST /api/v1/namespaces/apps/events");
        let name = event["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("kubia.1797"), "{name}");
        assert_eq!(event["source"], json!({"component": "kubelet", "host": "node-1"}));
        assert_eq!((&event["reportingComponent"], &event["reportingInstance"]), (&json!("kubelet"), &json!("node-1")));
        assert_eq!((&event["count"], &event["firstTimestamp"]), (&json!(1), &json!("2023-11-14T22:13:20Z")));
        let (head, change) = seen.recv().await.unwrap();
        assert_eq!(head, format!("PATCH /api/v1/namespaces/apps/events/{name}"));
        assert_eq!(change, json!({"count": 2, "lastTimestamp": "2023-11-14T22:14:20Z", "message": "image present"}));
        let (created, started) = (seen.recv().await.unwrap().1, seen.recv().await.unwrap().1);
        assert_ne!(created["metadata"]["name"], started["metadata"]["name"]);
    }
}

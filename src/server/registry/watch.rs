//! Changes as they happen: a stream that ends when the client, the time or the server does.
//!
//! An event is rendered once for all watches that see it as it happened; a watch with a selector that an object enters
//! or leaves, and Tables and metadata, render their own.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use coracle_api::kinds::{Kind, KindRef};
use coracle_api::protobuf;
use coracle_api::status::Status;
use coracle_store::{Entry, Event, EventKind, ListOptions as StoreOptions, ReadError, Watch};
use futures::stream;
use http::Response;
use rand::RngExt;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::selection::Selection;
use super::{Call, metadata_only, put_metadata, read_error, too_large_revision};
use crate::http::body::Body;
use crate::metrics::{Counter, Gauge};
use crate::negotiate::{Encoding, Form, not_acceptable};
use crate::options::ListOptions;
use crate::server::Server;
use crate::table::{self, IncludeObject};
use crate::{answer, codec, vocabulary};

/// How often a watch that wants them is sent a bookmark.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Several events that wait are sent as one chunk up to this size.
const CHUNK: usize = 64 << 10;
/// The media type of a watch in protocol buffers: each event after its length.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf;stream=watch";
/// How late a timer of the runtime may be: `timeoutSeconds` limits a call, so that it is over when the client looks.
const LATENESS: Duration = Duration::from_millis(20);
/// How long a watch lasts where the client does not say, in seconds; upstream's range.
const DEFAULT_SECONDS: std::ops::Range<u64> = 1_800..3_600;

/// Answers a WATCH.
pub(crate) async fn answer(call: &Call) -> Result<Response<Body>, Status> {
    let now = Instant::now();
    if call.server.stopping().is_cancelled() {
        // it would end at once, and be asked for again
        return Err(Status::new(503, "ServiceUnavailable", "the server is shutting down"));
    }
    let options = ListOptions::parse(&call.query, true)?;
    let selection = Selection::parse(&call.kind, &call.query)?;
    let accepted = call.accepted()?;
    if accepted.encoding == Encoding::Yaml {
        let more = if vocabulary::is_message(&call.kind) { ", application/vnd.kubernetes.protobuf;stream=watch" } else { "" };
        return Err(not_acceptable(&format!("application/json;stream=watch{more}")));
    }
    let encoding = accepted.encoding;
    let content_type = if encoding == Encoding::Protobuf { PROTOBUF } else { "application/json" };
    let include = IncludeObject::parse(&call.query)?;
    let store = &call.server.0.store;
    let mut prefix = codec::prefix(&call.kind, call.namespace());
    if let Some(name) = selection.name()
        && (!call.kind.namespaced || !call.namespace().is_empty())
    {
        // Longer names begin alike: the selection tells them apart.
        prefix.push_str(name);
    }
    let anywhere = options.revision.unwrap_or(0) == 0;
    let from_state = options.initial_events.unwrap_or(anywhere);
    let (initial, after) = if from_state {
        if let Some(wanted) = options.revision.filter(|wanted| *wanted > store.revision()) {
            return Err(too_large_revision(wanted, store.revision()));
        }
        let list = store.list(&prefix, &StoreOptions::default()).map_err(|error| read_error(error, 0))?;
        (call.server.0.customs.present(&call.kind, list.entries).await?, list.revision)
    } else {
        // Of a state that nobody wants to see, only what comes after it counts.
        (Vec::new(), options.revision.filter(|_| !anywhere).unwrap_or_else(|| store.revision()))
    };
    let definition = call.server.0.customs.watch(&call.kind);
    if definition.is_some() && call.server.0.customs.find(&call.kind.group, &call.kind.version, &call.kind.plural).is_none() {
        return Err(Status::no_such_path());
    }
    let watch = match store.watch(&prefix, after) {
        Ok(watch) => watch,
        Err(ReadError::TooOld { oldest }) => {
            return Ok(answer::stream(content_type, Body::full(too_old(after, oldest, encoding))));
        }
        Err(error) => return Err(read_error(error, after)),
    };
    let seconds = options.timeout_seconds.filter(|seconds| *seconds > 0);
    let lasts = Duration::from_secs(seconds.unwrap_or_else(|| rand::rng().random_range(DEFAULT_SECONDS)));
    let ends = now + lasts.saturating_sub(LATENESS);
    let watching = Watching {
        server: call.server.clone(),
        kind: call.kind.clone(),
        selection,
        form: accepted.form,
        encoding,
        include,
        initial: initial.into(),
        initial_revision: after,
        end_of_initial: options.initial_events == Some(true) && options.bookmarks,
        watch,
        definition,
        after,
        stop: call.server.stopping(),
        ends,
        timer: Box::pin(tokio::time::sleep_until(ends)),
        bookmark: options.bookmarks.then(|| now + BOOKMARK_EVERY),
        table_begun: false,
        over: false,
        sent: 0,
        counter: call.server.0.metrics.watched(&call.kind.group, &call.kind.version, &call.kind.plural),
    };
    Ok(answer::stream(content_type, Body::stream(watching.into_stream())))
}

fn too_old(wanted: u64, oldest: u64, encoding: Encoding) -> Bytes {
    error_event(&Status::expired(format!("too old resource version: {wanted} ({oldest})")), encoding)
}

fn error_event(status: &Status, encoding: Encoding) -> Bytes {
    if encoding == Encoding::Protobuf {
        let mut out = BytesMut::new();
        put_protobuf(&mut out, "ERROR", &status.to_value());
        return out.freeze();
    }
    let mut text = json!({"type": "ERROR", "object": status.to_value()}).to_string();
    text.push('\n');
    text.into()
}

fn put_protobuf(out: &mut BytesMut, told: &str, object: &Value) {
    protobuf::put_event(out, told, &protobuf::encode(object).unwrap_or_default());
}

/// Waits for a change of a definition; for ever where there is none to look at.
async fn changed(definition: &mut Option<Watch>) {
    let seen = match definition {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    };
    if seen.is_none() {
        *definition = None;
    }
}

/// What a watch tells of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Added,
    Modified,
    Deleted,
    Bookmark,
}

impl Told {
    fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
        }
    }

    fn opening(self) -> &'static [u8] {
        match self {
            Self::Added => br#"{"type":"ADDED","object":"#,
            Self::Modified => br#"{"type":"MODIFIED","object":"#,
            Self::Deleted => br#"{"type":"DELETED","object":"#,
            Self::Bookmark => br#"{"type":"BOOKMARK","object":"#,
        }
    }
}

struct Watching {
    server: Server,
    kind: KindRef,
    selection: Selection,
    form: Form,
    encoding: Encoding,
    include: IncludeObject,
    initial: VecDeque<Arc<Entry>>,
    initial_revision: u64,
    end_of_initial: bool,
    watch: Watch,
    /// Changes of the definition of a custom kind: the watch ends when its version is served no more.
    definition: Option<Watch>,
    after: u64,
    stop: CancellationToken,
    ends: Instant,
    bookmark: Option<Instant>,
    /// Whichever of the two comes first; kept from event to event.
    timer: Pin<Box<Sleep>>,
    /// The first event of a Table watch carries the columns.
    table_begun: bool,
    over: bool,
    /// Events not yet counted.
    sent: u64,
    counter: Arc<Counter>,
}

impl Watching {
    fn into_stream(self) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send {
        stream::unfold(self, |mut watching| async move {
            let server = watching.server.clone();
            let running = server.0.metrics.running(Gauge::LongRunning);
            let next = watching.next().await;
            drop(running);
            watching.counter.add(std::mem::take(&mut watching.sent));
            next.map(|chunk| (Ok(chunk), watching))
        })
    }

    /// The next chunk: one or more events.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over || self.stop.is_cancelled() {
            return None;
        }
        if let Some(chunk) = self.initial_chunk() {
            return Some(chunk);
        }
        loop {
            let due = self.bookmark.map_or(self.ends, |bookmark| bookmark.min(self.ends));
            if self.timer.deadline() != due {
                self.timer.as_mut().reset(due);
            }
            let event = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                event = self.watch.next() => event,
                () = changed(&mut self.definition) => if self.is_served() { continue } else { return None },
                () = self.timer.as_mut() => {
                    if due == self.ends {
                        return None;
                    }
                    match self.periodic_bookmark() {
                        Some(chunk) => return Some(chunk),
                        None => continue,
                    }
                }
            };
            let Some(event) = event else {
                self.over = true;
                return Some(too_old(self.after, self.server.0.store.oldest(), self.encoding));
            };
            if let Some(chunk) = self.chunk(event).await {
                return Some(chunk);
            }
        }
    }

    /// The state at the beginning, as events, a chunk at a time.
    fn initial_chunk(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        while let Some(entry) = self.initial.pop_front() {
            let put = match self.selection.matches(&self.kind, &entry) {
                Ok(false) => Ok(()),
                Ok(true) => self.put(&mut out, Told::Added, &entry),
                Err(status) => Err(status),
            };
            if let Err(status) = put {
                return Some(self.fail(out, &status));
            }
            if out.len() >= CHUNK {
                return Some(out.freeze());
            }
        }
        if std::mem::take(&mut self.end_of_initial) {
            self.put_bookmark(&mut out, self.initial_revision, true);
        }
        (!out.is_empty()).then(|| out.freeze())
    }

    /// An event and those that wait behind it; `None` if none is for this watch.
    async fn chunk(&mut self, event: Arc<Event>) -> Option<Bytes> {
        let mut first: Option<Bytes> = None;
        let mut out = BytesMut::new();
        let mut next = Some(event);
        while let Some(event) = next {
            self.after = event.revision();
            let told = match self.presented(event).await {
                Ok(event) => self.event(&event),
                Err(status) => Err(status),
            };
            match told {
                Err(status) => {
                    out.put_slice(first.as_deref().unwrap_or_default());
                    return Some(self.fail(out, &status));
                }
                Ok(None) => {}
                Ok(Some(bytes)) if first.is_none() => first = Some(bytes),
                Ok(Some(bytes)) => {
                    if out.is_empty() {
                        out.reserve(CHUNK);
                        out.put_slice(first.as_deref().unwrap_or_default());
                    }
                    out.put_slice(&bytes);
                }
            }
            let length = out.len().max(first.as_ref().map_or(0, Bytes::len));
            next = if length < CHUNK { self.watch.try_next() } else { None };
        }
        if out.is_empty() { first } else { Some(out.freeze()) }
    }

    /// An event as the kind is served now, or was last.
    async fn presented(&mut self, event: Arc<Event>) -> Result<Arc<Event>, Status> {
        if self.kind.custom.is_none() {
            return Ok(event);
        }
        self.is_served();
        self.server.0.customs.present_event(&self.kind, event).await
    }

    /// Takes the kind as its definition is now; says whether it is served.
    fn is_served(&mut self) -> bool {
        let Kind { group, version, plural, .. } = &*self.kind;
        let found = self.server.0.customs.find(group, version, plural);
        if let Some(kind) = found {
            self.kind = kind;
            return true;
        }
        false
    }

    fn fail(&mut self, mut out: BytesMut, status: &Status) -> Bytes {
        self.over = true;
        out.put_slice(&error_event(status, self.encoding));
        out.freeze()
    }

    /// What this watch is told of an event.
    fn event(&mut self, event: &Event) -> Result<Option<Bytes>, Status> {
        let natural = match (event.kind, &event.previous) {
            (EventKind::Delete, _) => Told::Deleted,
            (EventKind::Put, None) => Told::Added,
            (EventKind::Put, Some(_)) => Told::Modified,
        };
        let mut shown = &event.entry;
        let mut told = natural;
        let left;
        if !self.selection.is_everything() {
            let was = event.previous.as_ref().map(|previous| self.selection.matches(&self.kind, previous)).transpose()?.unwrap_or(false);
            let is = event.kind == EventKind::Put && self.selection.matches(&self.kind, &event.entry)?;
            told = match (was, is) {
                (false, false) => return Ok(None),
                (false, true) => Told::Added,
                (true, true) => Told::Modified,
                (true, false) => Told::Deleted,
            };
            if told == Told::Deleted && natural != Told::Deleted {
                // What the watch last saw, at the revision at which it left.
                let value = event.previous.as_ref().map(|previous| previous.value.clone()).unwrap_or_default();
                left = Arc::new(Entry { key: event.entry.key.clone(), revision: event.revision(), value });
                shown = &left;
            }
        }
        let shared = told == natural && self.form == Form::Object && self.kind.is_storage_version();
        let kept = if self.encoding == Encoding::Protobuf { &event.encoded } else { &event.rendered };
        if shared && let Some(bytes) = kept.get() {
            self.sent += 1;
            return Ok(Some(bytes.clone()));
        }
        let mut out = BytesMut::with_capacity(shown.value.bytes.len() + 128);
        self.put(&mut out, told, shown)?;
        let bytes = out.freeze();
        Ok(Some(if shared { kept.get_or_init(|| bytes).clone() } else { bytes }))
    }

    /// Appends an event.
    fn put(&mut self, out: &mut BytesMut, told: Told, entry: &Entry) -> Result<(), Status> {
        if self.encoding == Encoding::Protobuf {
            let object = codec::decode(&self.kind, entry)?;
            let object = if self.form == Form::Metadata { metadata_only(&object) } else { object };
            put_protobuf(out, told.name(), &object);
            self.sent += 1;
            return Ok(());
        }
        out.put_slice(told.opening());
        match self.form {
            Form::Object => codec::put_object(out, &self.kind, entry)?,
            Form::Metadata => put_metadata(out, entry)?,
            Form::Table => {
                let object = codec::decode(&self.kind, entry)?;
                let columns = !std::mem::replace(&mut self.table_begun, true);
                let now = self.server.0.clock.now();
                let value = table::event(&self.kind, &object, self.include, columns, now);
                out.put_slice(value.to_string().as_bytes());
            }
        }
        out.put_slice(b"}\n");
        self.sent += 1;
        Ok(())
    }

    fn put_bookmark(&mut self, out: &mut BytesMut, revision: u64, end_of_initial: bool) {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if end_of_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Object => json!({"apiVersion": self.kind.api_version(), "kind": self.kind.kind, "metadata": metadata}),
            Form::Metadata => json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata}),
            Form::Table => {
                let object = json!({"apiVersion": self.kind.api_version(), "kind": self.kind.kind, "metadata": metadata});
                let columns = !std::mem::replace(&mut self.table_begun, true);
                table::event(&self.kind, &object, self.include, columns, self.server.0.clock.now())
            }
        };
        if self.encoding == Encoding::Protobuf {
            return put_protobuf(out, Told::Bookmark.name(), &object);
        }
        out.put_slice(Told::Bookmark.opening());
        out.put_slice(object.to_string().as_bytes());
        out.put_slice(b"}\n");
    }

    /// A bookmark at the revision up to which this watch has seen everything.
    fn periodic_bookmark(&mut self) -> Option<Bytes> {
        self.bookmark = self.bookmark.map(|_| Instant::now() + BOOKMARK_EVERY);
        let revision = self.watch.progress()?;
        let mut out = BytesMut::new();
        self.put_bookmark(&mut out, revision, false);
        Some(out.freeze())
    }
}

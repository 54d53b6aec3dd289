//! The informers of a process, and the task that keeps each current.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{ListParams, WatchEvent};
use kube::{Api, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::informer::Informer;
use crate::queue::Backoff;
use crate::revision::{is_gone, revision_of};
use crate::supervise::supervise;
use crate::watching::Events;

/// A kind an informer can hold: any type of k8s-openapi with metadata.
pub trait Watchable: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}
impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Watchable for K {}

/// Objects per page of a list: bounds the memory that one answer takes.
const PAGE: u32 = 500;
const SHORT_WATCH: Duration = Duration::from_secs(1);
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), max: Duration::from_secs(30) };

/// How current an informer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Group of its kind.
    pub group: String,
    /// Plural of its kind.
    pub plural: String,
    /// The first list is complete.
    pub synced: bool,
    /// The newest revision it has seen.
    pub revision: u64,
    /// Objects it holds.
    pub objects: usize,
    /// Changes that the slowest of its readers has not taken yet.
    pub unread: usize,
}

struct Started {
    informer: Box<dyn Any + Send + Sync>,
    look: Box<dyn Fn() -> Watched + Send + Sync>,
    task: JoinHandle<()>,
}

struct Registry {
    client: kube::Client,
    started: Mutex<HashMap<TypeId, Started>>,
}

impl Registry {
    fn stop(&self) {
        self.started.lock().values().for_each(|started| started.task.abort());
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The informers of one cluster: one per kind, started on first use. Clones are one set; dropping the last one stops them.
#[derive(Clone)]
pub struct Informers(Arc<Registry>);

impl Informers {
    /// Informers that read as `client` does.
    pub fn new(client: kube::Client) -> Self {
        Self(Arc::new(Registry { client, started: Mutex::new(HashMap::new()) }))
    }

    /// The informer of `K` in all namespaces. The first call starts it, and must be made inside a tokio runtime.
    pub fn of<K: Watchable>(&self) -> Informer<K> {
        let mut started = self.0.started.lock();
        if let Some(informer) = started.get(&TypeId::of::<K>()).and_then(|known| known.informer.downcast_ref::<Informer<K>>()) {
            return informer.clone();
        }
        let informer = Informer::<K>::empty();
        let (client, fed) = (self.0.client.clone(), informer.clone());
        let task = supervise(format!("informer of {}", K::plural(&())), move || {
            let (client, informer) = (client.clone(), fed.clone());
            async move {
                feed(client, informer).await;
                Ok::<(), Infallible>(())
            }
        });
        let seen = informer.clone();
        let look = Box::new(move || Watched {
            group: K::group(&()).into_owned(),
            plural: K::plural(&()).into_owned(),
            synced: seen.is_synced(),
            revision: seen.revision(),
            objects: seen.len(),
            unread: seen.unread(),
        });
        started.insert(TypeId::of::<K>(), Started { informer: Box::new(informer.clone()), look, task });
        informer
    }

    /// Ends them: nothing is asked of the server any more, and what they hold stays as it is.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Tells how current each is, by kind; does not keep them running.
    pub fn outlook(&self) -> impl Fn() -> Vec<Watched> + Send + Sync + 'static {
        let registry = Arc::downgrade(&self.0);
        move || {
            let Some(registry) = registry.upgrade() else { return Vec::new() };
            let mut watched: Vec<Watched> = registry.started.lock().values().map(|started| (started.look)()).collect();
            watched.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural)));
            watched
        }
    }
}

/// Lists, then watches from there; lists again when the server no longer keeps the revision.
async fn feed<K: Watchable>(client: kube::Client, informer: Informer<K>) {
    let api = Api::<K>::all(client.clone());
    let mut failures = 0;
    let mut from: Option<String> = None;
    loop {
        let started = Instant::now();
        let watched = from.clone();
        let outcome = match &from {
            None => list(&api, &informer).await,
            Some(revision) => watch(&client, &informer, revision, &mut failures).await,
        };
        match outcome {
            Ok(revision) => {
                // A server that closes every watch at once must not be called in a tight loop.
                if watched.as_ref() == Some(&revision) && started.elapsed() < SHORT_WATCH {
                    tokio::time::sleep(jitter(SHORT_WATCH)).await;
                }
                from = Some(revision);
            }
            Err(error) => {
                let plural = K::plural(&());
                if is_gone(&error) || from.is_some() && informer.revision() == 0 {
                    tracing::debug!(%plural, "watch expired, listing again");
                    from = None;
                } else {
                    from = from.map(|revision| newer(revision, informer.revision()));
                }
                failures += 1;
                let delay = jitter(BACKOFF.delay(failures));
                if failures > 3 {
                    tracing::warn!(%plural, %error, "cannot watch; trying again");
                }
                tokio::time::sleep(delay).await;
            }
        }
    }
}

fn newer(revision: String, seen: u64) -> String {
    if revision.parse::<u64>().is_ok_and(|revision| revision < seen) { seen.to_string() } else { revision }
}

/// 0.5 to 1 times the delay, so that informers do not come back all at once.
fn jitter(delay: Duration) -> Duration {
    delay.mul_f64(rand::random_range(0.5..=1.0))
}

async fn list<K: Watchable>(api: &Api<K>, informer: &Informer<K>) -> Result<String, kube::Error> {
    let mut objects = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let answer = api.list(&page).await?;
        objects.extend(answer.items);
        match answer.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => {
                let revision = answer.metadata.resource_version.unwrap_or_default();
                informer.replace(objects, revision.parse().unwrap_or(0));
                return Ok(revision);
            }
        }
    }
}

/// Follows one watch to its end; answers the revision to go on from.
async fn watch<K: Watchable>(client: &kube::Client, informer: &Informer<K>, from: &str, failures: &mut u32) -> Result<String, kube::Error> {
    let mut last = from.to_owned();
    let mut events = Events::of::<K>(client, from).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        *failures = 0;
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                note(&mut last, &object);
                informer.put(object);
            }
            WatchEvent::Deleted(object) => {
                note(&mut last, &object);
                informer.remove(object);
            }
            WatchEvent::Bookmark(bookmark) => {
                last = bookmark.metadata.resource_version;
                informer.advance(last.parse().unwrap_or(0));
            }
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
    }
    Ok(last)
}

fn note<K: Resource>(last: &mut String, object: &K) {
    if let Some(revision) = &object.meta().resource_version {
        last.clone_from(revision);
    }
    debug_assert!(revision_of(object) > 0 || !last.is_empty());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use bytes::Bytes;
    use coracle_api::identity::Identity;
    use futures::StreamExt;
    use http_body::Frame;
    use http_body_util::{BodyExt, Full, StreamBody};
    use k8s_openapi::api::core::v1::ConfigMap;
    use std::collections::VecDeque;

    use crate::transport::in_process;

    type Script = Arc<Mutex<VecDeque<(&'static str, u16, Vec<&'static str>)>>>;

    /// A server that answers requests from a script of (part of the query, code, lines), and hangs when it is exhausted.
    fn scripted(script: Script) -> kube::Client {
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let script = script.clone();
            async move {
                let next = script.lock().pop_front();
                let Some((query, code, lines)) = next else { return std::future::pending().await };
                let uri = request.uri().to_string();
                assert!(uri.contains(query), "{uri} lacks {query}");
                let body = if uri.contains("watch=true") {
                    let frames =
                        futures::stream::iter(lines).map(|line| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{line}\n")))));
                    StreamBody::new(frames).boxed_unsync()
                } else {
                    Full::new(Bytes::from(lines.concat())).boxed_unsync()
                };
                Ok::<_, Infallible>(http::Response::builder().status(code).body(body).unwrap())
            }
        });
        in_process(service, Arc::new(|_| tokio::io::duplex(1).0), Identity::admin())
    }

    #[tokio::test(start_paused = true)]
    async fn lists_in_pages_watches_resumes_and_lists_again_when_gone() {
        let script: Script = Arc::new(Mutex::new(VecDeque::from([
            (
                "limit=500",
                200,
                vec![
                    r#"{"metadata":{"resourceVersion":"5","continue":"more"},"items":[{"metadata":{"name":"a","namespace":"n","resourceVersion":"1"}}]}"#,
                ],
            ),
            (
                "continue=more",
                200,
                vec![r#"{"metadata":{"resourceVersion":"5"},"items":[{"metadata":{"name":"b","namespace":"n","resourceVersion":"2"}}]}"#],
            ),
            (
                "resourceVersion=5",
                200,
                vec![
                    r#"{"type":"ADDED","object":{"metadata":{"name":"c","namespace":"n","resourceVersion":"6"}}}"#,
                    r#"{"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"8"}}}"#,
                ],
            ),
            (
                "resourceVersion=8",
                200,
                vec![
                    r#"{"type":"DELETED","object":{"metadata":{"name":"a","namespace":"n","resourceVersion":"9"}}}"#,
                    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too old","reason":"Expired","code":410}}"#,
                ],
            ),
            ("limit=500", 200, vec![r#"{"metadata":{"resourceVersion":"12"},"items":[]}"#]),
        ])));
        let informers = Informers::new(scripted(script.clone()));
        let informer = informers.of::<ConfigMap>();
        informer.synced().await;
        informer.reached(5).await;
        informer.reached(12).await;
        assert!(informer.is_empty());
        assert!(script.lock().is_empty());
        assert!(Arc::ptr_eq(&informer_cache(&informers.of::<ConfigMap>()), &informer_cache(&informer)));
    }

    #[tokio::test(start_paused = true)]
    async fn stopped_informers_ask_no_more() {
        let list = r#"{"metadata":{"resourceVersion":"5"},"items":[]}"#;
        let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = asked.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            // as a server that stops: every watch ends at once
            let body = if request.uri().to_string().contains("watch=true") { "" } else { list };
            async move { Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(body)))) }
        });
        let informers = Informers::new(in_process(service, Arc::new(|_| tokio::io::duplex(1).0), Identity::admin()));
        informers.of::<ConfigMap>().synced().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        informers.stop();
        let before = asked.load(std::sync::atomic::Ordering::SeqCst);
        assert!((3..200).contains(&before), "{before} in a minute");
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), before);
    }

    fn informer_cache(informer: &Informer<ConfigMap>) -> Arc<ConfigMap> {
        if informer.is_empty() {
            informer.put(serde_json::from_str(r#"{"metadata":{"name":"marker","resourceVersion":"13"}}"#).unwrap());
        }
        informer.get("", "marker").unwrap()
    }
}

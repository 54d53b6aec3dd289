//! What others see of a pod's worker: the pod as last seen, and what is to be told to the worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use coracle_client::revision_of;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::uid;
use crate::probes::Probes;
use crate::status::Reason;

/// What others see of a pod's worker.
pub(crate) struct PodWorker {
    pub(crate) uid: String,
    pod: Mutex<Arc<Pod>>,
    /// Revisions of the worker's own writes that the informer has not brought yet.
    written: Mutex<Vec<u64>>,
    /// The object is gone from the API server.
    removed: AtomicBool,
    /// A config map or secret of the pod's namespace changed.
    objects_changed: AtomicBool,
    wake: Notify,
    /// Why the node ends the pod for the good of others, and since when; no time: it is gone.
    evicted: Mutex<Option<(Reason, Option<Instant>)>>,
    /// Set when the pod is to end: long waits give up.
    pub(crate) ending: CancellationToken,
    pub(crate) probes: Probes,
}

impl PodWorker {
    pub(crate) fn new(pod: Arc<Pod>, stop: &CancellationToken) -> Self {
        Self {
            uid: uid(&pod).to_owned(),
            pod: Mutex::new(pod),
            written: Mutex::default(),
            removed: AtomicBool::new(false),
            objects_changed: AtomicBool::new(false),
            wake: Notify::new(),
            evicted: Mutex::default(),
            ending: stop.child_token(),
            probes: Probes::default(),
        }
    }

    /// The pod as last seen.
    pub(crate) fn pod(&self) -> Arc<Pod> {
        self.pod.lock().clone()
    }

    /// The status as the API server has it.
    pub(super) fn status(&self) -> PodStatus {
        self.pod.lock().status.clone().unwrap_or_default()
    }

    /// Another version of the object. The echo of the worker's own write wakes nobody. What others wrote just before does,
    /// though that write's answer, which has it too, came first.
    pub(crate) fn update(&self, pod: Arc<Pod>) {
        if pod.metadata.deletion_timestamp.is_some() {
            self.ending.cancel();
        }
        let mut known = self.pod.lock();
        let revision = revision_of(pod.as_ref());
        let mut written = self.written.lock();
        let echo = written.contains(&revision);
        written.retain(|&own| own > revision);
        if revision >= revision_of(known.as_ref()) {
            self.replace(&mut known, pod);
        }
        if !echo {
            self.wake.notify_one();
        }
    }

    fn replace(&self, known: &mut Arc<Pod>, pod: Arc<Pod>) {
        // Volumes, and what a container waits for, may show these.
        if pod.metadata.labels != known.metadata.labels || pod.metadata.annotations != known.metadata.annotations {
            self.objects_changed.store(true, Ordering::Release);
        }
        *known = pod;
    }

    /// What a write answered, until the informer has it.
    pub(super) fn wrote(&self, pod: Pod) {
        let mut known = self.pod.lock();
        let revision = revision_of(&pod);
        if revision > revision_of(known.as_ref()) {
            self.written.lock().push(revision);
            self.replace(&mut known, Arc::new(pod));
        }
    }

    /// The object is gone.
    pub(crate) fn remove(&self) {
        self.removed.store(true, Ordering::Release);
        self.ending.cancel();
        self.wake.notify_one();
    }

    /// Ends the pod; says whether that was news.
    pub(crate) fn evict(&self, reason: Reason) -> bool {
        if self.ending.is_cancelled() {
            return false;
        }
        let mut evicted = self.evicted.lock();
        let first = evicted.is_none();
        if first {
            *evicted = Some((reason, Some(Instant::now())));
        }
        drop(evicted);
        self.wake.notify_one();
        first
    }

    /// Whether the pod is on its way out, and what it has will be free soon: after `patience` nobody counts on that.
    pub(crate) fn is_being_evicted(&self, patience: Duration) -> bool {
        matches!(&*self.evicted.lock(), Some((_, Some(since))) if since.elapsed() < patience)
    }

    /// What an evicted pod had is free.
    pub(super) fn note_cleared(&self) {
        if let Some((_, since)) = &mut *self.evicted.lock() {
            *since = None;
        }
    }

    /// Why the node ends the pod, if it does.
    pub(super) fn eviction(&self) -> Option<Reason> {
        self.evicted.lock().as_ref().map(|(reason, _)| reason.clone())
    }

    /// Something about the pod may have changed.
    pub(crate) fn poke(&self) {
        self.wake.notify_one();
    }

    /// A config map or secret changed in the pod's namespace.
    pub(crate) fn poke_objects(&self) {
        self.objects_changed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether one has changed since this was asked last.
    pub(super) fn take_objects_changed(&self) -> bool {
        self.objects_changed.swap(false, Ordering::AcqRel)
    }

    /// Ends when something has happened since it ended last.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use futures::FutureExt;
    use serde_json::json;

    use super::*;

    fn pod(revision: u64, generation: i64) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": "p", "uid": "u", "resourceVersion": revision.to_string(), "generation": generation}}),
        )
        .unwrap()
    }

    #[test]
    fn what_others_wrote_before_our_own_write_wakes() {
        let worker = PodWorker::new(Arc::new(pod(1, 1)), &CancellationToken::new());
        let woken = || worker.wake.notified().now_or_never().is_some();
        worker.wrote(pod(3, 2));
        worker.update(Arc::new(pod(2, 2)));
        assert!(woken());
        worker.update(Arc::new(pod(3, 2)));
        assert!(!woken());
        worker.update(Arc::new(pod(4, 3)));
        assert!(woken());
        assert_eq!(worker.pod().metadata.generation, Some(3));
    }
}

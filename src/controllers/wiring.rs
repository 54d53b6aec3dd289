//! What every controller is made of: keys, a task per informer that turns changes into keys, and workers.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Change, Informer, Queue, Watchable, is_conflict, is_not_found};
use futures::StreamExt;
use kube::Resource;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

/// Controllers run until they are aborted.
pub(crate) type Run = Result<(), Infallible>;
/// What a reconcile found: nothing more to do, or to look again after a while.
pub(crate) type Outcome = Result<Option<Duration>, kube::Error>;

/// Namespace and name; the namespace is empty for kinds without one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(crate) fn of<K: Resource>(object: &K) -> Self {
        Self::new(namespace_of(object), name_of(object))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

pub(crate) fn name_of<K: Resource>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

pub(crate) fn namespace_of<K: Resource>(object: &K) -> &str {
    object.meta().namespace.as_deref().unwrap_or_default()
}

pub(crate) fn uid_of<K: Resource>(object: &K) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}

/// The uids of everything there is: what is remembered of anything else can be forgotten.
pub(crate) fn uids<K: Watchable>(informer: &Informer<K>) -> HashSet<String> {
    informer.list().iter().map(|object| uid_of(object.as_ref()).to_owned()).collect()
}

/// Calls `each` for everything there is, then for every change; after a resync for everything again, as added.
pub(crate) async fn follow<K: Watchable>(informer: Informer<K>, mut each: impl FnMut(Change<K>)) {
    let mut changes = informer.changes();
    informer.synced().await;
    informer.list().into_iter().for_each(|object| each(Change::Added(object)));
    loop {
        match changes.recv().await {
            Ok(Change::Resync) | Err(RecvError::Lagged(_)) => {
                changes = informer.changes();
                informer.list().into_iter().for_each(|object| each(Change::Added(object)));
            }
            Ok(change) => each(change),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Calls `each` with the object a change leaves behind: the new one, or the last state of a deleted one.
pub(crate) async fn follow_latest<K: Watchable>(informer: Informer<K>, mut each: impl FnMut(&Arc<K>)) {
    follow(informer, move |change| match &change {
        Change::Added(object) | Change::Updated { new: object, .. } | Change::Deleted(object) => each(object),
        Change::Resync => {}
    })
    .await;
}

/// Runs the futures, `most` at a time, and collects what they end with, in the order they end.
pub(crate) async fn together<F: Future>(futures: Vec<F>, most: usize) -> Vec<F::Output> {
    futures::stream::iter(futures).buffer_unordered(most).collect().await
}

/// What became of a write to an object that may be gone: that it is gone is no failure.
pub(crate) fn unless_gone<T>(answer: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match answer {
        Err(error) if !is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Reconciles the keys of `queue` with `count` workers, until aborted. Failures are retried with back-off.
pub(crate) async fn work<T, F, Fut>(queue: Queue<T>, count: usize, reconcile: F) -> Run
where
    T: Clone + Eq + Hash + fmt::Display + Send + Sync + 'static,
    F: Fn(T) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    let mut workers = JoinSet::new();
    for _ in 0..count {
        let (queue, reconcile) = (queue.clone(), reconcile.clone());
        workers.spawn(async move {
            while let Some(item) = queue.next().await {
                settle(&queue, &item, reconcile(item.clone()).await);
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    Ok(())
}

fn settle<T: Clone + Eq + Hash + fmt::Display>(queue: &Queue<T>, key: &T, outcome: Outcome) {
    match outcome {
        Ok(again) => {
            queue.forget(key);
            if let Some(delay) = again {
                queue.add_after(key.clone(), delay);
            }
        }
        Err(error) => {
            if is_conflict(&error) || is_not_found(&error) || queue.retries(key) < 3 {
                tracing::debug!(%key, %error, "reconcile will be retried");
            } else {
                tracing::warn!(%key, %error, "reconcile fails and will be retried");
            }
            queue.retry(key.clone());
        }
    }
}

//! The garbage collector: deletes what only gone owners had, and carries out deletions in the foreground and orphaning.
//!
//! ```text
//! monitors (metadata of every kind) -> graph (uids) -> queue of uids to look at -> collect (live reads, then writes)
//! ```

mod collect;
mod graph;
mod monitors;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::Queue;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::Context;
use crate::resources::{Listed, deletable};
use crate::wiring::{Run, work};
use graph::{Graph, GroupKind, Object, Todo};
use monitors::{Listener, News, monitor};

const NAME: &str = "generic-garbage-collector";
const WORKERS: usize = 20;
/// Kinds come and go with these; what a change of one means is served a moment later.
const DEFINING: [(&str, &str); 2] = [("apiextensions.k8s.io", "CustomResourceDefinition"), ("apiregistration.k8s.io", "APIService")];
const SERVED_AFTER: Duration = Duration::from_secs(1);
/// Another server may have new kinds without a word.
const DISCOVER_EVERY: Duration = Duration::from_secs(300);
const DISCOVER_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// An owner may be seen a moment after its dependent.
const OWNER_LAG: Duration = Duration::from_millis(500);

pub(crate) struct Collector {
    client: kube::Client,
    graph: Mutex<Graph>,
    kinds: Mutex<HashMap<GroupKind, Listed>>,
    queue: Queue<Todo>,
    /// What defines kinds has changed.
    redefined: Notify,
    /// Kinds whose first list is not complete; `None` before discovery.
    unlisted: watch::Sender<Option<std::collections::HashSet<GroupKind>>>,
}

pub(crate) async fn run(context: Context) -> Run {
    let collector = Arc::new(Collector {
        client: context.client(NAME),
        graph: Mutex::default(),
        kinds: Mutex::default(),
        queue: Queue::new(),
        redefined: Notify::new(),
        unlisted: watch::Sender::new(None),
    });
    let monitors = keep_monitors(collector.clone(), context);
    let worker = collector.clone();
    let workers = async move {
        // Without the whole graph, an owner that is merely not listed yet would look gone.
        let mut unlisted = worker.unlisted.subscribe();
        let _ = unlisted.wait_for(|unlisted| unlisted.as_ref().is_some_and(std::collections::HashSet::is_empty)).await;
        let queue = worker.queue.clone();
        work(queue, WORKERS, move |todo: Todo| {
            let collector = worker.clone();
            async move {
                match todo {
                    Todo::Check(uid) => collector.check(&uid).await,
                    Todo::Orphan(uid) => collector.orphan(&uid).await,
                }
            }
        })
        .await
    };
    tokio::join!(monitors, workers).1
}

/// Starts a monitor for every kind, and again as kinds come and go.
async fn keep_monitors(collector: Arc<Collector>, context: Context) {
    let listener: Listener = {
        let collector = collector.clone();
        Arc::new(move |kind, news| collector.hear(kind, news))
    };
    let mut tasks = JoinSet::new();
    let mut running: HashMap<GroupKind, AbortHandle> = HashMap::new();
    loop {
        let kinds = match deletable(&collector.client).await {
            Ok(kinds) => kinds,
            Err(error) => {
                tracing::debug!(%error, "kinds are not known");
                tokio::time::sleep(DISCOVER_AFTER_FAILURE).await;
                continue;
            }
        };
        let kinds: HashMap<GroupKind, Listed> =
            kinds.into_iter().filter(|kind| kind.watchable && kind.resource.kind != "Event").map(|kind| (name_of(&kind), kind)).collect();
        running.retain(|name, task| {
            let stays = kinds.contains_key(name);
            if !stays {
                task.abort();
                collector.hear(name, News::All(std::collections::HashSet::new()));
            }
            stays
        });
        *collector.kinds.lock() = kinds.clone();
        collector.unlisted.send_modify(|unlisted| {
            unlisted.get_or_insert_with(|| kinds.keys().cloned().collect());
        });
        for (name, kind) in kinds {
            running
                .entry(name)
                .or_insert_with(|| tasks.spawn(monitor(kind, collector.client.clone(), &context.informers, listener.clone())));
        }
        tokio::select! {
            () = tokio::time::sleep(DISCOVER_EVERY) => {}
            () = collector.redefined.notified() => tokio::time::sleep(SERVED_AFTER).await,
            // A monitor that ended is started again.
            Some(_) = tasks.join_next() => tokio::time::sleep(DISCOVER_AFTER_FAILURE).await,
        }
        while tasks.try_join_next().is_some() {}
        running.retain(|_, task| !task.is_finished());
    }
}

fn name_of(kind: &Listed) -> GroupKind {
    (kind.resource.group.clone(), kind.resource.kind.clone())
}

impl Collector {
    fn hear(&self, kind: &GroupKind, news: News) {
        if DEFINING.contains(&(&kind.0, &kind.1)) {
            self.redefined.notify_one();
        }
        let mut graph = self.graph.lock();
        let todo = match news {
            News::Put(meta) => graph.put(meta.uid.as_deref().unwrap_or_default(), Object::new(kind.clone(), meta)),
            News::Gone(uid) => graph.remove(uid),
            News::All(uids) => {
                let gone: Vec<String> = graph.uids_of(kind).into_iter().filter(|uid| !uids.contains(uid)).collect();
                let todo = gone.iter().flat_map(|uid| graph.remove(uid)).collect();
                self.unlisted.send_if_modified(|unlisted| unlisted.as_mut().is_some_and(|unlisted| unlisted.remove(kind)));
                todo
            }
        };
        for todo in todo {
            match &todo {
                Todo::Check(uid) if graph.get(uid).is_some_and(|object| has_unseen_owner(&graph, object)) => {
                    self.queue.add_after(todo, OWNER_LAG);
                }
                _ => self.queue.add(todo),
            }
        }
    }
}

fn has_unseen_owner(graph: &Graph, object: &Object) -> bool {
    object.owners.iter().any(|owner| graph.get(&owner.uid).is_none() && !graph.is_absent(&owner.uid))
}

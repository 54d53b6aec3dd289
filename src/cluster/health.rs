//! How the cluster's actors and watches are: for `status`, and for `/metrics` under upstream's names.

use std::fmt::Write;

use coracle_client::{Actor, Watched};
use coracle_store::Store;
use serde_json::{Value, json};

/// What is known of the actors and watches of this process.
pub(crate) struct Health {
    actors: Vec<Actor>,
    watches: Vec<(Watched, Option<usize>)>,
}

/// Tells how current the informers are.
pub(crate) type Outlook = Box<dyn Fn() -> Vec<Watched> + Send + Sync>;

/// Looks. A watch's lag is the events of its kind that are in the store and not in the informer.
pub(crate) fn look(store: &Store, watched: Vec<Watched>) -> Health {
    let lag = |watched: &Watched| {
        let prefix = coracle_server::objects::key(&watched.group, &watched.plural, "", "");
        store.count_events(&prefix, watched.revision).ok()
    };
    let watches = watched.into_iter().map(|watched| (lag(&watched), watched)).map(|(lag, watched)| (watched, lag)).collect();
    Health { actors: coracle_client::actors(), watches }
}

fn state(actor: &Actor) -> &'static str {
    match (actor.waiting, actor.running) {
        (0, 0) => "ended",
        (0, _) => "running",
        _ => "failed",
    }
}

impl Health {
    /// As `status` tells it.
    pub(crate) fn value(&self) -> (Value, Value) {
        let actor = |actor: &Actor| {
            let queue = actor.queue.map(|queue| {
                json!({"ready": queue.ready, "delayed": queue.delayed, "inWork": queue.in_work, "adds": queue.adds, "retries": queue.retries})
            });
            json!({
                "name": actor.name, "state": state(actor), "running": actor.running, "restarts": actor.restarts,
                "lastFailure": actor.failure, "queue": queue,
            })
        };
        let watch = |(watched, lag): &(Watched, Option<usize>)| {
            json!({
                "group": watched.group, "resource": watched.plural, "synced": watched.synced, "revision": watched.revision,
                "objects": watched.objects, "lag": lag, "unread": watched.unread,
            })
        };
        (self.actors.iter().map(actor).collect(), self.watches.iter().map(watch).collect())
    }

    /// As `/metrics` tells it.
    pub(crate) fn page(&self) -> String {
        let mut out = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, rows: Vec<(String, u64)>| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in rows {
                let _ = writeln!(out, "{name}{{{labels}}} {value}");
            }
        };
        let queues = |count: fn(&coracle_client::QueueCounts) -> u64| {
            let row = |actor: &Actor| Some((format!("name=\"{}\"", actor.name), count(&actor.queue?)));
            self.actors.iter().filter_map(row).collect()
        };
        metric("workqueue_depth", "gauge", "Keys that wait for a worker.", queues(|queue| queue.ready));
        metric("workqueue_adds_total", "counter", "Keys that were asked for.", queues(|queue| queue.adds));
        metric("workqueue_retries_total", "counter", "Keys that were asked for again because work failed.", queues(|queue| queue.retries));
        metric("coracle_workqueue_in_work", "gauge", "Keys that workers have.", queues(|queue| queue.in_work));
        let actors = |count: fn(&Actor) -> u64| {
            let row = |actor: &Actor| (format!("name=\"{}\"", actor.name), count(actor));
            self.actors.iter().map(row).collect()
        };
        metric("coracle_actor_running", "gauge", "Actors of this name that run.", actors(|actor| actor.running.into()));
        metric(
            "coracle_actor_restarts_total",
            "counter",
            "How often an actor failed and was started again.",
            actors(|actor| actor.restarts),
        );
        let watches = |count: fn(&(Watched, Option<usize>)) -> Option<usize>| {
            let row = |watch: &(Watched, Option<usize>)| {
                let labels = format!("group=\"{}\",resource=\"{}\"", watch.0.group, watch.0.plural);
                Some((labels, count(watch)? as u64))
            };
            self.watches.iter().filter_map(row).collect()
        };
        metric("coracle_watch_lag_events", "gauge", "Events in the store that an informer has not seen.", watches(|watch| watch.1));
        metric(
            "coracle_watch_unread_changes",
            "gauge",
            "Changes that an informer's slowest reader has not taken.",
            watches(|watch| Some(watch.0.unread)),
        );
        metric("coracle_watch_objects", "gauge", "Objects that an informer holds.", watches(|watch| Some(watch.0.objects)));
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use coracle_client::QueueCounts;

    #[test]
    fn actors_queues_and_watches_are_told() {
        let queue = QueueCounts { ready: 2, delayed: 1, in_work: 3, adds: 9, retries: 4 };
        let fine = Actor { name: "job-controller".into(), running: 1, queue: Some(queue), ..Actor::default() };
        let bad = Actor { name: "scheduler".into(), waiting: 1, restarts: 7, failure: Some("panic: why".into()), ..Actor::default() };
        let watched = Watched { group: "apps".into(), plural: "deployments".into(), synced: true, revision: 5, objects: 6, unread: 8 };
        let health =
            Health { actors: vec![fine, bad], watches: vec![(watched.clone(), Some(3)), (Watched { synced: false, ..watched }, None)] };
        let (actors, watches) = health.value();
        assert_eq!((&actors[0]["state"], &actors[0]["queue"]["ready"], &actors[0]["restarts"]), (&json!("running"), &json!(2), &json!(0)));
        assert_eq!(
            (&actors[1]["state"], &actors[1]["lastFailure"], &actors[1]["queue"]),
            (&json!("failed"), &json!("panic: why"), &Value::Null)
        );
        assert_eq!((&watches[0]["lag"], &watches[0]["unread"], &watches[1]["lag"]), (&json!(3), &json!(8), &Value::Null));
        let page = health.page();
        for line in [
            "# TYPE workqueue_depth gauge\nworkqueue_depth{name=\"job-controller\"} 2\n",
            "workqueue_adds_total{name=\"job-controller\"} 9\n",
            "workqueue_retries_total{name=\"job-controller\"} 4\n",
            "coracle_actor_restarts_total{name=\"scheduler\"} 7\n",
            "coracle_watch_lag_events{group=\"apps\",resource=\"deployments\"} 3\n",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }
}

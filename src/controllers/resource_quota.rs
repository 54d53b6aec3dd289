//! Keeps `status.used` of quotas right: counts when a quota is new or changed, and when something it counts goes.
//!
//! What is made is charged by the server's admission as it is written. A count reads the quota first and what there is
//! after it, and is refused as stale if something was charged meanwhile; then it is made again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::amounts::{self, Amounts};
use coracle_api::clock::Clock;
use coracle_api::quantity::Quantity;
use coracle_api::quota;
use coracle_client::{Change, Informer, Queue};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::Api;
use kube::api::{ListParams, PostParams};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::{AbortHandle, JoinSet};

use crate::Context;
use crate::pods::is_terminal;
use crate::resources::{Listed, deletable};
use crate::wiring::{Key, Outcome, Run, follow, namespace_of, work};

const NAME: &str = "resourcequota-controller";
/// How often everything is counted again, in case a charge was lost.
const RESYNC: Duration = Duration::from_mins(5);
/// How soon kinds that were not there are looked for again.
const DISCOVER_AGAIN: Duration = Duration::from_secs(10);

/// Group and plural.
type Resource = (String, String);

struct Controller {
    client: kube::Client,
    clock: Arc<dyn Clock>,
    quotas: Informer<ResourceQuota>,
    queue: Queue<Key>,
    kinds: Mutex<HashMap<Resource, Listed>>,
    changed: tokio::sync::Notify,
}

pub(crate) async fn run(context: Context) -> Run {
    let controller = Arc::new(Controller {
        client: context.client(NAME),
        clock: context.clock.clone(),
        quotas: context.informers.of(),
        queue: Queue::new(),
        kinds: Mutex::default(),
        changed: tokio::sync::Notify::new(),
    });
    let hard = |quota: &ResourceQuota| quota.spec.as_ref().and_then(|spec| spec.hard.clone());
    let quotas = follow(controller.quotas.clone(), |change| {
        match change {
            Change::Added(quota) => controller.queue.add(Key::of(quota.as_ref())),
            Change::Updated { old, new } if hard(&old) != hard(&new) => controller.queue.add(Key::of(new.as_ref())),
            _ => return,
        }
        controller.changed.notify_one();
    });
    let pods = follow(context.informers.of::<Pod>(), |change| match change {
        Change::Deleted(pod) => controller.less(namespace_of(pod.as_ref()), "", "pods"),
        Change::Updated { old, new } if is_terminal(&new) && !is_terminal(&old) => controller.less(namespace_of(new.as_ref()), "", "pods"),
        _ => {}
    });
    let worker = controller.clone();
    let workers = work(controller.queue.clone(), 4, move |key: Key| {
        let controller = worker.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(quotas, pods, controller.clone().keep_monitors(), workers).3
}

/// The resources that count towards a quota.
fn resources(quota: &ResourceQuota) -> BTreeSet<Resource> {
    let names = quota.spec.iter().filter_map(|spec| spec.hard.as_ref()).flat_map(BTreeMap::keys);
    names.filter_map(|name| quota::counts(name)).map(|(group, plural)| (group.to_owned(), plural.to_owned())).collect()
}

impl Controller {
    /// An object of a resource in a namespace is gone, or uses less.
    fn less(&self, namespace: &str, group: &str, plural: &str) {
        let concerned = |quota: &Arc<ResourceQuota>| resources(quota).iter().any(|(own, name)| own == group && name == plural);
        self.quotas.list_in(namespace).iter().filter(|quota| concerned(quota)).for_each(|quota| self.queue.add(Key::of(quota.as_ref())));
    }

    async fn kind(&self, resource: &Resource) -> Result<Option<Listed>, kube::Error> {
        if let Some(known) = self.kinds.lock().get(resource) {
            return Ok(Some(known.clone()));
        }
        let all = deletable(&self.client).await?;
        let all =
            all.into_iter().filter(|kind| kind.namespaced).map(|kind| ((kind.resource.group.clone(), kind.resource.plural.clone()), kind));
        let mut kinds = self.kinds.lock();
        *kinds = all.collect();
        Ok(kinds.get(resource).cloned())
    }

    /// Watches what quotas count, apart from pods, for as long as one does.
    async fn keep_monitors(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let mut running: HashMap<(String, Resource), AbortHandle> = HashMap::new();
        self.quotas.synced().await;
        loop {
            let mut wanted = BTreeSet::new();
            for quota in self.quotas.list() {
                let counted = resources(&quota).into_iter().filter(|(group, plural)| (&**group, &**plural) != ("", "pods"));
                wanted.extend(counted.map(|resource| (namespace_of(quota.as_ref()).to_owned(), resource)));
            }
            running.retain(|place, task| {
                let keep = wanted.contains(place) && !task.is_finished();
                if !keep {
                    task.abort();
                }
                keep
            });
            let mut unknown = false;
            for (namespace, resource) in wanted {
                if running.contains_key(&(namespace.clone(), resource.clone())) {
                    continue;
                }
                match self.kind(&resource).await {
                    Ok(Some(kind)) if kind.watchable => {
                        let task = tasks.spawn(monitor(self.clone(), namespace.clone(), kind));
                        running.insert((namespace, resource), task);
                    }
                    _ => unknown = true,
                }
            }
            while tasks.try_join_next().is_some() {}
            if unknown {
                let _ = tokio::time::timeout(DISCOVER_AGAIN, self.changed.notified()).await;
            } else {
                self.changed.notified().await;
            }
        }
    }

    async fn reconcile(&self, key: &Key) -> Outcome {
        let api = Api::<ResourceQuota>::namespaced(self.client.clone(), &key.namespace);
        let only = ListParams::default().fields(&format!("metadata.name={}", key.name));
        let Some(mut quota) = api.list(&only).await?.items.pop() else { return Ok(None) };
        let seen = serde_json::to_value(&quota).map_err(kube::Error::SerdeError)?;
        let mut objects = BTreeMap::new();
        for resource in resources(&quota) {
            let Some(kind) = self.kind(&resource).await? else { continue };
            let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &key.namespace, &kind.resource);
            let items = api.list(&ListParams::default()).await?.items;
            let items: Vec<Value> = items.into_iter().filter_map(|item| serde_json::to_value(item).ok()).collect();
            objects.insert(resource, items);
        }
        if let Some(status) = plan(&seen, &objects, self.clock.now()) {
            quota.status = serde_json::from_value(status).ok();
            api.replace_status(&key.name, &PostParams::default(), &quota).await?;
        }
        Ok(Some(RESYNC))
    }
}

/// Tells the controller what goes.
async fn monitor(controller: Arc<Controller>, namespace: String, kind: Listed) {
    let api = Api::<PartialObjectMeta<DynamicObject>>::namespaced_with(controller.client.clone(), &namespace, &kind.resource);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            // What went before the list was complete went unseen.
            Ok(Event::Delete(_) | Event::InitDone) => controller.less(&namespace, &kind.resource.group, &kind.resource.plural),
            Ok(_) => {}
            Err(error) => tracing::debug!(kind = kind.qualified(), %error, "metadata watch failed and will be resumed"),
        }
    }
}

/// The status a quota should have, given every object of the resources it counts; `None` when it has it (`syncResourceQuota`).
fn plan(quota: &Value, objects: &BTreeMap<Resource, Vec<Value>>, now: Timestamp) -> Option<Value> {
    let (hard, status) = (amounts::of(&quota["spec"]["hard"]), &quota["status"]);
    let mut used: Amounts = amounts::of(&status["used"]).into_iter().filter(|(name, _)| hard.contains_key(name)).collect();
    for ((group, plural), items) in objects {
        for name in hard.keys().filter(|name| quota::tracks(group, plural, name)) {
            used.insert(name.clone(), Quantity::ZERO);
        }
        for item in items.iter().filter(|item| quota::covers(quota, &quota["spec"]["hard"], group, plural, item)) {
            let usage = quota::usage(group, plural, item, now).into_iter().filter(|(name, _)| hard.contains_key(name)).collect();
            amounts::add(&mut used, &usage);
        }
    }
    let counted = status["hard"].is_object() && status["used"].is_object();
    let right = counted && amounts::of(&status["hard"]) == hard && amounts::of(&status["used"]) == used;
    (!right).then(|| json!({"hard": amounts::to_value(&hard), "used": amounts::to_value(&used)}))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn pod(cpu: &str, phase: &str) -> Value {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}, "status": {"phase": phase}})
    }

    fn resource(plural: &str) -> Resource {
        (String::new(), plural.to_owned())
    }

    #[test]
    fn what_there_is_is_counted() {
        let hard = json!({"pods": "5", "requests.cpu": "2", "secrets": "3", "count/widgets.example.com": "1"});
        let mut quota = json!({"spec": {"hard": hard}});
        let now = Timestamp::UNIX_EPOCH;
        let mut objects = BTreeMap::from([(resource("pods"), vec![pod("500m", "Running"), pod("1", "Pending"), pod("1", "Failed")])]);
        objects.insert(resource("secrets"), Vec::new());
        let status = plan(&quota, &objects, now).unwrap();
        assert_eq!(
            status,
            json!({"hard": hard, "used": {"pods": "2", "requests.cpu": "1500m", "secrets": "0"}}),
            "what is unknown is not counted"
        );
        quota["status"] = status;
        assert_eq!(plan(&quota, &objects, now), None);
        objects.get_mut(&resource("pods")).unwrap().clear();
        assert_eq!(plan(&quota, &objects, now).unwrap()["used"], json!({"pods": "0", "requests.cpu": "0", "secrets": "0"}));
        quota["spec"]["hard"] = json!({"pods": "6"});
        assert_eq!(plan(&quota, &objects, now).unwrap(), json!({"hard": {"pods": "6"}, "used": {"pods": "0"}}));
    }

    #[test]
    fn scopes_are_kept_apart() {
        let quota = |scope: &str| json!({"spec": {"hard": {"pods": "5"}, "scopes": [scope]}});
        let objects = BTreeMap::from([(resource("pods"), vec![pod("1", ""), json!({"spec": {"containers": [{"name": "c"}]}})])]);
        for scope in ["BestEffort", "NotBestEffort"] {
            assert_eq!(plan(&quota(scope), &objects, Timestamp::UNIX_EPOCH).unwrap()["used"], json!({"pods": "1"}));
        }
        assert_eq!(plan(&quota("Terminating"), &objects, Timestamp::UNIX_EPOCH).unwrap()["used"], json!({"pods": "0"}));
    }
}

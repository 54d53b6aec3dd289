//! Pods leave nodes with `NoExecute` taints that they do not tolerate: at once, or after the seconds they ask for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_api::placement::tolerates;
use coracle_client::{Change, EventRecorder, EventType, Index, Informer, Queue};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use parking_lot::Mutex;
use serde_json::json;

use crate::Context;
use crate::pod_control::same_pod;
use crate::pods;
use crate::wiring::{Key, Outcome, Run, follow, name_of, namespace_of, unless_gone, work};

const NAME: &str = "node-controller";

struct Controller {
    client: kube::Client,
    recorder: EventRecorder,
    clock: Arc<dyn Clock>,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    pods_on: Index<Pod>,
    /// Pods that are to go later, with the time when that was seen first.
    waiting: Mutex<HashMap<Key, Timestamp>>,
}

pub(crate) async fn run(context: Context) -> Run {
    let pods: Informer<Pod> = context.informers.of();
    let controller = Arc::new(Controller {
        client: context.client(NAME),
        // it has no account of its own
        recorder: EventRecorder::with_clock(context.client(NAME), "taint-eviction-controller", "", context.clock.clone()),
        clock: context.clock.clone(),
        nodes: context.informers.of(),
        pods_on: pods.index("node", |pod| Some(pods::node(pod).to_owned()).filter(|node| !node.is_empty()).into_iter().collect()),
        pods,
        waiting: Mutex::default(),
    });
    controller.nodes.synced().await;
    controller.pods.synced().await;
    let queue = Queue::new();
    let nodes = follow(controller.nodes.clone(), |change| match change {
        Change::Added(node) if !taints(&node).is_empty() => controller.all_on(&queue, &node),
        Change::Updated { old, new } if taints(&old) != taints(&new) => controller.all_on(&queue, &new),
        _ => {}
    });
    let pods = follow(controller.pods.clone(), |change| {
        let pod = match &change {
            Change::Added(pod) => pod,
            Change::Updated { old, new } if pods::node(old) != pods::node(new) || tolerations(old) != tolerations(new) => new,
            _ => return,
        };
        if controller.nodes.get("", pods::node(pod)).is_some_and(|node| !taints(&node).is_empty()) {
            queue.add(Key::of(pod.as_ref()));
        }
    });
    let reconciler = controller.clone();
    let workers = work(queue.clone(), 8, move |key: Key| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(nodes, pods, workers).2
}

fn taints(node: &Node) -> Vec<&Taint> {
    let all = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    all.filter(|taint| taint.effect == "NoExecute").collect()
}

fn tolerations(pod: &Pod) -> &[Toleration] {
    pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
}

/// When the pod must go; `None` while it may stay for ever. Of several tolerations of a taint the first counts; of several
/// taints the shortest patience. A taint that does not say since when it is there counts from `seen` on.
fn leaves_at(pod: &Pod, taints: &[&Taint], seen: Timestamp) -> Option<Timestamp> {
    let tolerations = tolerations(pod);
    let mut soonest: Option<Timestamp> = None;
    for taint in taints {
        let Some(toleration) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else { return Some(seen) };
        if let Some(seconds) = toleration.toleration_seconds {
            let since = taint.time_added.as_ref().map_or(seen, |time| time.0);
            let end = since.checked_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(Timestamp::MAX);
            soonest = Some(soonest.map_or(end, |known| known.min(end)));
        }
    }
    soonest
}

impl Controller {
    fn all_on(&self, queue: &Queue<Key>, node: &Node) {
        self.pods_on.get(name_of(node)).iter().for_each(|pod| queue.add(Key::of(pod.as_ref())));
    }

    async fn reconcile(&self, key: &Key) -> Outcome {
        let waited = self.waiting.lock().remove(key);
        let Some(pod) = self.pods.get(&key.namespace, &key.name).filter(|pod| !pods::is_terminating(pod)) else { return Ok(None) };
        let now = self.clock.now();
        let seen = waited.unwrap_or(now);
        let node = self.nodes.get("", pods::node(&pod));
        let Some(end) = node.and_then(|node| leaves_at(&pod, &taints(&node), seen)) else {
            if waited.is_some() {
                let message = format!("Cancelling deletion of Pod {key}");
                self.recorder.event(&pod.object_ref(&()), EventType::Normal, "TaintManagerEviction", message);
            }
            return Ok(None);
        };
        let wait = end.duration_since(now);
        if wait > SignedDuration::ZERO {
            self.waiting.lock().insert(key.clone(), seen);
            return Ok(Some(Duration::try_from(wait).unwrap_or_default() + Duration::from_millis(5)));
        }
        let message = format!("Marking for deletion Pod {key}");
        self.recorder.event(&pod.object_ref(&()), EventType::Normal, "TaintManagerEviction", message);
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace_of(pod.as_ref()));
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [{"type": "DisruptionTarget", "status": "True",
            "reason": "DeletionByTaintManager", "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": Time(now)}]}});
        for outcome in [
            api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop),
            api.delete(&key.name, &same_pod(&pod)).await.map(drop),
        ] {
            unless_gone(outcome)?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::Value;

    #[rstest]
    #[case::untolerated(json!([]), Some(100))]
    #[case::for_ever(json!([{"operator": "Exists"}]), None)]
    #[case::for_a_while(json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 300}]), Some(310))]
    #[case::one_of_two(json!([{"key": "k", "operator": "Exists"}]), None)]
    #[case::other_effect(json!([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]), Some(100))]
    fn patience(#[case] tolerations: Value, #[case] expected: Option<i64>) {
        let at = |second| Timestamp::from_second(second).unwrap();
        let pod = serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [], "tolerations": tolerations}})).unwrap();
        let taint: Taint = serde_json::from_value(json!({"key": "k", "effect": "NoExecute", "timeAdded": at(10).to_string()})).unwrap();
        assert_eq!(leaves_at(&pod, &[&taint], at(100)), expected.map(at));
        assert_eq!(leaves_at(&pod, &[], at(100)), None);
    }
}

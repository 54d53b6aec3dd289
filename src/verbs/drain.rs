//! `drain`: cordons a node and evicts its pods, by kubectl's rules.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

/// How a node is drained.
#[derive(Debug, Clone)]
pub struct DrainOptions {
    /// Seconds each pod has to end; `None` is the pod's own.
    pub grace: Option<u32>,
    /// How long it may take.
    pub timeout: Duration,
    /// Pods of daemon sets stay.
    pub ignore_daemon_sets: bool,
    /// Pods with emptyDir volumes go too; what is in the volumes is lost.
    pub delete_empty_dir: bool,
    /// Pods without a controller go too.
    pub force: bool,
    /// Pods are deleted, not evicted: disruption budgets do not count.
    pub delete: bool,
}

/// Why a node is not drained.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The server refused something.
    #[error("{0}")]
    Request(#[from] kube::Error),
    /// Some pods may not go.
    #[error("{}", .0.join("; "))]
    Kept(Vec<String>),
    /// Some pods were still there at the end.
    #[error("timed out: {} still there", .0.join(", "))]
    TimedOut(Vec<String>),
}

/// What becomes of a pod.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Goes,
    Stays,
    Refused(&'static str),
}

fn verdict(pod: &Pod, options: &DrainOptions) -> Verdict {
    let mirror = pod.annotations().contains_key("kubernetes.io/config.mirror");
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let ended = matches!(phase, "Succeeded" | "Failed");
    let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
    if mirror || pod.metadata.deletion_timestamp.is_some() {
        return Verdict::Stays;
    }
    if !ended && controller.is_some_and(|owner| owner.kind == "DaemonSet") {
        return if options.ignore_daemon_sets {
            Verdict::Stays
        } else {
            Verdict::Refused("is of a daemon set (ignore daemon sets to go on)")
        };
    }
    let empty_dir = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).any(|volume| volume.empty_dir.is_some());
    if !ended && empty_dir && !options.delete_empty_dir {
        return Verdict::Refused("has local data (delete emptyDir data to go on)");
    }
    if !ended && controller.is_none() && !options.force {
        return Verdict::Refused("has no controller (force to go on)");
    }
    Verdict::Goes
}

/// Drains a node and tells how it goes on; how many pods went is returned.
pub async fn drain(client: Client, node: &str, options: &DrainOptions, tell: impl Fn(String)) -> Result<usize, DrainError> {
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.patch(node, &PatchParams::default(), &Patch::Merge(json!({"spec": {"unschedulable": true}}))).await?;
    let all: Api<Pod> = Api::all(client.clone());
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = all.list(&on_node).await?.items;
    let refused: Vec<String> = pods
        .iter()
        .filter_map(|pod| match verdict(pod, options) {
            Verdict::Refused(why) => Some(format!("pod {} {why}", pod.name_any())),
            _ => None,
        })
        .collect();
    if !refused.is_empty() {
        return Err(DrainError::Kept(refused));
    }
    let going: Vec<&Pod> = pods.iter().filter(|pod| verdict(pod, options) == Verdict::Goes).collect();
    let deadline = tokio::time::Instant::now() + options.timeout;
    let evictions: Vec<_> = going.iter().map(|pod| evict(&client, pod, options, deadline, &tell)).collect();
    let outcomes: Vec<_> = futures::stream::iter(evictions).buffer_unordered(16).collect().await;
    let left: Vec<String> = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    if left.is_empty() { Ok(going.len()) } else { Err(DrainError::TimedOut(left)) }
}

/// Evicts a pod and waits until it is gone; its name if it is not.
async fn evict(
    client: &Client,
    pod: &Pod,
    options: &DrainOptions,
    deadline: tokio::time::Instant,
    tell: &impl Fn(String),
) -> Result<Option<String>, kube::Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    let how = DeleteParams { grace_period_seconds: options.grace, ..DeleteParams::default() };
    let mut told = false;
    loop {
        let asked = match options.delete {
            true => pods.delete(&name, &how).await.map(drop),
            false => pods.evict(&name, &EvictParams { delete_options: Some(how.clone()), ..EvictParams::default() }).await.map(drop),
        };
        match asked {
            Ok(()) => break,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            // a disruption budget does not let it go now
            Err(kube::Error::Api(status)) if status.code == 429 => {
                if !std::mem::replace(&mut told, true) {
                    tell(format!("pod {name} may not go yet: {}", status.message));
                }
            }
            Err(error) => return Err(error),
        }
        if tokio::time::Instant::now() + Duration::from_secs(5) > deadline {
            return Ok(Some(name));
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    loop {
        match pods.get_opt(&name).await? {
            Some(now) if now.uid() == pod.uid() => {}
            _ => {
                tell(format!("pod {name} is gone"));
                return Ok(None);
            }
        }
        if tokio::time::Instant::now() > deadline {
            return Ok(Some(name));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn options() -> DrainOptions {
        DrainOptions {
            grace: None,
            timeout: Duration::from_secs(1),
            ignore_daemon_sets: false,
            delete_empty_dir: false,
            force: false,
            delete: false,
        }
    }

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn kubectls_rules_say_what_goes() {
        let owned = |kind: &str| json!({"metadata": {"name": "a", "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "u", "controller": true}]}});
        assert_eq!(verdict(&pod(owned("ReplicaSet")), &options()), Verdict::Goes);
        assert!(matches!(verdict(&pod(owned("DaemonSet")), &options()), Verdict::Refused(_)));
        assert_eq!(verdict(&pod(owned("DaemonSet")), &DrainOptions { ignore_daemon_sets: true, ..options() }), Verdict::Stays);
        let bare = pod(json!({"metadata": {"name": "a"}}));
        assert!(matches!(verdict(&bare, &options()), Verdict::Refused(_)));
        assert_eq!(verdict(&bare, &DrainOptions { force: true, ..options() }), Verdict::Goes);
        let ended = pod(json!({"metadata": {"name": "a"}, "status": {"phase": "Succeeded"}}));
        assert_eq!(verdict(&ended, &options()), Verdict::Goes);
        let mirror = pod(json!({"metadata": {"name": "a", "annotations": {"kubernetes.io/config.mirror": "x"}}}));
        assert_eq!(verdict(&mirror, &options()), Verdict::Stays);
        let mut local = owned("ReplicaSet");
        local["spec"] = json!({"containers": [], "volumes": [{"name": "v", "emptyDir": {}}]});
        assert!(matches!(verdict(&pod(local.clone()), &options()), Verdict::Refused(_)));
        assert_eq!(verdict(&pod(local), &DrainOptions { delete_empty_dir: true, ..options() }), Verdict::Goes);
    }
}

//! The node's heartbeat: a Lease in `kube-node-lease`, renewed after a quarter of its duration.

use std::sync::Arc;
use std::time::Duration;

use coracle_client::{is_exists, is_not_found};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use super::Agent;

const NAMESPACE: &str = "kube-node-lease";

/// Renews until stopped.
pub(crate) async fn run(agent: Arc<Agent>) {
    let api: Api<Lease> = Api::namespaced(agent.client.clone(), NAMESPACE);
    let mut wait = Duration::from_millis(200);
    loop {
        match renew(&agent, &api).await {
            Ok(()) => wait = agent.lease_duration / 4,
            Err(error) => {
                tracing::debug!(node = agent.name, %error, "the lease was not renewed");
                wait = (wait * 2).clamp(Duration::from_millis(200), Duration::from_secs(7));
            }
        }
        tokio::time::sleep(wait).await;
    }
}

async fn renew(agent: &Agent, api: &Api<Lease>) -> Result<(), kube::Error> {
    let now = MicroTime(agent.clock.now());
    let seconds = i32::try_from(agent.lease_duration.as_secs().max(1)).unwrap_or(i32::MAX);
    let patch = json!({"spec": {"holderIdentity": agent.name, "leaseDurationSeconds": seconds, "renewTime": now}});
    match api.patch(&agent.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => return Ok(()),
        Err(error) if is_not_found(&error) => {}
        Err(error) => return Err(error),
    }
    let owner = agent.nodes.get("", &agent.name).and_then(|node| node.metadata.uid.clone()).map(|uid| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: agent.name.clone(),
        uid,
        ..OwnerReference::default()
    });
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(agent.name.clone()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(agent.name.clone()),
            lease_duration_seconds: Some(seconds),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    match api.create(&PostParams::default(), &lease).await {
        Err(error) if !is_exists(&error) => Err(error),
        _ => Ok(()),
    }
}

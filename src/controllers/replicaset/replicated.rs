//! The kinds that ask for replicas of a template. A replication controller is an older form of a replica set, and is
//! treated as one.

use std::sync::Arc;

use coracle_client::Watchable;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Resource;
use serde::Serialize;

pub(crate) trait Replicated: Watchable + Resource<Scope = NamespaceResourceScope> + Serialize {
    /// The service account its controller acts as.
    const CONTROLLER: &str;
    fn as_set(object: &Arc<Self>) -> Arc<ReplicaSet>;
    fn with_status(&self, status: ReplicaSetStatus) -> Self;
}

impl Replicated for ReplicaSet {
    const CONTROLLER: &str = "replicaset-controller";

    fn as_set(object: &Arc<Self>) -> Arc<ReplicaSet> {
        object.clone()
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }
}

impl Replicated for ReplicationController {
    const CONTROLLER: &str = "replication-controller";

    fn as_set(object: &Arc<Self>) -> Arc<ReplicaSet> {
        let spec = object.spec.clone().unwrap_or_default();
        let selector = LabelSelector { match_labels: spec.selector, match_expressions: None };
        Arc::new(ReplicaSet {
            metadata: object.metadata.clone(),
            spec: Some(ReplicaSetSpec {
                replicas: spec.replicas,
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: spec.template,
            }),
            status: object.status.clone().map(|status| ReplicaSetStatus {
                replicas: status.replicas,
                fully_labeled_replicas: status.fully_labeled_replicas,
                ready_replicas: status.ready_replicas,
                available_replicas: status.available_replicas,
                observed_generation: status.observed_generation,
                conditions: status.conditions.map(|all| {
                    let convert = |one: ReplicationControllerCondition| ReplicaSetCondition {
                        type_: one.type_,
                        status: one.status,
                        reason: one.reason,
                        message: one.message,
                        last_transition_time: one.last_transition_time,
                    };
                    all.into_iter().map(convert).collect()
                }),
                terminating_replicas: None,
            }),
        })
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        let convert = |one: ReplicaSetCondition| ReplicationControllerCondition {
            type_: one.type_,
            status: one.status,
            reason: one.reason,
            message: one.message,
            last_transition_time: one.last_transition_time,
        };
        let status = ReplicationControllerStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            conditions: status.conditions.map(|all| all.into_iter().map(convert).collect()),
        };
        Self { status: Some(status), ..self.clone() }
    }
}

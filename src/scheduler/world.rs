//! What decisions look up beside nodes and pods: namespaces, claims and volumes, disruption budgets.

use std::collections::BTreeMap;

use coracle_client::{Informer, Informers, Watchable};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

pub(crate) struct World {
    pub namespaces: Informer<Namespace>,
    pub claims: Informer<PersistentVolumeClaim>,
    pub volumes: Informer<PersistentVolume>,
    pub classes: Informer<StorageClass>,
    pub budgets: Informer<PodDisruptionBudget>,
}

impl World {
    pub(crate) fn new(informers: &Informers) -> Self {
        Self {
            namespaces: informers.of(),
            claims: informers.of(),
            volumes: informers.of(),
            classes: informers.of(),
            budgets: informers.of(),
        }
    }

    pub(crate) async fn synced(&self) {
        self.namespaces.synced().await;
        self.claims.synced().await;
        self.volumes.synced().await;
        self.classes.synced().await;
        self.budgets.synced().await;
    }

    pub(crate) fn namespace_labels(&self, name: &str) -> BTreeMap<String, String> {
        self.namespaces.get("", name).and_then(|namespace| namespace.metadata.labels.clone()).unwrap_or_default()
    }

    /// Says when something changed that pods with claims may wait for.
    pub(crate) fn announce(&self, tasks: &mut JoinSet<()>, wakes: &UnboundedSender<()>) {
        announce(self.claims.clone(), tasks, wakes.clone());
        announce(self.volumes.clone(), tasks, wakes.clone());
        announce(self.classes.clone(), tasks, wakes.clone());
    }
}

fn announce<K: Watchable>(informer: Informer<K>, tasks: &mut JoinSet<()>, wakes: UnboundedSender<()>) {
    let mut changes = informer.changes();
    tasks.spawn(async move {
        while !matches!(changes.recv().await, Err(tokio::sync::broadcast::error::RecvError::Closed)) {
            if wakes.send(()).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::{Value, json};

    /// A world with these claims, volumes and classes, and two namespaces: `n` (team red) and `m` (team blue).
    pub(crate) fn world(claims: Value, volumes: Value, classes: Value) -> World {
        let namespace = |name: &str, team: &str| json!({"metadata": {"name": name, "labels": {"team": team}}});
        World {
            namespaces: Informer::of_objects(serde_json::from_value(json!([namespace("n", "red"), namespace("m", "blue")])).unwrap()),
            claims: Informer::of_objects(serde_json::from_value(claims).unwrap()),
            volumes: Informer::of_objects(serde_json::from_value(volumes).unwrap()),
            classes: Informer::of_objects(serde_json::from_value(classes).unwrap()),
            budgets: Informer::of_objects(Vec::new()),
        }
    }

    pub(crate) fn plain() -> World {
        world(json!([]), json!([]), json!([]))
    }
}

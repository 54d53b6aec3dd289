//! What a replica set did and the cache must show before it is planned for again.

use coracle_client::Informer;
use k8s_openapi::api::core::v1::Pod;

use crate::pods::is_terminating;
use crate::wiring::{name_of, uid_of};

/// The writes of one reconcile. Revisions grow, so a cache that has seen the last create has seen them all; an answer to
/// a delete need not carry one, but what it leads to stays visible.
#[derive(Debug, Default)]
pub(crate) struct Expectations {
    created_up_to: u64,
    /// Name and uid of deleted pods.
    deleted: Vec<(String, String)>,
}

impl Expectations {
    pub(crate) fn created(&mut self, revision: u64) {
        self.created_up_to = self.created_up_to.max(revision);
    }

    /// The revision that shows all that was created.
    pub(crate) fn created_up_to(&self) -> u64 {
        self.created_up_to
    }

    pub(crate) fn deleted(&mut self, pod: &Pod) {
        self.deleted.push((name_of(pod).to_owned(), uid_of(pod).to_owned()));
    }

    /// The cache shows all of it.
    pub(crate) fn are_met(&self, namespace: &str, pods: &Informer<Pod>) -> bool {
        let gone = |(name, uid): &(String, String)| {
            pods.get(namespace, name).is_none_or(|pod| uid_of(pod.as_ref()) != uid || is_terminating(&pod))
        };
        pods.revision() >= self.created_up_to && self.deleted.iter().all(gone)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use coracle_client::revision_of;
    use serde_json::json;

    fn pod(name: &str, uid: &str, revision: u64, deleting: bool) -> Pod {
        let deletion = deleting.then_some("2024-01-01T00:00:00Z");
        serde_json::from_value(json!({"metadata": {"namespace": "n", "name": name, "uid": uid,
            "resourceVersion": revision.to_string(), "deletionTimestamp": deletion}}))
        .unwrap()
    }

    #[tokio::test]
    async fn creates_are_met_by_revision() {
        let cache = Informer::of_objects(vec![pod("a", "1", 5, false)]);
        let mut expected = Expectations::default();
        assert!(expected.are_met("n", &cache));
        expected.created(revision_of(&pod("b", "2", 7, false)));
        expected.created(6);
        assert!(!expected.are_met("n", &cache));
        cache.put(pod("c", "3", 6, false));
        assert!(!expected.are_met("n", &cache));
        cache.put(pod("b", "2", 7, false));
        assert!(expected.are_met("n", &cache));
    }

    #[tokio::test]
    async fn deletes_are_met_when_the_pod_terminates_is_gone_or_is_another() {
        for after in [Some(pod("a", "1", 6, true)), None, Some(pod("a", "2", 6, false))] {
            let cache = Informer::of_objects(vec![pod("a", "1", 5, false)]);
            let mut expected = Expectations::default();
            expected.deleted(&pod("a", "1", 5, false));
            assert!(!expected.are_met("n", &cache));
            match after {
                Some(after) => cache.put(after),
                None => cache.remove(pod("a", "1", 6, false)),
            }
            assert!(expected.are_met("n", &cache));
        }
    }
}

//! Every namespace has a config map with the certificate authority that pods trust.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_client::{Informer, Queue, is_exists, is_not_found};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;

use crate::Context;
use crate::namespace::is_active;
use crate::wiring::{Outcome, Run, follow_latest, name_of, namespace_of, work};

const NAME: &str = "root-ca-cert-publisher";
const MAP: &str = "kube-root-ca.crt";
const FILE: &str = "ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

struct Controller {
    client: kube::Client,
    namespaces: Informer<Namespace>,
    maps: Informer<ConfigMap>,
    root_ca: String,
}

pub(crate) async fn run(context: Context) -> Run {
    let controller = Arc::new(Controller {
        client: context.client(NAME),
        namespaces: context.informers.of(),
        maps: context.informers.of(),
        root_ca: context.root_ca.clone(),
    });
    controller.namespaces.synced().await;
    controller.maps.synced().await;
    let queue = Queue::new();
    let namespaces = follow_latest(controller.namespaces.clone(), |namespace| queue.add(name_of(namespace.as_ref()).to_owned()));
    let maps = follow_latest(controller.maps.clone(), |map| {
        if name_of(map.as_ref()) == MAP {
            queue.add(namespace_of(map.as_ref()).to_owned());
        }
    });
    let reconciler = controller.clone();
    let workers = work(queue.clone(), 1, move |namespace: String| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&namespace).await }
    });
    tokio::join!(namespaces, maps, workers).2
}

/// The config map of a namespace as it should be; `None` when it is.
fn plan(namespace: &str, known: Option<&ConfigMap>, root_ca: &str) -> Option<ConfigMap> {
    let data = BTreeMap::from([(FILE.to_owned(), root_ca.to_owned())]);
    let Some(known) = known else {
        let metadata = ObjectMeta {
            name: Some(MAP.to_owned()),
            namespace: Some(namespace.to_owned()),
            annotations: Some(BTreeMap::from([("kubernetes.io/description".to_owned(), DESCRIPTION.to_owned())])),
            ..ObjectMeta::default()
        };
        return Some(ConfigMap { metadata, data: Some(data), ..ConfigMap::default() });
    };
    let described = known.metadata.annotations.as_ref().and_then(|map| map.get("kubernetes.io/description"));
    if known.data.as_ref() == Some(&data) && described.map(String::as_str) == Some(DESCRIPTION) {
        return None;
    }
    let mut map = known.clone();
    map.data = Some(data);
    map.metadata.annotations.get_or_insert_default().insert("kubernetes.io/description".to_owned(), DESCRIPTION.to_owned());
    Some(map)
}

impl Controller {
    async fn reconcile(&self, namespace: &str) -> Outcome {
        if !self.namespaces.get("", namespace).is_some_and(|namespace| is_active(&namespace)) {
            return Ok(None);
        }
        let known = self.maps.get(namespace, MAP);
        let Some(map) = plan(namespace, known.as_deref(), &self.root_ca) else { return Ok(None) };
        let api = Api::namespaced(self.client.clone(), namespace);
        let written = match known {
            Some(_) => api.replace(MAP, &PostParams::default(), &map).await,
            None => api.create(&PostParams::default(), &map).await,
        };
        match written {
            Err(error) if !is_exists(&error) && !is_not_found(&error) => Err(error),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_map_is_made_and_repaired_and_left_alone() {
        let made = plan("n", None, "CA").unwrap();
        assert_eq!(made.data.as_ref().unwrap()["ca.crt"], "CA");
        assert_eq!(plan("n", Some(&made), "CA"), None);
        let mut broken = made.clone();
        broken.data = None;
        assert_eq!(plan("n", Some(&broken), "CA"), Some(made.clone()));
        assert_eq!(plan("n", Some(&made), "NEW").unwrap().data.unwrap()["ca.crt"], "NEW");
    }
}

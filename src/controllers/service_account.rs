//! Every namespace has a service account `default`.

use std::sync::Arc;

use coracle_client::{Informer, Queue, is_exists, is_not_found};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;

use crate::Context;
use crate::namespace::is_active;
use crate::wiring::{Outcome, Run, follow, follow_latest, name_of, namespace_of, work};

const NAME: &str = "service-account-controller";
const ACCOUNT: &str = "default";

struct Controller {
    client: kube::Client,
    namespaces: Informer<Namespace>,
    accounts: Informer<ServiceAccount>,
}

pub(crate) async fn run(context: Context) -> Run {
    let controller =
        Arc::new(Controller { client: context.client(NAME), namespaces: context.informers.of(), accounts: context.informers.of() });
    controller.namespaces.synced().await;
    controller.accounts.synced().await;
    let queue = Queue::new();
    let namespaces = follow_latest(controller.namespaces.clone(), |namespace| queue.add(name_of(namespace.as_ref()).to_owned()));
    let accounts = follow(controller.accounts.clone(), |change| {
        if let coracle_client::Change::Deleted(account) = change {
            queue.add(namespace_of(account.as_ref()).to_owned());
        }
    });
    let reconciler = controller.clone();
    let workers = work(queue.clone(), 1, move |namespace: String| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&namespace).await }
    });
    tokio::join!(namespaces, accounts, workers).2
}

impl Controller {
    async fn reconcile(&self, namespace: &str) -> Outcome {
        let active = self.namespaces.get("", namespace).is_some_and(|namespace| is_active(&namespace));
        if !active || self.accounts.get(namespace, ACCOUNT).is_some() {
            return Ok(None);
        }
        let metadata = ObjectMeta { name: Some(ACCOUNT.to_owned()), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        let api = Api::namespaced(self.client.clone(), namespace);
        match api.create(&PostParams::default(), &account).await {
            Err(error) if !is_exists(&error) && !is_not_found(&error) => Err(error),
            _ => Ok(None),
        }
    }
}

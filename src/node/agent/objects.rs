//! Config maps, secrets and services that pods name.

use std::sync::Arc;

use coracle_client::{Informer, Informers, Watchable};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Container, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service};
use kube::{Api, Resource};

use crate::pod::environment::{Lookup, references};
use crate::pod::namespace;

/// Where they come from: the shared caches, and the API server for what a cache does not have (yet).
pub(crate) struct Objects {
    client: kube::Client,
    config_maps: Informer<ConfigMap>,
    secrets: Informer<Secret>,
    services: Informer<Service>,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
}

impl Objects {
    pub(crate) fn new(client: kube::Client, informers: &Informers) -> Self {
        Self {
            client,
            config_maps: informers.of(),
            secrets: informers.of(),
            services: informers.of(),
            claims: informers.of(),
            volumes: informers.of(),
        }
    }

    /// The cache of config maps, for its changes.
    pub(crate) fn config_maps(&self) -> &Informer<ConfigMap> {
        &self.config_maps
    }

    /// The cache of secrets, for its changes.
    pub(crate) fn secrets(&self) -> &Informer<Secret> {
        &self.secrets
    }

    /// The cache of claims, for its changes.
    pub(crate) fn claims(&self) -> &Informer<PersistentVolumeClaim> {
        &self.claims
    }

    /// A claim of a pod's namespace.
    pub(crate) fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get(namespace, name)
    }

    /// A persistent volume; the cache may not have it yet when the claim says that it is bound.
    pub(crate) async fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        if let Some(known) = self.volumes.get("", name).filter(|known| known.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_some())) {
            return Some(known);
        }
        Api::<PersistentVolume>::all(self.client.clone()).get(name).await.ok().map(Arc::new)
    }

    /// A config map; `None` when there is none of this name.
    pub(crate) async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, kube::Error> {
        self.find(&self.config_maps, namespace, name).await
    }

    /// A secret; `None` when there is none of this name.
    pub(crate) async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, kube::Error> {
        self.find(&self.secrets, namespace, name).await
    }

    async fn find<K>(&self, cache: &Informer<K>, namespace: &str, name: &str) -> Result<Option<Arc<K>>, kube::Error>
    where
        K: Watchable + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match cache.get(namespace, name) {
            Some(known) => Ok(Some(known)),
            None => Ok(Api::namespaced(self.client.clone(), namespace).get_opt(name).await?.map(Arc::new)),
        }
    }

    /// Services whose addresses are variables in the pod.
    pub(crate) async fn services(&self, pod: &Pod) -> Vec<Arc<Service>> {
        self.services.synced().await;
        let mut all = self.services.list_in(namespace(pod));
        if namespace(pod) != "default" {
            all.extend(self.services.get("default", "kubernetes"));
        }
        all
    }

    /// What the container's environment names.
    pub(crate) async fn lookup(&self, pod: &Pod, container: &Container) -> Result<Lookup, kube::Error> {
        let (config_maps, secrets) = references(container);
        let mut out = Lookup::default();
        for name in config_maps {
            let found = self.config_map(namespace(pod), &name).await?;
            out.config_maps.insert(name, found);
        }
        for name in secrets {
            let found = self.secret(namespace(pod), &name).await?;
            out.secrets.insert(name, found);
        }
        Ok(out)
    }

    /// Client of the agent.
    pub(crate) fn client(&self) -> &kube::Client {
        &self.client
    }
}

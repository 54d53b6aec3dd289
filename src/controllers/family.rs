//! Owners of one kind and the objects of another that they control: who belongs to whom, and whom a change concerns.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Change, Index, Informer, Informers, Queue, Watchable};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::core::Selector;

use crate::ownership::{claim_all, controller_key, controller_of, matches, orphans_key};
use crate::wiring::{Key, name_of, namespace_of, uid_of};

pub(crate) struct Family<K, D> {
    pub owners: Informer<K>,
    pub dependents: Informer<D>,
    by_owner: Index<D>,
    selector: fn(&K) -> Option<Selector>,
}

impl<K, D> Family<K, D>
where
    K: Watchable,
    D: Watchable + kube::Resource<Scope = NamespaceResourceScope> + Debug,
{
    /// `selector` is `None` for an owner that must select nothing.
    pub(crate) fn new(informers: &Informers, selector: fn(&K) -> Option<Selector>) -> Self {
        let dependents = informers.of::<D>();
        let by_owner = dependents.index("controller", |one| controller_key(one.meta()));
        Self { owners: informers.of(), dependents, by_owner, selector }
    }

    pub(crate) async fn synced(&self) {
        self.owners.synced().await;
        self.dependents.synced().await;
    }

    /// Enqueues the owners that a change of a dependent concerns: the one it has, the one it had, and for an orphan those
    /// that may adopt it.
    pub(crate) fn changed(&self, queue: &Queue<Key>, change: &Change<D>, gather: Duration) {
        match change {
            Change::Added(one) | Change::Deleted(one) => self.concerned(queue, one.meta(), gather),
            Change::Updated { old, new } => {
                let before = controller_of(old.meta()).map(|owner| &owner.uid);
                if before.is_some() && before != controller_of(new.meta()).map(|owner| &owner.uid) {
                    self.concerned(queue, old.meta(), gather);
                }
                self.concerned(queue, new.meta(), gather);
            }
            Change::Resync => {}
        }
    }

    fn concerned(&self, queue: &Queue<Key>, meta: &ObjectMeta, gather: Duration) {
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        match controller_of(meta) {
            Some(owner) if owner.kind == K::kind(&()) => queue.add_after(Key::new(namespace, &owner.name), gather),
            Some(_) => {}
            None => {
                let adopts = |owner: &Arc<K>| (self.selector)(owner).is_some_and(|selector| matches(&selector, meta));
                let adopters = self.owners.list_in(namespace).into_iter().filter(adopts);
                adopters.for_each(|owner| queue.add_after(Key::new(namespace, name_of(owner.as_ref())), gather));
            }
        }
    }

    /// What the owner controls, after adopting and releasing what must be; orphans that are not `adoptable` stay orphans.
    pub(crate) async fn members(
        &self,
        client: &kube::Client,
        owner: &K,
        adoptable: impl Fn(&D) -> bool,
    ) -> Result<Vec<Arc<D>>, kube::Error> {
        let Some(selector) = (self.selector)(owner) else { return Ok(Vec::new()) };
        let namespace = namespace_of(owner);
        let mut candidates = self.by_owner.get(uid_of(owner));
        candidates.extend(self.by_owner.get(&orphans_key(namespace)).into_iter().filter(|one| adoptable(one)));
        claim_all(&Api::namespaced(client.clone(), namespace), owner, &selector, candidates).await
    }
}

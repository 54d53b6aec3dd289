//! ResourceQuota: what is made fits into the quotas of its namespace, and is charged to them.
//!
//! Writes that a quota counts go one by one in their namespace: check, write, charge. The charge follows the write, so a
//! write that fails costs nothing; whoever writes a quota's status (the controller, having counted) takes the same turn.
//! A count that began before a write was charged is therefore refused as stale, and no write is lost or charged twice.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use coracle_api::amounts::{self, Amounts};
use coracle_api::clock::Clock;
use coracle_api::quota;
use coracle_api::status::Status;
use coracle_store::{Change, Expect, Store, Write, WriteError};
use serde_json::Value;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Operation, Request, text};
use crate::codec;
use crate::objects::{self, Lookup};

/// How many namespaces can be written to at once; others may share a turn.
const TURNS: usize = 64;

/// Who writes next, by namespace.
pub(crate) struct Turns([Arc<Mutex<()>>; TURNS]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Arc::default()))
    }
}

impl Turns {
    async fn take(&self, namespace: &str) -> OwnedMutexGuard<()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(namespace);
        self.0[hash as usize % TURNS].clone().lock_owned().await
    }
}

/// What a write that happened costs, and the turn it has.
pub(crate) struct Charge {
    namespace: String,
    quotas: Vec<(String, Amounts)>,
    _turn: OwnedMutexGuard<()>,
}

/// Whether a quota could count the write at all.
fn is_counted(request: &Request<'_>) -> bool {
    if request.namespace.is_empty() || request.kind.plural == "namespaces" || request.kind.plural == "events" {
        return false;
    }
    matches!(
        (&*request.kind.group, &*request.kind.plural, request.subresource, request.operation),
        (_, _, "", Operation::Create)
            | ("", "pods", "resize", Operation::Update)
            | ("", "services" | "persistentvolumeclaims", "", Operation::Update)
            | ("resource.k8s.io", "resourceclaims", "", Operation::Update)
    )
}

/// Refuses what does not fit; says what it costs, if anything.
pub(crate) async fn check(
    turns: &Turns,
    lookup: &dyn Lookup,
    clock: &dyn Clock,
    request: &Request<'_>,
    object: &Value,
) -> Result<Option<Charge>, Status> {
    let namespace = request.namespace.to_owned();
    if request.kind.group.is_empty() && request.kind.plural == "resourcequotas" && request.subresource == "status" {
        return Ok(Some(Charge { quotas: Vec::new(), _turn: turns.take(&namespace).await, namespace }));
    }
    if !is_counted(request) || lookup.list("", "resourcequotas", &namespace).is_empty() {
        return Ok(None);
    }
    let turn = turns.take(&namespace).await;
    let quotas = plan(&lookup.list("", "resourcequotas", &namespace), clock, request, object)?;
    Ok((!quotas.is_empty() && !request.dry_run).then_some(Charge { namespace, quotas, _turn: turn }))
}

/// What each quota is charged (`CheckRequest`).
fn plan(quotas: &[Arc<Value>], clock: &dyn Clock, request: &Request<'_>, object: &Value) -> Result<Vec<(String, Amounts)>, Status> {
    let (group, plural) = (&*request.kind.group, &*request.kind.plural);
    let mut concerned = Vec::new();
    for quota in quotas {
        let (name, hard) = (text(quota, "/metadata/name"), &quota["status"]["hard"]);
        if !quota::covers(quota, hard, group, plural, object) {
            continue;
        }
        let tracked: Vec<&str> = quota::names(hard).filter(|name| quota::tracks(group, plural, name)).collect();
        if let Some(missing) = quota::missing(group, plural, tracked.iter().copied(), object) {
            return Err(request.forbidden(&format!("failed quota: {name}: {missing}")));
        }
        let used = amounts::of(&quota["status"]["used"]);
        let unknown: Vec<&str> = tracked.iter().copied().filter(|name| !used.contains_key(*name)).collect();
        if !unknown.is_empty() {
            return Err(request.forbidden(&format!("status unknown for quota: {name}, resources: {}", tracked.join(","))));
        }
        concerned.push((name, amounts::of(hard), used));
    }
    if concerned.is_empty() {
        return Ok(Vec::new());
    }
    let delta = delta(clock, request, object)?;
    let mut charges = Vec::new();
    for (name, hard, used) in concerned {
        let asked: Amounts = delta.iter().filter(|(name, _)| hard.contains_key(*name)).map(|(name, more)| (name.clone(), *more)).collect();
        let mut after = used.clone();
        amounts::add(&mut after, &asked);
        let exceeds = |name: &String| after.get(name) > hard.get(name);
        if asked.keys().any(exceeds) {
            let of = |all: &Amounts| {
                amounts::list(
                    &all.iter().filter(|(name, _)| asked.contains_key(*name) && exceeds(name)).map(|(k, v)| (k.clone(), *v)).collect(),
                )
            };
            let (asked, used, hard) = (of(&asked), of(&used), of(&hard));
            return Err(request.forbidden(&format!("exceeded quota: {name}, requested: {asked}, used: {used}, limited: {hard}")));
        }
        if !asked.is_empty() {
            charges.push((name.to_owned(), asked));
        }
    }
    Ok(charges)
}

/// What the write uses more than before.
fn delta(clock: &dyn Clock, request: &Request<'_>, object: &Value) -> Result<Amounts, Status> {
    let now = clock.now();
    let (group, plural) = (&*request.kind.group, &*request.kind.plural);
    let mut delta = quota::usage(group, plural, object, now);
    let negative: Vec<&str> = delta.iter().filter(|(_, amount)| amount.signum() < 0).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        return Err(request.forbidden(&format!("quota usage is negative for resource(s): {}", negative.join(","))));
    }
    if let Some(old) = request.old {
        let before = quota::usage(group, plural, old, now).into_iter().map(|(name, amount)| (name, -amount)).collect();
        amounts::add(&mut delta, &before);
    }
    delta.retain(|_, amount| !amount.is_zero());
    Ok(delta)
}

impl Charge {
    /// Writes down what the write used.
    pub(crate) async fn apply(&self, store: &Store) {
        for (name, more) in &self.quotas {
            if let Err(error) = charge(store, &objects::key("", "resourcequotas", &self.namespace, name), more).await {
                tracing::warn!(quota = name, %error, "a quota could not be charged; it is counted again soon");
            }
        }
    }
}

async fn charge(store: &Store, key: &str, more: &Amounts) -> Result<(), WriteError> {
    while let Some(entry) = store.get(key) {
        let Some(mut quota) = objects::decode(&entry) else { return Ok(()) };
        let mut used = amounts::of(&quota["status"]["used"]);
        amounts::add(&mut used, more);
        quota["status"]["used"] = amounts::to_value(&used);
        let Ok(value) = codec::encode(&quota) else { return Ok(()) };
        let write = Write { key: key.to_owned(), expect: Expect::Revision(entry.revision), change: Change::Put(value) };
        match store.write(write).await {
            Ok(_) => return Ok(()),
            Err(WriteError::Conflict(_)) => {}
            Err(WriteError::Missing) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

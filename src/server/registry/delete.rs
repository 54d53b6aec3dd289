//! Removing objects: at once, after a grace period, or once finalizers are gone.
//!
//! ```text
//!  live ──delete──► gone                               nothing holds it
//!       ──delete──► deletionTimestamp, grace > 0 ──►   the node deletes it again with grace 0 ──► gone
//!       ──delete──► deletionTimestamp, finalizers ──►  the last finalizer is removed ──► gone
//! ```

use std::sync::Arc;
use std::time::Duration;

use coracle_api::kinds::Kind;
use coracle_api::status::Status;
use coracle_api::time;
use coracle_store::{Change, Entry, Expect, Write, WriteError};
use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::list::Failed;
use super::selection::Selection;
use super::update::CONFLICT_ATTEMPTS;
use super::{Call, Shown, body, list};
use crate::http::body::Body;
use crate::options::{DeleteOptions, ListOptions, Propagation};
use crate::{answer, codec, gate};

/// What a delete came to.
pub(crate) struct Deleted {
    /// The object, if the answer shows it.
    pub(crate) shown: Option<Shown>,
    /// Whether it is gone.
    pub(crate) gone: bool,
    uid: String,
}

/// Reads the options of a delete.
pub(crate) fn options(call: &Call) -> Result<DeleteOptions, Status> {
    let mut given = match &call.body {
        none if none.is_empty() => Value::Null,
        // Options are built in, whatever is deleted.
        body => body::parse(&call.content_type, body, true, ("v1", "DeleteOptions"))?.value,
    };
    if given.is_object() {
        let version = given["apiVersion"].as_str().filter(|text| !text.is_empty()).unwrap_or("v1").to_owned();
        body::typed(&mut given, &version, "DeleteOptions")?;
        if let Some(fields) = given.as_object_mut() {
            fields.remove("apiVersion");
            fields.remove("kind");
        }
    }
    DeleteOptions::parse(&call.query, &given)
}

/// Answers a DELETE of one object.
pub(crate) async fn answer(call: &mut Call) -> Result<Response<Body>, Status> {
    let options = options(call)?;
    let deleted = delete(call, &options).await?;
    match &deleted.shown {
        Some(shown) => {
            // Old clients that ask for cascading by this option are told that it goes on.
            let code = if !deleted.gone && options.orphan_dependents == Some(false) { 202 } else { 200 };
            call.show(code, shown)
        }
        None => {
            let status = Status::success(&call.kind.group, &call.kind.plural, &call.info.name, &deleted.uid);
            Ok(answer::object(200, &status.to_value(), call.accepted()?.encoding))
        }
    }
}

/// Answers a DELETE of a collection with what was in it.
pub(crate) async fn collection(call: &mut Call) -> Result<Response<Body>, Status> {
    let options = options(call)?;
    let listed = ListOptions::parse(&call.query, false)?;
    let selection = Selection::parse(&call.kind, &call.query)?;
    let page = match list::page(call, &listed, &selection).await {
        Ok(page) => page,
        Err(Failed::Status(status)) => return Err(status),
        Err(Failed::TooOldToken { .. }) => return Err(Status::expired("the provided continue parameter is too old")),
    };
    let mut items = Vec::with_capacity(page.entries.len());
    for entry in &page.entries {
        let (namespace, name) = codec::names(&call.kind, &entry.key);
        call.info.name = name.to_owned();
        if call.kind.namespaced {
            call.info.namespace = namespace.to_owned();
        }
        let shown = match delete(call, &options).await {
            Ok(Deleted { shown: Some(Shown::Object(object)), .. }) => object,
            Ok(Deleted { shown: Some(Shown::Entry(entry)), .. }) => codec::decode(&call.kind, &entry)?,
            Ok(_) => codec::decode(&call.kind, entry)?,
            Err(status) if status.reason == "NotFound" => continue,
            Err(status) => return Err(status),
        };
        items.push(shown);
    }
    let list = json!({"apiVersion": call.kind.api_version(), "kind": call.kind.list_kind, "metadata": page.metadata(), "items": items});
    Ok(answer::object(200, &list, call.accepted()?.encoding))
}

/// Deletes the object the call names, as far as it can be now.
pub(crate) async fn delete(call: &mut Call, options: &DeleteOptions) -> Result<Deleted, Status> {
    for _ in 0..CONFLICT_ATTEMPTS {
        let entry = call.find().await?;
        let old = codec::decode_stored(&call.kind, &entry)?;
        check_preconditions(call, options, &entry, &old)?;
        gate::delete(call, &old, options.dry_run).await?;
        let mut marked = old.clone();
        if call.kind.group == coracle_api::custom::GROUP && call.kind.plural == coracle_api::custom::PLURAL {
            coracle_api::custom::status::mark_terminating(&mut marked, &time::seconds(call.server.0.clock.now()));
        }
        let plan = plan(&call.kind, &marked, options, call.server.0.clock.now());
        match carry_out(call, &entry, &old, plan, options).await {
            Ok(deleted) => return Ok(deleted),
            Err(WriteError::Conflict(_)) if options.revision.is_none() => {}
            Err(error) => return Err(call.write_error(error)),
        }
    }
    Err(call.stale())
}

fn check_preconditions(call: &Call, options: &DeleteOptions, entry: &Entry, old: &Value) -> Result<(), Status> {
    let refuse = |why: String| Err(Status::conflict(&call.kind.group, &call.kind.plural, &call.info.name, &why));
    let own = body::text(old, "uid");
    if let Some(uid) = options.uid.as_ref().filter(|uid| *uid != own) {
        return refuse(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({own}). The object might have been deleted and then recreated"
        ));
    }
    if let Some(revision) = options.revision.filter(|revision| *revision != entry.revision) {
        return refuse(format!(
            "the ResourceVersion in the precondition ({revision}) does not match the ResourceVersion in record ({}). The object might have been modified",
            entry.revision
        ));
    }
    Ok(())
}

/// What a delete does to an object.
#[derive(Debug, Clone, PartialEq)]
enum Plan {
    /// It is being deleted already and nothing changes.
    Wait,
    /// It is marked, and stays for now.
    Mark(Value),
    /// It goes; watchers are shown this.
    Remove(Option<Value>),
}

fn list_of<'a>(object: &'a Value, field: &str) -> Vec<&'a str> {
    object["metadata"][field].as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// The finalizers an object has once this delete is booked (`deletionFinalizersForGarbageCollection`).
fn finalizers(kind: &Kind, object: &Value, options: &DeleteOptions) -> Vec<String> {
    let present = list_of(object, "finalizers");
    let has = |name: &str| present.contains(&name);
    // Upstream keeps the dependents of these unless told otherwise, for clients of old.
    let keeps_by_default = matches!((&*kind.group, &*kind.plural), ("", "replicationcontrollers") | ("batch", "jobs"));
    let orphan = match (options.orphan_dependents, options.propagation) {
        (Some(orphan), _) => orphan,
        (None, Some(policy)) => policy == Propagation::Orphan,
        (None, None) => has(ORPHAN) || (!has(FOREGROUND) && keeps_by_default),
    };
    let foreground = match (options.orphan_dependents, options.propagation) {
        (Some(_), _) => false,
        (None, Some(policy)) => policy == Propagation::Foreground,
        (None, None) => has(FOREGROUND) && !has(ORPHAN),
    };
    let mut wanted: Vec<String> =
        present.iter().filter(|name| !matches!(**name, ORPHAN | FOREGROUND)).map(|name| (*name).to_owned()).collect();
    if orphan {
        wanted.push(ORPHAN.to_owned());
    }
    if foreground {
        wanted.push(FOREGROUND.to_owned());
    }
    wanted
}

/// Seconds a pod is given to end; 0 where there is nothing to end (`podStrategy.CheckGracefulDelete`).
fn pod_grace(pod: &Value, options: &DeleteOptions) -> i64 {
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let unscheduled = pod["spec"]["nodeName"].as_str().is_none_or(str::is_empty);
    if ended || unscheduled {
        return 0;
    }
    let seconds = options.grace_seconds.or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30);
    if seconds < 0 { 1 } else { seconds }
}

fn bump_generation(metadata: &mut Value) {
    if let Some(generation) = metadata["generation"].as_i64().filter(|generation| *generation > 0) {
        metadata["generation"] = json!(generation + 1);
    }
}

fn is_pod(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "pods"
}

fn plan(kind: &Kind, old: &Value, options: &DeleteOptions, now: Timestamp) -> Plan {
    if kind.group.is_empty() && kind.plural == "namespaces" {
        return plan_namespace(kind, old, options, now);
    }
    let mut new = old.clone();
    let wanted = finalizers(kind, old, options);
    if wanted.is_empty() {
        body::remove(&mut new, "finalizers");
    } else {
        new["metadata"]["finalizers"] = json!(wanted);
    }
    let held = !wanted.is_empty();
    let deleted_at = old["metadata"]["deletionTimestamp"].as_str();
    if is_pod(kind) {
        return plan_pod(old, new, held, deleted_at, options, now);
    }
    if !held {
        return Plan::Remove((new != *old).then_some(new));
    }
    mark(&mut new, now);
    if new == *old { Plan::Wait } else { Plan::Mark(new) }
}

/// Marks an object that has no grace period as deleted (`markAsDeleting`).
fn mark(new: &mut Value, now: Timestamp) {
    let metadata = &mut new["metadata"];
    if metadata["deletionGracePeriodSeconds"].is_null() {
        bump_generation(metadata);
    }
    let deleted_at = metadata["deletionTimestamp"].as_str().and_then(time::parse);
    if deleted_at.is_none_or(|at| at > now) {
        metadata["deletionTimestamp"] = json!(time::seconds(now));
    }
    metadata["deletionGracePeriodSeconds"] = json!(0);
}

fn plan_pod(old: &Value, mut new: Value, held: bool, deleted_at: Option<&str>, options: &DeleteOptions, now: Timestamp) -> Plan {
    let after = |moment: Timestamp, seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        moment.checked_add(Duration::from_secs(seconds)).unwrap_or(moment)
    };
    let metadata = &mut new["metadata"];
    let grace = match deleted_at {
        None => {
            let grace = pod_grace(old, options);
            bump_generation(metadata);
            metadata["deletionTimestamp"] = json!(time::seconds(after(now, grace)));
            grace
        }
        Some(at) => {
            let present = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
            match options.grace_seconds {
                Some(wanted) if wanted < present => {
                    let begun =
                        time::parse(at).and_then(|at| at.checked_sub(Duration::from_secs(u64::try_from(present).unwrap_or(0))).ok());
                    metadata["deletionTimestamp"] = json!(time::seconds(after(begun.unwrap_or(now), wanted)));
                    wanted
                }
                // Its time is over: only finalizers, if any, hold it.
                _ if present == 0 && !held => return Plan::Remove(None),
                _ => return Plan::Wait,
            }
        }
    };
    metadata["deletionGracePeriodSeconds"] = json!(grace);
    if held || grace > 0 { Plan::Mark(new) } else { Plan::Remove(Some(new)) }
}

/// A namespace stays until the namespace controller has emptied it and taken its own finalizer away.
fn plan_namespace(kind: &Kind, old: &Value, options: &DeleteOptions, now: Timestamp) -> Plan {
    let mut new = old.clone();
    let wanted = finalizers(
        kind,
        old,
        &DeleteOptions { propagation: options.propagation.filter(|policy| *policy == Propagation::Orphan), ..options.clone() },
    );
    if wanted.is_empty() {
        body::remove(&mut new, "finalizers");
    } else {
        new["metadata"]["finalizers"] = json!(wanted);
    }
    if new["metadata"]["deletionTimestamp"].is_null() {
        new["metadata"]["deletionTimestamp"] = json!(time::seconds(now));
        new["status"]["phase"] = json!("Terminating");
    }
    let held = !wanted.is_empty() || new["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    match (held, new == *old) {
        (false, _) => Plan::Remove(Some(new)),
        (true, true) => Plan::Wait,
        (true, false) => Plan::Mark(new),
    }
}

/// Kinds whose delete answers with the object, not with a `Status` (`ReturnDeletedObject`).
fn returns_object(kind: &Kind) -> bool {
    matches!(
        (&*kind.group, &*kind.plural),
        ("", "persistentvolumeclaims" | "persistentvolumes" | "pods" | "podtemplates" | "resourcequotas" | "serviceaccounts" | "services")
            | ("storage.k8s.io", "csidrivers" | "csinodes" | "csistoragecapacities" | "storageclasses" | "volumeattachments")
    )
}

async fn carry_out(call: &Call, entry: &Arc<Entry>, old: &Value, plan: Plan, options: &DeleteOptions) -> Result<Deleted, WriteError> {
    let uid = body::text(old, "uid").to_owned();
    let expect = Expect::Revision(entry.revision);
    let write = |change| Write { key: call.key(), expect, change };
    let encode = async |object: &Value| call.encode(object).await.map_err(|_| WriteError::Closed);
    let present = async |entry: Arc<Entry>| call.present(entry).await.map_err(|_| WriteError::Closed);
    let shows = returns_object(&call.kind);
    match plan {
        Plan::Wait => Ok(Deleted { shown: Some(Shown::Entry(entry.clone())), gone: false, uid }),
        Plan::Mark(new) if options.dry_run => Ok(Deleted { shown: Some(Shown::Object(new)), gone: false, uid }),
        Plan::Remove(new) if options.dry_run => {
            Ok(Deleted { shown: shows.then(|| Shown::Object(new.unwrap_or_else(|| old.clone()))), gone: true, uid })
        }
        Plan::Mark(new) => {
            let written = call.server.0.store.write(write(Change::Put(encode(&new).await?))).await?;
            Ok(Deleted { shown: Some(Shown::Entry(present(written.entry).await?)), gone: false, uid })
        }
        Plan::Remove(new) => {
            let change = match &new {
                Some(new) => Change::DeleteAs(encode(new).await?),
                None => Change::Delete,
            };
            let written = call.server.0.store.write(write(change)).await?;
            gate::deleted(call, old);
            Ok(Deleted { shown: shows.then(|| Shown::Entry(written.entry)), gone: true, uid })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use coracle_api::kinds;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn pod(node: &str) -> Value {
        json!({"metadata": {"name": "p", "generation": 1}, "spec": {"nodeName": node, "terminationGracePeriodSeconds": 20}, "status": {"phase": "Running"}})
    }

    fn grace(seconds: i64) -> DeleteOptions {
        DeleteOptions { grace_seconds: Some(seconds), ..DeleteOptions::default() }
    }

    #[test]
    fn a_running_pod_is_given_its_time() {
        let kind = kinds::find("", "v1", "pods").unwrap();
        let Plan::Mark(marked) = plan(kind, &pod("n"), &DeleteOptions::default(), now()) else { panic!("not marked") };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-01T00:00:20Z");
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 20);
        assert_eq!(marked["metadata"]["generation"], 2);
        assert_eq!(plan(kind, &marked, &grace(30), now()), Plan::Wait);
        let Plan::Mark(shorter) = plan(kind, &marked, &grace(5), now()) else { panic!("not shortened") };
        assert_eq!(shorter["metadata"]["deletionTimestamp"], "2026-01-01T00:00:05Z");
        assert!(matches!(plan(kind, &marked, &grace(0), now()), Plan::Remove(Some(_))));
    }

    #[test]
    fn an_unscheduled_pod_goes_at_once_unless_held() {
        let kind = kinds::find("", "v1", "pods").unwrap();
        assert!(matches!(plan(kind, &pod(""), &DeleteOptions::default(), now()), Plan::Remove(Some(_))));
        let mut held = pod("");
        held["metadata"]["finalizers"] = json!(["x.io/f"]);
        assert!(matches!(plan(kind, &held, &DeleteOptions::default(), now()), Plan::Mark(_)));
    }

    #[test]
    fn propagation_becomes_finalizers() {
        let kind = kinds::find("apps", "v1", "deployments").unwrap();
        let object = json!({"metadata": {"name": "d", "finalizers": ["x.io/f", "orphan"]}});
        let with = |propagation| DeleteOptions { propagation, ..DeleteOptions::default() };
        assert_eq!(finalizers(kind, &object, &with(None)), ["x.io/f", "orphan"]);
        assert_eq!(finalizers(kind, &object, &with(Some(Propagation::Background))), ["x.io/f"]);
        assert_eq!(finalizers(kind, &object, &with(Some(Propagation::Foreground))), ["x.io/f", "foregroundDeletion"]);
        let jobs = kinds::find("batch", "v1", "jobs").unwrap();
        assert_eq!(finalizers(jobs, &json!({"metadata": {}}), &with(None)), ["orphan"]);
    }

    #[test]
    fn a_namespace_waits_for_its_finalizer() {
        let kind = kinds::find("", "v1", "namespaces").unwrap();
        let mut namespace = json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let Plan::Mark(marked) = plan(kind, &namespace, &DeleteOptions::default(), now()) else { panic!("not marked") };
        assert_eq!(marked["status"]["phase"], "Terminating");
        assert_eq!(plan(kind, &marked, &DeleteOptions::default(), now()), Plan::Wait);
        namespace["spec"]["finalizers"] = json!([]);
        assert!(matches!(plan(kind, &namespace, &DeleteOptions::default(), now()), Plan::Remove(_)));
    }
}

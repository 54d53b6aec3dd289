//! Deletes what is in a namespace that is being deleted: pods first, then the rest, then lets the namespace go.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_client::{Informer, Queue, is_not_found};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, ListParams, Preconditions, PropagationPolicy};
use kube::core::DynamicObject;
use kube::{Api, api::PostParams};

use crate::Context;
use crate::resources::{Listed, deletable};
use crate::wiring::{Outcome, Run, follow_latest, name_of, work};

const NAME: &str = "namespace-controller";
const FINALIZER: &str = "kubernetes";
/// Kinds emptied at once.
const IN_FLIGHT: usize = 8;
const SOONEST_LOOK: Duration = Duration::from_millis(50);
const LATEST_LOOK: Duration = Duration::from_secs(5);

struct Controller {
    client: kube::Client,
    clock: Arc<dyn Clock>,
    namespaces: Informer<Namespace>,
}

pub(crate) async fn run(context: Context) -> Run {
    let controller =
        Arc::new(Controller { client: context.client(NAME), clock: context.clock.clone(), namespaces: context.informers.of() });
    let queue = Queue::new();
    let namespaces = follow_latest(controller.namespaces.clone(), |namespace| {
        if namespace.metadata.deletion_timestamp.is_some() {
            queue.add(name_of(namespace.as_ref()).to_owned());
        }
    });
    let reconciler = controller.clone();
    let workers = work(queue.clone(), 4, move |name: String| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&name).await }
    });
    tokio::join!(namespaces, workers).1
}

/// Things may be created in it.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

fn is_finalized(namespace: &Namespace) -> bool {
    namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref()).is_none_or(Vec::is_empty)
}

/// What is left of one kind after it was told to go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Remaining {
    /// `plural.group`; with the dot in the core group, too.
    resource: String,
    count: usize,
    /// Finalizers that hold objects, each as often as it does.
    finalizers: Vec<String>,
}

/// What a pass over a namespace found.
#[derive(Debug, Default)]
struct Findings {
    discovery_error: Option<String>,
    delete_errors: Vec<String>,
    remaining: Vec<Remaining>,
}

impl Findings {
    fn is_empty(&self) -> bool {
        self.discovery_error.is_none() && self.delete_errors.is_empty() && self.remaining.is_empty()
    }
}

impl Controller {
    async fn reconcile(&self, name: &str) -> Outcome {
        let api = Api::<Namespace>::all(self.client.clone());
        let Some(mut namespace) = api.get_opt(name).await? else { return Ok(None) };
        if namespace.metadata.deletion_timestamp.is_none() {
            return Ok(None);
        }
        if is_finalized(&namespace) {
            return self.let_go(&api, &namespace).await;
        }
        if namespace.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Terminating") {
            namespace.status.get_or_insert_default().phase = Some("Terminating".to_owned());
            namespace = api.replace_status(name, &PostParams::default(), &namespace).await?;
        }
        let findings = self.empty(name).await;
        let status = status(&namespace, &findings, self.clock.now());
        if namespace.status.as_ref() != Some(&status) {
            namespace.status = Some(status);
            namespace = api.replace_status(name, &PostParams::default(), &namespace).await?;
        }
        if !findings.is_empty() {
            return Ok(Some(next_look(&namespace, self.clock.now())));
        }
        if let Some(spec) = namespace.spec.as_mut() {
            spec.finalizers.get_or_insert_default().retain(|finalizer| finalizer != FINALIZER);
        }
        let finalized = api.replace_subresource("finalize", name, &PostParams::default(), &namespace).await?;
        if is_finalized(&finalized) { self.let_go(&api, &finalized).await } else { Ok(None) }
    }

    /// The last step: usually the server removes a namespace with its last finalizer.
    async fn let_go(&self, api: &Api<Namespace>, namespace: &Namespace) -> Outcome {
        let preconditions = Preconditions { uid: namespace.metadata.uid.clone(), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(name_of(namespace), &parameters).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
            Err(error) => Err(error),
            Ok(_) => Ok(None),
        }
    }

    /// Tells everything in the namespace to go; pods first, and nothing else while one is left.
    async fn empty(&self, namespace: &str) -> Findings {
        let mut findings = Findings::default();
        let kinds = match deletable(&self.client).await {
            Ok(kinds) => kinds,
            Err(error) => {
                findings.discovery_error = Some(error.to_string());
                return findings;
            }
        };
        let (pods, rest): (Vec<Listed>, Vec<Listed>) = kinds
            .into_iter()
            .filter(|kind| kind.namespaced)
            .partition(|kind| kind.resource.group.is_empty() && kind.resource.plural == "pods");
        for stage in [pods, rest] {
            let passes = stage.into_iter().map(|kind| self.empty_kind(namespace, kind));
            let outcomes: Vec<_> = futures::stream::iter(passes).buffer_unordered(IN_FLIGHT).collect().await;
            for outcome in outcomes {
                match outcome {
                    Ok(Some(remaining)) => findings.remaining.push(remaining),
                    Ok(None) => {}
                    Err(error) => findings.delete_errors.push(error),
                }
            }
            if !findings.is_empty() {
                break;
            }
        }
        findings.remaining.sort_by(|a, b| a.resource.cmp(&b.resource));
        findings
    }

    async fn empty_kind(&self, namespace: &str, kind: Listed) -> Result<Option<Remaining>, String> {
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &kind.resource);
        let explain = |error: kube::Error| format!("{}: {error}", kind.qualified());
        let all = ListParams::default();
        let background = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
        if kind.collection {
            match api.delete_collection(&background, &all).await {
                Err(error) if !is_unsupported(&error) => return Err(explain(error)),
                _ => {}
            }
        }
        let left = match api.list_metadata(&all).await {
            Ok(left) => left.items,
            Err(error) if is_unsupported(&error) => return Ok(None),
            Err(error) => return Err(explain(error)),
        };
        if !kind.collection {
            for object in left.iter().filter(|object| object.metadata.deletion_timestamp.is_none()) {
                match api.delete(object.metadata.name.as_deref().unwrap_or_default(), &background).await {
                    Err(error) if !is_not_found(&error) => return Err(explain(error)),
                    _ => {}
                }
            }
        }
        let finalizers = left.iter().flat_map(|object| object.metadata.finalizers.clone().unwrap_or_default()).collect();
        Ok((!left.is_empty()).then(|| Remaining {
            resource: format!("{}.{}", kind.resource.plural, kind.resource.group),
            count: left.len(),
            finalizers,
        }))
    }
}

/// The kind does not allow it, or is gone.
fn is_unsupported(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 405))
}

/// What remains ends by itself (pods within their grace): the longer it takes, the rarer it is looked at.
fn next_look(namespace: &Namespace, now: Timestamp) -> Duration {
    let since = namespace.metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0);
    let age = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    (age / 4).clamp(SOONEST_LOOK, LATEST_LOOK)
}

/// The namespace's conditions after a pass.
fn status(namespace: &Namespace, findings: &Findings, now: Timestamp) -> NamespaceStatus {
    let mut status = namespace.status.clone().unwrap_or_default();
    let known = status.conditions.take().unwrap_or_default();
    let condition = |kind: &str, trouble: Option<(&str, String)>, fine: (&str, &str)| {
        let troubled = trouble.is_some();
        let (reason, message) = trouble.unwrap_or_else(|| (fine.0, fine.1.to_owned()));
        let value = if troubled { "True" } else { "False" };
        let before = known.iter().find(|condition| condition.type_ == kind && condition.status == value);
        let since = before.and_then(|condition| condition.last_transition_time.clone()).unwrap_or(Time(now));
        NamespaceCondition {
            type_: kind.to_owned(),
            status: value.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(since),
        }
    };
    let remaining = findings.remaining.iter().map(|left| format!("{} has {} resource instances", left.resource, left.count));
    let remaining: Vec<_> = remaining.collect();
    let held = finalizer_counts(&findings.remaining);
    status.conditions = Some(vec![
        condition(
            "NamespaceDeletionDiscoveryFailure",
            findings.discovery_error.clone().map(|error| ("DiscoveryFailed", format!("Discovery failed for some groups: {error}"))),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        condition(
            "NamespaceDeletionContentFailure",
            (!findings.delete_errors.is_empty()).then(|| {
                (
                    "ContentDeletionFailed",
                    format!(
                        "Failed to delete all resource types, {} remaining: {}",
                        findings.delete_errors.len(),
                        findings.delete_errors.join(", ")
                    ),
                )
            }),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        condition(
            "NamespaceContentRemaining",
            (!remaining.is_empty()).then(|| ("SomeResourcesRemain", format!("Some resources are remaining: {}", remaining.join(", ")))),
            ("ContentRemoved", "All content successfully removed"),
        ),
        condition(
            "NamespaceFinalizersRemaining",
            (!held.is_empty())
                .then(|| ("SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {}", held.join(", ")))),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ]);
    status
}

fn finalizer_counts(remaining: &[Remaining]) -> Vec<String> {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for finalizer in remaining.iter().flat_map(|left| &left.finalizers) {
        *counts.entry(finalizer).or_default() += 1;
    }
    counts.iter().map(|(finalizer, count)| format!("{finalizer} in {count} resource instances")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    fn texts(status: &NamespaceStatus) -> Vec<String> {
        let conditions = status.conditions.as_ref().unwrap().iter();
        conditions
            .map(|one| format!("{}={} {}: {}", one.type_, one.status, one.reason.as_deref().unwrap(), one.message.as_deref().unwrap()))
            .collect()
    }

    #[test]
    fn conditions_say_what_remains_and_keep_their_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"phase": "Terminating"}})).unwrap();
        let left = |resource: &str, count, finalizers: &[&str]| Remaining {
            resource: resource.to_owned(),
            count,
            finalizers: finalizers.iter().map(|&text| text.to_owned()).collect(),
        };
        let remaining = vec![left("pods.", 2, &["a/b", "a/b"]), left("widgets.x.io", 1, &["c/d"])];
        namespace.status = Some(status(&namespace, &Findings { remaining, ..Findings::default() }, at(1)));
        let texts = texts(namespace.status.as_ref().unwrap());
        assert_eq!(
            texts[3],
            "NamespaceContentRemaining=True SomeResourcesRemain: Some resources are remaining: pods. has 2 resource instances, widgets.x.io has 1 resource instances"
        );
        assert_eq!(
            texts[4],
            "NamespaceFinalizersRemaining=True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: a/b in 2 resource instances, c/d in 1 resource instances"
        );
        let after = status(&namespace, &Findings::default(), at(9));
        let times: Vec<_> = after.conditions.unwrap().into_iter().map(|one| one.last_transition_time.unwrap().0.as_second()).collect();
        assert_eq!(times, [1, 1, 1, 9, 9]);
    }
}

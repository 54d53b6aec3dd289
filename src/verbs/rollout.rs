//! `rollout`: how far a rollout is, its revisions, and going back to one.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::call::{Call, encode};
use crate::describe::describe_template;
use crate::error::VerbError;
use crate::kinds::Target;
use crate::pods::{selector_of, text};
use crate::session::{Out, Session, shown};

/// Watches and steers rollouts
#[derive(Debug, Clone, Subcommand)]
pub enum Rollout {
    /// Wait until it is done
    Status {
        #[command(flatten)]
        of: Of,
        /// Do not wait
        #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
        watch: bool,
        /// How long to wait; 0s for ever
        #[arg(long, value_name = "DURATION", default_value = "0s")]
        timeout: SignedDuration,
    },
    /// Print its revisions, or the pod template of one of them
    History {
        #[command(flatten)]
        of: Of,
        /// Print the pod template of this revision; 0 for the list
        #[arg(long, value_name = "REVISION", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
        revision: i64,
    },
    /// Go back to the revision before, or to another one
    Undo {
        #[command(flatten)]
        of: Of,
        /// The revision; 0 is the one before
        #[arg(long, value_name = "REVISION", default_value_t = 0)]
        to_revision: i64,
    },
    /// Replace all pods
    Restart(Of),
    /// Roll nothing out until it is resumed
    Pause(Of),
    /// Go on rolling out
    Resume(Of),
}

/// Whose rollout.
#[derive(Debug, Clone, Args)]
pub struct Of {
    /// As `deployment NAME` or `deployment/NAME`
    #[arg(value_name = "TYPE", required = true)]
    what: Vec<String>,
}

impl Rollout {
    /// Does it.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let (Self::Status { of, .. }
        | Self::History { of, .. }
        | Self::Undo { of, .. }
        | Self::Restart(of)
        | Self::Pause(of)
        | Self::Resume(of)) = self;
        let target = session.one(&of.what).await?;
        let name = shown(&target.kind, &target.name);
        if target.kind.group != "apps" || !matches!(target.kind.plural.as_str(), "deployments" | "daemonsets" | "statefulsets") {
            return Err(VerbError::wrong(format!("no status viewer has been implemented for {}", target.kind.kind)));
        }
        match self {
            Self::Status { watch, timeout, .. } => status(session, &target, *watch, *timeout, out).await,
            Self::History { revision, .. } => history(session, &target, *revision, out).await,
            Self::Undo { to_revision, .. } => undo(session, &target, *to_revision, out).await,
            Self::Restart(_) => {
                let now = coracle_api::time::seconds(Timestamp::now());
                let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
                let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
                session.ask(&Call::merge(&target, "", patch, false)).await?;
                out.line(format!("{name} restarted"));
                Ok(())
            }
            Self::Pause(_) | Self::Resume(_) => {
                let pause = matches!(self, Self::Pause(_));
                let word = if pause { "paused" } else { "resumed" };
                let now = session.read(target.path()).await?;
                if target.kind.plural != "deployments" {
                    return Err(VerbError::wrong(format!("{} {:?} cannot be {word}", target.kind.plural, target.name)));
                }
                if now["spec"]["paused"].as_bool().unwrap_or_default() == pause {
                    let state = if pause { "already paused" } else { "not paused" };
                    return Err(VerbError::wrong(format!("deployments.apps {:?} is {state}", target.name)));
                }
                session.ask(&Call::merge(&target, "", json!({"spec": {"paused": pause}}), false)).await?;
                out.line(format!("{name} {word}"));
                Ok(())
            }
        }
    }
}

async fn status(session: &Session, target: &Target, watch: bool, timeout: SignedDuration, out: &mut Out<'_>) -> Result<(), VerbError> {
    let deadline = Duration::try_from(timeout).ok().filter(|time| !time.is_zero()).map(|time| tokio::time::Instant::now() + time);
    let mut said = String::new();
    loop {
        let (message, done) = progress(&target.kind.plural, &session.read(target.path()).await?)?;
        if message != said {
            out.line(&message);
            said = message;
        }
        if done || !watch {
            return Ok(());
        }
        if deadline.is_some_and(|deadline| tokio::time::Instant::now() >= deadline) {
            return Err(VerbError::wrong("timed out waiting for the condition"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How far a rollout is, in kubectl's words, and whether it is done.
fn progress(plural: &str, object: &Value) -> Result<(String, bool), VerbError> {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let name = text(object, "/metadata/name");
    let seen = number("/metadata/generation") <= number("/status/observedGeneration");
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let updated = number("/status/updatedReplicas");
    let waiting = |message: String| Ok((message, false));
    match plural {
        "deployments" => {
            let finish = format!("Waiting for deployment {name:?} rollout to finish:");
            if !seen {
                return waiting("Waiting for deployment spec update to be observed...".to_owned());
            }
            let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
            if conditions
                .is_some_and(|all| all.iter().any(|one| one["type"] == "Progressing" && one["reason"] == "ProgressDeadlineExceeded"))
            {
                return Err(VerbError::wrong(format!("deployment {name:?} exceeded its progress deadline")));
            }
            let (replicas, available) = (number("/status/replicas"), number("/status/availableReplicas"));
            if updated < wanted {
                return waiting(format!("{finish} {updated} out of {wanted} new replicas have been updated..."));
            }
            if replicas > updated {
                return waiting(format!("{finish} {} old replicas are pending termination...", replicas - updated));
            }
            if available < updated {
                return waiting(format!("{finish} {available} of {updated} updated replicas are available..."));
            }
            Ok((format!("deployment {name:?} successfully rolled out"), true))
        }
        "daemonsets" => {
            let finish = format!("Waiting for daemon set {name:?} rollout to finish:");
            let (scheduled, wanted) = (number("/status/updatedNumberScheduled"), number("/status/desiredNumberScheduled"));
            let available = number("/status/numberAvailable");
            if !seen {
                return waiting("Waiting for daemon set spec update to be observed...".to_owned());
            }
            if scheduled < wanted {
                return waiting(format!("{finish} {scheduled} out of {wanted} new pods have been updated..."));
            }
            if available < wanted {
                return waiting(format!("{finish} {available} of {wanted} updated pods are available..."));
            }
            Ok((format!("daemon set {name:?} successfully rolled out"), true))
        }
        _ => {
            if text(object, "/spec/updateStrategy/type") != "RollingUpdate" {
                return Err(VerbError::wrong("rollout status is only available for RollingUpdate strategy type"));
            }
            let (ready, partition) = (number("/status/readyReplicas"), number("/spec/updateStrategy/rollingUpdate/partition"));
            let (current, update) = (text(object, "/status/currentRevision"), text(object, "/status/updateRevision"));
            if !seen {
                return waiting("Waiting for statefulset spec update to be observed...".to_owned());
            }
            if ready < wanted {
                return waiting(format!("Waiting for {} pods to be ready...", wanted - ready));
            }
            if partition > 0 {
                let due = wanted - partition;
                if updated < due {
                    return waiting(format!(
                        "Waiting for partitioned roll out to finish: {updated} out of {due} new pods have been updated..."
                    ));
                }
                return Ok((format!("partitioned roll out complete: {updated} new pods have been updated..."), true));
            }
            if current != update {
                return waiting(format!("waiting for statefulset rolling update to complete {updated} pods at revision {update}..."));
            }
            let count = number("/status/currentReplicas");
            Ok((format!("statefulset rolling update complete {count} pods at revision {current}..."), true))
        }
    }
}

/// A revision: its number, what keeps it, and its template or the patch that leads to it.
struct Revision {
    number: i64,
    keeper: Value,
}

impl Revision {
    fn cause(&self) -> String {
        text(&self.keeper, "/metadata/annotations/kubernetes.io~1change-cause")
    }

    /// Its pod template; as kubectl has it, with the cause where a replica set is the keeper.
    fn template(&self) -> Value {
        if let Some(template) = self.keeper.pointer("/data/spec/template") {
            return template.clone();
        }
        let mut template = self.keeper["spec"]["template"].clone();
        let cause = self.cause();
        if !cause.is_empty() {
            template["metadata"]["annotations"]["kubernetes.io/change-cause"] = cause.into();
        }
        template
    }
}

/// Revisions, oldest first.
async fn revisions(session: &Session, target: &Target, workload: &Value) -> Result<Vec<Revision>, VerbError> {
    let kept_in = if target.kind.plural == "deployments" { "replicasets" } else { "controllerrevisions" };
    let selector = selector_of(workload).unwrap_or_default();
    let path = format!("/apis/apps/v1/namespaces/{}/{kept_in}?labelSelector={}", target.namespace, encode(&selector));
    let uid = &workload["metadata"]["uid"];
    let owned = |keeper: &Value| {
        keeper
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array)
            .is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == *uid))
    };
    let list = session.read(path).await?;
    let mut found: Vec<Revision> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|keeper| owned(keeper))
        .filter_map(|keeper| {
            let annotated = || text(keeper, "/metadata/annotations/deployment.kubernetes.io~1revision").parse().ok();
            Some(Revision { number: keeper["revision"].as_i64().or_else(annotated)?, keeper: keeper.clone() })
        })
        .collect();
    found.sort_by_key(|revision| revision.number);
    Ok(found)
}

/// Prints the revisions, or the pod template of the one with this number.
async fn history(session: &Session, target: &Target, number: i64, out: &mut Out<'_>) -> Result<(), VerbError> {
    let workload = session.read(target.path()).await?;
    let revisions = revisions(session, target, &workload).await?;
    let name = shown(&target.kind, &target.name);
    if number > 0 {
        let chosen = revisions.iter().find(|revision| revision.number == number);
        let chosen = chosen.ok_or_else(|| VerbError::wrong("unable to find the specified revision"))?;
        let template = describe_template(&chosen.template()).await.map_err(|error| VerbError::wrong(error.to_string()))?;
        out.line(format!("{name} with revision #{number}\n{template}"));
        return Ok(());
    }
    out.line(format!("{name} "));
    if revisions.is_empty() {
        out.line("No rollout history found.");
        return Ok(());
    }
    let width = revisions.iter().map(|revision| revision.number.to_string().len()).max().unwrap_or_default().max("REVISION".len());
    out.line(format!("{:<width$}  CHANGE-CAUSE", "REVISION"));
    for revision in revisions {
        let cause = revision.cause();
        let cause = if cause.is_empty() { "<none>" } else { &cause };
        out.line(format!("{:<width$}  {cause}", revision.number));
    }
    out.line("");
    Ok(())
}

async fn undo(session: &Session, target: &Target, number: i64, out: &mut Out<'_>) -> Result<(), VerbError> {
    let name = shown(&target.kind, &target.name);
    let workload = session.read(target.path()).await?;
    let revisions = revisions(session, target, &workload).await?;
    let chosen = match number {
        0 => revisions.len().checked_sub(2).and_then(|at| revisions.get(at)),
        number => revisions.iter().find(|revision| revision.number == number),
    };
    let Some(chosen) = chosen else {
        return Err(VerbError::wrong(match number {
            0 => format!("no rollout history found for {} {:?}", target.kind.singular, target.name),
            number => format!("unable to find specified revision {number} in history"),
        }));
    };
    if workload["spec"]["paused"] == true {
        return Err(VerbError::wrong("you cannot rollback a paused deployment; resume it first with 'rollout resume' and try again"));
    }
    let call = match chosen.keeper.get("data") {
        Some(data) => Call { content_type: "application/strategic-merge-patch+json", ..Call::merge(target, "", data.clone(), false) },
        None => {
            let mut template = chosen.keeper["spec"]["template"].clone();
            if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
                labels.remove("pod-template-hash");
            }
            if template == workload["spec"]["template"] {
                out.line(format!("{name} skipped rollback (current template already matches revision {})", chosen.number));
                return Ok(());
            }
            let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
            Call { content_type: "application/json-patch+json", ..Call::merge(target, "", patch, false) }
        }
    };
    session.ask(&call).await?;
    out.line(format!("{name} rolled back"));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// What is said of a revision of a workload of a kind, which has its revisions 1 and 2 in these keepers.
    async fn revision(plural: &str, keepers: &Value, number: i64) -> Result<String, VerbError> {
        let workload = json!({"metadata": {"name": "web", "uid": "1"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}});
        let (workload, keepers) = (workload.to_string(), json!({"items": keepers}).to_string());
        let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let answer = if request.uri().path().ends_with("/web") { &workload } else { &keepers };
            let answer = http::Response::new(kube::client::Body::from(answer.clone().into_bytes()));
            std::future::ready(Ok::<_, std::convert::Infallible>(answer))
        });
        let session = Session::new(kube::Client::new(server, "default"), "default".to_owned());
        let target = session.target(crate::kinds::Kinds::first().find(plural).unwrap(), "web");
        let (mut text, mut beside) = (Vec::new(), Vec::new());
        history(&session, &target, number, &mut Out { text: &mut text, beside: &mut beside }).await?;
        Ok(String::from_utf8(text).unwrap())
    }

    #[tokio::test]
    async fn a_revision_is_its_pod_template() {
        let template = |number: i64| {
            let containers = json!([{"name": "main", "image": format!("web:{number}"), "command": ["serve"]}]);
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}})
        };
        let metadata = |annotations: Value| json!({"ownerReferences": [{"uid": "1"}], "annotations": annotations});
        let set = |number: i64| {
            let annotations =
                json!({"deployment.kubernetes.io/revision": number.to_string(), "kubernetes.io/change-cause": format!("why {number}")});
            json!({"metadata": metadata(annotations), "spec": {"template": template(number)}})
        };
        let kept =
            |number: i64| json!({"metadata": metadata(json!({})), "revision": number, "data": {"spec": {"template": template(number)}}});
        let (sets, kept) = (json!([set(1), set(2)]), json!([kept(1), kept(2)]));
        for (plural, singular, keepers, cause) in [
            ("deployments", "deployment", &sets, "kubernetes.io/change-cause: why 1\n"),
            ("daemonsets", "daemonset", &kept, ""),
            ("statefulsets", "statefulset", &kept, ""),
        ] {
            let said = revision(plural, keepers, 1).await.unwrap();
            assert!(said.starts_with(&format!("{singular}.apps/web with revision #1\nPod Template:\n  Labels:")), "{said}");
            assert!(said.contains("app=web\n") && said.contains(cause), "{said}");
            assert!(said.contains("   main:\n    Image:") && said.contains("web:1\n"), "{said}");
            assert!(!said.contains("web:2") && !said.contains("Events:") && said.ends_with("<none>\n\n"), "{said}");
            let none = revision(plural, keepers, 3).await.unwrap_err();
            assert_eq!(none.to_string(), "error: unable to find the specified revision");
            assert!(revision(plural, keepers, 0).await.unwrap().contains("\n2         "));
        }
    }

    #[test]
    fn progress_is_told_in_kubectls_words() {
        let deployment = |status: Value| json!({"metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 3}, "status": status});
        let said = |status: Value| progress("deployments", &deployment(status)).unwrap().0;
        assert_eq!(said(json!({"observedGeneration": 1})), "Waiting for deployment spec update to be observed...");
        let finish = "Waiting for deployment \"web\" rollout to finish:";
        let now = |updated, replicas, available| json!({"observedGeneration": 2, "updatedReplicas": updated, "replicas": replicas, "availableReplicas": available});
        assert_eq!(said(now(1, 3, 3)), format!("{finish} 1 out of 3 new replicas have been updated..."));
        assert_eq!(said(now(3, 4, 3)), format!("{finish} 1 old replicas are pending termination..."));
        assert_eq!(said(now(3, 3, 2)), format!("{finish} 2 of 3 updated replicas are available..."));
        assert_eq!(said(now(3, 3, 3)), "deployment \"web\" successfully rolled out");
        let set = json!({"metadata": {"name": "s", "generation": 1}, "spec": {"replicas": 2, "updateStrategy": {"type": "RollingUpdate"}},
            "status": {"observedGeneration": 1, "readyReplicas": 1}});
        assert_eq!(progress("statefulsets", &set).unwrap(), ("Waiting for 1 pods to be ready...".to_owned(), false));
    }
}

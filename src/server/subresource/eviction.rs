//! `pods/eviction`: a delete that asks the pod's disruption budget first.

use coracle_api::kinds::{self, Kind};
use coracle_api::selector::LabelSelector;
use coracle_api::status::Status;
use coracle_api::time;
use coracle_store::{Change, Expect, ListOptions, Write, WriteError};
use http::Response;
use serde_json::{Value, json};

use crate::http::body::Body;
use crate::options::{DeleteOptions, WriteOptions};
use crate::registry::update::CONFLICT_ATTEMPTS;
use crate::registry::{Call, body, delete};
use crate::{answer, codec, gate};

/// A budget with more pods on their way out than this is not kept up by its controller.
const MOST_DISRUPTED: usize = 2_000;

/// Answers a POST of an Eviction.
pub(super) async fn answer(call: &mut Call) -> Result<Response<Body>, Status> {
    let writing = WriteOptions::parse("CreateOptions", &call.query, &call.agent())?;
    let mut eviction = body::own_kind(call, "policy/v1", "Eviction", "io.k8s.api.policy.v1.Eviction", &writing)?;
    let name = body::text(&eviction, "name");
    if !name.is_empty() && name != call.info.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    body::place(call, &mut eviction)?;
    let mut options = DeleteOptions::parse(&call.query, &eviction["deleteOptions"])?;
    options.dry_run |= writing.dry_run;
    gate::admit(call, &mut eviction, None, options.dry_run).await?;
    let pod = codec::decode_stored(&call.kind, &*call.find().await?)?;
    if !ignores_budgets(&pod) {
        ask_budget(call, &pod, options.dry_run).await?;
        if !options.dry_run {
            mark(call).await?;
        }
    }
    delete::delete(call, &options).await?;
    Ok(answer::object(201, &super::created(), call.accepted()?.encoding))
}

/// Pods that serve nobody, or go anyway.
fn ignores_budgets(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending")) || pod["metadata"]["deletionTimestamp"].is_string()
}

/// Takes one disruption from the budget that selects the pod, if one does.
async fn ask_budget(call: &Call, pod: &Value, dry_run: bool) -> Result<(), Status> {
    let Some(kind) = kinds::find("policy", "v1", "poddisruptionbudgets") else { return Ok(()) };
    let store = &call.server.0.store;
    for _ in 0..CONFLICT_ATTEMPTS {
        let prefix = codec::key(kind, call.namespace(), "");
        let listed = store.list(&prefix, &ListOptions::default()).map_err(|error| crate::registry::read_error(error, 0))?;
        let mut matching = Vec::new();
        for entry in &listed.entries {
            let budget = codec::decode_stored(kind, entry)?;
            if selects(&budget, pod) {
                matching.push((entry, budget));
            }
        }
        if matching.len() > 1 {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::new(500, "InternalError", message));
        }
        let Some((entry, mut budget)) = matching.pop() else { return Ok(()) };
        if may_go_unhealthy(&budget, pod) {
            return Ok(());
        }
        take_one(kind, &mut budget, &call.info.name, &time::seconds(call.server.0.clock.now()))?;
        if dry_run {
            return Ok(());
        }
        let change = Change::Put(codec::encode(&budget)?);
        match store.write(Write { key: entry.key.to_string(), expect: Expect::Revision(entry.revision), change }).await {
            Ok(_) => return Ok(()),
            Err(WriteError::Conflict(_) | WriteError::Missing) => {}
            Err(error) => return Err(call.write_error(error)),
        }
    }
    Err(call.stale())
}

fn selects(budget: &Value, pod: &Value) -> bool {
    let selector = &budget["spec"]["selector"];
    !selector.is_null() && LabelSelector::from_object(selector).is_ok_and(|selector| selector.matches(&pod["metadata"]["labels"]))
}

/// A pod that is not ready costs its budget nothing: always, or as long as enough others are healthy.
fn may_go_unhealthy(budget: &Value, pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let healthy = count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0;
    !ready && (healthy || budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow")
}

fn take_one(kind: &Kind, budget: &mut Value, pod: &str, now: &str) -> Result<(), Status> {
    let name = body::text(budget, "name").to_owned();
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let refused = |why: &str| Status::forbidden(&kind.group, &kind.plural, &name, why);
    let later = |why: String, seconds: u32| {
        let causes = json!([{"reason": "DisruptionBudget", "message": why}]);
        let mut details = json!({"causes": causes});
        if seconds > 0 {
            details["retryAfterSeconds"] = json!(seconds);
        }
        Status::new(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.").with_details(details)
    };
    if count("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        return Err(later(format!("The disruption budget {name} is still being processed by the server."), 10));
    }
    if count("disruptionsAllowed") < 0 {
        return Err(refused("pdb disruptions allowed is negative"));
    }
    if budget["status"]["disruptedPods"].as_object().is_some_and(|pods| pods.len() > MOST_DISRUPTED) {
        return Err(refused("DisruptedPods map too big - too many evictions not confirmed by PDB controller"));
    }
    if count("disruptionsAllowed") == 0 {
        let (desired, current) = (count("desiredHealthy"), count("currentHealthy"));
        let allowed = "The disruption budget";
        return Err(later(format!("{allowed} {name} needs {desired} healthy pods and has {current} currently"), 0));
    }
    let left = count("disruptionsAllowed") - 1;
    budget["status"]["disruptionsAllowed"] = json!(left);
    if !budget["status"]["disruptedPods"].is_object() {
        budget["status"]["disruptedPods"] = json!({});
    }
    budget["status"]["disruptedPods"][pod] = json!(now);
    Ok(())
}

/// Says on the pod why it goes.
async fn mark(call: &Call) -> Result<(), Status> {
    for _ in 0..CONFLICT_ATTEMPTS {
        let entry = call.find().await?;
        let mut pod = codec::decode_stored(&call.kind, &entry)?;
        let condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
            "lastProbeTime": null,
            "lastTransitionTime": time::seconds(call.server.0.clock.now()),
        });
        if !pod["status"]["conditions"].is_array() {
            pod["status"]["conditions"] = json!([]);
        }
        if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
            conditions.retain(|known| known["type"] != "DisruptionTarget");
            conditions.push(condition);
        }
        let change = Change::Put(codec::encode(&pod)?);
        match call.server.0.store.write(Write { key: call.key(), expect: Expect::Revision(entry.revision), change }).await {
            Ok(_) => return Ok(()),
            Err(WriteError::Conflict(_)) => {}
            Err(error) => return Err(call.write_error(error)),
        }
    }
    Err(call.stale())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;

    fn budget(allowed: i64, current: i64, observed: i64) -> Value {
        json!({"metadata": {"name": "b", "generation": 2}, "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": {"disruptionsAllowed": allowed, "currentHealthy": current, "desiredHealthy": 2, "observedGeneration": observed}})
    }

    #[rstest]
    #[case(1, 3, 2, Ok(0))]
    #[case(0, 2, 2, Err("The disruption budget b needs 2 healthy pods and has 2 currently"))]
    #[case(1, 3, 1, Err("The disruption budget b is still being processed by the server."))]
    fn a_budget_is_spent(#[case] allowed: i64, #[case] current: i64, #[case] observed: i64, #[case] expected: Result<i64, &str>) {
        let mut budget = budget(allowed, current, observed);
        let kind = kinds::find("policy", "v1", "poddisruptionbudgets").unwrap();
        match (take_one(kind, &mut budget, "p", "now"), expected) {
            (Ok(()), Ok(left)) => assert_eq!(
                (&budget["status"]["disruptionsAllowed"], &budget["status"]["disruptedPods"]["p"]),
                (&json!(left), &json!("now"))
            ),
            (Err(status), Err(why)) => {
                assert_eq!((status.code, status.to_value()["details"]["causes"][0]["message"].as_str()), (429, Some(why)));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn unready_pods_go_when_others_are_healthy() {
        let pod =
            |ready: &str| json!({"metadata": {"labels": {"app": "web"}}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        assert!(selects(&budget(0, 2, 2), &pod("True")));
        assert!(may_go_unhealthy(&budget(0, 2, 2), &pod("False")));
        assert!(!may_go_unhealthy(&budget(0, 2, 2), &pod("True")));
        assert!(!may_go_unhealthy(&budget(0, 1, 2), &pod("False")));
        let mut always = budget(0, 1, 2);
        always["spec"]["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
        assert!(may_go_unhealthy(&always, &pod("False")));
    }
}

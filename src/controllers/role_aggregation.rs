//! Fills cluster roles that gather the rules of others.

use std::sync::Arc;

use coracle_client::{Informer, Queue};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::api::PostParams;
use kube::core::Selector;

use crate::Context;
use crate::ownership::matches;
use crate::wiring::{Key, Outcome, Run, follow_latest, name_of, work};

const NAME: &str = "clusterrole-aggregation-controller";

pub(crate) async fn run(context: Context) -> Run {
    let (client, roles) = (context.client(NAME), context.informers.of::<ClusterRole>());
    roles.synced().await;
    let queue = Queue::new();
    let gathering = roles.clone();
    // Any role may be a part of any that gathers.
    let followed = follow_latest(roles.clone(), |_| {
        let all = gathering.list();
        all.iter().filter(|role| role.aggregation_rule.is_some()).for_each(|role| queue.add(Key::of(role.as_ref())));
    });
    let workers = work(queue.clone(), 1, move |key: Key| reconcile(client.clone(), roles.clone(), key));
    tokio::join!(followed, workers).1
}

/// The rules of all roles that a role gathers, in the order of their names, each once; `None` if it has them.
fn plan(role: &ClusterRole, mut all: Vec<Arc<ClusterRole>>) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_deref().unwrap_or_default();
    all.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        for part in all.iter().filter(|part| part.metadata.name != role.metadata.name && selects(selector, part)) {
            for rule in part.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    (role.rules.as_deref().unwrap_or_default() != rules).then_some(rules)
}

fn selects(selector: &LabelSelector, role: &ClusterRole) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|selector| matches(&selector, &role.metadata))
}

async fn reconcile(client: kube::Client, roles: Informer<ClusterRole>, key: Key) -> Outcome {
    let Some(role) = roles.get("", &key.name) else { return Ok(None) };
    let Some(rules) = plan(&role, roles.list()) else { return Ok(None) };
    let mut role = (*role).clone();
    role.rules = Some(rules);
    Api::<ClusterRole>::all(client).replace(name_of(&role), &PostParams::default(), &role).await.map(|_| None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    fn role(name: &str, labels: serde_json::Value, verbs: &[&str]) -> Arc<ClusterRole> {
        let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": verbs});
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "rules": [rule]})).unwrap())
    }

    #[test]
    fn rules_are_gathered_by_label_each_once() {
        let selectors = json!([{"matchLabels": {"to": "x"}}, {"matchExpressions": [{"key": "more", "operator": "Exists"}]}]);
        let mut gathers: ClusterRole =
            serde_json::from_value(json!({"metadata": {"name": "all"}, "aggregationRule": {"clusterRoleSelectors": selectors}})).unwrap();
        let all = || {
            vec![
                role("b", json!({"to": "x"}), &["get"]),
                role("a", json!({"to": "x", "more": "1"}), &["list"]),
                role("c", json!({"to": "y"}), &["*"]),
            ]
        };
        let rules = plan(&gathers, all()).unwrap();
        assert_eq!(rules.iter().map(|rule| rule.verbs.join(",")).collect::<Vec<_>>(), ["list", "get"]);
        gathers.rules = Some(rules);
        assert_eq!(plan(&gathers, all()), None);
        assert_eq!(plan(&gathers, Vec::new()), Some(Vec::new()));
    }
}

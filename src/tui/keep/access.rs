//! What the person may do, as the server says it: one review for each namespace that is shown.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::kinds::Target;
use crate::shared::Shared;
use crate::source::call::Call;

/// What the server says may be done, by namespace.
#[derive(Default)]
pub struct Access {
    rules: HashMap<String, Option<Vec<Value>>>,
}

fn has(rule: &Value, field: &str, wanted: &str) -> bool {
    rule.get(field).and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| one == wanted || one == "*"))
}

impl Access {
    /// Nothing is known any more.
    pub fn forget(&mut self) {
        self.rules.clear();
    }

    /// Why `verb` may not be done with `target`; `None` when it may, and when that is not known.
    pub fn denies(&self, verb: &str, subresource: &str, target: &Target) -> Option<String> {
        let rules = self.rules.get(&target.namespace)?.as_ref()?;
        let plural = &target.kind.plural;
        let resource = if subresource.is_empty() { plural.clone() } else { format!("{plural}/{subresource}") };
        let allows = |rule: &Value| {
            let named = rule
                .get("resourceNames")
                .and_then(Value::as_array)
                .is_none_or(|names| names.is_empty() || names.iter().any(|name| *name == target.name));
            let all_of = subresource.is_empty() || !has(rule, "resources", &format!("*/{subresource}"));
            has(rule, "verbs", verb)
                && has(rule, "apiGroups", &target.kind.group)
                && named
                && (has(rule, "resources", &resource) || !all_of)
        };
        if rules.iter().any(allows) {
            return None;
        }
        let place = if target.namespace.is_empty() { String::new() } else { format!(" in namespace {}", target.namespace) };
        Some(format!("you may not {verb} {resource}{place}"))
    }
}

impl Shared {
    /// Asks what may be done in the namespaces shown, unless it is known.
    pub fn ask_access(&mut self) {
        let namespaces = match &self.namespaces {
            crate::shared::Namespaces::Some(names) => names.clone(),
            crate::shared::Namespaces::All => return,
        };
        for namespace in namespaces {
            if self.access.rules.contains_key(&namespace) {
                continue;
            }
            self.access.rules.insert(namespace.clone(), None);
            let review =
                json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}});
            self.call(
                Call::post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review),
                Box::new(move |app, answer| {
                    let Ok(answer) = answer else { return };
                    // a list that is not complete says nothing about what is missing in it
                    let complete = answer.pointer("/status/incomplete").and_then(Value::as_bool) == Some(false);
                    let rules = answer.pointer("/status/resourceRules").and_then(Value::as_array).cloned();
                    app.shared.access.rules.insert(namespace, rules.filter(|_| complete));
                }),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Arc;

    use super::*;
    use crate::kinds::Kinds;

    #[test]
    fn what_no_rule_allows_is_denied_and_what_is_not_known_is_not() {
        let kinds = Kinds::first();
        let target = |kind: &str, namespace: &str| Target {
            kind: Arc::clone(&kinds.find(kind).unwrap()),
            namespace: namespace.into(),
            name: "web".into(),
        };
        let mut access = Access::default();
        let rule = |verbs: &[&str], group: &str, resources: &[&str]| json!({"verbs": verbs, "apiGroups": [group], "resources": resources});
        access.rules.insert(
            "shop".into(),
            Some(vec![rule(&["get", "list"], "", &["*"]), rule(&["*"], "apps", &["deployments"]), rule(&["create"], "", &["*/exec"])]),
        );
        assert_eq!(access.denies("get", "", &target("pods", "shop")), None);
        assert_eq!(access.denies("create", "exec", &target("pods", "shop")), None);
        assert_eq!(access.denies("patch", "", &target("deploy", "shop")), None);
        assert_eq!(access.denies("delete", "", &target("pods", "shop")).as_deref(), Some("you may not delete pods in namespace shop"));
        assert_eq!(
            access.denies("patch", "scale", &target("deploy", "shop")).as_deref(),
            Some("you may not patch deployments/scale in namespace shop")
        );
        assert_eq!(access.denies("delete", "", &target("pods", "elsewhere")), None);
    }
}

//! Nobody gives away what they do not have: checks on writes of roles and bindings.

use coracle_api::identity::Identity;
use coracle_api::status::Status;
use serde_json::Value;

use super::rule::{self, Rule};
use super::{Authorizer, is_master};
use crate::authz::Attributes;

const GROUP: &str = "rbac.authorization.k8s.io";

impl Authorizer {
    /// Checks a write of an object of the RBAC group; `old` is what it replaces. Other objects pass.
    ///
    /// # Errors
    /// 403 that names the rules the caller does not have, 404 for a role that a binding refers to and that is not there.
    pub fn check_escalation(
        &self,
        identity: &Identity,
        plural: &str,
        namespace: &str,
        name: &str,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if is_master(identity) {
            return Ok(());
        }
        match plural {
            "roles" | "clusterroles" => self.check_role(identity, plural, namespace, name, object, old),
            "rolebindings" | "clusterrolebindings" => self.check_binding(identity, plural, namespace, name, object, old),
            _ => Ok(()),
        }
    }

    fn may(&self, identity: &Identity, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let request = Attributes { verb, group: GROUP, version: "v1", resource, namespace, name, ..Attributes::default() };
        self.decide(identity, &request).allowed
    }

    fn check_role(
        &self,
        identity: &Identity,
        plural: &str,
        namespace: &str,
        name: &str,
        role: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if self.may(identity, "escalate", plural, namespace, name) {
            return Ok(());
        }
        let same = |field| old.is_some_and(|old| old.get(field) == role.get(field));
        if same("rules") && same("aggregationRule") {
            return Ok(());
        }
        let mut wanted = Rule::of_role(role);
        if role.get("aggregationRule").is_some_and(|rule| !rule.is_null()) && !same("aggregationRule") {
            // an aggregated role may come to hold anything
            let all = || vec!["*".to_owned()];
            wanted.push(Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() });
            wanted.push(Rule { verbs: all(), urls: all(), ..Rule::default() });
        }
        self.check_held(identity, plural, namespace, name, &wanted)
    }

    fn check_binding(
        &self,
        identity: &Identity,
        plural: &str,
        namespace: &str,
        name: &str,
        binding: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if old.is_some_and(|old| old.get("subjects") == binding.get("subjects") && old.get("roleRef") == binding.get("roleRef")) {
            return Ok(());
        }
        let text = |path: &str| binding.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let (role_kind, role_name) = (text("/roleRef/kind"), text("/roleRef/name"));
        let resource = if role_kind == "ClusterRole" { "clusterroles" } else { "roles" };
        if self.may(identity, "bind", resource, namespace, role_name) {
            return Ok(());
        }
        let wanted = self
            .role_rules(role_kind, namespace, role_name)
            .map_err(|_| Status::not_found(GROUP, resource.trim_end_matches('s'), role_name))?;
        self.check_held(identity, plural, namespace, name, &wanted)
    }

    fn check_held(&self, identity: &Identity, plural: &str, namespace: &str, name: &str, wanted: &[Rule]) -> Result<(), Status> {
        let (held, error) = self.rules_for(identity, namespace);
        let missing = rule::missing(&held, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let groups = identity.groups.iter().map(|group| format!("{group:?}")).collect::<Vec<_>>().join(" ");
        let mut why = format!(
            "user {:?} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{}",
            identity.user,
            missing.join("\n")
        );
        if !error.is_empty() {
            why = format!("{why}; resolution errors: {error}");
        }
        Err(Status::forbidden(GROUP, plural, name, &why))
    }
}

//! The roles and bindings a cluster starts with, from the table in `roles.txt`.

use serde_json::{Value, json};

use crate::authz::rule::Rule;

const TABLE: &str = include_str!("roles.txt");
const CONTROLLER: &str = "system:controller:";
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// One entry of the table.
struct Role {
    name: &'static str,
    aggregates_to: Option<&'static str>,
    aggregates_from: Option<&'static str>,
    rules: Vec<Rule>,
}

/// Who is bound to which role from the start, besides the controllers.
const BINDINGS: [(&str, &[(&str, &str)]); 13] = [
    ("cluster-admin", &[("Group", "system:masters")]),
    ("system:monitoring", &[("Group", "system:monitoring")]),
    ("system:discovery", &[("Group", "system:authenticated")]),
    ("system:basic-user", &[("Group", "system:authenticated")]),
    ("system:public-info-viewer", &[("Group", "system:authenticated"), ("Group", "system:unauthenticated")]),
    ("system:node-proxier", &[("User", "system:kube-proxy")]),
    ("system:kube-controller-manager", &[("User", "system:kube-controller-manager")]),
    ("system:kube-dns", &[("ServiceAccount", "kube-dns")]),
    ("system:kube-scheduler", &[("User", "system:kube-scheduler")]),
    ("system:volume-scheduler", &[("User", "system:kube-scheduler")]),
    ("system:node", &[]),
    ("system:service-account-issuer-discovery", &[("Group", "system:serviceaccounts")]),
    ("system:coracle:informer", &[("User", "system:coracle:informer")]),
];

fn verbs(text: &str) -> Vec<String> {
    let mut out: Vec<String> = text
        .split(',')
        .flat_map(|verb| match verb {
            "read" => READ.to_vec(),
            "write" => WRITE.to_vec(),
            verb => vec![verb],
        })
        .map(str::to_owned)
        .collect();
    out.sort();
    out
}

fn sorted(items: impl Iterator<Item = &'static str>) -> Vec<String> {
    let mut out: Vec<String> = items.map(str::to_owned).collect();
    out.sort();
    out
}

fn rule(line: &'static str) -> Rule {
    let (line, names) = line.split_once(" = ").unwrap_or((line, ""));
    let mut words = line.split_whitespace();
    let verbs = verbs(words.next().unwrap_or_default());
    let rest: Vec<&str> = words.collect();
    if rest.len() == 1 || rest.first().is_some_and(|word| word.starts_with('/')) {
        return Rule { verbs, urls: sorted(rest.into_iter()), ..Rule::default() };
    }
    let groups = rest.first().copied().unwrap_or_default().split(',').map(|group| if group == "core" { "" } else { group });
    Rule {
        verbs,
        groups: sorted(groups),
        resources: sorted(rest.iter().skip(1).copied()),
        names: sorted(names.split_whitespace()),
        urls: Vec::new(),
    }
}

fn table() -> Vec<Role> {
    let mut roles: Vec<Role> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with(' ') {
            if let Some(role) = roles.last_mut() {
                role.rules.push(rule(line));
            }
        } else {
            let words: Vec<&'static str> = line.split(' ').collect();
            let after = |mark| words.iter().position(|&word| word == mark).and_then(|at| words.get(at + 1)).copied();
            let name = words.first().copied().unwrap_or_default();
            roles.push(Role { name, aggregates_to: after("+"), aggregates_from: after("<"), rules: Vec::new() });
        }
    }
    aggregate(&mut roles);
    roles
}

/// Fills the aggregated roles; `view` before `edit` before `admin`, since each contains the one before.
fn aggregate(roles: &mut [Role]) {
    for name in ["view", "edit", "admin"] {
        let mut rules: Vec<Rule> = Vec::new();
        let mut parts: Vec<&Role> = roles.iter().filter(|role| role.aggregates_to == Some(name)).collect();
        parts.sort_by_key(|role| role.name);
        for rule in parts.into_iter().flat_map(|role| &role.rules) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
        if let Some(role) = roles.iter_mut().find(|role| role.aggregates_from == Some(name)) {
            role.rules = rules;
        }
    }
}

/// What upstream's node authorizer lets a kubelet do: the rules of `system:node`, which is bound to nobody. Upstream narrows
/// secrets, config maps and claims to those of the node's own pods: `authz::node`.
pub fn node_rules() -> Vec<Rule> {
    table().into_iter().find(|role| role.name == "system:node").map(|role| role.rules).unwrap_or_default()
}

fn metadata(name: &str, namespace: &str) -> Value {
    let mut metadata = json!({
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "name": name,
    });
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

fn values(rules: &[Rule]) -> Vec<Value> {
    rules.iter().map(Rule::to_value).collect()
}

/// Cluster roles and their bindings: resource and object.
pub(super) fn cluster() -> Vec<(&'static str, Value)> {
    let mut out = Vec::new();
    for role in table() {
        let mut object = json!({"metadata": metadata(role.name, ""), "rules": values(&role.rules)});
        if let Some(label) = role.aggregates_to {
            object["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{label}")] = json!("true");
        }
        if let Some(label) = role.aggregates_from {
            let selector = json!({"matchLabels": {format!("rbac.authorization.k8s.io/aggregate-to-{label}"): "true"}});
            object["aggregationRule"] = json!({"clusterRoleSelectors": [selector]});
        }
        out.push(("clusterroles", object));
        if let Some(account) = role.name.strip_prefix(CONTROLLER) {
            out.push(("clusterrolebindings", binding(role.name, "", "ClusterRole", role.name, &[("ServiceAccount", account)])));
        }
    }
    for (role, subjects) in BINDINGS {
        out.push(("clusterrolebindings", binding(role, "", "ClusterRole", role, subjects)));
    }
    out
}

/// Service accounts among the subjects are those of kube-system.
fn binding(name: &str, namespace: &str, kind: &str, role: &str, subjects: &[(&str, &str)]) -> Value {
    let subjects: Vec<Value> = subjects
        .iter()
        .map(|(kind, name)| match *kind {
            "ServiceAccount" => json!({"kind": kind, "name": name, "namespace": "kube-system"}),
            _ => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}),
        })
        .collect();
    let mut object = json!({
        "metadata": metadata(name, namespace),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
    });
    if !subjects.is_empty() {
        object["subjects"] = json!(subjects);
    }
    object
}

/// Roles within namespaces and their bindings: resource and object.
pub(super) fn namespaced() -> Vec<(&'static str, Value)> {
    let role = |namespace: &str, name: &str, rules: &[&'static str]| {
        let rules: Vec<Rule> = rules.iter().copied().map(rule).collect();
        ("roles", json!({"metadata": metadata(name, namespace), "rules": values(&rules)}))
    };
    let bound = |namespace: &str, name: &str, role: &str, subjects: &[(&str, &str)]| {
        ("rolebindings", binding(name, namespace, "Role", role, subjects))
    };
    let reader = "extension-apiserver-authentication-reader";
    let (manager, scheduler) = ("system::leader-locking-kube-controller-manager", "system::leader-locking-kube-scheduler");
    let (signer, cloud, cleaner) =
        ("system:controller:bootstrap-signer", "system:controller:cloud-provider", "system:controller:token-cleaner");
    let (system, public) = ("kube-system", "kube-public");
    vec![
        role(system, reader, &["read core configmaps = extension-apiserver-authentication"]),
        role(system, signer, &["read core secrets"]),
        role(system, cloud, &["create,read core configmaps"]),
        role(system, cleaner, &["read,delete core secrets", "create,update,patch core,events.k8s.io events"]),
        role(system, manager, &["watch core configmaps", "get,update core configmaps = kube-controller-manager"]),
        role(system, scheduler, &["watch core configmaps", "get,update core configmaps = kube-scheduler"]),
        role(
            public,
            signer,
            &["read core configmaps", "update core configmaps = cluster-info", "create,update,patch core,events.k8s.io events"],
        ),
        bound(
            system,
            "system::extension-apiserver-authentication-reader",
            reader,
            &[("User", "system:kube-controller-manager"), ("User", "system:kube-scheduler")],
        ),
        bound(system, manager, manager, &[("User", "system:kube-controller-manager"), ("ServiceAccount", "kube-controller-manager")]),
        bound(system, scheduler, scheduler, &[("User", "system:kube-scheduler"), ("ServiceAccount", "kube-scheduler")]),
        bound(system, signer, signer, &[("ServiceAccount", "bootstrap-signer")]),
        bound(system, cloud, cloud, &[("ServiceAccount", "cloud-provider")]),
        bound(system, cleaner, cleaner, &[("ServiceAccount", "token-cleaner")]),
        bound(public, signer, signer, &[("ServiceAccount", "bootstrap-signer")]),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::authz::Attributes;

    fn allows(role: &str, verb: &str, group: &str, resource: &str, subresource: &str, name: &str) -> bool {
        let request = Attributes { verb, group, resource, subresource, name, ..Attributes::default() };
        table().iter().find(|own| own.name == role).unwrap().rules.iter().any(|rule| rule.allows(&request))
    }

    #[test]
    fn the_table_reads_as_meant() {
        assert!(allows("cluster-admin", "delete", "apps", "deployments", "scale", "x"));
        assert!(allows("view", "list", "", "pods", "log", ""));
        assert!(!allows("view", "get", "", "secrets", "", "s"), "viewers see no secrets");
        assert!(allows("edit", "get", "", "secrets", "", "s") && allows("edit", "list", "", "pods", "", ""));
        assert!(!allows("edit", "create", "rbac.authorization.k8s.io", "roles", "", ""));
        assert!(allows("admin", "create", "rbac.authorization.k8s.io", "roles", "", "") && allows("admin", "get", "", "pods", "", "p"));
        assert!(allows("system:kube-scheduler", "update", "coordination.k8s.io", "leases", "", "kube-scheduler"));
        assert!(!allows("system:kube-scheduler", "update", "coordination.k8s.io", "leases", "", "other"));
        assert!(allows("system:controller:disruption-controller", "get", "apps", "deployments", "scale", "d"));
        let roles = table();
        let admin = roles.iter().find(|role| role.name == "cluster-admin").unwrap();
        assert!(admin.rules.iter().any(|rule| rule.allows(&Attributes {
            verb: "post",
            path: "/coracle/v1/down",
            ..Attributes::default()
        })));
    }

    #[test]
    fn every_rule_has_what_it_needs_and_every_binding_its_role() {
        let objects = cluster();
        let names = |plural: &str| -> Vec<String> {
            objects
                .iter()
                .filter(|(own, _)| *own == plural)
                .map(|(_, object)| object["metadata"]["name"].as_str().unwrap().to_owned())
                .collect()
        };
        let roles = names("clusterroles");
        for role in table() {
            for rule in role.rules {
                let resource = !rule.resources.is_empty() && !rule.groups.is_empty() && rule.urls.is_empty();
                assert!(!rule.verbs.is_empty() && (resource || !rule.urls.is_empty()), "{}: {rule:?}", role.name);
            }
        }
        for (_, binding) in objects.iter().filter(|(plural, _)| *plural == "clusterrolebindings") {
            assert!(roles.iter().any(|role| binding["roleRef"]["name"] == role.as_str()), "{binding}");
        }
        let mut unique = roles.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), roles.len());
    }
}

//! Priority and fairness as upstream sets it up: levels of priority and which requests go to which. Requests are not queued
//! here, one user's machine needs no fairness; the objects are what tools and people read and change.

use serde_json::{Value, json};

/// How the requests of a schema are told apart.
type Distinguisher = Option<&'static str>;

fn metadata(name: &str) -> Value {
    json!({"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}})
}

/// How a level queues: queues, hand size, queue length.
type Queuing = Option<(u32, u32, u32)>;

/// Name, shares, lendable percent, and how it queues.
const LEVELS: &[(&str, u32, u32, Queuing)] = &[
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("system", 30, 33, Some((64, 6, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
];

/// Priority level configurations.
pub(super) fn levels() -> Vec<Value> {
    let exempt = json!({
        "metadata": metadata("exempt"),
        "spec": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
    });
    let limited = LEVELS.iter().map(|(name, shares, lendable, queuing)| {
        let response = match queuing {
            None => json!({"type": "Reject"}),
            Some((queues, hand_size, length)) => {
                json!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand_size, "queueLengthLimit": length}})
            }
        };
        let limits = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
        json!({"metadata": metadata(name), "spec": {"type": "Limited", "limited": limits}})
    });
    std::iter::once(exempt).chain(limited).collect()
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn account(name: &str, namespace: &str) -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": namespace}})
}

fn resource(verbs: &[&str], groups: &[&str], resources: &[&str], namespaces: &[&str], cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "namespaces": namespaces});
    if cluster {
        rule["clusterScope"] = json!(true);
    }
    rule
}

/// Any request.
fn everything(subjects: &[Value]) -> Value {
    rule(subjects, &[resource(&["*"], &["*"], &["*"], &["*"], true)], &[("*", "*")])
}

fn rule(subjects: &[Value], resources: &[Value], paths: &[(&str, &str)]) -> Value {
    let mut rule = json!({"subjects": subjects});
    if !resources.is_empty() {
        rule["resourceRules"] = json!(resources);
    }
    if !paths.is_empty() {
        let paths: Vec<Value> = paths.iter().map(|(verb, path)| json!({"verbs": [verb], "nonResourceURLs": [path]})).collect();
        rule["nonResourceRules"] = json!(paths);
    }
    rule
}

fn schema(name: &str, level: &str, precedence: u32, distinguisher: Distinguisher, rules: &[Value]) -> Value {
    let mut spec = json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": rules});
    if let Some(method) = distinguisher {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    let dangling = json!({
        "type": "Dangling", "status": "False", "reason": "Found", "lastTransitionTime": "1970-01-01T00:00:00Z",
        "message": format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists"),
    });
    json!({"metadata": metadata(name), "spec": spec, "status": {"conditions": [dangling]}})
}

/// Flow schemas.
pub(super) fn schemas() -> Vec<Value> {
    const BY_USER: Distinguisher = Some("ByUser");
    const BY_NAMESPACE: Distinguisher = Some("ByNamespace");
    let (nodes, accounts) = (group("system:nodes"), group("system:serviceaccounts"));
    let (everybody, strangers) = (group("system:authenticated"), group("system:unauthenticated"));
    let (manager, scheduler) = (user("system:kube-controller-manager"), user("system:kube-scheduler"));
    let leases = || resource(&["get", "create", "update"], &["coordination.k8s.io"], &["leases"], &["*"], false);
    let system_accounts = account("*", "kube-system");
    let probes = rule(&[strangers.clone(), everybody.clone()], &[], &[("get", "/healthz"), ("get", "/readyz"), ("get", "/livez")]);
    let node_statuses = [
        resource(&["*"], &[""], &["nodes", "nodes/status"], &["*"], true),
        resource(&["*"], &["coordination.k8s.io"], &["leases"], &["*"], false),
    ];
    let endpoint_controllers =
        [manager.clone(), account("endpoint-controller", "kube-system"), account("endpointslicemirroring-controller", "kube-system")];
    let endpoints = resource(&["get", "create", "update"], &[""], &["endpoints"], &["*"], false);
    vec![
        schema("exempt", "exempt", 1, None, &[everything(&[group("system:masters")])]),
        schema("probes", "exempt", 2, None, &[probes]),
        schema("system-leader-election", "leader-election", 100, BY_USER, &[rule(&[manager.clone(), scheduler.clone()], &[leases()], &[])]),
        schema("endpoint-controller", "workload-high", 150, BY_USER, &[rule(&endpoint_controllers, &[endpoints], &[])]),
        schema(
            "workload-leader-election",
            "leader-election",
            200,
            BY_USER,
            &[rule(std::slice::from_ref(&system_accounts), &[leases()], &[])],
        ),
        schema("system-node-high", "node-high", 400, BY_USER, &[rule(std::slice::from_ref(&nodes), &node_statuses, &[])]),
        schema("system-nodes", "system", 500, BY_USER, &[everything(&[nodes])]),
        schema("kube-controller-manager", "workload-high", 800, BY_NAMESPACE, &[everything(&[manager])]),
        schema("kube-scheduler", "workload-high", 800, BY_NAMESPACE, &[everything(&[scheduler])]),
        schema("kube-system-service-accounts", "workload-high", 900, BY_NAMESPACE, &[everything(&[system_accounts])]),
        schema("service-accounts", "workload-low", 9_000, BY_USER, &[everything(&[accounts])]),
        schema("global-default", "global-default", 9_900, BY_USER, &[everything(&[strangers.clone(), everybody.clone()])]),
        schema("catch-all", "catch-all", 10_000, BY_USER, &[everything(&[strangers, everybody])]),
    ]
}

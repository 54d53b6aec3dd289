//! What is wrong with a validating policy's expressions for the types it is about (`status.typeChecking`). The policy
//! stands nevertheless: expressions run on what is there.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde_json::{Value, json};

use super::admission_policy::{Expressions, Place, expression_variables};
use super::check::{Path, Read};
use crate::cel::{Type, UNBOUNDED};
use crate::custom::escaped;
use crate::kinds::Kind;
use crate::schema::{self, Shape};

/// Most types that a policy is checked against.
const MOST_TYPES: usize = 10;

/// The status of a policy that has been checked: `observedGeneration` and `typeChecking`. Kinds are found by group, version
/// and resource.
pub fn type_checked<K: Deref<Target = Kind>>(
    policy: &Value,
    find: impl Fn(&str, &str, &str) -> Option<K>,
    parameters: Option<&Kind>,
) -> Value {
    let checked = warnings(policy, &kinds_of(policy, find), parameters);
    let found = if checked.is_empty() { json!({}) } else { json!({"expressionWarnings": checked}) };
    json!({"observedGeneration": policy["metadata"]["generation"], "typeChecking": found})
}

/// The kinds that the rules name: wildcards and subresources name none.
fn kinds_of<K: Deref<Target = Kind>>(policy: &Value, find: impl Fn(&str, &str, &str) -> Option<K>) -> Vec<K> {
    let mut out: BTreeMap<(String, String, String), K> = BTreeMap::new();
    for rule in policy["spec"]["matchConstraints"].items("resourceRules") {
        let sorted = |field: &str| {
            let mut texts: Vec<&str> = rule.items(field).iter().filter_map(Value::as_str).collect();
            texts.sort_unstable();
            texts
        };
        let (groups, versions) = (sorted("apiGroups"), sorted("apiVersions"));
        if groups.contains(&"*") || versions.contains(&"*") {
            continue;
        }
        for (group, version) in groups.iter().flat_map(|group| versions.iter().map(move |version| (*group, *version))) {
            for resource in sorted("resources").into_iter().filter(|resource| !resource.contains(['*', '/'])) {
                if let Some(kind) = find(group, version, resource).filter(|_| out.len() < MOST_TYPES) {
                    out.insert((group.to_owned(), version.to_owned(), kind.kind.to_string()), kind);
                }
            }
        }
    }
    out.into_values().collect()
}

fn warnings<K: Deref<Target = Kind>>(policy: &Value, kinds: &[K], parameters: Option<&Kind>) -> Vec<Value> {
    let checks: Vec<(String, Expressions)> = kinds.iter().map(|kind| (name(kind), expressions(policy, kind, parameters))).collect();
    let mut out = Vec::new();
    for (at, validation) in policy["spec"].each("validations", &Path::new("spec")) {
        for field in ["expression", "messageExpression"] {
            let source = validation.text(field);
            let faults = checks.iter().filter_map(|(name, checks)| Some(format!("{name}: {}", checks.compile(source).err()?.found())));
            let faults: Vec<String> = if source.is_empty() { Vec::new() } else { faults.collect() };
            if !faults.is_empty() {
                out.push(json!({"fieldRef": String::from(at.child(field)), "warning": faults.join("\n")}));
            }
        }
    }
    out
}

/// A kind as upstream writes it, `apps/v1, Kind=Deployment`.
fn name(kind: &Kind) -> String {
    format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind)
}

/// The policy's variables, where objects are of this kind.
fn expressions(policy: &Value, kind: &Kind, parameters: Option<&Kind>) -> Expressions {
    let object = object_type(&kind.ty(), &mut Vec::new());
    let params = parameters.map_or(Type::Dyn, |kind| object_type(&kind.ty(), &mut Vec::new()));
    let environment = expression_variables(Place::Policy).with("object", object.clone()).with("oldObject", object).with("params", params);
    let mut expressions = Expressions::new(environment, policy["spec"].has("paramKind"));
    for variable in policy["spec"].items("variables") {
        // A variable that does not fit is said where it is used.
        let ty = expressions.compile(variable.text("expression")).map_or(Type::Dyn, |program| program.result().clone());
        expressions.declare(variable.text("name"), ty);
    }
    expressions
}

/// A type of the schema as expressions see it; a type inside of itself is anything.
fn object_type(ty: &schema::Type, inside: &mut Vec<Box<str>>) -> Type {
    if ty.open || inside.contains(&ty.name) {
        return Type::Dyn;
    }
    inside.push(ty.name.clone());
    let fields = ty.fields.iter().filter_map(|field| Some((escaped(&field.name)?, shape_type(&field.shape, inside))));
    let fields: Vec<(String, Type)> = fields.collect();
    inside.pop();
    Type::object(&*ty.name, fields)
}

fn shape_type(shape: &Shape, inside: &mut Vec<Box<str>>) -> Type {
    match shape {
        Shape::Any | Shape::IntOrString => Type::Dyn,
        Shape::String | Shape::Quantity => Type::STRING,
        Shape::Bytes => Type::Bytes(UNBOUNDED),
        Shape::Int32 | Shape::Int64 => Type::Int,
        Shape::Float => Type::Double,
        Shape::Bool => Type::Bool,
        Shape::Time | Shape::MicroTime => Type::Timestamp,
        Shape::Object(target) => object_type(target.get(), inside),
        Shape::List(item) => Type::list(shape_type(item, inside)),
        Shape::Map(item) => Type::map(shape_type(item, inside)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;

    use super::*;
    use crate::kinds;

    fn found(resources: &[&str], spec: Value) -> Value {
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": resources});
        let mut policy = json!({"metadata": {"generation": 3}, "spec": {"matchConstraints": {"resourceRules": [rule]}}});
        crate::patch::merge(&mut policy["spec"], &spec);
        type_checked(&policy, kinds::find, kinds::by_api_version("v1", "ConfigMap"))
    }

    fn validated(expression: &str) -> Value {
        json!({"validations": [{"expression": expression}]})
    }

    #[rstest]
    #[case(&["deployments"], "object.spec.replicas > 1")]
    #[case(&["deployments"], "object.metadata.labels['a'] == 'b' && has(object.spec.template.spec.containers[0].image)")]
    #[case(&["deployments"], "object.spec.strategy.rollingUpdate.maxSurge == '1'")]
    #[case(&["*", "deployments/scale"], "object.no == 1")]
    #[case(&["deployments"], "oldObject == null || oldObject.metadata.creationTimestamp < timestamp('2026-01-01T00:00:00Z')")]
    fn expressions_that_fit(#[case] resources: &[&str], #[case] expression: &str) {
        assert_eq!(found(resources, validated(expression)), json!({"observedGeneration": 3, "typeChecking": {}}));
    }

    #[test]
    fn expressions_that_do_not_fit_are_said_of_each_kind() {
        let warning = "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^";
        let one = found(&["deployments"], validated("object.replicas > 1"));
        assert_eq!(
            one["typeChecking"],
            json!({"expressionWarnings": [{"fieldRef": "spec.validations[0].expression", "warning": warning}]})
        );
        let two = found(&["replicasets", "deployments"], validated("object.replicas > 1"));
        let text = two["typeChecking"]["expressionWarnings"][0]["warning"].as_str().unwrap().to_owned();
        assert_eq!(text, format!("{warning}\n{}", warning.replace("Deployment", "ReplicaSet")));
    }

    #[test]
    fn variables_parameters_and_messages_have_types_too() {
        let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "variables": [{"name": "count", "expression": "object.spec.replicas"}],
            "validations": [{"expression": "variables.count == 'x'", "messageExpression": "params.nothing"}]});
        let found = found(&["deployments"], spec);
        let warnings = found["typeChecking"]["expressionWarnings"].as_array().unwrap();
        assert!(warnings[0]["warning"].as_str().unwrap().contains("found no matching overload"), "{warnings:?}");
        assert_eq!(warnings[1]["fieldRef"], "spec.validations[0].messageExpression");
    }
}

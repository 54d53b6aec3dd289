//! Admission policies and their bindings.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::check::{Errors, Fill, Path, Read, Seen};
use super::{Rules, selector, webhooks};
use crate::cel::{AUTHORIZER, CompileError, Environment, Program, Type};
use crate::names;

/// Where an expression of admission stands: it says what the expression may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A webhook's conditions.
    Webhook,
    /// A policy that validates.
    Policy,
    /// A policy that changes objects.
    Mutation,
}

/// The variables of expressions in a place.
pub fn expression_variables(place: Place) -> Environment {
    let mut environment = Environment::new().with("authorizer", AUTHORIZER);
    environment = environment.with("object", Type::Dyn).with("oldObject", Type::Dyn).with("request", request_type());
    if place != Place::Webhook {
        environment = environment.with("namespaceObject", namespace_type()).with("params", Type::Dyn).with("variables", Type::Dyn);
    }
    if place == Place::Mutation { environment.with_objects() } else { environment }
}

fn structure(name: &str, fields: &[(&str, Type)]) -> Type {
    Type::object(name, fields.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())))
}

/// What expressions see of a request (`AdmissionRequest` without its objects).
fn request_type() -> Type {
    let texts = |name: &str, fields: [&str; 3]| structure(name, &fields.map(|field| (field, Type::STRING)));
    let kind = texts("kubernetes.GroupVersionKind", ["group", "version", "kind"]);
    let resource = texts("kubernetes.GroupVersionResource", ["group", "version", "resource"]);
    let user = structure(
        "kubernetes.UserInfo",
        &[
            ("username", Type::STRING),
            ("uid", Type::STRING),
            ("groups", Type::list(Type::STRING)),
            ("extra", Type::map(Type::list(Type::STRING))),
        ],
    );
    structure(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", Type::STRING),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", Type::STRING),
            ("name", Type::STRING),
            ("namespace", Type::STRING),
            ("operation", Type::STRING),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

/// What expressions see of the namespace.
fn namespace_type() -> Type {
    let metadata = structure(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", Type::STRING),
            ("generateName", Type::STRING),
            ("namespace", Type::STRING),
            ("labels", Type::map(Type::STRING)),
            ("annotations", Type::map(Type::STRING)),
            ("UID", Type::STRING),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::STRING),
            ("finalizers", Type::list(Type::STRING)),
        ],
    );
    let condition = structure(
        "kubernetes.NamespaceCondition",
        &[
            ("type", Type::STRING),
            ("status", Type::STRING),
            ("lastTransitionTime", Type::Timestamp),
            ("reason", Type::STRING),
            ("message", Type::STRING),
        ],
    );
    let spec = structure("kubernetes.NamespaceSpec", &[("finalizers", Type::list(Type::STRING))]);
    let status = structure("kubernetes.NamespaceStatus", &[("conditions", Type::list(condition)), ("phase", Type::STRING)]);
    structure("kubernetes.Namespace", &[("metadata", metadata), ("spec", spec), ("status", status)])
}

pub(crate) static VALIDATING: Rules = Rules {
    generation: true,
    status: |_| json!({}),
    default: |object| object.within("spec", default),
    validate: |object, out| validate(object, Place::Policy, out),
    ..Rules::PLAIN
};

pub(crate) static MUTATING: Rules = Rules {
    generation: true,
    default: |object| {
        object.within("spec", |spec| {
            default(spec);
            spec.fill("reinvocationPolicy", "Never");
        });
    },
    validate: |object, out| validate(object, Place::Mutation, out),
    ..Rules::PLAIN
};

pub(crate) static BINDING: Rules = Rules {
    generation: true,
    default: |object| object.with("spec", |spec| spec.with("matchResources", default_constraints)),
    validate: |object, out| validate_binding(object, out),
    ..Rules::PLAIN
};

fn default(spec: &mut Value) {
    spec.fill("failurePolicy", "Fail");
    spec.with("matchConstraints", default_constraints);
}

fn default_constraints(constraints: &mut Value) {
    constraints.fill("matchPolicy", "Equivalent");
    constraints.fill("namespaceSelector", json!({}));
    constraints.fill("objectSelector", json!({}));
    for rules in ["resourceRules", "excludeResourceRules"] {
        constraints.for_each(rules, |rule| rule.fill("scope", "*"));
    }
}

/// Expressions of one policy: what its variables are so far.
pub(super) struct Expressions {
    environment: Environment,
    variables: BTreeMap<String, Type>,
}

impl Expressions {
    pub(super) fn new(environment: Environment, has_params: bool) -> Self {
        let environment = if has_params { environment } else { environment.without("params") };
        Self { environment, variables: BTreeMap::new() }
    }

    pub(super) fn declare(&mut self, name: &str, ty: Type) {
        self.variables.insert(name.to_owned(), ty);
    }

    /// The environment with the variables as they are by now.
    fn with_variables(&self) -> Environment {
        self.environment.clone().with("variables", Type::object("kubernetes.variables", self.variables.clone()))
    }

    pub(super) fn compile(&self, source: &str) -> Result<Program, CompileError> {
        self.with_variables().compile(source)
    }

    fn check(&self, source: &str, path: &Path, wanted: &[Type], out: &mut Errors) -> Type {
        if source.trim().is_empty() {
            out.required(path, "");
            return Type::Dyn;
        }
        let environment = self.with_variables();
        let compiled = if wanted.is_empty() { environment.compile(source) } else { environment.compile_as(source, wanted) };
        match compiled {
            Ok(program) => program.result().clone(),
            Err(error) => {
                out.0.push(error.of_field(path, source));
                Type::Dyn
            }
        }
    }
}

fn validate(object: &Value, place: Place, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    out.one_of_if_set(path.child("failurePolicy"), spec.text("failurePolicy"), &["Fail", "Ignore"]);
    if spec.has("paramKind") {
        for field in ["apiVersion", "kind"] {
            if spec["paramKind"].text(field).is_empty() {
                out.required(path.child("paramKind").child(field), "");
            }
        }
    }
    if spec.has("matchConstraints") {
        let at = path.child("matchConstraints");
        constraints(&spec["matchConstraints"], &at, out);
        if spec["matchConstraints"].items("resourceRules").is_empty() {
            out.required(at.child("resourceRules"), "");
        }
    } else {
        out.required(path.child("matchConstraints"), "");
    }
    webhooks::condition_names(spec, &path, out);
    let environment = expression_variables(place);
    let mut expressions = Expressions::new(environment, spec.has("paramKind"));
    for (at, condition) in spec.each("matchConditions", &path) {
        expressions.check(condition.text("expression"), &at.child("expression"), &[Type::Bool], out);
    }
    for (at, variable) in spec.each("variables", &path) {
        let name = variable.text("name");
        if name.is_empty() {
            out.required(at.child("name"), "");
        } else if !names::c_identifier(name).is_empty() {
            out.invalid(at.child("name"), name, "name is not a valid CEL identifier");
        }
        if expressions.variables.contains_key(name) {
            out.duplicate(at.child("name"), name);
        }
        let ty = expressions.check(variable.text("expression"), &at.child("expression"), &[], out);
        expressions.declare(name, ty);
    }
    match place {
        Place::Mutation => mutations(spec, &path, &expressions, out),
        _ => validations(spec, &path, &expressions, out),
    }
}

fn validations(spec: &Value, path: &Path, expressions: &Expressions, out: &mut Errors) {
    if spec.items("validations").is_empty() && spec.items("auditAnnotations").is_empty() {
        for field in ["validations", "auditAnnotations"] {
            out.required(path.child(field), "validations or auditAnnotations must contain at least one item");
        }
    }
    for (at, validation) in spec.each("validations", path) {
        expressions.check(validation.text("expression"), &at.child("expression"), &[Type::Bool], out);
        let message = validation.text("message");
        if message.trim().contains('\n') {
            out.invalid(at.child("message"), message, "message must not contain line breaks");
        }
        if validation.has("messageExpression") {
            expressions.check(validation.text("messageExpression"), &at.child("messageExpression"), &[Type::STRING], out);
        }
        let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
        out.one_of_if_set(at.child("reason"), validation.text("reason"), &reasons);
    }
    let mut seen = Seen::default();
    for (at, annotation) in spec.each("auditAnnotations", path) {
        let key = annotation.text("key");
        if key.is_empty() {
            out.required(at.child("key"), "");
        } else if !seen.first(key) {
            out.duplicate(at.child("key"), key);
        }
        expressions.check(annotation.text("valueExpression"), &at.child("valueExpression"), &[Type::STRING, Type::Null], out);
    }
}

fn mutations(spec: &Value, path: &Path, expressions: &Expressions, out: &mut Errors) {
    if spec.items("mutations").is_empty() {
        out.required(path.child("mutations"), "mutations must contain at least one item");
    }
    out.required_one_of(&path.child("reinvocationPolicy"), spec.text("reinvocationPolicy"), &["IfNeeded", "Never"]);
    for (at, mutation) in spec.each("mutations", path) {
        let kind = mutation.text("patchType");
        out.required_one_of(&at.child("patchType"), kind, &["ApplyConfiguration", "JSONPatch"]);
        for (field, own) in [("applyConfiguration", "ApplyConfiguration"), ("jsonPatch", "JSONPatch")] {
            let here = at.child(field);
            match (mutation.has(field), own == kind) {
                (true, true) => drop(expressions.check(mutation[field].text("expression"), &here.child("expression"), &[], out)),
                (false, true) => out.required(&here, &format!("must be specified when patchType is {own}")),
                (true, false) => out.required(&here, &format!("must not be specified when patchType is {kind}")),
                (false, false) => {}
            }
        }
    }
}

/// `MatchResources`.
fn constraints(constraints: &Value, path: &Path, out: &mut Errors) {
    out.one_of_if_set(path.child("matchPolicy"), constraints.text("matchPolicy"), &["Equivalent", "Exact"]);
    for field in ["namespaceSelector", "objectSelector"] {
        selector::validate(&constraints[field], &path.child(field), out);
    }
    for rules in ["resourceRules", "excludeResourceRules"] {
        for (at, rule) in constraints.each(rules, path) {
            webhooks::validate_rule(rule, &at, out);
        }
    }
}

fn validate_binding(object: &Value, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    out.required_name(&path.child("policyName"), spec.text("policyName"), names::dns1123_subdomain);
    if spec.has("paramRef") {
        let (reference, at) = (&spec["paramRef"], path.child("paramRef"));
        match (reference.text("name").is_empty(), reference.has("selector")) {
            (false, true) => out.forbidden(at.child("name"), "name and selector are mutually exclusive"),
            (true, false) => out.required(&at, "one of name or selector must be specified"),
            _ => {}
        }
        out.required_one_of(&at.child("parameterNotFoundAction"), reference.text("parameterNotFoundAction"), &["Allow", "Deny"]);
    }
    if spec.has("matchResources") {
        constraints(&spec["matchResources"], &path.child("matchResources"), out);
    }
    if object.text("kind").starts_with("Mutating") {
        return;
    }
    let (actions, at) = (spec.items("validationActions"), path.child("validationActions"));
    if actions.is_empty() {
        out.required(&at, "at least one validation action is required");
    }
    let mut seen = Seen::default();
    for (index, action) in actions.iter().filter_map(Value::as_str).enumerate() {
        out.one_of(at.index(index), action, &["Audit", "Deny", "Warn"]);
        if !seen.first(action) {
            out.duplicate(at.index(index), action);
        }
    }
    if seen.has("Deny") && seen.has("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        out.invalid(&at, spec["validationActions"].clone(), why);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;

    fn faults(rules: &Rules, object: Value) -> Vec<String> {
        let mut out = Errors::default();
        (rules.validate)(&object, &mut out);
        out.0.iter().map(ToString::to_string).collect()
    }

    #[rstest]
    #[case(json!({}), "")]
    #[case(json!({"validations": []}), "spec.validations: Required value")]
    #[case(json!({"matchConstraints": null}), "spec.matchConstraints: Required value")]
    #[case(json!({"validations": [{"expression": "object.x >"}]}), "spec.validations[0].expression: Invalid value: \"object.x >\": compilation failed")]
    #[case(json!({"validations": [{"expression": "1 + 1"}]}), "must evaluate to bool")]
    #[case(json!({"validations": [{"expression": " ".repeat(10_240) + "true"}]}), "spec.validations[0].expression: Too long: may not be more than 10240 bytes")]
    #[case(json!({"validations": [{"expression": "params.x == 1"}]}), "undeclared reference to 'params'")]
    #[case(json!({"validations": [{"expression": "variables.other"}]}), "undefined field 'other'")]
    #[case(json!({"validations": [{"expression": "variables.own && authorizer.requestResource.check('get').allowed()"}]}), "")]
    #[case(json!({"validations": [{"expression": "true", "reason": "No"}]}), "spec.validations[0].reason: Unsupported value")]
    #[case(json!({"validations": [{"expression": "true", "messageExpression": "1"}]}), "must evaluate to string")]
    #[case(json!({"variables": [{"name": "a-b", "expression": "1"}]}), "name is not a valid CEL identifier")]
    fn faults_of_a_policy(#[case] changes: Value, #[case] expected: &str) {
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]});
        let mut spec = json!({"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "object.spec.replicas < 5"}],
            "variables": [{"name": "own", "expression": "object.metadata.name == 'a'"}]});
        crate::patch::merge(&mut spec, &changes);
        let found = faults(&VALIDATING, json!({"spec": spec})).join("; ");
        if expected.is_empty() { assert_eq!(found, "") } else { assert!(found.contains(expected), "{found}") }
    }

    #[rstest]
    #[case(json!({}), "")]
    #[case(json!({"validationActions": ["Deny", "Warn"]}), "must not contain both Deny and Warn")]
    #[case(json!({"validationActions": ["Deny", "Deny"]}), "spec.validationActions[1]: Duplicate value: \"Deny\"")]
    #[case(json!({"paramRef": {"name": "a", "selector": {}, "parameterNotFoundAction": "Deny"}}), "name and selector are mutually exclusive")]
    #[case(json!({"policyName": null}), "spec.policyName: Required value")]
    fn faults_of_a_binding(#[case] changes: Value, #[case] expected: &str) {
        let mut spec = json!({"policyName": "p", "validationActions": ["Deny"]});
        crate::patch::merge(&mut spec, &changes);
        let found = faults(&BINDING, json!({"spec": spec})).join("; ");
        if expected.is_empty() { assert_eq!(found, "") } else { assert!(found.contains(expected), "{found}") }
    }

    #[test]
    fn mutations_make_objects_or_patches() {
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
        let policy = |mutation: Value| json!({"spec": {"matchConstraints": {"resourceRules": [rule]}, "reinvocationPolicy": "Never", "mutations": [mutation]}});
        let apply = |source: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": source}});
        assert_eq!(faults(&MUTATING, policy(apply("Object{metadata: Object.metadata{labels: {'a': 'b'}}}"))), Vec::<String>::new());
        assert_eq!(faults(&MUTATING, policy(apply("Other{}"))).len(), 1);
        let patch = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}]"}});
        assert_eq!(faults(&MUTATING, policy(patch)), Vec::<String>::new());
        assert!(faults(&MUTATING, policy(json!({"patchType": "JSONPatch"})))[0].contains("must be specified when patchType is JSONPatch"));
    }
}

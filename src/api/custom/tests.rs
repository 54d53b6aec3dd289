#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use rstest::rstest;

use super::*;
use crate::rules;

fn definition(schema: Value) -> Value {
    let versions = json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]);
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "foos.example.com", "uid": "u"},
        "spec": {"group": "example.com", "scope": "Namespaced", "versions": versions,
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"}}})
}

fn established(definition: &Value) -> Value {
    status::settled(definition, &[definition], "2026-01-02T03:04:05Z")
}

/// The kind of a schema, with a status.
fn kind(schema: Value) -> Arc<Kind> {
    let mut definition = established(&definition(schema));
    definition["spec"]["versions"][0]["subresources"] = json!({"status": {}});
    kinds_of(&definition, 0).remove(0)
}

fn object(fields: Value) -> Value {
    let mut object = fields;
    for (name, value) in [
        ("apiVersion", json!("example.com/v1")),
        ("kind", json!("Foo")),
        ("metadata", json!({"name": "a", "namespace": "n", "uid": "u", "generation": 1})),
    ] {
        object[name] = value;
    }
    object
}

/// A schema of one field.
fn field(schema: Value) -> Value {
    json!({"type": "object", "properties": {"f": schema}})
}

fn errors(schema: Value, value: Value, old: Option<Value>) -> Vec<String> {
    let kind = kind(field(schema));
    let new = object(json!({"f": value}));
    let found = match old {
        None => rules::validate_create(&kind, &new),
        Some(old) => rules::validate_update(&kind, &new, &object(json!({"f": old})), ""),
    };
    found.iter().map(ToString::to_string).collect()
}

#[rstest]
#[case(json!({"type": "string"}), json!({"f": null}), json!({}))]
#[case(json!({"type": "string", "nullable": true}), json!({"f": null}), json!({"f": null}))]
#[case(json!({"type": "string", "default": "d"}), json!({"f": null}), json!({"f": "d"}))]
#[case(json!({"type": "string", "nullable": true, "default": "d"}), json!({"f": null}), json!({"f": null}))]
#[case(json!({"type": "object", "additionalProperties": {"type": "string"}}), json!({"f": {"a": null, "b": "c"}}), json!({"f": {"b": "c"}}))]
#[case(json!({"type": "object", "additionalProperties": true}), json!({"f": {"a": null}}), json!({"f": {"a": null}}))]
#[case(json!({"type": "object", "default": {}, "properties": {"a": {"type": "integer", "default": 1}}}), json!({}), json!({"f": {"a": 1}}))]
#[case(json!({"type": "object"}), json!({"f": {"a": 1}, "g": 1}), json!({"f": {}}))]
#[case(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "object"}}}),
    json!({"f": {"a": {"b": 1}, "c": {"d": 1}}}), json!({"f": {"a": {}, "c": {"d": 1}}}))]
#[case(json!({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer", "default": 7}}}}),
    json!({"f": [{}, {"a": 1, "b": 2}]}), json!({"f": [{"a": 7}, {"a": 1}]}))]
#[case(json!({"type": "array", "x-kubernetes-preserve-unknown-fields": true, "items": {"type": "object"}}), json!({"f": [{"a": 1}]}), json!({"f": [{"a": 1}]}))]
#[case(json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
    json!({"f": {"metadata": {"name": "n", "odd": 1}, "spec": 1}}), json!({"f": {"metadata": {"name": "n"}, "spec": 1}}))]
fn objects_come_into_the_form_of_their_schema(#[case] schema: Value, #[case] given: Value, #[case] wanted: Value) {
    let kind = kind(field(schema));
    let custom = kind.custom.as_ref().unwrap();
    let mut written = object(given.clone());
    custom.decode(&kind, &mut written, &[], FieldValidation::Ignore).unwrap();
    assert_eq!(written, object(wanted.clone()), "written");
    let mut read = object(given);
    custom.settle(&mut read);
    assert_eq!(read, object(wanted), "read");
}

#[rstest]
#[case(json!({"type": "integer"}), json!("x"), &[r#"f: Invalid value: "string": f in body must be of type integer: "string""#])]
#[case(json!({"type": "integer"}), json!(1.5), &[r#"f: Invalid value: "number": f in body must be of type integer: "number""#])]
#[case(json!({"type": "number"}), json!(1), &[])]
#[case(json!({"x-kubernetes-int-or-string": true}), json!(true), &[r#"f: Invalid value: "boolean": f in body must be of type integer,string: "boolean""#])]
#[case(json!({"type": "string", "maxLength": 2}), json!("äöü"), &["f: Too long: may not be more than 2 bytes"])]
#[case(json!({"type": "string", "enum": ["a", "b"]}), json!("c"), &[r#"f: Unsupported value: "c": supported values: "a", "b""#])]
#[case(json!({"type": "string", "pattern": "^a+$"}), json!("b"), &[r#"f: Invalid value: "b": f in body should match '^a+$'"#])]
#[case(json!({"type": "integer", "minimum": 2, "exclusiveMinimum": true}), json!(2), &["f: Invalid value: 2: f in body should be greater than 2"])]
#[case(json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}), json!({}), &["f.a: Required value"])]
#[case(json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}), json!(["a", "b", "a"]), &[r#"f[2]: Duplicate value: "a""#])]
#[case(json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "required": ["k"],
    "properties": {"k": {"type": "string"}}}}), json!([{"k": "a"}, {"k": "a"}]), &[r#"f[1]: Duplicate value: {"k":"a"}"#])]
#[case(json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}), json!({"kind": "Pod", "metadata": {"name": "a/b"}}),
    &["f.apiVersion: Required value", "f.metadata.name: Invalid value: \"a/b\": may not contain '/'"])]
fn values_are_judged(#[case] schema: Value, #[case] value: Value, #[case] wanted: &[&str]) {
    assert_eq!(errors(schema, value, None), wanted);
}

#[rstest]
#[case(json!({"type": "string", "maxLength": 1}), json!("long"), json!("long"), &[])]
#[case(json!({"type": "object", "properties": {"a": {"type": "string", "maxLength": 1}, "b": {"type": "string", "maxLength": 1}}}),
    json!({"a": "long", "b": "longer"}), json!({"a": "long", "b": "b"}), &["f.b: Too long: may not be more than 1 bytes"])]
#[case(json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "required": ["k"],
    "properties": {"k": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}}),
    json!([{"k": "new"}, {"k": "a", "v": "long"}]), json!([{"k": "a", "v": "long"}]), &[])]
#[case(json!({"type": "array", "items": {"type": "string", "maxLength": 1}}), json!(["x", "long"]), json!(["long"]), &["f[1]: Too long: may not be more than 1 bytes"])]
#[case(json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}), json!(["a", "a", "b"]), json!(["a", "a"]), &[])]
fn what_an_update_leaves_as_it_was_is_not_judged_again(
    #[case] schema: Value,
    #[case] new: Value,
    #[case] old: Value,
    #[case] wanted: &[&str],
) {
    assert_eq!(errors(schema, new, Some(old)), wanted);
}

#[test]
fn rules_see_the_object_and_the_one_before() {
    let rules = json!([
        {"rule": "self.a <= self.b", "message": "a is more than b"},
        {"rule": "self.a >= oldSelf.a", "messageExpression": "'a was ' + string(oldSelf.a)", "fieldPath": ".a", "reason": "FieldValueForbidden"},
    ]);
    let number = json!({"type": "integer"});
    let schema = json!({"type": "object", "properties": {"a": number, "b": number, "c": {"type": "string", "maxLength": 1}}, "x-kubernetes-validations": rules});
    assert_eq!(errors(schema.clone(), json!({"a": 2, "b": 1}), None), [r#"f: Invalid value: "object": a is more than b"#]);
    assert_eq!(errors(schema.clone(), json!({"a": 1, "b": 1}), Some(json!({"a": 2, "b": 2}))), ["f.a: Forbidden: a was 2"]);
    assert_eq!(errors(schema.clone(), json!({"a": 3, "b": 1}), Some(json!({"a": 3, "b": 1}))), [""; 0], "nothing changed");
    let blocked = "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing \
                   errors to complete validation";
    let found = errors(schema.clone(), json!({"a": 2, "b": 1, "c": "long"}), None);
    assert_eq!(found, ["f.c: Too long: may not be more than 1 bytes", blocked]);
    let odd = errors(schema, json!({"b": 1}), None);
    assert_eq!(odd, [r#"f: Invalid value: "object": no such key: a evaluating rule: self.a <= self.b"#]);
}

#[test]
fn a_write_to_the_status_is_about_the_status() {
    let properties = json!({"spec": {"type": "object", "required": ["r"], "properties": {"r": {"type": "string"}}}, "status": {"type": "object",
        "properties": {"n": {"type": "integer"}}}});
    let kind = kind(json!({"type": "object", "required": ["spec"], "properties": properties}));
    let mut old = object(json!({"status": {"n": 1}}));
    old["metadata"]["labels"] = json!({"l": "old"});
    let mut new = object(json!({"spec": {"r": "r"}, "status": {"n": "x"}, "other": 1}));
    new["metadata"]["labels"] = json!({"l": "new"});
    new["metadata"]["finalizers"] = json!(["example.com/f"]);
    rules::prepare_update(&kind, &mut new, &old, "status");
    let mut wanted = old.clone();
    wanted["status"] = json!({"n": "x"});
    assert_eq!(new, wanted);
    let found: Vec<String> = rules::validate_update(&kind, &new, &old, "status").iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [r#"status.n: Invalid value: "string": status.n in body must be of type integer: "string""#],
        "the spec is nobody's fault here"
    );
}

#[test]
fn finalizers_without_a_domain_are_warned_of() {
    let kind = kind(json!({"type": "object"}));
    let mut new = object(json!({}));
    new["metadata"]["finalizers"] = json!(["plain", "example.com/mine", "orphan"]);
    assert_eq!(rules::validate_create(&kind, &new), []);
    let warned = rules::warnings(&kind, &new, None, "");
    assert_eq!(warned.len(), 1);
    assert!(warned[0].starts_with("metadata.finalizers: \"plain\": prefer a domain-qualified finalizer name"), "{warned:?}");
    assert_eq!(rules::warnings(&kind, &new, Some(&new), ""), [""; 0]);
}

#[rstest]
#[case(json!({"type": "string"}), "spec.versions[0].schema.openAPIV3Schema.type: Invalid value: \"string\": must be object at the root")]
#[case(json!({"type": "object", "properties": {"a": {}}}), "properties[a].type: Required value: must not be empty for specified object fields")]
#[case(json!({"type": "object", "properties": {"a": {"type": "array"}}}), "properties[a].items: Required value: must be specified")]
#[case(json!({"type": "object", "properties": {"a": {"type": "string", "default": 1}}}), "properties[a].default: Invalid value: \"integer\": ")]
#[case(json!({"type": "object", "properties": {"a": {"type": "object", "default": {"b": 1}}}}), "properties[a].default: Invalid value: {\"b\":1}: must not have unknown fields")]
#[case(json!({"type": "object", "additionalProperties": false}), "additionalProperties cannot be set to false")]
#[case(json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.none == 1"}]}), "undefined field 'none'")]
#[case(json!({"type": "object", "x-kubernetes-validations": [{"rule": "1"}]}), "must evaluate to bool")]
#[case(json!({"type": "object", "x-kubernetes-validations": [{"rule": " ".repeat(10_240) + "true"}]}), "rule: Too long: may not be more than 10240 bytes")]
#[case(json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x == y))"}]}}}),
    "estimated rule cost exceeds budget by factor of")]
fn schemas_are_judged(#[case] schema: Value, #[case] wanted: &str) {
    let kind = crate::kinds::find(GROUP, "v1", PLURAL).unwrap();
    let mut definition = definition(schema);
    rules::default(kind, &mut definition);
    let found: Vec<String> = rules::validate_create(kind, &definition).iter().map(ToString::to_string).collect();
    assert!(found.iter().any(|error| error.contains(wanted)), "{found:#?}");
}

#[test]
fn names_are_given_once() {
    let first = established(&definition(json!({"type": "object"})));
    assert!(has_condition(&first, "Established") && has_condition(&first, "NamesAccepted"));
    let mut second = definition(json!({"type": "object"}));
    second["metadata"]["name"] = json!("bars.example.com");
    second["spec"]["names"] = json!({"plural": "bars", "singular": "bar", "kind": "Foo", "listKind": "BarList", "shortNames": ["foo"]});
    let settled = status::settled(&second, &[&first, &second], "2026-01-02T03:04:05Z");
    assert!(!has_condition(&settled, "Established"));
    assert_eq!(kinds_of(&settled, 0), []);
    assert_eq!((&settled["status"]["acceptedNames"]["plural"], &settled["status"]["acceptedNames"]["kind"]), (&json!("bars"), &json!("")));
    second["spec"]["group"] = json!("example.org");
    let elsewhere = status::settled(&second, &[&first, &second], "2026-01-02T03:04:05Z");
    assert!(has_condition(&elsewhere, "Established"), "another group is another place");
}

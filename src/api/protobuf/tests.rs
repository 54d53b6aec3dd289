#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::collections::BTreeSet;

use proptest::prelude::*;
use rstest::rstest;

use super::fields::{Form, members};
use super::*;
use crate::schema::{FieldValidation, Shape, Type};

/// Fields of upstream v1.36, newer than the table.
const WITHOUT_NUMBER: &[&str] = &[
    "api.core.v1.PodSpec.schedulingGroup",
    "api.core.v1.PodStatus.nodeAllocatableResourceClaimStatuses",
    "api.core.v1.ResourceHealth.message",
    "api.core.v1.VolumeMountStatus.volumeStatus",
    "api.resource.v1.Device.nodeAllocatableResourceMappings",
    "api.resource.v1.DeviceAttribute.bools",
    "api.resource.v1.DeviceAttribute.ints",
    "api.resource.v1.DeviceAttribute.strings",
    "api.resource.v1.DeviceAttribute.versions",
    "api.storage.v1.CSIDriverSpec.preventPodSchedulingIfMissing",
];

/// The types of all that a body can hold.
fn roots() -> BTreeSet<&'static str> {
    let kinds = kinds::builtin();
    let parts = kinds.iter().flat_map(|kind| &kind.subresources).map(|part| &*part.schema).filter(|schema| !schema.is_empty());
    let options = type_of("v1", "DeleteOptions");
    kinds.iter().map(|kind| &*kind.schema).chain(parts).chain(options).collect()
}

fn short(ty: &Type) -> &str {
    ty.name.strip_prefix("io.k8s.").unwrap_or(&ty.name)
}

/// Names and forms of a message's fields, those of embedded structures among them.
fn names(package: &str, name: &str) -> Vec<(&'static str, Form)> {
    let full = if name.contains('.') { name.to_owned() } else { format!("{package}.{name}") };
    let own = members(&full).iter();
    own.flat_map(|member| if member.form == Form::Inline { names(package, member.name) } else { vec![(member.name, member.form)] })
        .collect()
}

fn visit(ty: &Type, seen: &mut BTreeSet<String>, without: &mut BTreeSet<String>, misfits: &mut Vec<String>) {
    if ty.open || !seen.insert(ty.name.to_string()) {
        return;
    }
    if members(&ty.name).is_empty() {
        without.insert(short(ty).to_owned());
        return;
    }
    let (package, name) = ty.name.rsplit_once('.').unwrap();
    let known = names(package, name);
    for (name, _) in &known {
        if ty.field(name).is_none() {
            misfits.push(format!("{}.{name} is no field", ty.name));
        }
    }
    for field in ty.fields.iter().filter(|field| !matches!(&*field.name, "apiVersion" | "kind")) {
        let Some((_, form)) = known.iter().find(|(name, _)| *name == &*field.name) else {
            without.insert(format!("{}.{}", short(ty), field.name));
            continue;
        };
        let open = match &field.shape {
            Shape::List(item) | Shape::Map(item) => matches!(**item, Shape::Any),
            shape => matches!(shape, Shape::Any),
        };
        if open != (*form != Form::Typed) {
            misfits.push(format!("{}.{} is {:?} on the wire and {:?} in the schema", ty.name, field.name, form, field.shape));
        }
        if let Some(inner) = field.object() {
            visit(inner, seen, without, misfits);
        }
    }
}

#[test]
fn every_field_has_a_number() {
    let (mut seen, mut without, mut misfits) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for root in roots() {
        visit(&schema::of(root), &mut seen, &mut without, &mut misfits);
    }
    assert_eq!(misfits, Vec::<String>::new());
    assert_eq!(without, WITHOUT_NUMBER.iter().map(|name| (*name).to_owned()).collect());
    assert!(kinds::builtin().iter().all(knows));
}

#[test]
fn the_table_is_in_order() {
    for (name, text) in fields::all() {
        let members = members(name);
        assert_eq!(members.len(), text.split(' ').count(), "{name}");
        assert!(members.windows(2).all(|pair| pair[0].number < pair[1].number), "{name}");
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap());
    out
}

/// A field with a number.
fn n(field: u64, number: i64) -> Vec<u8> {
    [varint(field << 3), varint(number.cast_unsigned())].concat()
}

/// A field with bytes, a text or a message.
fn b(field: u64, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [varint(field << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn m<const N: usize>(field: u64, parts: [Vec<u8>; N]) -> Vec<u8> {
    b(field, parts.concat())
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    [b"k8s\0".to_vec(), m(1, [b(1, api_version), b(2, kind)]), b(2, raw), b(3, ""), b(4, "")].concat()
}

const CRD: &str = "apiextensions.k8s.io/v1 CustomResourceDefinition";

/// A custom resource definition with one version of this schema.
fn crd(schema: impl AsRef<[u8]>) -> Vec<u8> {
    m(2, [m(7, [b(1, "v1"), m(4, [b(1, schema)])])])
}

#[rstest]
#[case::texts_and_bytes("v1 ConfigMap",
    [m(1, [b(1, "a"), b(2, ""), n(7, 0), b(8, "")]), m(2, [b(1, "k"), b(2, "v")]), m(2, [b(1, "empty")]), m(3, [b(1, "b"), b(2, [0, 255])])].concat(),
    json!({"metadata": {"name": "a", "generateName": "", "generation": 0}, "data": {"k": "v", "empty": ""}, "binaryData": {"b": "AP8="}}))]
#[case::embedded_structures("v1 Pod",
    m(2, [m(1, [b(1, "v"), m(2, [m(2, [b(1, "Memory")])])]), m(2, [b(1, "c"), m(10, [m(1, [m(2, [m(2, [n(1, 1), n(2, 0), b(3, "http")])])]), n(2, 7)]),
        m(7, [b(1, "E"), m(3, [m(4, [m(1, [b(1, "s")]), b(2, "key"), n(3, 0)])])])])]),
    json!({"spec": {"volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}], "containers": [{"name": "c",
        "livenessProbe": {"httpGet": {"port": "http"}, "initialDelaySeconds": 7},
        "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key", "optional": false}}}]}]}}))]
#[case::packed_and_not("v1 Pod",
    m(2, [m(14, [n(4, 5), b(4, [6, 0x80, 1]), n(4, -1)])]),
    json!({"spec": {"securityContext": {"supplementalGroups": [5, 6, 128, -1]}}}))]
#[case::quantities("v1 ResourceQuota",
    m(2, [m(1, [b(1, "cpu"), m(2, [b(1, "1500m")])]), m(1, [b(1, "pods"), b(2, "")]), m(1, [b(1, "memory")]), b(2, "BestEffort")]),
    json!({"spec": {"hard": {"cpu": "1500m", "pods": "0", "memory": "0"}, "scopes": ["BestEffort"]}}))]
#[case::times("v1 Event",
    [m(1, [m(8, [n(1, -62_135_596_800), n(2, 0)]), m(9, [n(1, 1_772_366_400), n(2, 5)])]), b(6, ""), m(10, [n(1, 1_772_366_400), n(2, 123_456_789)])].concat(),
    json!({"metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"}, "eventTime": "2026-03-01T12:00:00.123456Z"}))]
#[case::negative_numbers("scheduling.k8s.io/v1 PriorityClass", [n(2, -5), n(3, 0)].concat(), json!({"value": -5, "globalDefault": false}))]
#[case::lists_in_maps("authorization.k8s.io/v1 SubjectAccessReview",
    m(2, [b(3, "jane"), m(5, [b(1, "scopes"), m(2, [b(1, "a"), b(1, "b")])]), m(5, [b(1, "none"), b(2, "")])]),
    json!({"spec": {"user": "jane", "extra": {"scopes": ["a", "b"], "none": []}}}))]
#[case::json_inside("apps/v1 ControllerRevision",
    [m(2, [b(1, r#"{"spec":{"a":[1]}}"#)]), m(1, [m(17, [b(1, "kubectl"), m(7, [b(1, r#"{"f:data":{}}"#)])])]), n(3, 2)].concat(),
    json!({"data": {"spec": {"a": [1]}}, "metadata": {"managedFields": [{"manager": "kubectl", "fieldsV1": {"f:data": {}}}]}, "revision": 2}))]
#[case::delete_options("meta.k8s.io/v1 DeleteOptions", [n(1, 0), m(2, [b(1, "u")]), b(4, "Background"), b(5, "All")].concat(),
    json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "u"}, "propagationPolicy": "Background", "dryRun": ["All"]}))]
#[case::parts_have_kinds_too("policy/v1 Eviction", [m(1, [b(1, "p")]), m(2, [n(1, 5)])].concat(),
    json!({"metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 5}}))]
#[case::the_last_counts_and_messages_merge("v1 Pod",
    [m(1, [b(1, "a"), b(3, "n")]), m(1, [b(1, "b")]), m(2, [m(14, [n(2, 1)]), m(14, [n(3, 1)])])].concat(),
    json!({"metadata": {"name": "b", "namespace": "n"}, "spec": {"securityContext": {"runAsUser": 1, "runAsNonRoot": true}}}))]
#[case::the_unknown_is_passed_over("v1 ConfigMap",
    [n(99, 1), b(98, "x"), vec![0xb9, 6, 1, 2, 3, 4, 5, 6, 7, 8, 0xbd, 6, 1, 2, 3, 4, 0xbb, 6, 8, 1, 0xbc, 6], n(4, 1)].concat(),
    json!({"immutable": true}))]
#[case::schema_alternatives(CRD,
    crd([m(24, [m(1, [b(5, "string"), b(1, "")])]), m(30, [n(1, 1)]), m(33, [n(1, 0), m(2, [b(5, "integer")])]),
        m(32, [b(1, "d"), m(2, [b(2, "e")])]), m(8, [b(1, r#"{"a":1}"#)]), m(20, [b(1, "\"x\"")]), m(20, [b(1, "2")]),
        [varint(9 << 3 | 1), 4.5_f64.to_le_bytes().to_vec()].concat(), [varint(11 << 3 | 1), 3_f64.to_le_bytes().to_vec()].concat(),
        n(38, 1)].concat()),
    json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"items": {"type": "string"}, "additionalProperties": true,
        "additionalItems": {"type": "integer"}, "dependencies": {"d": ["e"]}, "default": {"a": 1}, "enum": ["x", 2], "maximum": 4.5,
        "minimum": 3, "x-kubernetes-preserve-unknown-fields": true}}}]}}))]
fn messages(#[case] what: &str, #[case] raw: Vec<u8>, #[case] wanted: Value) {
    let (api_version, kind) = what.split_once(' ').unwrap();
    let mut got = decode(&body(api_version, kind, &raw), ("v1", "Pod")).unwrap();
    let fields = got.as_object_mut().unwrap();
    assert_eq!((fields.remove("apiVersion"), fields.remove("kind")), (Some(json!(api_version)), Some(json!(kind))));
    assert_eq!(got, wanted);
}

#[test]
fn zero_values_are_gone_after_decoding() {
    let raw = [
        m(1, [b(1, "p"), b(2, ""), b(3, ""), b(4, ""), b(5, ""), b(6, ""), n(7, 0), b(8, "")]),
        m(
            2,
            [
                m(2, [b(1, "c"), b(2, "i"), b(5, ""), b(8, ""), b(13, ""), n(16, 0), n(17, 0), n(18, 0)]),
                b(3, ""),
                n(4, 0),
                n(11, 0),
                m(1, [b(1, "e"), m(2, [m(2, [b(1, "")])])]),
            ],
        ),
        b(3, [b(1, ""), b(3, "")].concat()),
    ]
    .concat();
    let mut got = decode(&body("v1", "Pod", &raw), ("v1", "Pod")).unwrap();
    let kind = kinds::by_api_version("v1", "Pod").unwrap();
    assert_eq!(schema::decode(kind, &mut got, FieldValidation::Strict).unwrap(), Vec::<String>::new());
    let wanted = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {}, "spec": {
        "containers": [{"name": "c", "image": "i", "resources": {}}], "terminationGracePeriodSeconds": 0, "volumes": [{"name": "e", "emptyDir": {}}]}});
    assert_eq!(got, wanted);
}

#[test]
fn what_a_body_does_not_say_is_expected() {
    let bytes = [b"k8s\0".to_vec(), b(2, m(1, [b(1, "a")]))].concat();
    let got = decode(&bytes, ("v1", "Secret")).unwrap();
    assert_eq!(got, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}));
}

/// A message in a message in a message, each in field 28 (`not`).
fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(Vec::new(), |inner, _| m(28, [inner]))
}

#[rstest]
#[case::nothing(b"".to_vec(), "the object provided is unrecognized (must be of type Pod): empty data (<empty>)")]
#[case::json(b"{}".to_vec(), "expected prefix [107 56 115 0] (7b7d)")]
#[case::magic_alone(b"k8s\0".to_vec(), "empty body (6b387300)")]
#[case::cut_envelope(b"k8s\0\x0a\x20v1".to_vec(), "unexpected EOF (6b3873000a207631)")]
#[case::unknown_kind(
    body("v1", "Pood", b""),
    "Pood in version \"v1\" cannot be handled as a Pod: no kind \"Pood\" is registered for version \"v1\""
)]
#[case::custom_kind(body("example.com/v1", "Pod", b""), "no kind \"Pod\" is registered for version \"example.com/v1\"")]
#[case::huge_length(body("v1", "Pod", &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), "Pod in version \"v1\" cannot be handled as a Pod: unexpected EOF")]
#[case::long_number(body("v1", "Pod", &[0xff; 11]), "proto: integer overflow")]
#[case::no_number(body("v1", "Pod", &[0, 1]), "proto: illegal tag 0")]
#[case::wire_type(body("v1", "Pod", &[0x0f]), "proto: illegal wireType 7")]
#[case::end_of_no_group(body("v1", "Pod", &[0x0c]), "proto: unexpected end of group")]
#[case::unfit(body("v1", "Pod", &n(1, 1)), "proto: wrong wireType = 0 for field metadata")]
#[case::text_for_number(body("scheduling.k8s.io/v1", "PriorityClass", &b(2, "x")), "proto: wrong wireType = 2 for field value")]
#[case::no_json(body("apps/v1", "ControllerRevision", &m(2, [b(1, "{")])), "field data: EOF while parsing an object at line 1 column 1")]
#[case::deep(body("apiextensions.k8s.io/v1", "CustomResourceDefinition", &crd(nested(2_000))), "exceeded max depth")]
#[case::deep_json(body("apiextensions.k8s.io/v1", "CustomResourceDefinition", &crd(m(8, [b(1, "[".repeat(118) + &"]".repeat(118))]))), "exceeded max depth")]
#[case::late(body("v1", "Pod", &m(1, [m(9, [n(1, i64::MAX)])])), "field deletionTimestamp: time is out of range")]
#[case::infinite(body("apiextensions.k8s.io/v1", "CustomResourceDefinition", &crd([vec![9 << 3 | 1], f64::INFINITY.to_le_bytes().to_vec()].concat())), "field maximum: not a finite number")]
fn refusals(#[case] bytes: Vec<u8>, #[case] says: &str) {
    let status = decode(&bytes, ("v1", "Pod")).unwrap_err();
    assert_eq!(status.code, 400);
    assert!(status.message.ends_with(says) || status.message == says, "{}", status.message);
}

#[test]
fn schemas_of_a_usual_depth_are_read() {
    let raw = crd((0..25).fold(Vec::new(), |inner, _| m(29, [b(1, "p"), b(2, inner)])));
    decode(&body("apiextensions.k8s.io/v1", "CustomResourceDefinition", &raw), ("v1", "Pod")).unwrap();
}

fn sample() -> Vec<u8> {
    let container =
        m(2, [b(1, "c"), m(10, [m(1, [m(2, [m(2, [n(1, 1), b(3, "http")])])])]), m(8, [m(1, [b(1, "cpu"), m(2, [b(1, "1")])])])]);
    m(2, [container, m(14, [n(4, 5), b(4, [6])]), m(7, [b(1, "k"), b(2, "v")]), m(1, [b(1, "v"), m(2, [m(2, [])])])])
}

/// Makes objects of any type: everything a message can hold, of which it leaves out much.
struct Maker(u64);

impl Maker {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn object(&mut self, ty: &Type, depth: usize) -> Value {
        let (package, name) = ty.name.rsplit_once('.').unwrap();
        let mut out = serde_json::Map::new();
        for (name, form) in names(package, name) {
            let field = ty.field(name).unwrap();
            if self.below(4) > u64::from(depth < 3) {
                out.insert(name.to_owned(), self.value(&field.shape, form, depth));
            }
        }
        out.retain(|_, value| !matches!(value, Value::Null) && value.as_array().is_none_or(|items| !items.is_empty()));
        // Maps and lists without entries are not on the wire.
        let structure = |name: &str| ty.field(name).is_some_and(|field| matches!(field.shape, Shape::Object(_)));
        out.retain(|name, value| structure(name) || value.as_object().is_none_or(|map| !map.is_empty()));
        Value::Object(out)
    }

    fn text(&mut self) -> &'static str {
        [
            "",
            "a",
            "\u{e4}\n\0",
            "long long long long long long long long long long long long long long long long long long long long long long long long long long long",
        ][self.below(4) as usize]
    }

    fn value(&mut self, shape: &Shape, form: Form, depth: usize) -> Value {
        let count = self.below(3);
        match shape {
            Shape::Object(target) if depth > 9 && !target.get().fields.is_empty() => json!({}),
            Shape::Object(target) if target.get().open => json!({}),
            Shape::Object(target) => self.object(target.get(), depth + 1),
            Shape::List(_) | Shape::Map(_) if depth > 9 => json!([]),
            Shape::List(item) => (0..count).map(|_| self.value(item, form, depth + 1)).filter(|value| !value.is_null()).collect(),
            Shape::Map(item) => Value::Object(
                (0..count)
                    .map(|at| (format!("{}{at}", self.text()), self.value(item, form, depth + 1)))
                    .filter(|(_, value)| !value.is_null())
                    .collect(),
            ),
            Shape::String => json!(self.text()),
            Shape::Bytes => json!(["", "AP8=", "YQ=="][count as usize]),
            Shape::Int32 => json!([0, i32::MIN, i32::MAX][count as usize]),
            Shape::Int64 => json!([0, i64::MIN, i64::MAX][count as usize]),
            Shape::Bool => json!(count == 1),
            Shape::Float => [json!(0), json!(-1.5), json!(7)][count as usize].clone(),
            Shape::Quantity => json!(["0", "1500m", "-3Gi"][count as usize]),
            Shape::IntOrString => [json!(0), json!(-7), json!("50%")][count as usize].clone(),
            Shape::Time => json!(["1970-01-01T00:00:00Z", "2026-03-01T12:00:00Z", "1969-12-31T23:59:59Z"][count as usize]),
            Shape::MicroTime => {
                json!(["1970-01-01T00:00:00.000000Z", "2026-03-01T12:00:00.123456Z", "1969-12-31T23:59:58.000001Z"][count as usize])
            }
            Shape::Any => self.open(form),
        }
    }

    fn open(&mut self, form: Form) -> Value {
        let schema = json!({"type": "string", "minLength": 3, "not": {"enum": ["x", 1, {"a": []}]}});
        let many = match form {
            Form::SchemaOrBool => [json!(true), json!(false), schema],
            Form::SchemaOrList => [schema.clone(), json!([schema]), json!([schema, schema])],
            Form::SchemaOrTexts => [schema, json!(["a", ""]), json!(["b"])],
            _ => [json!({"a": [1, null, "x"]}), json!(""), json!(-0.5)],
        };
        many[self.below(3) as usize].clone()
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(seed in 1..u64::MAX) {
        let mut maker = Maker(seed);
        for (api_version, kind, ty) in kinds::builtin().iter().map(|kind| (kind.api_version(), kind.kind.to_string(), &*kind.schema)).chain([
            ("v1".to_owned(), "Status".to_owned(), "io.k8s.apimachinery.pkg.apis.meta.v1.Status"),
            ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata".to_owned(), METADATA),
        ]) {
            let mut object = maker.object(&type_named(ty), 0);
            object["apiVersion"] = json!(api_version);
            object["kind"] = json!(kind);
            let bytes = encode(&object).unwrap();
            prop_assert_eq!(decode(&bytes, ("v1", "Pod")).unwrap(), object);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(at in any::<prop::sample::Index>(), raw in prop::collection::vec(any::<u8>(), 0..200)) {
        let kinds = kinds::builtin();
        let kind = &kinds[at.index(kinds.len())];
        if let Ok(mut object) = decode(&body(&kind.api_version(), &kind.kind, &raw), ("v1", "Pod")) {
            let _ = schema::decode(kind, &mut object, FieldValidation::Warn);
        }
        let _ = decode(&raw, ("v1", "Pod"));
        let _ = decode(&[b"k8s\0", raw.as_slice()].concat(), ("v1", "Pod"));
    }

    #[test]
    fn no_damage_makes_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), end in any::<prop::sample::Index>()) {
        let mut raw = sample();
        let length = raw.len();
        raw[at.index(length)] = byte;
        let _ = decode(&body("v1", "Pod", &raw), ("v1", "Pod"));
        raw.truncate(end.index(length));
        let _ = decode(&body("v1", "Pod", &raw), ("v1", "Pod"));
    }
}

#[test]
fn lists_and_events_are_written_as_upstream_writes_them() {
    let items = json!([{"metadata": {"name": "a"}, "data": {"k": ""}}]);
    let list =
        json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "7", "remainingItemCount": 2}, "items": items});
    let item = [m(1, [b(1, "a")]), m(2, [b(1, "k"), b(2, "")])].concat();
    assert_eq!(encode(&list).unwrap(), body("v1", "ConfigMapList", &[m(1, [b(2, "7"), n(4, 2)]), b(2, item)].concat()));
    assert_eq!(encode(&json!({"apiVersion": "example.com/v1", "kind": "CronTab"})), None);

    let mut out = bytes::BytesMut::new();
    put_event(&mut out, "ADDED", b"k8s");
    let event = [b(1, "ADDED"), m(2, [b(1, "k8s")])].concat();
    assert_eq!(out, [vec![0, 0, 0, u8::try_from(event.len()).unwrap()], event].concat());
}

//! Brings an object into the form the API keeps: known fields of the right type, canonical values, nothing that
//! upstream's serialisation leaves out, everything that it always writes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Field, Findings, Shape, Type};
use crate::kinds::Kind;
use crate::quantity::Quantity;
use crate::status::Status;
use crate::time;

/// What to do about fields that are unknown or given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and say so.
    #[default]
    Warn,
    /// Refuse the object.
    Strict,
}

impl FieldValidation {
    /// The query parameter `fieldValidation`; empty is the default, `None` an unknown word.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(Self::Warn),
            "Ignore" => Some(Self::Ignore),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// A text for the `Warning` header.
pub type Warning = String;

/// Decodes an object of a built-in kind in place. What reading its text found must be handed in through [`Decoder`].
pub fn decode(kind: &Kind, object: &mut Value, validation: FieldValidation) -> Result<Vec<Warning>, Status> {
    Decoder::new(&super::of(&kind.schema), &kind.kind, &kind.version).decode(object, &Findings::default(), validation)
}

/// Decodes objects of one type.
#[derive(Debug)]
pub struct Decoder<'a> {
    ty: &'a Type,
    kind: &'a str,
    version: &'a str,
}

impl<'a> Decoder<'a> {
    /// For objects of type `ty`; kind and version are for messages.
    pub fn new(ty: &'a Type, kind: &'a str, version: &'a str) -> Self {
        Self { ty, kind, version }
    }

    /// Decodes in place; `findings` is what reading the text found.
    pub fn decode(&self, object: &mut Value, findings: &Findings, validation: FieldValidation) -> Result<Vec<Warning>, Status> {
        self.examine(object, findings, validation).map_err(|why| self.refuse(&why))
    }

    /// As [`Self::decode`]; the reason alone.
    pub fn examine(&self, object: &mut Value, findings: &Findings, validation: FieldValidation) -> Result<Vec<Warning>, String> {
        let mut walk = Walk { path: Vec::new(), unknown: Vec::new() };
        walk.object(self.ty, object)?;
        let strict = findings.with_unknown(&walk.unknown);
        match validation {
            FieldValidation::Ignore => Ok(Vec::new()),
            FieldValidation::Warn => Ok(strict),
            FieldValidation::Strict if strict.is_empty() => Ok(strict),
            FieldValidation::Strict => Err(format!("strict decoding error: {}", strict.join(", "))),
        }
    }

    /// 400 for what strict decoding found.
    pub(crate) fn refuse_strictly<T>(&self, found: &[String]) -> Result<T, Status> {
        Err(self.refuse(&format!("strict decoding error: {}", found.join(", "))))
    }

    /// 400 for what cannot be decoded.
    pub(crate) fn refuse(&self, error: &str) -> Status {
        Status::bad_request(format!("{0} in version {1:?} cannot be handled as a {0}: {error}", self.kind, self.version))
    }
}

/// Brings an object that the server itself changed back into form; values that do not fit their type are left alone.
pub fn clean(ty: &Type, object: &mut Value) {
    if ty.verbatim {
        return;
    }
    let mut walk = Walk { path: Vec::new(), unknown: Vec::new() };
    // What does not fit was not written by a client: validation has its say.
    let _ = walk.object(ty, object);
}

/// The object upstream starts from when a type is made empty: what is always written, lists as null.
pub fn zero(ty: &Type) -> Value {
    let mut out = Map::new();
    for field in &ty.fields {
        match &field.shape {
            Shape::Object(target) if field.value => {
                out.insert(field.name.to_string(), zero(target.get()));
            }
            _ if !field.required || field.pointer => {}
            shape => {
                out.insert(field.name.to_string(), scalar_zero(shape).unwrap_or(Value::Null));
            }
        }
    }
    for key in ["apiVersion", "kind"] {
        out.remove(key);
    }
    Value::Object(out)
}

fn scalar_zero(shape: &Shape) -> Option<Value> {
    match shape {
        Shape::String => Some(json!("")),
        Shape::Int32 | Shape::Int64 | Shape::IntOrString | Shape::Float => Some(json!(0)),
        Shape::Bool => Some(json!(false)),
        _ => None,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(value) => !value,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Null => true,
    }
}

enum Step<'a> {
    Name(&'a str),
    Key(String),
    Index(usize),
}

struct Walk<'a> {
    path: Vec<Step<'a>>,
    unknown: Vec<String>,
}

type Decoded = Result<(), String>;

impl<'a> Walk<'a> {
    fn object(&mut self, ty: &'a Type, value: &mut Value) -> Decoded {
        if ty.open {
            return Ok(());
        }
        let Value::Object(map) = value else {
            return Err(self.mismatch(ty, value, &format!("v1.{}", ty.short_name())));
        };
        let mut drop = Vec::new();
        for (key, value) in map.iter_mut() {
            let Some(field) = ty.field(key) else {
                self.unknown.push(self.here(key));
                drop.push(key.clone());
                continue;
            };
            self.path.push(Step::Name(&field.name));
            if !value.is_null() {
                self.value(ty, &field.shape, value)?;
            }
            self.path.pop();
            if left_out(field, value) {
                drop.push(key.clone());
            }
        }
        for key in drop {
            map.remove(&key);
        }
        fill(ty, map);
        Ok(())
    }

    fn value(&mut self, ty: &'a Type, shape: &'a Shape, value: &mut Value) -> Decoded {
        match shape {
            Shape::Any => Ok(()),
            Shape::Object(target) => self.object(target.get(), value),
            Shape::List(item) => self.list(ty, item, value),
            Shape::Map(item) => self.map(ty, item, value),
            _ => self.scalar(ty, shape, value),
        }
    }

    fn list(&mut self, ty: &'a Type, item: &'a Shape, value: &mut Value) -> Decoded {
        let Value::Array(items) = value else {
            return Err(self.mismatch(ty, value, &format!("[]{}", go_name(item))));
        };
        for (index, value) in items.iter_mut().enumerate() {
            self.path.push(Step::Index(index));
            if value.is_null() {
                *value = empty(item);
            }
            self.value(ty, item, value)?;
            self.path.pop();
        }
        Ok(())
    }

    fn map(&mut self, ty: &'a Type, item: &'a Shape, value: &mut Value) -> Decoded {
        let Value::Object(map) = value else {
            return Err(self.mismatch(ty, value, &format!("map[string]{}", go_name(item))));
        };
        let structures = matches!(item, Shape::Object(_));
        for (key, value) in map.iter_mut() {
            if value.is_null() {
                *value = empty(item);
            }
            if structures {
                self.path.push(Step::Key(key.clone()));
            }
            self.value(ty, item, value)?;
            if structures {
                self.path.pop();
            }
        }
        Ok(())
    }

    fn scalar(&mut self, ty: &'a Type, shape: &'a Shape, value: &mut Value) -> Decoded {
        let fits = match (shape, &*value) {
            (Shape::String, Value::String(_)) | (Shape::Bool, Value::Bool(_)) | (Shape::Float, Value::Number(_)) => true,
            (Shape::Int64, Value::Number(number)) => number.as_i64().is_some(),
            (Shape::Int32, Value::Number(number)) => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            (Shape::IntOrString, Value::String(_)) => true,
            (Shape::IntOrString, Value::Number(number)) => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            (Shape::Bytes, Value::String(text)) => {
                STANDARD.decode(text).map_err(|error| format!("illegal base64 data at input byte {}", bad_byte(error)))?;
                true
            }
            (Shape::Quantity, Value::String(_) | Value::Number(_)) => {
                let text = text_of(value);
                *value = Value::String(Quantity::canonical(text.trim()).map_err(|error| error.to_string())?);
                true
            }
            (Shape::Time | Shape::MicroTime, Value::String(text)) => {
                let Some(at) = time::parse(text) else {
                    let layout =
                        if matches!(shape, Shape::Time) { "2006-01-02T15:04:05Z07:00" } else { "2006-01-02T15:04:05.000000Z07:00" };
                    return Err(format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""));
                };
                *value = Value::String(if matches!(shape, Shape::Time) { time::seconds(at) } else { time::micros(at) });
                true
            }
            _ => false,
        };
        if fits { Ok(()) } else { Err(self.mismatch(ty, value, go_name(shape))) }
    }

    /// Path of a key below the present place, with indices.
    fn here(&self, key: &str) -> String {
        let mut out = String::new();
        for step in &self.path {
            match step {
                Step::Name(name) => out.push_str(&format!("{name}.")),
                Step::Key(key) => out.push_str(&format!("{key}.")),
                Step::Index(index) => {
                    out.truncate(out.len().saturating_sub(1));
                    out.push_str(&format!("[{index}]."));
                }
            }
        }
        out + key
    }

    /// Go's complaint about a JSON value that a field cannot hold.
    fn mismatch(&self, ty: &Type, value: &Value, wanted: &str) -> String {
        if value.is_number() && matches!(wanted, "int32" | "int64") {
            return self.misfit(ty, &format!("number {value}"), wanted);
        }
        self.misfit(ty, super::json_name(value), wanted)
    }

    fn misfit(&self, ty: &Type, found: &str, wanted: &str) -> String {
        let names: Vec<&str> = self.path.iter().filter_map(|step| if let Step::Name(name) = step { Some(*name) } else { None }).collect();
        if names.is_empty() {
            return format!("json: cannot unmarshal {found} into Go value of type {wanted}");
        }
        format!("json: cannot unmarshal {found} into Go struct field {}.{} of type {wanted}", ty.short_name(), names.join("."))
    }
}

/// Whether upstream's serialisation leaves the field out.
fn left_out(field: &Field, value: &Value) -> bool {
    match (&field.shape, value) {
        (_, Value::Null) => true,
        // structures in upstream's types, which are never left out
        (Shape::Any | Shape::Object(_) | Shape::Quantity | Shape::IntOrString | Shape::Time | Shape::MicroTime, _) => false,
        _ => !field.required && !field.pointer && is_zero(value),
    }
}

/// Adds what upstream always writes.
fn fill(ty: &Type, map: &mut Map<String, Value>) {
    for field in &ty.fields {
        if map.contains_key(&*field.name) {
            continue;
        }
        let value = match &field.shape {
            Shape::Object(target) if field.value => {
                let mut inner = json!({});
                clean(target.get(), &mut inner);
                inner
            }
            shape if field.required && !field.pointer => match scalar_zero(shape) {
                Some(value) => value,
                None => continue,
            },
            _ => continue,
        };
        map.insert(field.name.to_string(), value);
    }
}

fn empty(shape: &Shape) -> Value {
    match shape {
        Shape::Object(_) | Shape::Map(_) => json!({}),
        Shape::List(_) => json!([]),
        Shape::Quantity => json!("0"),
        Shape::Bytes => json!(""),
        other => scalar_zero(other).unwrap_or(Value::Null),
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn bad_byte(error: base64::DecodeError) -> usize {
    match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol { offset: at, .. } => at,
        base64::DecodeError::InvalidLength(at) => at,
        base64::DecodeError::InvalidPadding => 0,
    }
}

fn go_name(shape: &Shape) -> &str {
    match shape {
        Shape::Any => "interface {}",
        Shape::String => "string",
        Shape::Bytes => "[]uint8",
        Shape::Int32 => "int32",
        Shape::Int64 => "int64",
        Shape::Float => "float64",
        Shape::Bool => "bool",
        Shape::Quantity => "resource.Quantity",
        Shape::IntOrString => "intstr.IntOrString",
        Shape::Time => "v1.Time",
        Shape::MicroTime => "v1.MicroTime",
        Shape::Map(_) => "map",
        Shape::List(_) => "slice",
        Shape::Object(_) => "struct",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use bytes::Bytes;
    use rstest::rstest;

    use super::*;
    use crate::kinds::by_api_version;
    use crate::schema::parse_json;

    fn decode_bytes(kind: &Kind, bytes: &Bytes, validation: FieldValidation) -> Result<(Value, Vec<Warning>), Status> {
        let crate::schema::Parsed { mut value, findings } = parse_json(bytes)?;
        let warnings =
            Decoder::new(&crate::schema::of(&kind.schema), &kind.kind, &kind.version).decode(&mut value, &findings, validation)?;
        Ok((value, warnings))
    }

    fn decoded(object: Value, validation: FieldValidation) -> Result<(Value, Vec<String>), Status> {
        let kind = by_api_version(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap()).unwrap();
        let mut object = object;
        let warnings = decode(kind, &mut object, validation)?;
        Ok((object, warnings))
    }

    fn pod(spec: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    }

    #[test]
    fn writes_what_upstream_always_writes() {
        let spec = json!({"containers": [{"name": "c", "image": "i", "ports": [], "env": null, "stdin": false, "resources": {"limits": {"memory": "1024Mi", "cpu": 0.5}}}],
            "hostNetwork": false, "terminationGracePeriodSeconds": 0, "volumes": [{"name": "e", "emptyDir": {}}]});
        let (object, _) = decoded(pod(spec), FieldValidation::Strict).unwrap();
        assert_eq!(
            object,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {}, "spec": {
                "containers": [{"name": "c", "image": "i", "resources": {"limits": {"memory": "1Gi", "cpu": "500m"}}}],
                "terminationGracePeriodSeconds": 0, "volumes": [{"name": "e", "emptyDir": {}}]}})
        );
    }

    #[test]
    fn unknown_fields_are_named() {
        let object = || pod(json!({"bogus": 1, "containers": [{"name": "c", "imagee": "x"}]}));
        let (kept, warnings) = decoded(object(), FieldValidation::Warn).unwrap();
        assert_eq!(warnings, ["unknown field \"spec.bogus\"", "unknown field \"spec.containers[0].imagee\""]);
        assert!(kept["spec"].get("bogus").is_none());
        assert_eq!(
            decoded(object(), FieldValidation::Strict).unwrap_err().message,
            "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.bogus\", unknown field \"spec.containers[0].imagee\""
        );
        assert!(decoded(object(), FieldValidation::Ignore).unwrap().1.is_empty());
    }

    #[test]
    fn duplicate_keys_are_named() {
        let parsed = parse_json(&text(r#"{"spec": {"containers": [{}, {"image": "a", "image": "b"}], "x": 1}, "spec": {}}"#)).unwrap();
        assert_eq!(parsed.findings.duplicates, ["duplicate field \"spec.containers[1].image\"", "duplicate field \"spec\""]);
        assert_eq!(parsed.value, json!({"spec": {}}));
        let kind = by_api_version("v1", "ConfigMap").unwrap();
        let body = text(r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1", "k": "2"}, "x": 1}"#);
        let (value, warnings) = decode_bytes(kind, &body, FieldValidation::Warn).unwrap();
        assert_eq!((&value["data"]["k"], warnings.join(", ")), (&json!("2"), "duplicate field \"data.k\", unknown field \"x\"".to_owned()));
        assert_eq!(parse_json(&text("{")).unwrap_err().code, 400);
        let patch = |text: &str, before| crate::schema::parse_patch(text.as_bytes(), before).unwrap_err().message;
        assert_eq!(patch("{\"a\"", ""), "unexpected end of JSON input");
        assert_eq!(patch("", "error decoding patch: "), "error decoding patch: unexpected end of JSON input");
        assert_eq!(parse_json(&text(&"[".repeat(100_000))).unwrap_err().code, 400);
    }

    fn text(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    /// Upstream reads a document once, from its beginning, and complains as it goes.
    #[rstest]
    #[case(r#"{"z": 1, "b": 2, "metadata": {"name": "a", "x": 1}, "a": 3}"#, "unknown z, unknown b, unknown metadata.x, unknown a")]
    #[case(r#"{"data": {"k": "", "k": ""}, "z": 1, "z": 2}"#, "duplicate data.k, unknown z, duplicate z")]
    #[case(r#"{"z": 1, "data": {}, "data": {}}"#, "unknown z, duplicate data")]
    fn complaints_stand_in_the_order_of_the_text(#[case] body: &str, #[case] expected: &str) {
        let kind = by_api_version("v1", "ConfigMap").unwrap();
        let (_, warnings) = decode_bytes(kind, &text(body), FieldValidation::Warn).unwrap();
        assert_eq!(warnings.join(", ").replace("field \"", "").replace('"', ""), expected);
    }

    #[rstest]
    #[case("", "unexpected end of JSON input")]
    #[case("{\"a\":", "unexpected end of JSON input")]
    #[case("hello", "invalid character 'h' looking for beginning of value")]
    fn what_is_no_json_is_said_as_upstream_says_it(#[case] body: &str, #[case] expected: &str) {
        assert_eq!(parse_json(&text(body)).unwrap_err().message, format!("couldn't get version/kind; json parse error: {expected}"));
    }

    /// Upstream's numbers or texts are structures: a zero is kept, where a plain number would be left out.
    #[test]
    fn a_zero_that_may_be_a_percentage_is_kept() {
        let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"minAvailable": 0}});
        assert_eq!(decoded(budget, FieldValidation::Strict).unwrap().0["spec"], json!({"minAvailable": 0}));
    }

    #[rstest]
    #[case(json!({"containers": [{"name": 1}]}), "json: cannot unmarshal number into Go struct field Container.spec.containers.name of type string")]
    #[case(json!({"terminationGracePeriodSeconds": "ten"}), "json: cannot unmarshal string into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64")]
    #[case(json!({"containers": {}}), "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []struct")]
    #[case(json!({"priority": 3_000_000_000u64}), "json: cannot unmarshal number 3000000000 into Go struct field PodSpec.spec.priority of type int32")]
    #[case(json!({"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}), "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    fn wrong_types_are_refused(#[case] spec: Value, #[case] message: &str) {
        let error = decoded(pod(spec), FieldValidation::Ignore).unwrap_err();
        assert_eq!((error.code, error.message), (400, format!("Pod in version \"v1\" cannot be handled as a Pod: {message}")));
    }

    #[test]
    fn decoding_twice_changes_nothing() {
        let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "creationTimestamp": null}, "involvedObject": {}, "eventTime": "2026-01-01T00:00:00Z"});
        let (once, _) = decoded(event, FieldValidation::Strict).unwrap();
        assert_eq!(once["eventTime"], "2026-01-01T00:00:00.000000Z");
        assert_eq!((&once["source"], &once["reportingComponent"]), (&json!({}), &json!("")));
        assert_eq!(decoded(once.clone(), FieldValidation::Strict).unwrap().0, once);
    }

    #[test]
    fn an_empty_deployment_as_upstream_makes_it() {
        let zero = zero(&super::super::of("io.k8s.api.apps.v1.Deployment"));
        assert_eq!(
            zero,
            json!({"metadata": {}, "status": {}, "spec": {"selector": null, "strategy": {}, "template": {"metadata": {}, "spec": {"containers": null}}}})
        );
    }
}

//! JSON from bytes, with the paths of keys that occur twice.

use std::fmt;

use bytes::Bytes;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::syntax;
use crate::status::Status;

/// A JSON value, and which of its keys were given more than once (the last one counts).
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The value.
    pub value: Value,
    /// What else the reader found.
    pub findings: Findings,
}

/// What reading a text found beside its value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// What is said of each key that was given twice: `duplicate field "spec.containers[0].image"`.
    pub duplicates: Vec<String>,
    /// The text in whose order strict reading complains; empty where upstream's reader sees keys sorted.
    text: Bytes,
}

impl Findings {
    /// Of a text whose keys upstream's reader sees sorted.
    pub fn sorted(duplicates: Vec<String>) -> Self {
        Self { duplicates, text: Bytes::new() }
    }

    /// What strict reading complains of, in upstream's order: keys the type does not have (their paths) and keys given
    /// twice, as they stand in JSON; what reading YAML found comes first.
    pub(crate) fn with_unknown(&self, unknown: &[String]) -> Vec<String> {
        let said = unknown.iter().map(|path| format!("unknown field {path:?}"));
        if self.text.is_empty() || unknown.is_empty() {
            return self.duplicates.iter().cloned().chain(said).collect();
        }
        let keys = keys_of(&self.text);
        let place =
            |path: &str, nth: usize| keys.iter().enumerate().filter(|(_, key)| *key == path).nth(nth).map_or(usize::MAX, |(at, _)| at);
        let mut out: Vec<(usize, String)> = said.zip(unknown).map(|(said, path)| (place(path, 0), said)).collect();
        for said in &self.duplicates {
            let path = said.strip_prefix("duplicate field ").and_then(|quoted| serde_json::from_str::<String>(quoted).ok());
            out.push((path.map_or(usize::MAX, |path| place(&path, 1)), said.clone()));
        }
        out.sort_by_key(|(at, _)| *at);
        out.into_iter().map(|(_, said)| said).collect()
    }
}

/// Reads an object as JSON; nesting deeper than 128 is refused.
pub fn parse_json(bytes: &Bytes) -> Result<Parsed, Status> {
    let mut parsed = read(bytes)
        .map_err(|error| Status::bad_request(format!("couldn't get version/kind; json parse error: {}", said(&error, bytes))))?;
    parsed.findings.text = bytes.clone();
    Ok(parsed)
}

/// Reads a patch as JSON; what is wrong with it is said after `before`.
pub fn parse_patch(bytes: &[u8], before: &str) -> Result<Parsed, Status> {
    read(bytes).map_err(|error| Status::bad_request(format!("{before}{}", said(&error, bytes))))
}

fn read(bytes: &[u8]) -> Result<Parsed, serde_json::Error> {
    let mut reader = Reader::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = (&mut reader).deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value))?;
    Ok(Parsed { value, findings: Findings::sorted(reader.duplicates) })
}

/// What Go calls a JSON value.
pub fn json_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The paths of all keys, in the order in which they stand.
fn keys_of(text: &[u8]) -> Vec<String> {
    let mut reader = Reader { keys: Some(Vec::new()), ..Reader::default() };
    // The text has been read before.
    let _ = (&mut reader).deserialize(&mut serde_json::Deserializer::from_slice(text));
    reader.keys.unwrap_or_default()
}

/// What is wrong with a text, in upstream's words where it is no JSON at all.
fn said(error: &serde_json::Error, text: &[u8]) -> String {
    syntax::fault(text).unwrap_or_else(|| error.to_string())
}

enum Step {
    Key(String),
    Index(usize),
}

#[derive(Default)]
struct Reader {
    path: Vec<Step>,
    duplicates: Vec<String>,
    /// Paths of keys, where they are asked for.
    keys: Option<Vec<String>>,
}

impl Reader {
    fn here(&self) -> String {
        let mut out = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if out.is_empty() => out.push_str(key),
                Step::Key(key) => {
                    out.push('.');
                    out.push_str(key);
                }
                Step::Index(index) => out.push_str(&format!("[{index}]")),
            }
        }
        out
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        self.path.push(Step::Index(0));
        while let Some(item) = items.next_element_seed(&mut *self)? {
            out.push(item);
            if let Some(Step::Index(index)) = self.path.last_mut() {
                *index = out.len();
            }
        }
        self.path.pop();
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.path.push(Step::Key(key.clone()));
            if self.keys.is_some() {
                let here = self.here();
                self.keys.iter_mut().for_each(|keys| keys.push(here.clone()));
            }
            if out.contains_key(&key) {
                let fault = format!("duplicate field {:?}", self.here());
                if !self.duplicates.contains(&fault) {
                    self.duplicates.push(fault);
                }
            }
            let value = entries.next_value_seed(&mut *self)?;
            self.path.pop();
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}

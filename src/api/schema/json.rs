//! JSON from bytes, with the paths of keys that occur twice.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::status::Status;

/// A JSON value, and which of its keys were given more than once (the last one counts).
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The value.
    pub value: Value,
    /// What is said of each: `duplicate field "spec.containers[0].image"`.
    pub duplicates: Vec<String>,
}

/// Reads an object as JSON; nesting deeper than 128 is refused.
pub fn parse_json(bytes: &[u8]) -> Result<Parsed, Status> {
    read(bytes).map_err(|error| Status::bad_request(format!("couldn't get version/kind; json parse error: {error}")))
}

/// Reads a patch as JSON; what is wrong with it is said after `before`.
pub fn parse_patch(bytes: &[u8], before: &str) -> Result<Parsed, Status> {
    read(bytes).map_err(|error| {
        let why = if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() };
        Status::bad_request(format!("{before}{why}"))
    })
}

fn read(bytes: &[u8]) -> Result<Parsed, serde_json::Error> {
    let mut reader = Reader::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = (&mut reader).deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value))?;
    Ok(Parsed { value, duplicates: reader.duplicates })
}

enum Step {
    Key(String),
    Index(usize),
}

#[derive(Default)]
struct Reader {
    path: Vec<Step>,
    duplicates: Vec<String>,
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

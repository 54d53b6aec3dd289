//! JSON to messages: `message` the other way round. What a table has no number for is left out, as by every program
//! older than the field.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::MAGIC;
use super::fields::{Form, Member, inlined, members};
use super::message::SCHEMA;
use super::wire::Message;
use crate::schema::{self, Shape, Type};
use crate::time;

/// Adds to a message the fields of an object of type `ty`.
pub(super) fn object(ty: &Type, value: &Value, out: &mut Message) {
    if let Value::Object(object) = value {
        fields(ty, members(&ty.name), object, out);
    }
}

fn fields(ty: &Type, members: &'static [Member], object: &Map<String, Value>, out: &mut Message) {
    for member in members {
        if member.form == Form::Inline {
            out.message(member.number, |inner| fields(ty, inlined(ty, member), object, inner));
        } else if let (Some(field), Some(value)) = (ty.field(member.name), object.get(member.name)) {
            put(member.number, member.form, &field.shape, value, out);
        }
    }
}

/// Adds a field of any shape.
fn put(number: u32, form: Form, shape: &Shape, value: &Value, out: &mut Message) {
    match (shape, value) {
        (_, Value::Null) => {}
        (Shape::List(item), Value::Array(items)) => items.iter().for_each(|value| put(number, form, item, value, out)),
        (Shape::Map(item), Value::Object(map)) => {
            for (key, value) in map {
                out.message(number, |entry| {
                    entry.bytes(1, key.as_bytes());
                    match &**item {
                        // A list in a map is a message of its own, as ExtraValue is.
                        Shape::List(_) => entry.message(2, |list| put(1, form, item, value, list)),
                        item => put(2, form, item, value, entry),
                    }
                });
            }
        }
        (Shape::Object(target), value) => out.message(number, |inner| object(target.get(), value, inner)),
        (shape, value) => scalar(number, form, shape, value, out),
    }
}

fn scalar(number: u32, form: Form, shape: &Shape, value: &Value, out: &mut Message) {
    let text = value.as_str().unwrap_or_default();
    match shape {
        Shape::String => out.bytes(number, text.as_bytes()),
        Shape::Bytes => out.bytes(number, &STANDARD.decode(text).unwrap_or_default()),
        Shape::Int32 | Shape::Int64 => out.number(number, value.as_i64().unwrap_or_default().cast_unsigned()),
        Shape::Bool => out.number(number, u64::from(value.as_bool().unwrap_or_default())),
        Shape::Float => out.fixed64(number, value.as_f64().unwrap_or_default().to_bits()),
        Shape::Quantity => out.message(number, |inner| match value {
            Value::String(text) => inner.bytes(1, text.as_bytes()),
            other => inner.bytes(1, other.to_string().as_bytes()),
        }),
        Shape::IntOrString => out.message(number, |inner| {
            inner.number(1, u64::from(value.is_string()));
            inner.number(2, value.as_i64().unwrap_or_default().cast_unsigned());
            inner.bytes(3, text.as_bytes());
        }),
        Shape::Time | Shape::MicroTime => {
            let Some(time) = time::parse(text) else { return };
            // A second that has begun counts, before the epoch too; nanoseconds are never negative.
            let nanos = time.subsec_nanosecond();
            let (seconds, nanos) = if nanos < 0 { (time.as_second() - 1, nanos + 1_000_000_000) } else { (time.as_second(), nanos) };
            out.message(number, |inner| {
                inner.number(1, seconds.cast_unsigned());
                inner.number(2, u64::from(nanos.unsigned_abs()));
            });
        }
        _ => out.message(number, |inner| open(form, value, inner)),
    }
}

/// What the schema leaves open: JSON, or the alternatives of a custom resource's schema.
fn open(form: Form, value: &Value, out: &mut Message) {
    let schema = |number, out: &mut Message, value: &Value| out.message(number, |inner| object(&schema::of(SCHEMA), value, inner));
    match (form, value) {
        (Form::SchemaOrBool, Value::Bool(allows)) => out.number(1, u64::from(*allows)),
        (Form::SchemaOrBool, value) => {
            out.number(1, 1);
            schema(2, out, value);
        }
        (Form::SchemaOrList, Value::Array(items)) => items.iter().for_each(|item| schema(2, out, item)),
        (Form::SchemaOrTexts, Value::Array(items)) => items.iter().filter_map(Value::as_str).for_each(|text| out.bytes(2, text.as_bytes())),
        (Form::SchemaOrList | Form::SchemaOrTexts, value) => schema(1, out, value),
        (_, value) => out.bytes(1, value.to_string().as_bytes()),
    }
}

/// The body of a request or an answer: a message in the envelope that says what it is.
pub(super) fn envelope(api_version: &str, kind: &str, raw: &Message) -> Vec<u8> {
    let mut out = Message::from(MAGIC.to_vec());
    out.message(1, |meta| {
        meta.bytes(1, api_version.as_bytes());
        meta.bytes(2, kind.as_bytes());
    });
    out.bytes(2, raw.as_bytes());
    out.bytes(3, b"");
    out.bytes(4, b"");
    out.finish()
}

/// A list being written, item by item.
#[derive(Debug)]
pub struct List {
    item: Arc<Type>,
    raw: Message,
}

impl List {
    /// Begins a list of items of the type named `schema`.
    pub fn new(schema: &str, metadata: &Value) -> Self {
        let mut raw = Message::default();
        raw.message(1, |inner| object(&schema::of("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"), metadata, inner));
        Self { item: super::type_named(schema), raw }
    }

    /// Adds an item.
    pub fn push(&mut self, value: &Value) {
        self.raw.message(2, |inner| object(&self.item, value, inner));
    }

    /// The body.
    pub fn finish(self, api_version: &str, list_kind: &str) -> Vec<u8> {
        envelope(api_version, list_kind, &self.raw)
    }
}

/// Appends an event of a watch: its length, then its type (`ADDED`, …) and the body of its object.
pub fn put_event(out: &mut impl bytes::BufMut, told: &str, body: &[u8]) {
    let mut event = Message::default();
    event.bytes(1, told.as_bytes());
    event.message(2, |inner| inner.bytes(1, body));
    let event = event.finish();
    out.put_u32(u32::try_from(event.len()).unwrap_or(u32::MAX));
    out.put_slice(&event);
}

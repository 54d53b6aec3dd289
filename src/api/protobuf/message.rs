//! Messages to JSON, by the schema's types and the table of field numbers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Number, Value, json};

use super::fields::{Form, Member, find, inlined, members};
use super::wire::{Malformed, Reader, Wire};
use crate::schema::{self, Shape, Type};
use crate::time;

/// Messages within messages, entries of maps and items of lists counted.
const MAX_DEPTH: usize = 120;

/// Seconds of the epoch at which Go's time begins, its zero value.
const GO_ZERO: i64 = -62_135_596_800;

/// The type of a custom resource's schema.
pub(super) const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

type Decoded<T> = Result<T, Malformed>;

/// The fields of a message of type `ty`.
pub(super) fn object(ty: &Type, bytes: &[u8]) -> Decoded<Map<String, Value>> {
    let mut out = Map::new();
    fields(ty, members(&ty.name), &mut out, bytes, 0)?;
    Ok(out)
}

/// Adds to an object the fields of a message; a field that is there already is merged or replaced, as the wire has it.
fn fields(ty: &Type, members: &'static [Member], out: &mut Map<String, Value>, bytes: &[u8], depth: usize) -> Decoded<()> {
    if depth > MAX_DEPTH {
        return Err(Malformed::Depth);
    }
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.next()? {
        // Fields that are not known are passed over, as upstream does.
        let Some(member) = find(members, number) else { continue };
        if member.form == Form::Inline {
            fields(ty, inlined(ty, member), out, wire.bytes(member.name)?, depth + 1)?;
            continue;
        }
        let Some(field) = ty.field(member.name) else { continue };
        let at = At { member, depth };
        let before = out.remove(member.name);
        let value = at.field(&field.shape, wire, before)?;
        if !value.is_null() {
            out.insert(member.name.to_owned(), value);
        }
    }
    Ok(())
}

/// A field being read.
#[derive(Clone, Copy)]
struct At {
    member: &'static Member,
    depth: usize,
}

impl At {
    fn name(self) -> &'static str {
        self.member.name
    }

    fn deeper(self) -> Decoded<Self> {
        if self.depth >= MAX_DEPTH { Err(Malformed::Depth) } else { Ok(Self { depth: self.depth + 1, ..self }) }
    }

    fn wrong(self, why: impl Into<String>) -> Malformed {
        Malformed::Value { field: self.name(), why: why.into() }
    }

    /// A field's value, given what was read of it before.
    fn field(self, shape: &Shape, wire: Wire<'_>, before: Option<Value>) -> Decoded<Value> {
        match shape {
            Shape::List(item) => {
                let mut items = if let Some(Value::Array(items)) = before { items } else { Vec::new() };
                self.push(item, wire, &mut items)?;
                Ok(Value::Array(items))
            }
            Shape::Map(item) => {
                let mut map = if let Some(Value::Object(map)) = before { map } else { Map::new() };
                let (key, value) = self.deeper()?.entry(item, wire.bytes(self.name())?)?;
                map.insert(key, value);
                Ok(Value::Object(map))
            }
            Shape::Object(target) => {
                let mut map = if let Some(Value::Object(map)) = before { map } else { Map::new() };
                let ty = target.get();
                fields(ty, members(&ty.name), &mut map, wire.bytes(self.name())?, self.depth + 1)?;
                Ok(Value::Object(map))
            }
            shape => self.value(shape, wire),
        }
    }

    /// Adds an item to a list, or many where numbers are packed.
    fn push(self, item: &Shape, wire: Wire<'_>, items: &mut Vec<Value>) -> Decoded<()> {
        match (item, wire) {
            (Shape::Int32 | Shape::Int64 | Shape::Bool, Wire::Bytes(bytes)) => {
                let mut packed = Reader(bytes);
                while !packed.0.is_empty() {
                    items.push(self.value(item, Wire::Varint(packed.varint()?))?);
                }
            }
            _ => items.push(self.deeper()?.field(item, wire, None)?),
        }
        Ok(())
    }

    /// An entry of a map: a message of key and value.
    fn entry(self, item: &Shape, bytes: &[u8]) -> Decoded<(String, Value)> {
        let (mut key, mut value) = (String::new(), None);
        let mut reader = Reader(bytes);
        while let Some((number, wire)) = reader.next()? {
            match (number, item) {
                (1, _) => key = text(wire.bytes(self.name())?),
                // A list in a map is a message of its own, as ExtraValue is.
                (2, Shape::List(inner)) => {
                    let mut items = Vec::new();
                    let mut list = Reader(wire.bytes(self.name())?);
                    while let Some((number, wire)) = list.next()? {
                        if number == 1 {
                            self.push(inner, wire, &mut items)?;
                        }
                    }
                    value = Some(Value::Array(items));
                }
                (2, item) => value = Some(self.field(item, wire, value.take())?),
                _ => {}
            }
        }
        Ok((key, value.unwrap_or_else(|| absent(item))))
    }

    fn value(self, shape: &Shape, wire: Wire<'_>) -> Decoded<Value> {
        let name = self.name();
        Ok(match shape {
            Shape::Any => return self.any(wire.bytes(name)?),
            Shape::String => Value::String(text(wire.bytes(name)?)),
            Shape::Bytes => Value::String(STANDARD.encode(wire.bytes(name)?)),
            Shape::Int32 => json!(int32(wire.varint(name)?)),
            Shape::Int64 => json!(wire.varint(name)?.cast_signed()),
            Shape::Bool => Value::Bool(wire.varint(name)? != 0),
            Shape::Float => {
                let number = f64::from_bits(wire.fixed64(name)?);
                // Go writes whole numbers without a fraction.
                let whole = number.trunc() == number && number.abs() < 1e15;
                let number = if whole { Some(Number::from(number as i64)) } else { Number::from_f64(number) };
                Value::Number(number.ok_or_else(|| self.wrong("not a finite number"))?)
            }
            Shape::Quantity => Value::String(self.quantity(wire.bytes(name)?)?),
            Shape::IntOrString => self.int_or_string(wire.bytes(name)?)?,
            Shape::Time => self.time(wire.bytes(name)?, false)?,
            Shape::MicroTime => self.time(wire.bytes(name)?, true)?,
            Shape::List(_) | Shape::Map(_) | Shape::Object(_) => return self.field(shape, wire, None),
        })
    }

    fn quantity(self, bytes: &[u8]) -> Decoded<String> {
        let mut out = "0".to_owned();
        let mut reader = Reader(bytes);
        while let Some((number, wire)) = reader.next()? {
            if number == 1 {
                out = text(wire.bytes(self.name())?);
            }
        }
        Ok(out)
    }

    fn int_or_string(self, bytes: &[u8]) -> Decoded<Value> {
        let (mut kind, mut int, mut string) = (0, 0, String::new());
        let mut reader = Reader(bytes);
        while let Some((number, wire)) = reader.next()? {
            match number {
                1 => kind = wire.varint(self.name())?,
                2 => int = int32(wire.varint(self.name())?),
                3 => string = text(wire.bytes(self.name())?),
                _ => {}
            }
        }
        match kind {
            0 => Ok(json!(int)),
            1 => Ok(json!(string)),
            _ => Err(self.wrong("impossible IntOrString.Type")),
        }
    }

    /// A time; null where it is not set.
    fn time(self, bytes: &[u8], micros: bool) -> Decoded<Value> {
        let (mut seconds, mut nanos) = (0, 0);
        let mut reader = Reader(bytes);
        while let Some((number, wire)) = reader.next()? {
            match number {
                1 => seconds = wire.varint(self.name())?.cast_signed(),
                2 => nanos = int32(wire.varint(self.name())?),
                _ => {}
            }
        }
        if bytes.is_empty() || seconds == GO_ZERO {
            return Ok(Value::Null);
        }
        let out_of_range = |_| self.wrong("time is out of range");
        if !micros {
            return Ok(json!(time::seconds(Timestamp::from_second(seconds).map_err(out_of_range)?)));
        }
        Ok(json!(time::micros(Timestamp::new(seconds, nanos).map_err(out_of_range)?)))
    }

    /// What the schema leaves open.
    fn any(self, bytes: &[u8]) -> Decoded<Value> {
        if self.member.form == Form::Raw { self.raw(bytes) } else { self.alternatives(bytes) }
    }

    /// A message that holds JSON in its first field.
    fn raw(self, bytes: &[u8]) -> Decoded<Value> {
        let mut json: &[u8] = b"";
        let mut reader = Reader(bytes);
        while let Some((number, wire)) = reader.next()? {
            if number == 1 {
                json = wire.bytes(self.name())?;
            }
        }
        if json.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(json).map_err(|error| self.wrong(error.to_string()))
    }

    /// `JSONSchemaPropsOrArray` and its kin, of which each writes the alternative that is set.
    fn alternatives(self, bytes: &[u8]) -> Decoded<Value> {
        let form = self.member.form;
        let (mut flag, mut schema, mut list) = (false, None, Vec::new());
        let schema_number = if form == Form::SchemaOrBool { 2 } else { 1 };
        let mut reader = Reader(bytes);
        while let Some((number, wire)) = reader.next()? {
            match number {
                number if number == schema_number => schema = Some(self.schema(wire)?),
                1 => flag = wire.varint(self.name())? != 0,
                2 if form == Form::SchemaOrList => list.push(self.schema(wire)?),
                2 => list.push(Value::String(text(wire.bytes(self.name())?))),
                _ => {}
            }
        }
        Ok(match (form, schema) {
            (Form::SchemaOrBool, None) => Value::Bool(flag),
            (Form::SchemaOrBool, Some(schema)) => schema,
            _ if !list.is_empty() => Value::Array(list),
            (_, schema) => schema.unwrap_or_default(),
        })
    }

    /// A schema where the type says nothing: zero values are taken out here, as nobody does later.
    fn schema(self, wire: Wire<'_>) -> Decoded<Value> {
        let ty = schema::of(SCHEMA);
        let mut map = Map::new();
        fields(&ty, members(SCHEMA), &mut map, wire.bytes(self.name())?, self.depth + 1)?;
        let mut value = Value::Object(map);
        schema::clean(&ty, &mut value);
        Ok(value)
    }
}

/// The value of an entry that has only a key.
fn absent(shape: &Shape) -> Value {
    match shape {
        Shape::List(_) => json!([]),
        Shape::Map(_) | Shape::Object(_) => json!({}),
        Shape::String | Shape::Bytes => json!(""),
        Shape::Quantity => json!("0"),
        Shape::Int32 | Shape::Int64 | Shape::Float | Shape::IntOrString => json!(0),
        Shape::Bool => json!(false),
        Shape::Any | Shape::Time | Shape::MicroTime => Value::Null,
    }
}

/// The lower 32 bits, as Go reads them.
fn int32(number: u64) -> i32 {
    number as i32
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

//! Operators, conversions and optional values.

use std::cmp::Ordering;

use super::super::value::concatenate;
use super::super::{Key, Value};
use super::Cost::{Argument, Bytes, Elements, One, Shorter};
use super::{Row, bool, int, optional, string, text, time};

const NO_OVERLOAD: &str = "no such overload";

fn arithmetic(
    arguments: &[Value],
    on_ints: fn(i64, i64) -> Option<i64>,
    on_uints: fn(u64, u64) -> Option<u64>,
    on_doubles: fn(f64, f64) -> f64,
) -> Result<Value, String> {
    match arguments {
        [Value::Int(one), Value::Int(other)] => on_ints(*one, *other).map(Value::Int).ok_or_else(|| "integer overflow".to_owned()),
        [Value::Uint(one), Value::Uint(other)] => {
            on_uints(*one, *other).map(Value::Uint).ok_or_else(|| "unsigned integer overflow".to_owned())
        }
        [Value::Double(one), Value::Double(other)] => Ok(Value::Double(on_doubles(*one, *other))),
        _ => Err(NO_OVERLOAD.to_owned()),
    }
}

fn add(arguments: &[Value]) -> Result<Value, String> {
    match arguments {
        [Value::String(one), Value::String(other)] => string(format!("{one}{other}")),
        [Value::Bytes(one), Value::Bytes(other)] => Ok(Value::Bytes([&**one, &**other].concat().into())),
        [Value::List(one), Value::List(other)] => Ok(Value::List(concatenate(one.clone(), other))),
        _ => arithmetic(arguments, i64::checked_add, u64::checked_add, |one, other| one + other),
    }
}

fn subtract(arguments: &[Value]) -> Result<Value, String> {
    arithmetic(arguments, i64::checked_sub, u64::checked_sub, |one, other| one - other)
}

fn multiply(arguments: &[Value]) -> Result<Value, String> {
    arithmetic(arguments, i64::checked_mul, u64::checked_mul, |one, other| one * other)
}

fn divide(arguments: &[Value]) -> Result<Value, String> {
    match arguments {
        [_, Value::Int(0) | Value::Uint(0)] => Err("division by zero".to_owned()),
        _ => arithmetic(arguments, i64::checked_div, u64::checked_div, |one, other| one / other),
    }
}

fn modulo(arguments: &[Value]) -> Result<Value, String> {
    match arguments {
        [_, Value::Int(0) | Value::Uint(0)] => Err("modulus by zero".to_owned()),
        _ => arithmetic(arguments, i64::checked_rem, u64::checked_rem, |one, other| one % other),
    }
}

fn ordered(arguments: &[Value], wanted: fn(Ordering) -> bool) -> Result<Value, String> {
    match arguments {
        [Value::Double(one), other] | [other, Value::Double(one)] if one.is_nan() && other.key().is_some() => bool(false),
        [one, other] => one.compare(other).map(|order| Value::Bool(wanted(order))).ok_or_else(|| NO_OVERLOAD.to_owned()),
        _ => Err(NO_OVERLOAD.to_owned()),
    }
}

fn less(arguments: &[Value]) -> Result<Value, String> {
    ordered(arguments, Ordering::is_lt)
}

fn less_equal(arguments: &[Value]) -> Result<Value, String> {
    ordered(arguments, Ordering::is_le)
}

fn greater(arguments: &[Value]) -> Result<Value, String> {
    ordered(arguments, Ordering::is_gt)
}

fn greater_equal(arguments: &[Value]) -> Result<Value, String> {
    ordered(arguments, Ordering::is_ge)
}

fn element(arguments: &[Value]) -> Result<Value, String> {
    match arguments {
        [Value::List(list), index] => {
            let at = match index.key() {
                Some(Key::Int(at)) => at,
                _ => return Err(NO_OVERLOAD.to_owned()),
            };
            usize::try_from(at).ok().and_then(|at| list.items.get(at)).cloned().ok_or_else(|| format!("index out of bounds: {at}"))
        }
        [Value::Map(map), key] => key.key().and_then(|key| map.get(&key)).cloned().ok_or_else(|| format!("no such key: {}", shown(key))),
        _ => Err(NO_OVERLOAD.to_owned()),
    }
}

fn shown(key: &Value) -> String {
    match key.to_json() {
        serde_json::Value::String(text) => text,
        json => json.to_string(),
    }
}

/// `[?_]`, on values that may be optional themselves.
fn optional_element(arguments: &[Value]) -> Result<Value, String> {
    match arguments {
        [Value::Optional(None), _] => Ok(Value::Optional(None)),
        [Value::Optional(Some(inner)), index] => optional_element(&[(**inner).clone(), index.clone()]),
        [Value::List(_) | Value::Map(_), _] => Ok(optional(element(arguments).ok())),
        _ => Err(NO_OVERLOAD.to_owned()),
    }
}

fn contained(arguments: &[Value]) -> Result<Value, String> {
    match arguments {
        [item, Value::List(list)] => bool(list.items.contains(item)),
        [key, Value::Map(map)] => bool(key.key().is_some_and(|key| map.contains_key(&key))),
        _ => Err(NO_OVERLOAD.to_owned()),
    }
}

fn negate(arguments: &[Value]) -> Result<Value, String> {
    match arguments {
        [Value::Int(value)] => value.checked_neg().map(Value::Int).ok_or_else(|| "integer overflow".to_owned()),
        [Value::Double(value)] => Ok(Value::Double(-value)),
        _ => Err(NO_OVERLOAD.to_owned()),
    }
}

fn size(arguments: &[Value]) -> Result<Value, String> {
    Ok(Value::Int(arguments[0].size() as i64))
}

fn to_int(arguments: &[Value]) -> Result<Value, String> {
    let overflow = || "integer overflow".to_owned();
    match &arguments[0] {
        Value::Int(value) => Ok(Value::Int(*value)),
        Value::Uint(value) => i64::try_from(*value).map(Value::Int).map_err(|_| overflow()),
        Value::Double(value) if value.is_finite() && value.abs() < 9.3e18 => Ok(Value::Int(*value as i64)),
        Value::Double(_) => Err(overflow()),
        Value::Timestamp(time) => Ok(Value::Int(time.as_second())),
        Value::Duration(duration) => i64::try_from(duration.as_nanos()).map(Value::Int).map_err(|_| overflow()),
        value => text(std::slice::from_ref(value), 0)
            .parse()
            .map(Value::Int)
            .map_err(|_| format!("strconv.ParseInt: parsing {:?}: invalid syntax", shown(value))),
    }
}

fn to_uint(arguments: &[Value]) -> Result<Value, String> {
    let overflow = || "unsigned integer overflow".to_owned();
    match &arguments[0] {
        Value::Uint(value) => Ok(Value::Uint(*value)),
        Value::Int(value) => u64::try_from(*value).map(Value::Uint).map_err(|_| overflow()),
        Value::Double(value) if *value >= 0.0 && *value < 1.8e19 => Ok(Value::Uint(*value as u64)),
        Value::Double(_) => Err(overflow()),
        value => {
            shown(value).parse().map(Value::Uint).map_err(|_| format!("strconv.ParseUint: parsing {:?}: invalid syntax", shown(value)))
        }
    }
}

fn to_double(arguments: &[Value]) -> Result<Value, String> {
    match &arguments[0] {
        Value::Int(value) => Ok(Value::Double(*value as f64)),
        Value::Uint(value) => Ok(Value::Double(*value as f64)),
        Value::Double(value) => Ok(Value::Double(*value)),
        value => {
            shown(value).parse().map(Value::Double).map_err(|_| format!("strconv.ParseFloat: parsing {:?}: invalid syntax", shown(value)))
        }
    }
}

fn to_string(arguments: &[Value]) -> Result<Value, String> {
    match &arguments[0] {
        Value::String(text) => Ok(Value::String(text.clone())),
        Value::Bytes(bytes) => {
            std::str::from_utf8(bytes).map(Value::from).map_err(|_| "invalid UTF-8 in bytes, cannot convert to string".to_owned())
        }
        Value::Double(value) => string(value.to_string()),
        Value::Duration(duration) => string(time::duration_text(*duration)),
        value => string(shown(value)),
    }
}

fn to_bool(arguments: &[Value]) -> Result<Value, String> {
    match &arguments[0] {
        Value::Bool(value) => bool(*value),
        value => match shown(value).as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => bool(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => bool(false),
            other => Err(format!("strconv.ParseBool: parsing {other:?}: invalid syntax")),
        },
    }
}

fn type_value(arguments: &[Value]) -> Result<Value, String> {
    Ok(Value::Type(arguments[0].type_name().into()))
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(value) => !value,
        Value::Int(0) | Value::Uint(0) => true,
        Value::Double(value) => *value == 0.0,
        Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => value.size() == 0,
        _ => false,
    }
}

fn inner(arguments: &[Value]) -> Option<Value> {
    match &arguments[0] {
        Value::Optional(inner) => inner.as_deref().cloned(),
        _ => None,
    }
}

fn range(arguments: &[Value]) -> Result<Value, String> {
    match int(arguments, 0) {
        count if !(0..=1_000_000).contains(&count) => Err("lists.range: size exceeds the limit".to_owned()),
        count => Ok((0..count).map(Value::Int).collect::<Vec<_>>().into()),
    }
}

pub(super) const ROWS: &[Row] = &[
    ("_==_(A, A) -> bool", Shorter, |args| bool(args[0] == args[1])),
    ("_!=_(A, A) -> bool", Shorter, |args| bool(args[0] != args[1])),
    ("!_(bool) -> bool", One, |args| bool(args[0] == Value::Bool(false))),
    ("_&&_(bool, bool) -> bool", One, |args| bool(args[0] == Value::Bool(true) && args[1] == Value::Bool(true))),
    ("_||_(bool, bool) -> bool", One, |args| bool(args[0] == Value::Bool(true) || args[1] == Value::Bool(true))),
    ("@not_strictly_false(bool) -> bool", One, |args| Ok(args[0].clone())),
    ("@mapInsert(map(A,B), A, B) -> map(A,B)", One, |args| Ok(args[0].clone())),
    ("_?_:_(bool, A, A) -> A", One, |args| Ok(args[1].clone())),
    ("_+_(int, int) -> int", One, add),
    ("_+_(uint, uint) -> uint", One, add),
    ("_+_(double, double) -> double", One, add),
    ("_+_(string, string) -> string", Bytes, add),
    ("_+_(bytes, bytes) -> bytes", Bytes, add),
    ("_+_(list(A), list(A)) -> list(A)", One, add),
    ("_-_(int, int) -> int", One, subtract),
    ("_-_(uint, uint) -> uint", One, subtract),
    ("_-_(double, double) -> double", One, subtract),
    ("_*_(int, int) -> int", One, multiply),
    ("_*_(uint, uint) -> uint", One, multiply),
    ("_*_(double, double) -> double", One, multiply),
    ("_/_(int, int) -> int", One, divide),
    ("_/_(uint, uint) -> uint", One, divide),
    ("_/_(double, double) -> double", One, divide),
    ("_%_(int, int) -> int", One, modulo),
    ("_%_(uint, uint) -> uint", One, modulo),
    ("-_(int) -> int", One, negate),
    ("-_(double) -> double", One, negate),
    ("_[_](list(A), int) -> A", One, element),
    ("_[_](list(A), uint) -> A", One, element),
    ("_[_](map(A,B), A) -> B", One, element),
    ("_[?_](list(A), int) -> optional(A)", One, optional_element),
    ("_[?_](map(A,B), A) -> optional(B)", One, optional_element),
    ("_[?_](optional(list(A)), int) -> optional(A)", One, optional_element),
    ("_[?_](optional(map(A,B)), A) -> optional(B)", One, optional_element),
    ("@in(A, list(A)) -> bool", Argument, contained),
    ("@in(A, map(A,B)) -> bool", One, contained),
    ("size(string) -> int", One, size),
    ("size(bytes) -> int", One, size),
    ("size(list(A)) -> int", One, size),
    ("size(map(A,B)) -> int", One, size),
    ("string::size() -> int", One, size),
    ("bytes::size() -> int", One, size),
    ("list(A)::size() -> int", One, size),
    ("map(A,B)::size() -> int", One, size),
    ("int(int) -> int", One, to_int),
    ("int(uint) -> int", One, to_int),
    ("int(double) -> int", One, to_int),
    ("int(string) -> int", One, to_int),
    ("int(timestamp) -> int", One, to_int),
    ("int(duration) -> int", One, to_int),
    ("uint(int) -> uint", One, to_uint),
    ("uint(uint) -> uint", One, to_uint),
    ("uint(double) -> uint", One, to_uint),
    ("uint(string) -> uint", One, to_uint),
    ("double(int) -> double", One, to_double),
    ("double(uint) -> double", One, to_double),
    ("double(double) -> double", One, to_double),
    ("double(string) -> double", One, to_double),
    ("string(string) -> string", Bytes, to_string),
    ("string(bytes) -> string", Bytes, to_string),
    ("string(bool) -> string", One, to_string),
    ("string(int) -> string", One, to_string),
    ("string(uint) -> string", One, to_string),
    ("string(double) -> string", One, to_string),
    ("string(timestamp) -> string", One, to_string),
    ("string(duration) -> string", One, to_string),
    ("string(net.IP) -> string", One, to_string),
    ("string(net.CIDR) -> string", One, to_string),
    ("bool(bool) -> bool", One, to_bool),
    ("bool(string) -> bool", One, to_bool),
    ("bytes(bytes) -> bytes", Bytes, |args| Ok(args[0].clone())),
    ("bytes(string) -> bytes", Bytes, |args| Ok(Value::Bytes(text(args, 0).as_bytes().into()))),
    ("dyn(A) -> dyn", One, |args| Ok(args[0].clone())),
    ("type(A) -> type(A)", One, type_value),
    ("optional.of(A) -> optional(A)", One, |args| Ok(optional(Some(args[0].clone())))),
    ("optional.ofNonZeroValue(A) -> optional(A)", One, |args| Ok(optional(Some(args[0].clone()).filter(|value| !is_zero(value))))),
    ("optional.none() -> optional(A)", One, |_| Ok(Value::Optional(None))),
    ("optional(A)::hasValue() -> bool", One, |args| bool(inner(args).is_some())),
    ("optional(A)::value() -> A", One, |args| inner(args).ok_or_else(|| "optional.none() dereference".to_owned())),
    ("optional(A)::orValue(A) -> A", One, |args| Ok(inner(args).unwrap_or_else(|| args[1].clone()))),
    ("optional(A)::or(optional(A)) -> optional(A)", One, |args| Ok(if inner(args).is_some() { args[0].clone() } else { args[1].clone() })),
    ("lists.range(int) -> list(int)", Elements, range),
];

/// The pairs of types that can be put in order.
macro_rules! comparisons {
    ($($one:literal $other:literal),* $(,)?) => {
        pub(super) const COMPARISONS: &[Row] = &[$(
            (concat!("_<_(", $one, ", ", $other, ") -> bool"), Shorter, less),
            (concat!("_<=_(", $one, ", ", $other, ") -> bool"), Shorter, less_equal),
            (concat!("_>_(", $one, ", ", $other, ") -> bool"), Shorter, greater),
            (concat!("_>=_(", $one, ", ", $other, ") -> bool"), Shorter, greater_equal),
        )*];
    };
}

comparisons!(
    "bool" "bool", "int" "int", "int" "uint", "int" "double", "uint" "uint", "uint" "int", "uint" "double", "double" "double",
    "double" "int", "double" "uint", "string" "string", "bytes" "bytes", "timestamp" "timestamp", "duration" "duration",
);

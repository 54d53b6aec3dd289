//! Quantities and versions: Kubernetes' quantity and semver libraries, and cel-go's math.

use std::cmp::Ordering;
use std::sync::Arc;

use semver::Version;

use super::super::Value;
use super::Cost::{Bytes, One};
use super::{Row, bool, text};
use crate::quantity::{Format, Quantity};

fn quantity(arguments: &[Value], index: usize) -> Quantity {
    match arguments.get(index) {
        Some(Value::Quantity(quantity)) => *quantity,
        Some(Value::Int(value)) => Quantity::new(*value, Format::DecimalSi),
        _ => Quantity::ZERO,
    }
}

fn to_quantity(arguments: &[Value]) -> Result<Value, String> {
    text(arguments, 0).parse().map(Value::Quantity).map_err(|error: crate::quantity::QuantityError| error.to_string())
}

fn as_integer(arguments: &[Value]) -> Result<Value, String> {
    let quantity = quantity(arguments, 0);
    if quantity.is_whole() { Ok(Value::Int(quantity.value())) } else { Err("cannot convert value to integer".to_owned()) }
}

fn order(order: Ordering) -> Result<Value, String> {
    Ok(Value::Int(order as i64))
}

fn compared(arguments: &[Value]) -> Ordering {
    arguments[0].compare(&arguments[1]).unwrap_or(Ordering::Equal)
}

/// Reads a version; with `normalize`, also `v1.2` and leading zeros.
fn parse_version(text: &str, normalize: bool) -> Result<Version, String> {
    let wrong = |error: &dyn std::fmt::Display| error.to_string();
    if !normalize {
        return Version::parse(text).map_err(|error| wrong(&error));
    }
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let mut parts: Vec<String> = numbers
        .split('.')
        .map(|part| part.trim_start_matches('0'))
        .map(|part| if part.is_empty() { "0" } else { part }.to_owned())
        .collect();
    parts.resize(parts.len().max(3), "0".to_owned());
    Version::parse(&format!("{}{rest}", parts.join("."))).map_err(|error| wrong(&error))
}

fn normalizes(arguments: &[Value]) -> bool {
    arguments.get(1) == Some(&Value::Bool(true))
}

fn to_version(arguments: &[Value]) -> Result<Value, String> {
    parse_version(text(arguments, 0), normalizes(arguments)).map(Arc::new).map(Value::Semver)
}

fn is_version(arguments: &[Value]) -> Result<Value, String> {
    bool(parse_version(text(arguments, 0), normalizes(arguments)).is_ok())
}

fn number(arguments: &[Value], part: fn(&Version) -> u64) -> Result<Value, String> {
    match &arguments[0] {
        Value::Semver(version) => Ok(Value::Int(i64::try_from(part(version)).unwrap_or(i64::MAX))),
        _ => Err("no such overload".to_owned()),
    }
}

pub(super) const ROWS: &[Row] = &[
    ("quantity(string) -> kubernetes.Quantity", Bytes, to_quantity),
    ("isQuantity(string) -> bool", Bytes, |args| bool(text(args, 0).parse::<Quantity>().is_ok())),
    ("kubernetes.Quantity::sign() -> int", One, |args| Ok(Value::Int(quantity(args, 0).signum().into()))),
    ("kubernetes.Quantity::isInteger() -> bool", One, |args| bool(quantity(args, 0).is_whole())),
    ("kubernetes.Quantity::asInteger() -> int", One, as_integer),
    ("kubernetes.Quantity::asApproximateFloat() -> double", One, |args| Ok(Value::Double(quantity(args, 0).as_f64()))),
    ("kubernetes.Quantity::isGreaterThan(kubernetes.Quantity) -> bool", One, |args| bool(compared(args).is_gt())),
    ("kubernetes.Quantity::isLessThan(kubernetes.Quantity) -> bool", One, |args| bool(compared(args).is_lt())),
    ("kubernetes.Quantity::compareTo(kubernetes.Quantity) -> int", One, |args| order(compared(args))),
    ("kubernetes.Quantity::add(kubernetes.Quantity) -> kubernetes.Quantity", One, |args| {
        Ok(Value::Quantity(quantity(args, 0) + quantity(args, 1)))
    }),
    ("kubernetes.Quantity::add(int) -> kubernetes.Quantity", One, |args| Ok(Value::Quantity(quantity(args, 0) + quantity(args, 1)))),
    ("kubernetes.Quantity::sub(kubernetes.Quantity) -> kubernetes.Quantity", One, |args| {
        Ok(Value::Quantity(quantity(args, 0) - quantity(args, 1)))
    }),
    ("kubernetes.Quantity::sub(int) -> kubernetes.Quantity", One, |args| Ok(Value::Quantity(quantity(args, 0) - quantity(args, 1)))),
    ("semver(string) -> kubernetes.Semver", Bytes, to_version),
    ("semver(string, bool) -> kubernetes.Semver", Bytes, to_version),
    ("isSemver(string) -> bool", Bytes, is_version),
    ("isSemver(string, bool) -> bool", Bytes, is_version),
    ("kubernetes.Semver::major() -> int", One, |args| number(args, |version| version.major)),
    ("kubernetes.Semver::minor() -> int", One, |args| number(args, |version| version.minor)),
    ("kubernetes.Semver::patch() -> int", One, |args| number(args, |version| version.patch)),
    ("kubernetes.Semver::isLessThan(kubernetes.Semver) -> bool", One, |args| bool(compared(args).is_lt())),
    ("kubernetes.Semver::isGreaterThan(kubernetes.Semver) -> bool", One, |args| bool(compared(args).is_gt())),
    ("kubernetes.Semver::compareTo(kubernetes.Semver) -> int", One, |args| order(compared(args))),
];

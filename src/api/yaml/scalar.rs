//! What a plain scalar means in YAML 1.1, as Go's `yaml.v2` resolves it.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Number, Value};

/// The meaning of a plain scalar.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Number(Number),
    /// `.inf`, `.nan`: numbers that JSON does not have.
    NotFinite,
    /// A point in time, which stays text when read but is quoted when written.
    Time,
    Text,
}

#[allow(clippy::unwrap_used)] // constant patterns, tested below
static FLOAT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$").unwrap());
#[allow(clippy::unwrap_used)]
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})| [0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?)?$",
    )
    .unwrap()
});
#[allow(clippy::unwrap_used)]
static BASE_60: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$").unwrap());

/// Numbers in base 60 stay text but are quoted when written, for other readers' sake.
pub(super) fn is_base_60(text: &str) -> bool {
    BASE_60.is_match(text)
}

/// What the plain scalar `text` means.
pub(super) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Scalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" => {
            return Scalar::NotFinite;
        }
        _ => {}
    }
    match text.as_bytes().first() {
        Some(b'.') => float(text).map_or(Scalar::Text, Scalar::Number),
        Some(b'+' | b'-' | b'0'..=b'9') => {
            if TIME.is_match(text) {
                return Scalar::Time;
            }
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain)).map_or(Scalar::Text, Scalar::Number)
        }
        _ => Scalar::Text,
    }
}

/// A number in Go's notation for integers: decimal, `0x`, `0b`, `0o`, and octal after a leading zero.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_str() {
        "0" => (10, "0"),
        d if d.starts_with("0x") => (16, &d[2..]),
        d if d.starts_with("0b") => (2, &d[2..]),
        d if d.starts_with("0o") => (8, &d[2..]),
        d if d.starts_with('0') => (8, &d[1..]),
        d => (10, d),
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        let value = i64::try_from(-i128::from(value)).ok()?;
        Some(value.into())
    } else {
        Some(value.into())
    }
}

fn float(text: &str) -> Option<Number> {
    if !FLOAT.is_match(text) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // Go writes whole numbers without a fraction
    if value.fract() == 0.0 && value.abs() < 9.0e18 {
        #[allow(clippy::cast_possible_truncation)] // whole and in range
        return Some((value as i64).into());
    }
    Number::from_f64(value)
}

/// The value of a scalar with an explicit core tag; `None` where the text does not fit it.
pub(super) fn tagged(tag: &str, text: &str) -> Option<Value> {
    match (tag, resolve(text)) {
        ("str", _) => Some(Value::from(text)),
        ("null", Scalar::Null) => Some(Value::Null),
        ("bool", Scalar::Bool(value)) => Some(Value::Bool(value)),
        ("int", Scalar::Number(number)) if !number.is_f64() => Some(Value::Number(number)),
        ("float", Scalar::Number(number)) => Some(Value::Number(number)),
        ("timestamp", Scalar::Time) => Some(Value::from(text)),
        ("binary", _) => {
            use base64::Engine;
            let plain: String = text.split_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(plain).ok()?;
            String::from_utf8(bytes).ok().map(Value::from)
        }
        _ => None,
    }
}

//! Comparing quantities in validation.

use serde_json::Value;

/// A quantity in units of a billionth; `None` where it is malformed.
pub(crate) fn nanos(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent = |text: &str| -> Option<i32> { text.parse().ok() };
    let (binary, power) = match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => (0, exponent(suffix.strip_prefix(['e', 'E'])?)?),
    };
    let scaled = |text: &str| -> Option<i128> { if text.is_empty() { Some(0) } else { text.parse().ok() } };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(18)];
    let places = i32::try_from(fraction.len()).ok()?;
    let mantissa = scaled(&format!("{whole}{fraction}"))?.checked_mul(1i128 << binary)?;
    let power = power + 9 - places;
    let factor = 10i128.checked_pow(power.unsigned_abs())?;
    let nanos = if power >= 0 { mantissa.checked_mul(factor)? } else { mantissa / factor };
    Some(if negative { -nanos } else { nanos })
}

/// Whether a quantity has no part of a unit.
pub(crate) fn is_whole(value: &Value) -> bool {
    nanos(value).is_some_and(|n| n % 1_000_000_000 == 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_compare_across_suffixes() {
        for (a, b) in [("1", "1000m"), ("1Ki", "1024"), ("0.5", "500m"), ("1e3", "1k"), ("1.5Gi", "1536Mi"), ("-1", "-1000m")] {
            assert_eq!(nanos(&json!(a)), nanos(&json!(b)), "{a} = {b}");
        }
        for bad in ["", "m", "1x", "1ee3"] {
            assert_eq!(nanos(&json!(bad)), None, "{bad}");
        }
    }
}

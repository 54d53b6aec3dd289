//! Points and spans of time.

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::super::Value;
use super::Cost::One;
use super::{Row, text};
use crate::time;

/// A span of time as Go writes it: `1h30m`, `-1.5s`, `100ms`.
pub fn go_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut nanos = 0_i128;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|ch: char| !ch.is_ascii_digit() && ch != '.')?;
        let (number, after) = rest.split_at(end);
        let length = after.find(|ch: char| ch.is_ascii_digit() || ch == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || number.len() > 30 {
            return None;
        }
        nanos += if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()?.checked_mul(scale)? };
        if !fraction.is_empty() {
            nanos += fraction.parse::<i128>().ok()?.checked_mul(scale)? / 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        }
        rest = after;
    }
    let nanos = i64::try_from(if negative { -nanos } else { nanos }).ok()?;
    Some(SignedDuration::from_nanos(nanos))
}

/// A span of time in seconds, as protocol buffers write it in JSON.
pub(in super::super) fn duration_text(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos();
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let fraction = format!("{:09}", nanos % 1_000_000_000);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{fraction}s", nanos / 1_000_000_000)
}

fn zone(name: &str) -> Result<TimeZone, String> {
    if let Some((hours, minutes)) = name.split_once(':') {
        let negative = hours.starts_with('-');
        let whole: i32 = hours.trim_start_matches(['+', '-']).parse().map_err(|_| format!("unknown time zone {name}"))?;
        let minutes: i32 = minutes.parse().map_err(|_| format!("unknown time zone {name}"))?;
        let seconds = (whole * 60 + minutes) * if negative { -60 } else { 60 };
        return Offset::from_seconds(seconds).map(TimeZone::fixed).map_err(|_| format!("unknown time zone {name}"));
    }
    TimeZone::get(name).map_err(|_| format!("unknown time zone {name}"))
}

fn part(arguments: &[Value], of_time: fn(&Zoned) -> i64) -> Result<Value, String> {
    let Value::Timestamp(time) = &arguments[0] else { return Err("no such overload".to_owned()) };
    let zone = if arguments.len() == 2 { zone(text(arguments, 1))? } else { TimeZone::UTC };
    Ok(Value::Int(of_time(&time.to_zoned(zone))))
}

/// A part of a time, or a span in that unit.
fn unit(arguments: &[Value], of_time: fn(&Zoned) -> i64, of_span: fn(SignedDuration) -> i64) -> Result<Value, String> {
    match &arguments[0] {
        Value::Duration(span) => Ok(Value::Int(of_span(*span))),
        _ => part(arguments, of_time),
    }
}

fn year(args: &[Value]) -> Result<Value, String> {
    part(args, |time| time.year().into())
}

fn month(args: &[Value]) -> Result<Value, String> {
    part(args, |time| i64::from(time.month()) - 1)
}

fn day_of_year(args: &[Value]) -> Result<Value, String> {
    part(args, |time| i64::from(time.day_of_year()) - 1)
}

fn day_of_month(args: &[Value]) -> Result<Value, String> {
    part(args, |time| i64::from(time.day()) - 1)
}

fn date(args: &[Value]) -> Result<Value, String> {
    part(args, |time| time.day().into())
}

fn day_of_week(args: &[Value]) -> Result<Value, String> {
    part(args, |time| time.weekday().to_sunday_zero_offset().into())
}

fn hours(args: &[Value]) -> Result<Value, String> {
    unit(args, |time| time.hour().into(), |span| span.as_hours())
}

fn minutes(args: &[Value]) -> Result<Value, String> {
    unit(args, |time| time.minute().into(), |span| span.as_mins())
}

fn seconds(args: &[Value]) -> Result<Value, String> {
    unit(args, |time| time.second().into(), |span| span.as_secs())
}

fn milliseconds(args: &[Value]) -> Result<Value, String> {
    unit(args, |time| time.millisecond().into(), |span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

fn add(args: &[Value]) -> Result<Value, String> {
    let overflow = || "timestamp overflow".to_owned();
    match args {
        [Value::Timestamp(time), Value::Duration(span)] | [Value::Duration(span), Value::Timestamp(time)] => {
            time.checked_add(*span).map(Value::Timestamp).map_err(|_| overflow())
        }
        [Value::Duration(one), Value::Duration(other)] => one.checked_add(*other).map(Value::Duration).ok_or_else(overflow),
        _ => Err("no such overload".to_owned()),
    }
}

fn subtract(args: &[Value]) -> Result<Value, String> {
    let overflow = || "timestamp overflow".to_owned();
    match args {
        [Value::Timestamp(one), Value::Timestamp(other)] => Ok(Value::Duration(one.duration_since(*other))),
        [Value::Timestamp(time), Value::Duration(span)] => time.checked_sub(*span).map(Value::Timestamp).map_err(|_| overflow()),
        [Value::Duration(one), Value::Duration(other)] => one.checked_sub(*other).map(Value::Duration).ok_or_else(overflow),
        _ => Err("no such overload".to_owned()),
    }
}

fn to_timestamp(args: &[Value]) -> Result<Value, String> {
    match &args[0] {
        Value::Int(seconds) => Timestamp::from_second(*seconds).map(Value::Timestamp).map_err(|_| "timestamp overflow".to_owned()),
        Value::String(text) => {
            time::parse(text).map(Value::Timestamp).ok_or_else(|| format!("cannot parse {text:?} as a time of RFC 3339"))
        }
        other => Ok(other.clone()),
    }
}

fn to_duration(args: &[Value]) -> Result<Value, String> {
    match &args[0] {
        Value::String(text) => go_duration(text).map(Value::Duration).ok_or_else(|| format!("time: invalid duration {text:?}")),
        Value::Int(nanos) => Ok(Value::Duration(SignedDuration::from_nanos(*nanos))),
        other => Ok(other.clone()),
    }
}

pub(super) const ROWS: &[Row] = &[
    ("timestamp(string) -> timestamp", One, to_timestamp),
    ("timestamp(int) -> timestamp", One, to_timestamp),
    ("timestamp(timestamp) -> timestamp", One, to_timestamp),
    ("duration(string) -> duration", One, to_duration),
    ("duration(int) -> duration", One, to_duration),
    ("duration(duration) -> duration", One, to_duration),
    ("_+_(timestamp, duration) -> timestamp", One, add),
    ("_+_(duration, timestamp) -> timestamp", One, add),
    ("_+_(duration, duration) -> duration", One, add),
    ("_-_(timestamp, timestamp) -> duration", One, subtract),
    ("_-_(timestamp, duration) -> timestamp", One, subtract),
    ("_-_(duration, duration) -> duration", One, subtract),
    ("timestamp::getFullYear() -> int", One, year),
    ("timestamp::getFullYear(string) -> int", One, year),
    ("timestamp::getMonth() -> int", One, month),
    ("timestamp::getMonth(string) -> int", One, month),
    ("timestamp::getDayOfYear() -> int", One, day_of_year),
    ("timestamp::getDayOfYear(string) -> int", One, day_of_year),
    ("timestamp::getDayOfMonth() -> int", One, day_of_month),
    ("timestamp::getDayOfMonth(string) -> int", One, day_of_month),
    ("timestamp::getDate() -> int", One, date),
    ("timestamp::getDate(string) -> int", One, date),
    ("timestamp::getDayOfWeek() -> int", One, day_of_week),
    ("timestamp::getDayOfWeek(string) -> int", One, day_of_week),
    ("timestamp::getHours() -> int", One, hours),
    ("timestamp::getHours(string) -> int", One, hours),
    ("timestamp::getMinutes() -> int", One, minutes),
    ("timestamp::getMinutes(string) -> int", One, minutes),
    ("timestamp::getSeconds() -> int", One, seconds),
    ("timestamp::getSeconds(string) -> int", One, seconds),
    ("timestamp::getMilliseconds() -> int", One, milliseconds),
    ("timestamp::getMilliseconds(string) -> int", One, milliseconds),
    ("duration::getHours() -> int", One, hours),
    ("duration::getMinutes() -> int", One, minutes),
    ("duration::getSeconds() -> int", One, seconds),
    ("duration::getMilliseconds() -> int", One, milliseconds),
];

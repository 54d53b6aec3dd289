//! Texts: the standard functions and cel-go's extension for strings. Places are counted in characters.

use super::super::Value;
use super::Cost::{Argument, Bytes, One, Search};
use super::{Row, bool, int, items, string, text, texts};

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn char_at(arguments: &[Value]) -> Result<Value, String> {
    let (all, at) = (chars(text(arguments, 0)), int(arguments, 1));
    match usize::try_from(at) {
        Ok(at) if at == all.len() => string(""),
        Ok(at) if at < all.len() => string(all[at]),
        _ => Err(format!("index out of range: {at}")),
    }
}

/// The place of a part at or after `from`; -1 where there is none.
fn index_of(arguments: &[Value]) -> Result<Value, String> {
    let (all, part, from) = (chars(text(arguments, 0)), chars(text(arguments, 1)), int(arguments, 2));
    let from = usize::try_from(from).ok().filter(|from| *from <= all.len()).ok_or_else(|| format!("index out of range: {from}"))?;
    let found = (from..=all.len().saturating_sub(part.len())).find(|at| all[*at..].starts_with(&part));
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

/// The last place of a part at or before `until`.
fn last_index_of(arguments: &[Value]) -> Result<Value, String> {
    let (all, part) = (chars(text(arguments, 0)), chars(text(arguments, 1)));
    let until = if arguments.len() == 3 { int(arguments, 2) } else { all.len() as i64 };
    let until = usize::try_from(until).ok().filter(|until| *until <= all.len()).ok_or_else(|| format!("index out of range: {until}"))?;
    if part.len() > all.len() {
        return Ok(Value::Int(-1));
    }
    let found = (0..=until.min(all.len() - part.len())).rev().find(|at| all[*at..].starts_with(&part));
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

fn substring(arguments: &[Value]) -> Result<Value, String> {
    let all = chars(text(arguments, 0));
    let start = int(arguments, 1);
    let end = if arguments.len() == 3 { int(arguments, 2) } else { all.len() as i64 };
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(from), Ok(to)) if from <= to && to <= all.len() => string(all[from..to].iter().collect::<String>()),
        (Ok(from), Ok(to)) if from > to => Err(format!("invalid substring range. start: {start}, end: {end}")),
        _ => Err(format!("index out of range: {}", if start < 0 || start > all.len() as i64 { start } else { end })),
    }
}

fn replace(arguments: &[Value]) -> Result<Value, String> {
    let (all, old, new) = (text(arguments, 0), text(arguments, 1), text(arguments, 2));
    let limit = if arguments.len() == 4 { int(arguments, 3) } else { -1 };
    string(usize::try_from(limit).map_or_else(|_| all.replace(old, new), |limit| all.replacen(old, new, limit)))
}

fn split(arguments: &[Value]) -> Result<Value, String> {
    let (all, by) = (text(arguments, 0), text(arguments, 1));
    let limit = if arguments.len() == 3 { int(arguments, 2) } else { -1 };
    if by.is_empty() {
        return Ok(texts(all.chars().map(String::from)));
    }
    Ok(match limit {
        0 => texts(Vec::<String>::new()),
        limit if limit < 0 => texts(all.split(by)),
        limit => texts(all.splitn(usize::try_from(limit).unwrap_or(usize::MAX), by)),
    })
}

fn join(arguments: &[Value]) -> Result<Value, String> {
    let parts: Option<Vec<&str>> = items(arguments, 0).iter().map(Value::as_str).collect();
    string(parts.ok_or("no such overload")?.join(text(arguments, 1)))
}

/// A text as Go's `%q` writes it, nearly.
fn quote(arguments: &[Value]) -> Result<Value, String> {
    string(serde_json::Value::from(text(arguments, 0)).to_string())
}

/// What `%s` shows.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) | Value::Type(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::List(list) => format!("[{}]", list.items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{}: {}", shown(&Value::from(key.clone())), shown(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Optional(Some(inner)) => shown(inner),
        other => match other.to_json() {
            serde_json::Value::String(text) => text,
            json => json.to_string(),
        },
    }
}

fn number(value: &Value, precision: usize, exponent: bool) -> Result<String, String> {
    let number = match value {
        Value::Int(value) => *value as f64,
        Value::Uint(value) => *value as f64,
        Value::Double(value) => *value,
        other => return Err(format!("decimal clause can only be used on numbers, was given {}", other.type_name())),
    };
    if !exponent {
        return Ok(format!("{number:.precision$}"));
    }
    let text = format!("{number:.precision$e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    Ok(format!("{digits}e{sign}{power:0>2}"))
}

fn in_base(value: &Value, clause: char) -> Result<String, String> {
    let (negative, whole) = match value {
        Value::Int(value) => (*value < 0, value.unsigned_abs()),
        Value::Uint(value) => (false, *value),
        Value::Bool(value) if clause == 'b' => (false, u64::from(*value)),
        Value::String(text) if clause != 'b' && clause != 'o' => {
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            return Ok(if clause == 'X' { hex.to_uppercase() } else { hex });
        }
        other => return Err(format!("only integers can be formatted this way, was given {}", other.type_name())),
    };
    let digits = match clause {
        'b' => format!("{whole:b}"),
        'o' => format!("{whole:o}"),
        'x' => format!("{whole:x}"),
        'X' => format!("{whole:X}"),
        _ => whole.to_string(),
    };
    Ok(if negative { format!("-{digits}") } else { digits })
}

/// `'%s has %d'.format([…])`.
fn format(arguments: &[Value]) -> Result<Value, String> {
    let (mut out, mut values) = (String::new(), items(arguments, 1).iter());
    let mut rest = text(arguments, 0).chars().peekable();
    let mut index = 0;
    while let Some(ch) = rest.next() {
        if ch != '%' {
            out.push(ch);
            continue;
        }
        if rest.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut precision = 6;
        if rest.next_if_eq(&'.').is_some() {
            let digits: String = std::iter::from_fn(|| rest.next_if(char::is_ascii_digit)).collect();
            precision = digits.parse().unwrap_or(6).min(1_000);
        }
        let clause = rest.next().ok_or("unexpected end of string")?;
        let value = values.next().ok_or(format!("index {index} out of range"))?;
        index += 1;
        out.push_str(&match clause {
            's' => shown(value),
            'f' => number(value, precision, false)?,
            'e' => number(value, precision, true)?,
            'd' | 'b' | 'o' | 'x' | 'X' => in_base(value, clause)?,
            other => return Err(format!("could not parse formatting clause: unrecognized formatting clause \"{other}\"")),
        });
    }
    string(out)
}

pub(super) const ROWS: &[Row] = &[
    ("string::contains(string) -> bool", Search, |args| bool(text(args, 0).contains(text(args, 1)))),
    ("string::startsWith(string) -> bool", Argument, |args| bool(text(args, 0).starts_with(text(args, 1)))),
    ("string::endsWith(string) -> bool", Argument, |args| bool(text(args, 0).ends_with(text(args, 1)))),
    ("string::charAt(int) -> string", One, char_at),
    ("string::indexOf(string) -> int", Search, index_of),
    ("string::indexOf(string, int) -> int", Search, index_of),
    ("string::lastIndexOf(string) -> int", Search, last_index_of),
    ("string::lastIndexOf(string, int) -> int", Search, last_index_of),
    ("string::lowerAscii() -> string", Bytes, |args| string(text(args, 0).to_ascii_lowercase())),
    ("string::upperAscii() -> string", Bytes, |args| string(text(args, 0).to_ascii_uppercase())),
    ("string::replace(string, string) -> string", Bytes, replace),
    ("string::replace(string, string, int) -> string", Bytes, replace),
    ("string::split(string) -> list(string)", Bytes, split),
    ("string::split(string, int) -> list(string)", Bytes, split),
    ("string::substring(int) -> string", Bytes, substring),
    ("string::substring(int, int) -> string", Bytes, substring),
    ("string::trim() -> string", Bytes, |args| string(text(args, 0).trim())),
    ("string::reverse() -> string", Bytes, |args| string(text(args, 0).chars().rev().collect::<String>())),
    ("string::format(list(dyn)) -> string", Bytes, format),
    ("strings.quote(string) -> string", Bytes, quote),
    ("jsonpatch.escapeKey(string) -> string", Bytes, |arguments| string(text(arguments, 0).replace('~', "~0").replace('/', "~1"))),
    ("list(string)::join() -> string", Bytes, join),
    ("list(string)::join(string) -> string", Bytes, join),
];

//! Regular expressions; compiled ones are remembered.

use std::collections::HashMap;
use std::sync::LazyLock;

use parking_lot::Mutex;
use regex::Regex;

use super::super::Value;
use super::Cost::Pattern;
use super::{Row, bool, int, string, text, texts};

/// Most patterns remembered.
const REMEMBERED: usize = 512;
/// Most bytes of a compiled pattern.
const SIZE_LIMIT: usize = 1 << 20;

static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);

fn compiled(pattern: &str) -> Result<Regex, String> {
    let mut compiled = COMPILED.lock();
    if let Some(regex) = compiled.get(pattern) {
        return Ok(regex.clone());
    }
    let regex = regex::RegexBuilder::new(pattern)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|_| format!("error parsing regexp: invalid pattern: `{pattern}`"))?;
    if compiled.len() >= REMEMBERED {
        compiled.clear();
    }
    compiled.insert(pattern.to_owned(), regex.clone());
    Ok(regex)
}

fn matches(arguments: &[Value]) -> Result<Value, String> {
    bool(compiled(text(arguments, 1))?.is_match(text(arguments, 0)))
}

fn find(arguments: &[Value]) -> Result<Value, String> {
    string(compiled(text(arguments, 1))?.find(text(arguments, 0)).map_or("", |found| found.as_str()))
}

fn find_all(arguments: &[Value]) -> Result<Value, String> {
    let limit = if arguments.len() == 3 { usize::try_from(int(arguments, 2)).unwrap_or(usize::MAX) } else { usize::MAX };
    Ok(texts(compiled(text(arguments, 1))?.find_iter(text(arguments, 0)).take(limit).map(|found| found.as_str())))
}

pub(super) const ROWS: &[Row] = &[
    ("matches(string, string) -> bool", Pattern, matches),
    ("string::matches(string) -> bool", Pattern, matches),
    ("string::find(string) -> string", Pattern, find),
    ("string::findAll(string) -> list(string)", Pattern, find_all),
    ("string::findAll(string, int) -> list(string)", Pattern, find_all),
];

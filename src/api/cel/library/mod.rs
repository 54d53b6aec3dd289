//! The functions expressions may call, one file per library, one row per overload: signature, cost, what it does.

mod authorizer;
mod core;
mod formats;
mod lists;
mod net;
mod numbers;
mod regex;
mod strings;
mod time;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use ::cel::common::ast::{Expr, IdedExpr};

use super::types::Type;
use super::value::Value;

pub use authorizer::AUTHORIZER;
pub use formats::{NamedFormat, is_format};
pub(super) use time::duration_text;
pub use time::go_duration;

/// What an overload does with arguments that fit its signature; the error is upstream's message.
pub(super) type Run = fn(&[Value]) -> Result<Value, String>;
/// `receiver.name(argument, …) -> result`, what a call costs, what it does.
pub(super) type Row = (&'static str, Cost, Run);

/// What a call costs, by the sizes of its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    /// 1.
    One,
    /// A tenth for each byte of all arguments.
    Bytes,
    /// A tenth for each byte of the shorter of two.
    Shorter,
    /// A tenth for each byte of the argument, of two.
    Argument,
    /// Each byte of one with each byte of the other.
    Search,
    /// A pattern on a text.
    Pattern,
    /// One for each element.
    Elements,
    /// One for each element of one with each of the other.
    Pairs,
    /// So much.
    Flat(u64),
}

fn tenth(size: u64) -> u64 {
    if size == u64::MAX { u64::MAX } else { size.div_ceil(10) }
}

impl Cost {
    /// The cost for arguments of these sizes.
    pub(super) fn of(self, sizes: impl Iterator<Item = u64> + Clone) -> u64 {
        let (mut each, mut last) = (sizes.clone(), sizes.clone());
        let first = each.next().unwrap_or(0);
        let second = each.next().unwrap_or(0);
        let sum = last.by_ref().fold(0, u64::saturating_add);
        match self {
            Self::One => 1,
            Self::Bytes => tenth(sum).max(1),
            Self::Shorter => tenth(first.min(second)).max(1),
            Self::Argument => tenth(second).max(1),
            Self::Search => tenth(first).saturating_mul(tenth(second)).max(1),
            Self::Pattern => tenth(first.saturating_add(1)).saturating_mul(second.div_ceil(4).max(1)).max(1),
            Self::Elements => first.max(1),
            Self::Pairs => first.saturating_mul(second).max(1),
            Self::Flat(cost) => cost,
        }
    }
}

/// One signature of a function.
pub(super) struct Overload {
    pub(super) parameters: Vec<Type>,
    pub(super) result: Type,
    pub(super) cost: Cost,
    pub(super) run: Run,
}

/// Splits at commas that are in no parentheses.
fn split(list: &'static str) -> Vec<&'static str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, ch) in list.char_indices() {
        match ch {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// Name, whether it is a method, and the overload of a row. A receiver stands before `::`.
fn read((signature, cost, run): Row) -> (&'static str, bool, Overload) {
    let (head, result) = signature.rsplit_once(" -> ").unwrap_or((signature, "dyn"));
    let (receiver, rest) = head.split_once("::").map_or((None, head), |(receiver, rest)| (Some(receiver), rest));
    let (name, arguments) = rest.split_once('(').unwrap_or((rest, ")"));
    let arguments = arguments.strip_suffix(')').unwrap_or(arguments);
    let parameters = receiver.into_iter().chain(split(arguments)).map(Type::parse).collect();
    (name, receiver.is_some(), Overload { parameters, result: Type::parse(result), cost, run })
}

/// Functions, then methods, by name.
type Table = [HashMap<&'static str, Vec<Overload>>; 2];

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let libraries = [
        core::ROWS,
        core::COMPARISONS,
        strings::ROWS,
        lists::ROWS,
        time::ROWS,
        regex::ROWS,
        net::ROWS,
        numbers::ROWS,
        formats::ROWS,
        authorizer::ROWS,
    ];
    let mut table = Table::default();
    for row in libraries.into_iter().flatten() {
        let (name, member, overload) = read(*row);
        table[usize::from(member)].entry(name).or_default().push(overload);
    }
    table
});

/// The overloads of a function or (`member`) method.
pub(super) fn overloads(name: &str, member: bool) -> &'static [Overload] {
    TABLE[usize::from(member)].get(name).map_or(&[], Vec::as_slice)
}

/// The full name of a function in a namespace (`sets.contains`), where `target` names the namespace and no variable.
pub(super) fn qualified(target: &IdedExpr, function: &str, declared: impl Fn(&str) -> bool) -> Option<String> {
    let Expr::Ident(namespace) = &target.expr else { return None };
    let name = format!("{namespace}.{function}");
    (!declared(namespace) && !overloads(&name, false).is_empty()).then_some(name)
}

/// The type of this name, as expressions can say it.
pub(super) fn type_named(name: &str) -> Option<Type> {
    let known = match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::STRING,
        "bytes" => Type::Bytes(super::UNBOUNDED),
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn),
        "null_type" => Type::Null,
        "type" => Type::TypeOf(Arc::new(Type::Dyn)),
        _ => return None,
    };
    Some(Type::TypeOf(Arc::new(known)))
}

/// The text of an argument that its signature says is one.
fn text(arguments: &[Value], index: usize) -> &str {
    arguments.get(index).and_then(Value::as_str).unwrap_or_default()
}

fn int(arguments: &[Value], index: usize) -> i64 {
    match arguments.get(index) {
        Some(Value::Int(value)) => *value,
        _ => 0,
    }
}

fn items(arguments: &[Value], index: usize) -> &[Value] {
    match arguments.get(index) {
        Some(Value::List(list)) => &list.items,
        _ => &[],
    }
}

fn optional(value: Option<Value>) -> Value {
    Value::Optional(value.map(Arc::new))
}

fn bool(value: bool) -> Result<Value, String> {
    Ok(Value::Bool(value))
}

fn string(text: impl Into<String>) -> Result<Value, String> {
    Ok(Value::from(text.into()))
}

fn texts<T: Into<Value>>(texts: impl IntoIterator<Item = T>) -> Value {
    texts.into_iter().map(Into::into).collect::<Vec<Value>>().into()
}

//! Lists and sets: Kubernetes' list library and cel-go's sets.

use std::cmp::Ordering;

use jiff::SignedDuration;

use super::super::Value;
use super::Cost::{Elements, Pairs};
use super::{Row, bool, items};

fn sorted(arguments: &[Value]) -> Result<Value, String> {
    bool(items(arguments, 0).windows(2).all(|pair| pair[0].compare(&pair[1]).is_some_and(Ordering::is_le)))
}

fn sum(arguments: &[Value]) -> Result<Value, String> {
    let mut items = items(arguments, 0).iter().cloned();
    let Some(mut sum) = items.next() else { return Ok(Value::Int(0)) };
    for item in items {
        sum = match (sum, item) {
            (Value::Int(one), Value::Int(other)) => Value::Int(one.checked_add(other).ok_or("integer overflow")?),
            (Value::Uint(one), Value::Uint(other)) => Value::Uint(one.checked_add(other).ok_or("unsigned integer overflow")?),
            (Value::Double(one), Value::Double(other)) => Value::Double(one + other),
            (Value::Duration(one), Value::Duration(other)) => {
                Value::Duration(SignedDuration::checked_add(one, other).ok_or("integer overflow")?)
            }
            _ => return Err("no such overload".to_owned()),
        };
    }
    Ok(sum)
}

fn extreme(arguments: &[Value], name: &str, wanted: Ordering) -> Result<Value, String> {
    let mut items = items(arguments, 0).iter();
    let Some(mut best) = items.next() else { return Err(format!("{name} called on empty list")) };
    for item in items {
        if item.compare(best).ok_or("no such overload")? == wanted {
            best = item;
        }
    }
    Ok(best.clone())
}

fn place(found: Option<usize>) -> Result<Value, String> {
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

fn contains_all(all: &[Value], some: &[Value]) -> bool {
    some.iter().all(|item| all.contains(item))
}

fn distinct(arguments: &[Value]) -> Result<Value, String> {
    let mut out: Vec<Value> = Vec::new();
    for item in items(arguments, 0) {
        if !out.contains(item) {
            out.push(item.clone());
        }
    }
    Ok(out.into())
}

pub(super) const ROWS: &[Row] = &[
    ("list(A)::isSorted() -> bool", Elements, sorted),
    ("list(A)::sum() -> A", Elements, sum),
    ("list(A)::min() -> A", Elements, |args| extreme(args, "min", Ordering::Less)),
    ("list(A)::max() -> A", Elements, |args| extreme(args, "max", Ordering::Greater)),
    ("list(A)::indexOf(A) -> int", Elements, |args| place(items(args, 0).iter().position(|item| *item == args[1]))),
    ("list(A)::lastIndexOf(A) -> int", Elements, |args| place(items(args, 0).iter().rposition(|item| *item == args[1]))),
    ("list(A)::distinct() -> list(A)", Elements, distinct),
    ("sets.contains(list(A), list(A)) -> bool", Pairs, |args| bool(contains_all(items(args, 0), items(args, 1)))),
    ("sets.equivalent(list(A), list(A)) -> bool", Pairs, |args| {
        bool(contains_all(items(args, 0), items(args, 1)) && contains_all(items(args, 1), items(args, 0)))
    }),
    ("sets.intersects(list(A), list(A)) -> bool", Pairs, |args| bool(items(args, 0).iter().any(|item| items(args, 1).contains(item)))),
];

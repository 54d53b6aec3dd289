//! Signatures of Kubernetes' authorizer library. Its values are [`Object`](super::super::Object)s of whoever evaluates:
//! their `call` answers.

use super::super::{Type, Value};
use super::Cost::{Flat, One};
use super::Row;

/// The type of the variable `authorizer`.
pub const AUTHORIZER: Type = Type::Opaque("kubernetes.authorization.Authorizer");

/// Asking costs that much.
const CHECK: u64 = 350_000;

fn never(_: &[Value]) -> Result<Value, String> {
    Err("no such overload".to_owned())
}

macro_rules! rows {
    ($($receiver:literal { $($method:literal $cost:expr),* $(,)? })*) => {
        &[$($((concat!("kubernetes.authorization.", $receiver, "::", $method), $cost, never),)*)*]
    };
}

pub(super) const ROWS: &[Row] = rows!(
    "Authorizer" {
        "path(string) -> kubernetes.authorization.PathCheck" One,
        "group(string) -> kubernetes.authorization.GroupCheck" One,
        "serviceAccount(string, string) -> kubernetes.authorization.Authorizer" One,
    }
    "PathCheck" { "check(string) -> kubernetes.authorization.Decision" Flat(CHECK) }
    "GroupCheck" { "resource(string) -> kubernetes.authorization.ResourceCheck" One }
    "ResourceCheck" {
        "subresource(string) -> kubernetes.authorization.ResourceCheck" One,
        "namespace(string) -> kubernetes.authorization.ResourceCheck" One,
        "name(string) -> kubernetes.authorization.ResourceCheck" One,
        "fieldSelector(string) -> kubernetes.authorization.ResourceCheck" One,
        "labelSelector(string) -> kubernetes.authorization.ResourceCheck" One,
        "check(string) -> kubernetes.authorization.Decision" Flat(CHECK),
    }
    "Decision" {
        "allowed() -> bool" One,
        "reason() -> string" One,
        "errored() -> bool" One,
        "error() -> string" One,
    }
);

//! Types of expressions, and how they are written in messages and in the tables of functions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Value;

/// A type with its own fields: a schema's object.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectType {
    /// What messages call it.
    pub name: String,
    /// Fields by the name expressions use.
    pub fields: BTreeMap<String, Type>,
}

/// The type of an expression. Texts, lists and maps carry the most bytes or items they may have, for estimates of cost.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Known when it runs.
    Dyn,
    /// Of an empty list or map: whatever it is used with.
    Unbound,
    /// `null`.
    Null,
    /// `bool`.
    Bool,
    /// `int`.
    Int,
    /// `uint`.
    Uint,
    /// `double`.
    Double,
    /// `string`.
    String(u64),
    /// `bytes`.
    Bytes(u64),
    /// A point in time.
    Timestamp,
    /// A span of time.
    Duration,
    /// Elements of one type.
    List(Arc<Type>, u64),
    /// Values by key.
    Map(Arc<Type>, Arc<Type>, u64),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// The type of a type.
    TypeOf(Arc<Type>),
    /// An object with declared fields.
    Object(Arc<ObjectType>),
    /// A type of a library (`net.IP`), which only its functions know.
    Opaque(&'static str),
    /// A parameter of a function's signature.
    Param(&'static str),
}

/// No bound.
pub const UNBOUNDED: u64 = u64::MAX;

impl Type {
    /// A text of any length.
    pub const STRING: Self = Self::String(UNBOUNDED);

    /// A list of any length.
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element), UNBOUNDED)
    }

    /// A map of any size, by text.
    pub fn map(value: Self) -> Self {
        Self::Map(Arc::new(Self::STRING), Arc::new(value), UNBOUNDED)
    }

    /// An object with these fields.
    pub fn object(name: impl Into<String>, fields: impl IntoIterator<Item = (String, Self)>) -> Self {
        Self::Object(Arc::new(ObjectType { name: name.into(), fields: fields.into_iter().collect() }))
    }

    /// Most bytes or items a value may have.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::String(max) | Self::Bytes(max) | Self::List(_, max) | Self::Map(_, _, max) => *max,
            Self::Dyn | Self::Unbound | Self::Param(_) | Self::Opaque(_) => UNBOUNDED,
            Self::Optional(inner) => inner.size(),
            _ => 1,
        }
    }

    /// The same type with another bound.
    pub(super) fn sized(self, max: u64) -> Self {
        match self {
            Self::String(_) => Self::String(max),
            Self::Bytes(_) => Self::Bytes(max),
            Self::List(element, _) => Self::List(element, max),
            Self::Map(key, value, _) => Self::Map(key, value, max),
            other => other,
        }
    }

    pub(super) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Unbound)
    }

    /// Whether a value is of the type, as far as overloads ask.
    pub(super) fn admits(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Dyn | Self::Unbound | Self::Param(_), _)
            | (Self::Null, Value::Null)
            | (Self::Bool, Value::Bool(_))
            | (Self::Int, Value::Int(_))
            | (Self::Uint, Value::Uint(_))
            | (Self::Double, Value::Double(_))
            | (Self::String(_), Value::String(_))
            | (Self::Bytes(_), Value::Bytes(_))
            | (Self::Timestamp, Value::Timestamp(_))
            | (Self::Duration, Value::Duration(_))
            | (Self::Map(..), Value::Map(_))
            | (Self::Optional(_), Value::Optional(_))
            | (Self::TypeOf(_), Value::Type(_)) => true,
            (Self::List(element, _), Value::List(list)) => list.items.first().is_none_or(|first| element.admits(first)),
            (Self::Opaque(name), value) => value.type_name() == *name,
            _ => false,
        }
    }

    /// Reads a type as signatures write it.
    pub(super) fn parse(text: &'static str) -> Self {
        let text = text.trim();
        if let Some((head, rest)) = text.split_once('(') {
            let inner = rest.strip_suffix(')').unwrap_or(rest);
            let of = |text| Arc::new(Self::parse(text));
            return match head {
                "list" => Self::List(of(inner), UNBOUNDED),
                "optional" => Self::Optional(of(inner)),
                "type" => Self::TypeOf(of(inner)),
                _ => {
                    let (key, value) = inner.split_once(',').unwrap_or((inner, inner));
                    Self::Map(of(key), of(value), UNBOUNDED)
                }
            };
        }
        match text {
            "dyn" => Self::Dyn,
            "null" => Self::Null,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "double" => Self::Double,
            "string" => Self::STRING,
            "bytes" => Self::Bytes(UNBOUNDED),
            "timestamp" => Self::Timestamp,
            "duration" => Self::Duration,
            param if param.len() == 1 => Self::Param(param),
            opaque => Self::Opaque(opaque),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn | Self::Unbound => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String(_) => f.write_str("string"),
            Self::Bytes(_) => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(element, _) => write!(f, "list({element})"),
            Self::Map(key, value, _) => write!(f, "map({key}, {value})"),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
            Self::TypeOf(inner) => write!(f, "type({inner})"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Opaque(name) | Self::Param(name) => f.write_str(name),
        }
    }
}

/// What parameters of a signature stand for in one call.
pub(super) type Bindings = BTreeMap<&'static str, Type>;

/// Whether an argument's type fits a parameter's; binds what it stands for.
pub(super) fn unify(parameter: &Type, argument: &Type, bound: &mut Bindings) -> bool {
    match (parameter, argument) {
        (Type::Param(name), argument) => match bound.get(name).cloned() {
            None => {
                bound.insert(name, argument.clone());
                true
            }
            Some(known) if known.is_dyn() || argument.is_dyn() => {
                if matches!(known, Type::Unbound) || known.is_dyn() && !matches!(argument, Type::Unbound) {
                    bound.insert(name, if known == Type::Dyn { Type::Dyn } else { argument.clone() });
                }
                true
            }
            Some(known) => match join(&known, argument) {
                Some(joined) => {
                    bound.insert(name, joined);
                    true
                }
                None => false,
            },
        },
        (Type::Dyn | Type::Unbound, _) => true,
        // What is only known when it runs fits anything; parameters inside stay what they are.
        (_, Type::Dyn | Type::Unbound) => true,
        (Type::List(want, _), Type::List(is, _)) | (Type::Optional(want), Type::Optional(is)) | (Type::TypeOf(want), Type::TypeOf(is)) => {
            unify(want, is, bound)
        }
        (Type::Map(key, value, _), Type::Map(is_key, is_value, _)) => unify(key, is_key, bound) && unify(value, is_value, bound),
        (want, is) => join(want, is).is_some(),
    }
}

/// The type of what may be either, with the larger bounds; `None` where they do not go together.
pub(super) fn join(one: &Type, other: &Type) -> Option<Type> {
    let max = || one.size().max(other.size());
    let both = |one: &Arc<Type>, other: &Arc<Type>| join(one, other).map(Arc::new);
    Some(match (one, other) {
        (Type::Unbound, any) | (any, Type::Unbound) => any.clone(),
        (Type::Dyn, _) | (_, Type::Dyn) => Type::Dyn,
        (Type::String(_), Type::String(_)) => Type::String(max()),
        (Type::Bytes(_), Type::Bytes(_)) => Type::Bytes(max()),
        (Type::List(one, _), Type::List(other, _)) => Type::List(both(one, other)?, max()),
        (Type::Map(key, value, _), Type::Map(other_key, other_value, _)) => {
            Type::Map(both(key, other_key)?, both(value, other_value)?, max())
        }
        (Type::Optional(one), Type::Optional(other)) => Type::Optional(both(one, other)?),
        (Type::TypeOf(_), Type::TypeOf(_)) => Type::TypeOf(Arc::new(Type::Dyn)),
        (Type::Object(one_object), Type::Object(other_object)) => {
            return (one_object.name == other_object.name).then(|| one.clone());
        }
        (one, other) if one == other => one.clone(),
        // Objects, times and what libraries know can be absent.
        (Type::Null, nullable @ (Type::Object(_) | Type::Timestamp | Type::Duration | Type::Opaque(_)))
        | (nullable @ (Type::Object(_) | Type::Timestamp | Type::Duration | Type::Opaque(_)), Type::Null) => nullable.clone(),
        _ => return None,
    })
}

/// A signature's type with the parameters replaced by what they stand for.
pub(super) fn substitute(ty: &Type, bound: &Bindings) -> Type {
    let inner = |ty: &Arc<Type>| Arc::new(substitute(ty, bound));
    match ty {
        Type::Param(name) => bound.get(name).cloned().unwrap_or(Type::Dyn),
        Type::List(element, max) => Type::List(inner(element), *max),
        Type::Map(key, value, max) => Type::Map(inner(key), inner(value), *max),
        Type::Optional(of) => Type::Optional(inner(of)),
        Type::TypeOf(of) => Type::TypeOf(inner(of)),
        other => other.clone(),
    }
}

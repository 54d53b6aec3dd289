//! Values of expressions.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};

use super::{Budget, Error};
use crate::quantity::Quantity;

/// A value that is no JSON, with fields or methods of its own: the variables of a policy, an authorizer.
pub trait Object: Send + Sync {
    /// What messages and overloads call its type.
    fn type_name(&self) -> &'static str;
    /// A field; `None` if it has none of this name.
    ///
    /// # Errors
    /// The field could not be computed.
    fn field(&self, _name: &str, _budget: &Budget) -> Result<Option<Value>, Error> {
        Ok(None)
    }
    /// A method; the signature is known to be one of its type's.
    ///
    /// # Errors
    /// The method failed.
    fn call(&self, method: &str, _arguments: &[Value]) -> Result<Value, Error> {
        Err(Error::Failed(format!("no such overload: {method}")))
    }
}

/// How the elements of a list are told apart: a schema's `x-kubernetes-list-type`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ListType {
    /// By place.
    #[default]
    Atomic,
    /// Each is there once, in any order.
    Set,
    /// By the values of these fields.
    Map(Arc<[String]>),
}

/// A list.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// The elements.
    pub items: Vec<Value>,
    /// How elements are told apart.
    pub list_type: ListType,
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `true`.
    Bool(bool),
    /// Whole numbers, signed or not.
    Int(i128),
    /// Texts.
    String(Arc<str>),
}

/// A value.
#[derive(Clone)]
#[allow(missing_docs)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    Timestamp(Timestamp),
    Duration(SignedDuration),
    List(Arc<List>),
    Map(Arc<BTreeMap<Key, Value>>),
    Optional(Option<Arc<Value>>),
    Type(Arc<str>),
    Ip(IpAddr),
    Cidr(IpNet),
    Url(Arc<url::Url>, bool),
    Quantity(Quantity),
    Semver(Arc<semver::Version>),
    Format(&'static super::library::NamedFormat),
    Object(Arc<dyn Object>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({})", self.type_name(), self.to_json())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::List(Arc::new(List { items, list_type: ListType::Atomic }))
    }
}

impl From<Key> for Value {
    fn from(key: Key) -> Self {
        match key {
            Key::Bool(value) => Self::Bool(value),
            Key::Int(value) => i64::try_from(value).map_or_else(|_| Self::Uint(u64::try_from(value).unwrap_or(u64::MAX)), Self::Int),
            Key::String(text) => Self::String(text),
        }
    }
}

impl Value {
    /// The value of JSON whose type is not known: objects are maps.
    pub fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => number
                .as_i64()
                .map(Self::Int)
                .or_else(|| number.as_u64().map(Self::Uint))
                .unwrap_or_else(|| Self::Double(number.as_f64().unwrap_or(f64::NAN))),
            Json::String(text) => Self::String(text.as_str().into()),
            Json::Array(items) => items.iter().map(Self::from_json).collect::<Vec<_>>().into(),
            Json::Object(fields) => {
                Self::Map(Arc::new(fields.iter().map(|(key, value)| (Key::String(key.as_str().into()), Self::from_json(value))).collect()))
            }
        }
    }

    /// The value as JSON; times as text, what JSON cannot say as null.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null | Self::Object(_) | Self::Optional(None) | Self::Format(_) => Json::Null,
            Self::Bool(value) => json!(value),
            Self::Int(value) => json!(value),
            Self::Uint(value) => json!(value),
            Self::Double(value) => json!(value),
            Self::String(text) | Self::Type(text) => json!(&**text),
            Self::Bytes(bytes) => {
                use base64::Engine;
                json!(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            Self::Timestamp(time) => json!(time.to_string()),
            Self::Duration(duration) => json!(super::library::duration_text(*duration)),
            Self::List(list) => list.items.iter().map(Self::to_json).collect(),
            Self::Map(map) => Json::Object(
                map.iter()
                    .map(|(key, value)| {
                        let key = match key {
                            Key::Bool(value) => value.to_string(),
                            Key::Int(value) => value.to_string(),
                            Key::String(text) => text.to_string(),
                        };
                        (key, value.to_json())
                    })
                    .collect(),
            ),
            Self::Optional(Some(value)) => value.to_json(),
            Self::Ip(ip) => json!(ip.to_string()),
            Self::Cidr(cidr) => json!(cidr.to_string()),
            Self::Url(url, _) => json!(url.as_str()),
            Self::Quantity(quantity) => json!(quantity.to_string()),
            Self::Semver(version) => json!(version.to_string()),
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// What `type()` says.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Url(..) => "kubernetes.URL",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Object(object) => object.type_name(),
        }
    }

    /// The value as a key of a map.
    pub(super) fn key(&self) -> Option<Key> {
        Some(match self {
            Self::Bool(value) => Key::Bool(*value),
            Self::Int(value) => Key::Int((*value).into()),
            Self::Uint(value) => Key::Int((*value).into()),
            Self::Double(value) if value.fract() == 0.0 => Key::Int(*value as i128),
            Self::String(text) => Key::String(text.clone()),
            _ => return None,
        })
    }

    /// Bytes of a text, items of a list or map, as cost is counted.
    pub(super) fn size(&self) -> u64 {
        (match self {
            Self::String(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.items.len(),
            Self::Map(map) => map.len(),
            Self::Optional(Some(value)) => return value.size(),
            _ => 1,
        }) as u64
    }

    fn number(&self) -> Option<f64> {
        Some(match self {
            Self::Int(value) => *value as f64,
            Self::Uint(value) => *value as f64,
            Self::Double(value) => *value,
            _ => return None,
        })
    }

    /// Which is more; `None` where they cannot be compared.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(one), Self::Bool(other)) => Some(one.cmp(other)),
            (Self::String(one), Self::String(other)) => Some(one.cmp(other)),
            (Self::Bytes(one), Self::Bytes(other)) => Some(one.cmp(other)),
            (Self::Timestamp(one), Self::Timestamp(other)) => Some(one.cmp(other)),
            (Self::Duration(one), Self::Duration(other)) => Some(one.cmp(other)),
            (Self::Quantity(one), Self::Quantity(other)) => Some(one.cmp(other)),
            (Self::Semver(one), Self::Semver(other)) => Some(one.cmp_precedence(other)),
            (Self::Int(one), Self::Int(other)) => Some(one.cmp(other)),
            (Self::Int(_) | Self::Uint(_), Self::Int(_) | Self::Uint(_)) => match (self.key()?, other.key()?) {
                (Key::Int(one), Key::Int(other)) => Some(one.cmp(&other)),
                _ => None,
            },
            _ => self.number()?.partial_cmp(&other.number()?),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::List(one), Self::List(other)) => lists_equal(one, other),
            (Self::Map(one), Self::Map(other)) => one == other,
            (Self::Optional(one), Self::Optional(other)) => one == other,
            (Self::Type(one), Self::Type(other)) => one == other,
            (Self::Ip(one), Self::Ip(other)) => one == other,
            (Self::Cidr(one), Self::Cidr(other)) => one == other,
            (Self::Url(one, _), Self::Url(other, _)) => one == other,
            (Self::Format(one), Self::Format(other)) => one.name == other.name,
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }
}

/// The values that tell an element of a list of type `map` from others.
fn identity<'a>(item: &'a Value, keys: &[String]) -> Vec<Option<&'a Value>> {
    let Value::Map(fields) = item else { return Vec::new() };
    keys.iter().map(|key| fields.get(&Key::String(key.as_str().into()))).collect()
}

/// Whether two elements stand for the same place in a list.
fn same_place(list_type: &ListType, one: &Value, other: &Value) -> bool {
    match list_type {
        ListType::Map(keys) => identity(one, keys) == identity(other, keys),
        _ => one == other,
    }
}

fn lists_equal(one: &List, other: &List) -> bool {
    if one.items.len() != other.items.len() {
        return false;
    }
    match &one.list_type {
        ListType::Atomic => one.items == other.items,
        _ => one.items.iter().all(|item| other.items.contains(item)),
    }
}

/// `one + other`: appended, or merged where elements are told apart by more than their place.
pub(super) fn concatenate(one: Arc<List>, other: &List) -> Arc<List> {
    let mut sum = one;
    let list = Arc::make_mut(&mut sum);
    if list.list_type == ListType::Atomic {
        list.items.extend(other.items.iter().cloned());
        return sum;
    }
    for item in &other.items {
        match list.items.iter().position(|own| same_place(&list.list_type, own, item)) {
            Some(at) => list.items[at] = item.clone(),
            None => list.items.push(item.clone()),
        }
    }
    sum
}

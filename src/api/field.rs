//! What validation says of one field, in upstream's words (`k8s.io/apimachinery/pkg/util/validation/field`).

use serde_json::{Value, json};

/// Bytes of a value that a message shows.
const MOST_SHOWN: usize = 8 << 10;

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// The value is missing.
    Required,
    /// The value occurs twice where it must be unique.
    Duplicate,
    /// The value is malformed or does not fit others.
    Invalid,
    /// The value is none of the values an enumeration knows.
    NotSupported,
    /// The field may not be set here.
    Forbidden,
    /// The value is longer than it may be.
    TooLong,
    /// There are more items than there may be.
    TooMany,
    /// Something the value refers to does not exist.
    NotFound,
    /// The value has another type than the field.
    TypeInvalid,
    /// The server could not decide.
    Internal,
}

impl FieldErrorKind {
    /// Whether rules in CEL would trip over it.
    pub(crate) fn blocks_rules(self) -> bool {
        matches!(self, Self::NotSupported | Self::Required | Self::TooLong | Self::TooMany | Self::TypeInvalid)
    }
}

/// One thing that is wrong with one field of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// What kind of fault.
    pub kind: FieldErrorKind,
    /// Path of the field, as `spec.containers[0].image`.
    pub field: String,
    /// The offending value, where the kind of fault shows one.
    pub value: Value,
    /// More words; may be empty.
    pub detail: String,
}

impl FieldError {
    fn new(kind: FieldErrorKind, field: impl Into<String>, value: Value, detail: impl Into<String>) -> Self {
        Self { kind, field: field.into(), value, detail: detail.into() }
    }

    /// `Required value`, with a detail that may be empty.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Required, field, Value::Null, detail)
    }

    /// `Invalid value`.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Invalid, field, value.into(), detail)
    }

    /// `Unsupported value`; `supported` is listed in the order given.
    pub fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let list = supported.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
        let detail = if list.is_empty() { String::new() } else { format!("supported values: {list}") };
        Self::new(FieldErrorKind::NotSupported, field, value.into(), detail)
    }

    /// `Duplicate value`.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::Duplicate, field, value.into(), "")
    }

    /// `Forbidden`.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, field, Value::Null, detail)
    }

    /// `Too long`; `max` in bytes.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        Self::new(FieldErrorKind::TooLong, field, Value::Null, format!("may not be more than {max} bytes"))
    }

    /// `Too many`, of which `max` are allowed.
    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        let items = if max == 1 { "item" } else { "items" };
        Self::new(FieldErrorKind::TooMany, field, json!(actual), format!("must have at most {max} {items}"))
    }

    /// `Not found`.
    pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::NotFound, field, value.into(), "")
    }

    /// The message without the field, as `details.causes[].message` carries it.
    pub fn message(&self) -> String {
        let head = match self.kind {
            FieldErrorKind::Required => "Required value",
            FieldErrorKind::Duplicate => "Duplicate value",
            FieldErrorKind::Invalid | FieldErrorKind::TypeInvalid => "Invalid value",
            FieldErrorKind::NotSupported => "Unsupported value",
            FieldErrorKind::Forbidden => "Forbidden",
            FieldErrorKind::TooLong => "Too long",
            FieldErrorKind::TooMany => "Too many",
            FieldErrorKind::NotFound => "Not found",
            FieldErrorKind::Internal => "Internal error",
        };
        let shows_value =
            !matches!(self.kind, FieldErrorKind::Required | FieldErrorKind::Forbidden | FieldErrorKind::TooLong | FieldErrorKind::Internal);
        let mut out = head.to_owned();
        if shows_value {
            let value = self.value.to_string();
            let shown = &value[..value.floor_char_boundary(MOST_SHOWN)];
            out.push_str(&format!(": {shown}{}", if shown.len() < value.len() { "..." } else { "" }));
        }
        if !self.detail.is_empty() {
            out.push_str(&format!(": {}", self.detail));
        }
        out
    }

    /// The entry of `details.causes`.
    pub fn to_cause(&self) -> Value {
        let reason = match self.kind {
            FieldErrorKind::Required => "FieldValueRequired",
            FieldErrorKind::Duplicate => "FieldValueDuplicate",
            FieldErrorKind::Invalid => "FieldValueInvalid",
            FieldErrorKind::NotSupported => "FieldValueNotSupported",
            FieldErrorKind::Forbidden => "FieldValueForbidden",
            FieldErrorKind::TooLong => "FieldValueTooLong",
            FieldErrorKind::TooMany => "FieldValueTooMany",
            FieldErrorKind::NotFound => "FieldValueNotFound",
            FieldErrorKind::TypeInvalid => "FieldValueTypeInvalid",
            FieldErrorKind::Internal => "InternalError",
        };
        json!({"reason": reason, "message": self.message(), "field": self.field})
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message())
    }
}

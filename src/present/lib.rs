//! How objects read in a table, and how healthy they are, from the objects alone.
//!
//! The API server answers Tables with this, the command line and the terminal UI show it. One file below `kinds` per
//! family of kinds holds its columns and cells, after upstream's `pkg/printers/internalversion`. Begin at [`columns`].
//! This room does no I/O and asks no clock.

mod health;
mod kinds;
pub mod text;

use jiff::Timestamp;
use serde_json::{Value, json};

pub use health::{Health, health};

/// A column of a kind's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its heading, as `Up-to-date`.
    pub name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    pub type_: &'static str,
    /// `name` for the object's name, else empty.
    pub format: &'static str,
    /// 0: always shown; 1: in wide tables.
    pub priority: i32,
    /// What it shows, or `@type.field` for the description of that field in the API's schema.
    about: &'static str,
}

impl Column {
    const fn new(name: &'static str, type_: &'static str, about: &'static str) -> Self {
        Self { name, type_, format: "", priority: 0, about }
    }

    /// A column of text.
    pub(crate) const fn text(name: &'static str, about: &'static str) -> Self {
        Self::new(name, "string", about)
    }

    /// A column of text that only wide tables show.
    pub(crate) const fn wide(name: &'static str, about: &'static str) -> Self {
        Self { priority: 1, ..Self::new(name, "string", about) }
    }

    pub(crate) const fn integer(name: &'static str, about: &'static str) -> Self {
        Self::new(name, "integer", about)
    }

    pub(crate) const fn boolean(name: &'static str, about: &'static str) -> Self {
        Self::new(name, "boolean", about)
    }

    pub(crate) const fn date(name: &'static str, about: &'static str) -> Self {
        Self::new(name, "date", about)
    }

    pub(crate) const fn name() -> Self {
        Self { format: "name", ..Self::text("Name", "@io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta.name") }
    }

    pub(crate) const fn age() -> Self {
        Self::text("Age", "@io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta.creationTimestamp")
    }

    pub(crate) const fn created_at() -> Self {
        Self::date("Created At", "@io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta.creationTimestamp")
    }

    /// The field of the API's schema whose description says what the column shows, as type and field.
    pub fn field(&self) -> Option<(&'static str, &'static str)> {
        self.about.strip_prefix('@').and_then(|path| path.rsplit_once('.'))
    }

    /// What the column shows, in a sentence; empty where [`Column::field`] says it.
    pub fn description(&self) -> &'static str {
        if self.about.starts_with('@') { "" } else { self.about }
    }

    /// The entry of a Table's `columnDefinitions`.
    pub fn definition(&self) -> Value {
        json!({"name": self.name, "type": self.type_, "format": self.format, "description": self.description(), "priority": self.priority})
    }
}

/// The columns of a kind; name and creation time for a kind without columns of its own.
pub fn columns(group: &str, kind: &str) -> &'static [Column] {
    kinds::printer(group, kind).columns
}

/// The cells of an object under its kind's [`columns`]; ages are counted up to `now`.
pub fn cells(group: &str, kind: &str, object: &Value, now: Timestamp) -> Vec<Value> {
    (kinds::printer(group, kind).cells)(object, now)
}

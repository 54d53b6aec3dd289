//! The types of built-in objects: which fields there are, what they hold, how they merge.
//!
//! Shapes come from the generated API types' own schemas (`roots`), what those do not say from a table (`facts.txt`).
//! Types are built when first asked for, a kind with all it refers to at a time. Custom resources build their own.

mod build;
mod decode;
mod facts;
mod json;
mod roots;
mod syntax;

use std::sync::{Arc, OnceLock};

pub use build::{description, of, try_of};
pub use decode::{Decoder, FieldValidation, Warning, clean, decode, zero};
pub(crate) use facts::{Fact, facts_of};
pub use json::{Findings, Parsed, json_name, parse_json, parse_patch};
pub(crate) use roots::definitions;

/// A structure, or what stands for one.
#[derive(Debug)]
pub struct Type {
    /// Full name, `io.k8s.api.core.v1.Pod`; a custom resource's is up to its maker.
    pub name: Box<str>,
    /// Fields, sorted by name.
    pub fields: Vec<Field>,
    /// Merged as a whole by server-side apply, wherever it stands.
    pub atomic: bool,
    /// Keeps fields it does not name.
    pub open: bool,
    /// Of a custom resource: nothing is left out of its objects, nothing added.
    pub verbatim: bool,
}

/// One field of a structure.
#[derive(Debug)]
pub struct Field {
    /// Name in JSON.
    pub name: Box<str>,
    /// What it holds.
    pub shape: Shape,
    /// Always written, as a zero value if need be.
    pub required: bool,
    /// A structure that is part of its parent: written at least as `{}`.
    pub value: bool,
    /// A scalar whose zero value is kept.
    pub pointer: bool,
    /// How server-side apply merges it; `None` where the shape's own rule holds.
    pub merge: Option<Merge>,
    /// Strategic merge patch: merge lists by key.
    pub patch_merge: bool,
    /// Strategic merge patch: honour `$retainKeys`.
    pub patch_retain_keys: bool,
    /// Strategic merge patch: key of the list's items; empty for lists of scalars.
    pub patch_key: Box<str>,
    /// Allowed values; empty where any is.
    pub allowed: Vec<Box<str>>,
    /// Value where none is given, as far as the schema says.
    pub default: Option<serde_json::Value>,
}

/// How server-side apply merges a list or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// As a whole.
    Atomic,
    /// A list of distinct scalars.
    Set,
    /// A list of structures told apart by these fields.
    Map(Vec<Box<str>>),
    /// Key by key.
    Granular,
}

/// What a value is.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Anything at all.
    Any,
    /// Text.
    String,
    /// Text in base64.
    Bytes,
    /// Integer of 32 bits.
    Int32,
    /// Integer of 64 bits.
    Int64,
    /// Number.
    Float,
    /// True or false.
    Bool,
    /// `resource.Quantity`.
    Quantity,
    /// Number or text.
    IntOrString,
    /// Time in seconds.
    Time,
    /// Time in millionths of a second.
    MicroTime,
    /// Any keys, values of one shape.
    Map(Box<Shape>),
    /// Items of one shape.
    List(Box<Shape>),
    /// A structure.
    Object(TypeRef),
}

/// Refers to a type, found when first followed.
#[derive(Debug, Clone)]
pub struct TypeRef(Arc<Reference>);

#[derive(Debug)]
struct Reference {
    name: Box<str>,
    target: OnceLock<Arc<Type>>,
}

impl TypeRef {
    /// A built-in type by name.
    pub fn named(name: &str) -> Self {
        Self(Arc::new(Reference { name: name.into(), target: OnceLock::new() }))
    }

    /// A type made at run time.
    pub fn owned(target: Type) -> Self {
        Self(Arc::new(Reference { name: target.name.clone(), target: OnceLock::from(Arc::new(target)) }))
    }

    /// The type; an open one without fields where the name is not known.
    pub fn get(&self) -> &Type {
        self.0.target.get_or_init(|| try_of(&self.0.name).unwrap_or_else(|| Arc::new(Type::any(&self.0.name))))
    }
}

impl Type {
    /// A type that accepts anything.
    pub fn any(name: &str) -> Self {
        Self { name: name.into(), fields: Vec::new(), atomic: false, open: true, verbatim: false }
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok()?;
        Some(&self.fields[at])
    }

    /// Last part of the name, `PodSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }
}

impl Field {
    /// The type of the field, or of its items, if it holds structures.
    pub fn object(&self) -> Option<&Type> {
        match &self.shape {
            Shape::Object(target) => Some(target.get()),
            Shape::List(item) | Shape::Map(item) => match &**item {
                Shape::Object(target) => Some(target.get()),
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::kinds;

    fn visit(ty: &Type, seen: &mut std::collections::BTreeSet<String>) {
        if !seen.insert(ty.name.to_string()) {
            return;
        }
        for field in &ty.fields {
            if let Some(inner) = field.object() {
                assert!(
                    !inner.open || inner.name.ends_with("CustomResourceSubresourceStatus"),
                    "{}.{} leads to unknown {}",
                    ty.name,
                    field.name,
                    inner.name
                );
                visit(inner, seen);
            }
        }
    }

    #[test]
    fn every_kind_and_all_it_refers_to_has_a_type() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in kinds::builtin() {
            visit(&of(&kind.schema), &mut seen);
            for sub in kind.subresources.iter().filter(|sub| !sub.schema.is_empty()) {
                visit(&of(&sub.schema), &mut seen);
            }
        }
        assert!(seen.len() > 450, "{}", seen.len());
    }

    #[test]
    fn every_fact_fits_a_field() {
        for kind in kinds::builtin() {
            of(&kind.schema);
        }
        let mut wrong = Vec::new();
        for (name, fields) in facts::all() {
            // Types of alpha and beta groups are not served.
            let Some(ty) = try_of(&format!("io.k8s.{name}")) else { continue };
            wrong.extend(
                fields.iter().filter(|(field, _)| *field != "*" && ty.field(field).is_none()).map(|(field, _)| format!("{name}.{field}")),
            );
        }
        assert_eq!(wrong, Vec::<String>::new());
    }

    #[test]
    fn fields_say_how_they_merge() {
        let spec = of("io.k8s.api.core.v1.PodSpec");
        let volumes = spec.field("volumes").unwrap();
        assert_eq!(volumes.merge, Some(Merge::Map(vec!["name".into()])));
        assert!(volumes.patch_merge && volumes.patch_retain_keys && &*volumes.patch_key == "name");
        let container = spec.field("containers").unwrap().object().unwrap();
        assert!(matches!(container.field("resources").unwrap(), Field { value: true, .. }));
        assert!(container.field("image").unwrap().allowed.is_empty());
        assert_eq!(container.field("imagePullPolicy").unwrap().allowed.len(), 3);
        assert!(of("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector").atomic);
    }
}

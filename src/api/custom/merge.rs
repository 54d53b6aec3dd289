//! How objects of a custom kind merge: their schema as a type of `schema`, for server-side apply.

use super::structural::Schema;
use crate::cel::ListType;
use crate::schema::{Field, Merge, Shape, Type, TypeRef};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The type of whole objects.
pub(super) fn root(kind: &str, schema: &Schema) -> Type {
    with_identity(kind, schema)
}

fn with_identity(name: &str, schema: &Schema) -> Type {
    let mut ty = structure(name, schema);
    ty.fields.retain(|field| !matches!(&*field.name, "apiVersion" | "kind" | "metadata"));
    for (name, shape) in [("apiVersion", Shape::String), ("kind", Shape::String), ("metadata", Shape::Object(TypeRef::named(OBJECT_META)))]
    {
        ty.fields.push(Field::new(name, shape, false));
    }
    ty.fields.sort_by(|one, other| one.name.cmp(&other.name));
    ty
}

fn structure(name: &str, schema: &Schema) -> Type {
    let fields = schema.properties.iter().map(|(name, schema)| {
        let mut field = Field::new(name, shape(name, schema), false);
        field.default.clone_from(&schema.default);
        field.merge = match &schema.list_type {
            Some(ListType::Set) => Some(Merge::Set),
            Some(ListType::Map(keys)) => Some(Merge::Map(keys.iter().map(|key| key.as_str().into()).collect())),
            Some(ListType::Atomic) => Some(Merge::Atomic),
            None if schema.atomic => Some(Merge::Atomic),
            None => None,
        };
        field
    });
    Type { name: name.into(), fields: fields.collect(), atomic: schema.atomic, open: schema.preserves, verbatim: true }
}

fn shape(name: &str, schema: &Schema) -> Shape {
    if schema.int_or_string {
        return Shape::IntOrString;
    }
    match (schema.type_.as_str(), &schema.additional, &schema.items) {
        ("object", _, _) if schema.embedded => Shape::Object(TypeRef::owned(with_identity(name, schema))),
        ("object", Some(values), _) if schema.properties.is_empty() => Shape::Map(Box::new(shape(name, values))),
        ("object", ..) => Shape::Object(TypeRef::owned(structure(name, schema))),
        ("array", _, Some(item)) => Shape::List(Box::new(shape(name, item))),
        ("string", ..) => Shape::String,
        ("integer", ..) => Shape::Int64,
        ("number", ..) => Shape::Float,
        ("boolean", ..) => Shape::Bool,
        _ => Shape::Object(TypeRef::owned(Type { verbatim: true, ..Type::any(name) })),
    }
}

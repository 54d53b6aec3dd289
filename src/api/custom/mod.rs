//! Custom resources: what a CustomResourceDefinition makes of the API. A served version becomes a row of `kinds` with a
//! [`Custom`] in it, which knows the schema (pruning, defaults, validation, rules in CEL), how fields merge, the columns, the
//! scale, the selectable fields. `define` judges definitions, `status` says which names they hold.
//!
//! Objects of custom kinds keep what their schema knows and nothing is left out of them; they are stored with their own
//! `apiVersion`, because a definition may change the version it stores.

mod define;
mod embedded;
mod merge;
mod path;
mod prune;
mod rules;
mod schemas;
pub mod status;
mod structural;
mod validate;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::field::FieldError;
use crate::kinds::{Kind, Subresource, Text};
use crate::schema::{Decoder, FieldValidation, Findings, Type};
use crate::status::Status;
use crate::time;
pub(crate) use define::RULES;
pub use path::Path;
pub(crate) use rules::escaped;
pub use structural::Schema;

/// The group of definitions.
pub const GROUP: &str = "apiextensions.k8s.io";
/// The name of definitions in paths.
pub const PLURAL: &str = "customresourcedefinitions";
/// Holds a definition until its objects are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

const STORED: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const PART: [&str; 3] = ["get", "patch", "update"];
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

/// A column of a Table.
#[derive(Debug)]
struct Column {
    definition: Value,
    path: Path,
}

/// Where a custom kind keeps what a Scale shows.
#[derive(Debug)]
pub struct ScalePaths {
    /// Replicas wanted.
    pub spec: Path,
    /// Replicas there are.
    pub status: Path,
    /// Their selector, as text.
    pub selector: Option<Path>,
}

impl ScalePaths {
    /// Numbers of replicas are whole, the selector is a text; of an update of the status only what it changes is judged.
    fn validate(&self, object: &Value, of_status: bool, errors: &mut Vec<FieldError>) {
        let misfit = |path: &Path, value: &Value, wanted: &str| {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{path} accessor error: {shown} is of the type {}, expected {wanted}", validate::go_name(value))
        };
        let paths = [Some(&self.spec).filter(|_| !of_status), Some(&self.status)];
        for path in paths.into_iter().flatten() {
            let Some(value) = path.find(object).first().copied() else { continue };
            let (shown, why) = match value.as_i64() {
                None => (0, misfit(path, value, "int64")),
                Some(number) if number < 0 => (number, "should be a non-negative integer".to_owned()),
                Some(number) if number > i64::from(i32::MAX) => (number, format!("should be less than or equal to {}", i32::MAX)),
                Some(_) => continue,
            };
            errors.push(FieldError::invalid(path.to_string(), shown, why));
        }
        let Some(path) = &self.selector else { return };
        if let Some(value) = path.find(object).first().filter(|value| !value.is_string()) {
            errors.push(FieldError::invalid(path.to_string(), "", misfit(path, value, "string")));
        }
    }
}

/// What a custom kind has beyond its row.
#[derive(Debug)]
pub struct Custom {
    schema: Schema,
    ty: Arc<Type>,
    columns: Vec<Column>,
    selectable: Vec<(String, Path)>,
    /// Where its scale is, if it has one.
    pub scale: Option<ScalePaths>,
    /// What is said to whoever uses the version.
    pub deprecation: Option<String>,
    /// The version objects are stored in.
    pub stored_version: String,
    /// `spec.conversion`.
    pub conversion: Value,
    /// The schema as it is published.
    pub published: Value,
    /// Objects written after this revision have the form of this schema.
    pub since: u64,
    has_rules: bool,
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Custom {}

fn list(json: &Value) -> impl Iterator<Item = &Value> {
    json.as_array().into_iter().flatten()
}

fn text<'a>(json: &'a Value, name: &str) -> &'a str {
    json[name].as_str().unwrap_or_default()
}

fn texts(json: &Value) -> Vec<Text> {
    list(json).filter_map(Value::as_str).map(|text| Text::Owned(text.to_owned())).collect()
}

/// Whether a definition has a condition.
pub fn has_condition(definition: &Value, name: &str) -> bool {
    list(&definition["status"]["conditions"]).any(|condition| condition["type"] == name && condition["status"] == "True")
}

/// The kinds a definition makes: one for each served version, none before it is established. `since` is the revision from
/// which on objects were written under it.
pub fn kinds_of(definition: &Value, since: u64) -> Vec<Arc<Kind>> {
    if !has_condition(definition, "Established") {
        return Vec::new();
    }
    let spec = &definition["spec"];
    let stored =
        list(&spec["versions"]).find(|version| version["storage"] == true).map(|version| text(version, "name")).unwrap_or_default();
    list(&spec["versions"])
        .filter(|version| version["served"] == true)
        .map(|version| Arc::new(row(definition, version, Custom::read(definition, version, stored, since))))
        .collect()
}

fn row(definition: &Value, version: &Value, custom: Custom) -> Kind {
    let (spec, names) = (&definition["spec"], &definition["status"]["acceptedNames"]);
    let owned = |text: &str| Text::Owned(text.to_owned());
    let (group, version_name, kind) = (owned(text(spec, "group")), owned(text(version, "name")), owned(text(names, "kind")));
    // Where the type of a custom kind is published: its group backwards.
    let package: Vec<&str> = group.split('.').rev().collect();
    let schema: Text = format!("{}.{version_name}.{kind}", package.join(".")).into();
    let part = |name: &str, (group, version, kind, schema): (Text, Text, Text, Text)| Subresource {
        name: owned(name),
        group,
        version,
        kind,
        schema,
        verbs: PART.map(Text::Borrowed).to_vec(),
    };
    let mut subresources = Vec::new();
    if custom.scale.is_some() {
        subresources.push(part("scale", ("autoscaling".into(), "v1".into(), "Scale".into(), SCALE.into())));
    }
    if version["subresources"]["status"].is_object() {
        subresources.push(part("status", (group.clone(), version_name.clone(), kind.clone(), schema.clone())));
    }
    let deleting = definition["metadata"]["deletionTimestamp"].is_string();
    Kind {
        kind,
        list_kind: owned(text(names, "listKind")),
        plural: owned(text(names, "plural")),
        singular: owned(text(names, "singular")),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        verbs: STORED.into_iter().filter(|verb| !deleting || *verb != "create").map(Text::Borrowed).collect(),
        subresources,
        schema,
        stored: true,
        storage: (group.clone(), version_name.clone()),
        custom: Some(Arc::new(custom)),
        group,
        version: version_name,
    }
}

impl Custom {
    fn read(definition: &Value, version: &Value, stored: &str, since: u64) -> Self {
        let spec = &definition["spec"];
        let published = version["schema"]["openAPIV3Schema"].clone();
        let mut schema = Schema::read(&published);
        schema.embedded = false;
        if spec["preserveUnknownFields"] == true {
            schema.preserves = true;
        }
        let group_version = format!("{}/{}", text(spec, "group"), text(version, "name"));
        let deprecation = (version["deprecated"] == true).then(|| {
            let own = version["deprecationWarning"].as_str().map(str::to_owned);
            own.unwrap_or_else(|| format!("{group_version} {} is deprecated", text(&spec["names"], "kind")))
        });
        let scale = &version["subresources"]["scale"];
        let scale = scale.is_object().then(|| ScalePaths {
            spec: Path::parse(text(scale, "specReplicasPath")).unwrap_or_default(),
            status: Path::parse(text(scale, "statusReplicasPath")).unwrap_or_default(),
            selector: scale["labelSelectorPath"].as_str().filter(|text| !text.is_empty()).and_then(|text| Path::parse(text).ok()),
        });
        let selectable = list(&version["selectableFields"]).filter_map(|field| {
            let path = text(field, "jsonPath");
            Some((path.trim_start_matches('.').to_owned(), Path::parse(path).ok()?))
        });
        Self {
            ty: Arc::new(merge::root(text(&spec["names"], "kind"), &schema)),
            columns: columns(version),
            selectable: selectable.collect(),
            scale,
            deprecation,
            stored_version: stored.to_owned(),
            conversion: spec["conversion"].clone(),
            has_rules: schema.has_rules(),
            published,
            schema,
            since,
        }
    }

    /// The type by which objects merge.
    pub fn ty(&self) -> Arc<Type> {
        self.ty.clone()
    }

    /// Checks what a client wrote, or its patch made, prunes it and fills in defaults; answers with warnings.
    ///
    /// # Errors
    /// The metadata does not fit its type, or the client wants unknown fields refused.
    pub fn decode(
        &self,
        kind: &Kind,
        object: &mut Value,
        duplicates: &[String],
        validation: FieldValidation,
    ) -> Result<Vec<String>, Status> {
        let ty = embedded::envelope(&kind.kind);
        let decoder = Decoder::new(&ty, &kind.kind, &kind.version);
        let mut unknown = embedded::shape(&ty, object, "").map_err(|why| decoder.refuse(&why))?;
        unknown.extend(prune::prune(&self.schema, object));
        prune::drop_nulls(&self.schema, object);
        unknown.extend(embedded::coerce(&self.schema, object).map_err(|why| decoder.refuse(&why))?);
        prune::default(&self.schema, object);
        // Upstream reads the text first, and looks at the schema then.
        let strict = Findings::sorted(duplicates.to_vec()).with_unknown(&unknown);
        match validation {
            FieldValidation::Ignore => Ok(Vec::new()),
            FieldValidation::Strict if !strict.is_empty() => decoder.refuse_strictly(&strict),
            _ => Ok(strict),
        }
    }

    /// Brings an object that was read or converted into the form of the schema.
    pub fn settle(&self, object: &mut Value) {
        prune::prune(&self.schema, object);
        prune::drop_nulls(&self.schema, object);
        // What does not fit was stored before the schema said so.
        let _ = embedded::coerce(&self.schema, object);
        prune::default(&self.schema, object);
    }

    /// Fills in defaults.
    pub(crate) fn default(&self, object: &mut Value) {
        prune::default(&self.schema, object);
    }

    /// What is wrong with an object, or with the update of it or of its status: its values, then what its rules say.
    pub(crate) fn validate(&self, object: &Value, old: Option<&Value>, subresource: &str) -> Vec<FieldError> {
        let of_status = subresource == "status";
        let mut errors = match self.schema.field("status").filter(|_| of_status) {
            Some(schema) => validate::validate(schema, &object["status"], old.map(|old| &old["status"]), "status"),
            None if of_status => Vec::new(),
            None => validate::validate(&self.schema, object, old, ""),
        };
        if let Some(scale) = &self.scale {
            scale.validate(object, of_status, &mut errors);
        }
        if !of_status {
            embedded::validate(&self.schema, object, &mut String::new(), &mut errors);
        }
        let twice = validate::duplicates(&self.schema, object);
        if !twice.is_empty() && old.is_none_or(|old| validate::duplicates(&self.schema, old).is_empty()) {
            errors.extend(twice);
        }
        if !self.has_rules {
            return errors;
        }
        if errors.iter().any(|error| error.kind.blocks_rules()) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete \
                       validation";
            errors.push(FieldError::invalid("<nil>", Value::Null, why));
        } else {
            errors.extend(rules::evaluate(&self.schema, object, old));
        }
        errors
    }

    /// The selectable fields with an object's values.
    pub(crate) fn selectable(&self, object: &Value) -> impl Iterator<Item = (String, String)> {
        self.selectable.iter().map(|(name, path)| {
            let value = match path.find(object).first() {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            (name.clone(), value)
        })
    }

    /// `columnDefinitions` of a Table, the name first.
    pub fn columns(&self, name: Value) -> Value {
        std::iter::once(name).chain(self.columns.iter().map(|column| column.definition.clone())).collect()
    }

    /// The cells of an object's row; `age` tells how long ago a time is.
    pub fn cells(&self, object: &Value, age: impl Fn(Timestamp) -> String) -> Vec<Value> {
        let name = object["metadata"]["name"].clone();
        std::iter::once(name).chain(self.columns.iter().map(|column| column.cell(object, &age))).collect()
    }
}

fn columns(version: &Value) -> Vec<Column> {
    let own: Vec<Column> = list(&version["additionalPrinterColumns"])
        .filter_map(|column| {
            let description = match text(column, "description") {
                "" => format!("Custom resource definition column (in JSONPath format): {}", text(column, "jsonPath")),
                given => given.to_owned(),
            };
            let definition = json!({
                "name": column["name"], "type": column["type"], "format": text(column, "format"), "description": description,
                "priority": column["priority"].as_i64().unwrap_or(0),
            });
            Some(Column { definition, path: Path::parse(text(column, "jsonPath")).ok()? })
        })
        .collect();
    if !own.is_empty() {
        return own;
    }
    let about = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set \
                 in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and \
                 is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: \
                 https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
    let definition = json!({"name": "Age", "type": "date", "format": "", "description": about, "priority": 0});
    vec![Column { definition, path: Path::parse(".metadata.creationTimestamp").unwrap_or_default() }]
}

impl Column {
    fn cell(&self, object: &Value, age: &impl Fn(Timestamp) -> String) -> Value {
        let found = self.path.find(object);
        let Some(first) = found.first() else { return Value::Null };
        match (text(&self.definition, "type"), first) {
            (_, Value::Null) => Value::Null,
            ("integer", Value::Number(number)) => json!(number.as_i64().unwrap_or(number.as_f64().unwrap_or_default() as i64)),
            ("integer", _) => Value::Null,
            ("number", Value::Number(number)) => json!(number.as_f64()),
            ("boolean", value) => value.as_bool().map_or(Value::Null, Value::Bool),
            ("date", Value::String(text)) => time::parse(text).map_or_else(|| json!("<invalid>"), |at| json!(age(at))),
            ("string", Value::String(text)) if found.len() == 1 => json!(text),
            ("string", _) => {
                let shown: Vec<String> =
                    found.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
                json!(shown.join(","))
            }
            _ => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests;

//! Judges definitions: names, versions, columns, subresources, and with `schemas` the schemas and what their rules cost
//! (`apiextensions-apiserver/pkg/apis/apiextensions/validation`).

use serde_json::{Value, json};

use super::path::Path as JsonPath;
use super::schemas::{Place, structure, values};
use super::structural::Schema;
use super::{list, rules, status, text};
use crate::cel::ESTIMATED_SCHEMA_LIMIT;
use crate::names;
use crate::rules::{Errors, Fill, Path, Read, Rules};

/// What definitions do.
pub(crate) static RULES: Rules = Rules {
    generation: true,
    default,
    create: |object| status::remember_stored(object, None),
    update: |new, old, subresource| {
        if subresource.is_empty() {
            status::remember_stored(new, Some(old));
        }
    },
    validate: check,
    validate_update: check_update,
    ..Rules::PLAIN
};

fn default(object: &mut Value) {
    object.within("spec", |spec| {
        spec.within("names", |names| {
            let kind = names.text("kind").to_owned();
            if names.text("singular").is_empty() {
                names.put("singular", kind.to_lowercase());
            }
            if names.text("listKind").is_empty() && !kind.is_empty() {
                names.put("listKind", format!("{kind}List"));
            }
        });
        if !spec.has("conversion") {
            spec.put("conversion", json!({"strategy": "None"}));
        }
        spec.within("conversion", |conversion| {
            conversion.with("webhook", |hook| {
                hook.with("clientConfig", |config| config.with("service", |service| service.fill("port", 443)));
            });
        });
    });
}

fn check(object: &Value, out: &mut Errors) {
    let spec = &object["spec"];
    let path = Path::new("spec");
    let (group, plural) = (text(spec, "group"), text(&spec["names"], "plural"));
    if text(&object["metadata"], "name") != format!("{plural}.{group}") {
        out.invalid("metadata.name", text(&object["metadata"], "name"), "must be spec.names.plural+\".\"+spec.group");
    }
    protected(object, group, out);
    match group {
        "" => out.required(path.child("group"), ""),
        group => {
            out.all(&path.child("group"), group, names::dns1123_subdomain(group));
            if !group.contains('.') {
                out.invalid(path.child("group"), group, "should be a domain with at least one dot");
            }
        }
    }
    out.required_one_of(&path.child("scope"), text(spec, "scope"), &["Cluster", "Namespaced"]);
    check_versions(spec, &path.child("versions"), out);
    if spec["preserveUnknownFields"] == true {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        out.invalid(path.child("preserveUnknownFields"), true, why);
    }
    check_names(&spec["names"], &path.child("names"), out);
    check_conversion(&spec["conversion"], &path.child("conversion"), out);
}

/// Groups of the project itself need its approval.
fn protected(object: &Value, group: &str, out: &mut Errors) {
    const ANNOTATION: &str = "api-approved.kubernetes.io";
    let is = |suffix: &str| group == suffix || group.ends_with(&format!(".{suffix}"));
    let approval = object["metadata"]["annotations"][ANNOTATION].as_str().unwrap_or_default();
    if (is("k8s.io") || is("kubernetes.io")) && approval.is_empty() {
        let why = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see \
                   https://github.com/kubernetes/enhancements/pull/1111";
        out.required(Path::new("metadata.annotations").key(ANNOTATION), why);
    }
}

fn check_names(given: &Value, path: &Path, out: &mut Errors) {
    for name in ["plural", "singular", "kind", "listKind"] {
        let value = text(given, name);
        if value.is_empty() {
            out.required(path.child(name), "");
        } else {
            let lower = if name.ends_with("ind") { value.to_lowercase() } else { value.to_owned() };
            out.all(&path.child(name), value, names::dns1035_label(&lower));
        }
    }
    for (field, all) in [("shortNames", &given["shortNames"]), ("categories", &given["categories"])] {
        for (index, name) in list(all).filter_map(Value::as_str).enumerate() {
            out.all(&path.child(field).index(index), name, names::dns1035_label(name));
        }
    }
    if !text(given, "kind").is_empty() && text(given, "kind") == text(given, "listKind") {
        out.invalid(path.child("listKind"), text(given, "listKind"), "kind and listKind may not be the same");
    }
}

fn check_conversion(conversion: &Value, path: &Path, out: &mut Errors) {
    out.required_one_of(&path.child("strategy"), text(conversion, "strategy"), &["None", "Webhook"]);
    let hook = &conversion["webhook"];
    let path = path.child("webhook");
    if text(conversion, "strategy") != "Webhook" {
        if hook.is_object() {
            out.forbidden(path.child("clientConfig"), "should not be set when strategy is not set to Webhook");
        }
        return;
    }
    let config = &hook["clientConfig"];
    match (config["url"].is_string(), config["service"].is_object()) {
        (false, false) if !config.is_object() => out.required(path.child("clientConfig"), "required when strategy is set to Webhook"),
        (true, true) | (false, false) => out.required(path.child("clientConfig"), "exactly one of url or service is required"),
        _ => {}
    }
    let versions: Vec<&str> = list(&hook["conversionReviewVersions"]).filter_map(Value::as_str).collect();
    let path = path.child("conversionReviewVersions");
    if versions.is_empty() {
        out.required(path, "");
    } else if !versions.iter().any(|version| matches!(*version, "v1" | "v1beta1")) {
        out.invalid(path, json!(versions), "must include at least one of v1, v1beta1");
    }
}

fn check_versions(spec: &Value, path: &Path, out: &mut Errors) {
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut seen = std::collections::HashSet::new();
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        let name = text(version, "name");
        if !seen.insert(name) {
            out.invalid(Path::new("spec.versions"), json!(versions), "must contain unique version names");
        }
        out.all(&path.child("name"), name, names::dns1035_label(name));
        if text(version, "deprecationWarning").len() > 256 {
            out.invalid(path.child("deprecationWarning"), text(version, "deprecationWarning"), "must be <= 256 characters");
        }
        if version["deprecated"] != true && version["deprecationWarning"].is_string() {
            out.invalid(path.child("deprecationWarning"), text(version, "deprecationWarning"), "can only be set for deprecated versions");
        }
        check_version(version, &path, out);
    }
    let names: Vec<&str> = versions.iter().map(|version| text(version, "name")).collect();
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        out.invalid(path, json!(names), "must have exactly one version marked as storage version");
    }
}

fn check_version(version: &Value, path: &Path, out: &mut Errors) {
    let json = &version["schema"]["openAPIV3Schema"];
    let schema_path = path.child("schema.openAPIV3Schema");
    if !json.is_object() {
        out.required(&schema_path, "schemas are required");
        return;
    }
    check_subresources(version, &path.child("subresources"), out);
    for (index, column) in list(&version["additionalPrinterColumns"]).enumerate() {
        check_column(column, &path.child("additionalPrinterColumns").index(index), out);
    }
    let before = out.0.len();
    structure(json, &schema_path, Place::Root, out);
    if out.0.len() > before {
        return;
    }
    let schema = Schema::read(json);
    check_selectable(version, &schema, &path.child("selectableFields"), out);
    let mut total = 0;
    values(json, &schema, &schema_path, 1, &mut total, out);
    if let Some(factor) = rules::excess(total, ESTIMATED_SCHEMA_LIMIT) {
        let why = format!(
            "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of {factor} (try \
             simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
        );
        out.forbidden(&schema_path, why);
    }
}

fn check_column(column: &Value, path: &Path, out: &mut Errors) {
    if text(column, "name").is_empty() {
        out.required(path.child("name"), "");
    }
    let types = ["boolean", "date", "integer", "number", "string"];
    match text(column, "type") {
        "" => out.required(path.child("type"), &format!("must be one of {}", types.join(","))),
        other if !types.contains(&other) => out.invalid(path.child("type"), other, format!("must be one of {}", types.join(","))),
        _ => {}
    }
    match text(column, "jsonPath") {
        "" => out.required(path.child("JSONPath"), ""),
        given => {
            if let Err(why) = JsonPath::parse(given) {
                out.invalid(path.child("jsonPath"), given, why);
            }
        }
    }
}

fn check_subresources(version: &Value, path: &Path, out: &mut Errors) {
    let scale = &version["subresources"]["scale"];
    if !scale.is_object() {
        return;
    }
    let path = path.child("scale");
    for (name, below, required) in
        [("specReplicasPath", ".spec.", true), ("statusReplicasPath", ".status.", true), ("labelSelectorPath", "", false)]
    {
        let given = text(scale, name);
        if given.is_empty() {
            if required {
                out.required(path.child(name), "");
            }
            continue;
        }
        let simple = JsonPath::parse(given).is_ok_and(|path| path.is_simple());
        if !simple {
            out.invalid(path.child(name), given, "should be a simple json path without []");
        } else if !given.starts_with(below) || below.is_empty() && !given.starts_with(".spec.") && !given.starts_with(".status.") {
            let wanted = if below.is_empty() { ".spec or .status" } else { below.trim_end_matches('.') };
            out.invalid(path.child(name), given, format!("should be a json path under {wanted}"));
        }
    }
}

fn check_selectable(version: &Value, schema: &Schema, path: &Path, out: &mut Errors) {
    let fields: Vec<&Value> = list(&version["selectableFields"]).collect();
    if fields.len() > 8 {
        out.too_many(path, fields.len(), 8);
    }
    let mut seen = std::collections::HashSet::new();
    for (index, field) in fields.iter().enumerate() {
        let (path, given) = (path.index(index).child("jsonPath"), text(field, "jsonPath"));
        if given.is_empty() {
            out.required(path, "");
            continue;
        }
        let Some(parsed) = JsonPath::parse(given).ok().filter(JsonPath::is_simple) else {
            out.invalid(path, given, "is an invalid path: does not refer to a valid field");
            continue;
        };
        if parsed.names().next() == Some("metadata") {
            out.invalid(path, given, "must not point to fields in metadata");
            continue;
        }
        match parsed.names().try_fold(schema, |schema, name| schema.properties.get(name)) {
            None => out.invalid(path, given, "is an invalid path: does not refer to a valid field"),
            Some(found) if !matches!(found.type_.as_str(), "string" | "integer" | "boolean") => {
                out.invalid(
                    path,
                    given,
                    "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
                );
            }
            Some(_) if !seen.insert(given) => out.duplicate(path, given),
            Some(_) => {}
        }
    }
}

fn check_update(new: &Value, old: &Value, subresource: &str, out: &mut Errors) {
    let stored: Vec<&str> = list(&new["status"]["storedVersions"]).filter_map(Value::as_str).collect();
    for (index, name) in stored.iter().enumerate() {
        if !list(&new["spec"]["versions"]).any(|version| version["name"] == *name) {
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            out.invalid(Path::new("status.storedVersions").index(index), *name, why);
        }
    }
    if !subresource.is_empty() {
        return;
    }
    if super::has_condition(old, "Established") {
        for name in ["group", "scope"] {
            out.immutable(&Path::new("spec").child(name), &new["spec"][name], &old["spec"][name]);
        }
        for name in ["plural", "kind"] {
            out.immutable(&Path::new("spec.names").child(name), &new["spec"]["names"][name], &old["spec"]["names"][name]);
        }
    }
}

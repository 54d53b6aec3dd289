//! APIServices: which server answers a group version.

use serde_json::Value;

use super::Rules;
use super::check::{Errors, Fill, Path, Read};
use crate::names;

pub(crate) static API_SERVICE: Rules = Rules {
    name: names::path_segment,
    status: |_| serde_json::json!({}),
    default: |object| object.with("spec", |spec| spec.with("service", |service| service.fill("port", 443))),
    validate,
    ..Rules::PLAIN
};

fn validate(object: &Value, out: &mut Errors) {
    let (spec, at) = (&object["spec"], Path::new("spec"));
    let (group, version, name) = (spec.text("group"), spec.text("version"), object["metadata"].text("name"));
    let wanted = format!("{version}.{group}");
    if name != wanted {
        out.invalid("metadata.name", name, format!("must be `spec.version+\".\"+spec.group`: {wanted:?}"));
    }
    if !group.is_empty() {
        out.all(&at.child("group"), group, names::dns1123_subdomain(group));
    }
    out.all(&at.child("version"), version, names::dns1035_label(version));
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
        let value = spec.int(field).unwrap_or(0);
        if value <= 0 || value > most {
            out.invalid(at.child(field), value, format!("must be positive and less than {most}"));
        }
    }
    let (bundle, insecure) = (!spec.text("caBundle").is_empty(), spec.yes("insecureSkipTLSVerify"));
    let service = &spec["service"];
    if service.is_null() {
        if bundle {
            out.invalid(at.child("caBundle"), "<bytes>", "local APIServices may not have a caBundle");
        }
        if insecure {
            out.invalid(at.child("insecureSkipTLSVerify"), true, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    let service_at = at.child("service");
    for field in ["namespace", "name"] {
        if service.text(field).is_empty() {
            out.required(service_at.child(field), "");
        }
    }
    out.port(&service_at.child("port"), service.int("port").unwrap_or(0));
    if insecure && bundle {
        out.invalid(at.child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present");
    }
}

//! What volumes are made and attached with: storage classes, CSI drivers and their nodes, attachments, attributes, capacity.

use serde_json::{Value, json};

use super::check::{Errors, Fill, IMMUTABLE, Path, Read, Seen, quantity};
use super::{Rules, selector};
use crate::names;

pub(crate) static CLASS: Rules = Rules {
    default: |object| {
        object.fill("reclaimPolicy", "Delete");
        object.fill("volumeBindingMode", "Immediate");
    },
    validate: |object, out| {
        provisioner(object.text("provisioner"), &Path::new("provisioner"), out);
        parameters(object, out);
        out.one_of_if_set("reclaimPolicy", object.text("reclaimPolicy"), &["Delete", "Retain"]);
        out.required_one_of(&Path::new("volumeBindingMode"), object.text("volumeBindingMode"), &["Immediate", "WaitForFirstConsumer"]);
        for (at, term) in object.each("allowedTopologies", &Path::new("")) {
            topology(term, &at, out);
        }
    },
    validate_update: |new, old, _, out| {
        for (key, words) in [
            ("parameters", "updates to parameters are forbidden."),
            ("provisioner", "updates to provisioner are forbidden."),
            ("reclaimPolicy", "updates to reclaimPolicy are forbidden."),
        ] {
            if new[key] != old[key] {
                out.forbidden(key, words);
            }
        }
        out.immutable(&Path::new("volumeBindingMode"), &new["volumeBindingMode"], &old["volumeBindingMode"]);
    },
    ..Rules::PLAIN
};

pub(crate) static ATTRIBUTES_CLASS: Rules = Rules {
    validate: |object, out| {
        provisioner(object.text("driverName"), &Path::new("driverName"), out);
        parameters(object, out);
        if object.map("parameters").is_empty() {
            out.required("parameters", "must contain at least one key/value pair");
        }
    },
    validate_update: |new, old, _, out| {
        for key in ["driverName", "parameters"] {
            if new[key] != old[key] {
                out.forbidden(key, format!("updates to {key} are forbidden."));
            }
        }
    },
    ..Rules::PLAIN
};

pub(crate) static DRIVER: Rules = Rules {
    default: |object| {
        object.within("spec", |spec| {
            spec.fill("attachRequired", true);
            spec.fill("podInfoOnMount", false);
            spec.fill("storageCapacity", false);
            spec.fill("fsGroupPolicy", "ReadWriteOnceWithFSType");
            spec.fill("requiresRepublish", false);
            spec.fill("seLinuxMount", false);
            if spec.items("volumeLifecycleModes").is_empty() {
                spec.put("volumeLifecycleModes", json!(["Persistent"]));
            }
        });
    },
    validate: |object, out| {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let policies = ["File", "None", "ReadWriteOnceWithFSType"];
        out.one_of_if_set(path.child("fsGroupPolicy"), spec.text("fsGroupPolicy"), &policies);
        token_requests(spec, &path, out);
        for mode in spec.items("volumeLifecycleModes").iter().filter_map(Value::as_str) {
            out.one_of(path.child("volumeLifecycleModes"), mode, &["Persistent", "Ephemeral"]);
        }
    },
    validate_update: |new, old, _, out| {
        let path = Path::new("spec");
        for (key, shown) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")] {
            out.immutable(&path.child(shown), &new["spec"][key], &old["spec"][key]);
        }
    },
    ..Rules::PLAIN
};

pub(crate) static NODE: Rules = Rules {
    validate: |object, out| {
        let mut seen = Seen::default();
        for (at, driver) in object["spec"].each("drivers", &Path::new("spec")) {
            node_driver(driver, &at, out);
            if !seen.first(driver.text("name")) {
                out.duplicate(at.child("name"), driver.text("name"));
            }
        }
    },
    validate_update: |new, old, _, out| {
        let known = old["spec"].items("drivers");
        for driver in new["spec"].items("drivers") {
            if known.iter().any(|one| one["name"] == driver["name"] && one != driver) {
                out.invalid("CSINodeDriver", driver.clone(), IMMUTABLE);
            }
        }
    },
    ..Rules::PLAIN
};

pub(crate) static ATTACHMENT: Rules = Rules {
    status: |_| json!({"attached": false}),
    validate: |object, out| {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let source = &spec["source"];
        let (at, one) = (path.child("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
        if spec.text("attacher").is_empty() {
            out.required(path.child("attacher"), "");
        }
        match (source.has("inlineVolumeSpec"), source.has("persistentVolumeName")) {
            (false, false) => out.required(&at, one),
            (true, true) => out.forbidden(&at, one),
            (false, true) if source.text("persistentVolumeName").is_empty() => {
                out.required(at.child("persistentVolumeName"), "must specify non empty persistentVolumeName");
            }
            _ => {}
        }
        out.all(&path.child("nodeName"), spec.text("nodeName"), names::dns1123_subdomain(spec.text("nodeName")));
        driver_name(spec.text("attacher"), &path.child("attacher"), out);
        if source.has("persistentVolumeName") {
            let name = source.text("persistentVolumeName");
            out.all(&at.child("persistentVolumeName"), name, names::dns1123_subdomain(name));
        }
    },
    validate_update: |new, old, subresource, out| {
        if subresource.is_empty() {
            out.immutable(&Path::new("spec"), &new["spec"], &old["spec"]);
        }
    },
    ..Rules::PLAIN
};

pub(crate) static CAPACITY: Rules = Rules {
    validate: |object, out| {
        if object.has("nodeTopology") {
            selector::validate(&object["nodeTopology"], &Path::new("nodeTopology"), out);
        }
        let class = object.text("storageClassName");
        out.all(&Path::new("storageClassName"), class, names::dns1123_subdomain(class));
        for key in ["capacity", "maximumVolumeSize"] {
            if quantity(&object[key]).is_some_and(|amount| amount.signum() < 0) {
                out.invalid(key, object[key].clone(), "must be greater than or equal to 0");
            }
        }
    },
    validate_update: |new, old, _, out| {
        for key in ["nodeTopology", "storageClassName"] {
            out.immutable(&Path::new(key), &new[key], &old[key]);
        }
    },
    ..Rules::PLAIN
};

/// Most parameters of a class, and most bytes of them together.
const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETER_BYTES: usize = 256 * 1024;

fn provisioner(name: &str, path: &Path, out: &mut Errors) {
    if name.is_empty() {
        out.required(path, "");
    } else {
        out.all(path, name, names::qualified_name(&name.to_lowercase()));
    }
}

fn parameters(object: &Value, out: &mut Errors) {
    let parameters = object.map("parameters");
    if parameters.len() > MAX_PARAMETERS {
        out.too_long("parameters", MAX_PARAMETERS);
        return;
    }
    if parameters.contains_key("") {
        out.invalid("parameters", "", "field can not be empty.");
    }
    let bytes: usize = parameters.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > MAX_PARAMETER_BYTES {
        out.too_long("parameters", MAX_PARAMETER_BYTES);
    }
}

fn topology(term: &Value, path: &Path, out: &mut Errors) {
    let mut keys = Seen::default();
    for (at, requirement) in term.each("matchLabelExpressions", path) {
        let values = requirement.items("values");
        if values.is_empty() {
            out.required(at.child("values"), "");
        }
        let mut seen = Seen::default();
        for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
            if !seen.first(value) {
                out.duplicate(at.child("values").index(index), value);
            }
        }
        let key = requirement.text("key");
        out.all(&at.child("key"), key, names::qualified_name(key));
        if !keys.first(key) {
            out.duplicate(at.child("key"), key);
        }
    }
}

/// The name of a CSI driver, in any case.
fn driver_name(name: &str, path: &Path, out: &mut Errors) {
    if name.is_empty() {
        out.required(path, "");
    }
    if name.len() > 63 {
        out.too_long(path, 63);
    }
    out.all(path, name, names::dns1123_subdomain(&name.to_lowercase()));
}

fn token_requests(spec: &Value, path: &Path, out: &mut Errors) {
    let mut seen = Seen::default();
    for (at, request) in spec.each("tokenRequests", path) {
        if !seen.first(request.text("audience")) {
            out.duplicate(at.child("audience"), request.text("audience"));
            continue;
        }
        let Some(seconds) = request.int("expirationSeconds") else { continue };
        if seconds < 600 {
            out.invalid(at.child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds > 1 << 32 {
            out.invalid(at.child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds");
        }
    }
}

fn node_driver(driver: &Value, path: &Path, out: &mut Errors) {
    driver_name(driver.text("name"), &path.child("name"), out);
    let id = driver.text("nodeID");
    if id.is_empty() {
        out.required(path.child("nodeID"), "");
    } else if id.len() > 192 {
        out.invalid(path.child("nodeID"), id, "must be 192 characters or less");
    }
    out.non_negative(&path.child("allocatable").child("count"), driver["allocatable"].int("count"));
    let mut seen = Seen::default();
    for key in driver.items("topologyKeys").iter().filter_map(Value::as_str) {
        if key.is_empty() {
            out.required(path, "");
        }
        if !seen.first(key) {
            out.duplicate(path, key);
        }
        out.all(path, driver["topologyKeys"].clone(), names::qualified_name(key));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;

    use super::*;

    fn faults(rules: &Rules, object: Value) -> String {
        let mut out = Errors::default();
        (rules.validate)(&object, &mut out);
        out.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    fn change(rules: &Rules, old: &Value, new: Value) -> String {
        let mut merged = old.clone();
        crate::patch::merge(&mut merged, &new);
        let mut out = Errors::default();
        (rules.validate_update)(&merged, old, "", &mut out);
        out.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[rstest]
    #[case(&CLASS, json!({"provisioner": "a/b", "volumeBindingMode": "Immediate", "parameters": {"": "x"}}), "parameters: Invalid value: \"\": field can not be empty.")]
    #[case(&CLASS, json!({"provisioner": "a/b", "volumeBindingMode": "Immediate", "allowedTopologies": [{"matchLabelExpressions": [{"key": "a", "values": []}, {"key": "a", "values": ["b", "b"]}]}]}),
        "allowedTopologies[0].matchLabelExpressions[0].values: Required value; \
         allowedTopologies[0].matchLabelExpressions[1].values[1]: Duplicate value: \"b\"; \
         allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: \"a\"")]
    #[case(&ATTRIBUTES_CLASS, json!({}), "driverName: Required value; parameters: Required value: must contain at least one key/value pair")]
    #[case(&ATTRIBUTES_CLASS, json!({"driverName": "a", "parameters": {"a": "b"}}), "")]
    #[case(&DRIVER, json!({"spec": {"fsGroupPolicy": "Z", "volumeLifecycleModes": ["X"], "tokenRequests": [{"audience": "a"}, {"audience": "a"}, {"audience": "b", "expirationSeconds": 1}]}}),
        "spec.fsGroupPolicy: Unsupported value: \"Z\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"; \
         spec.tokenRequests[1].audience: Duplicate value: \"a\"; \
         spec.tokenRequests[2].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes; \
         spec.volumeLifecycleModes: Unsupported value: \"X\": supported values: \"Persistent\", \"Ephemeral\"")]
    #[case(&NODE, json!({"spec": {"drivers": [{"name": "a.b", "nodeID": "", "allocatable": {"count": -1}}, {"name": "a.b", "nodeID": "n", "topologyKeys": ["k", "k"]}]}}),
        "spec.drivers[0].nodeID: Required value; spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0; \
         spec.drivers[1]: Duplicate value: \"k\"; spec.drivers[1].name: Duplicate value: \"a.b\"")]
    #[case(&ATTACHMENT, json!({"spec": {"attacher": "a", "nodeName": "n", "source": {}}}), "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName")]
    #[case(&ATTACHMENT, json!({"spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "p"}}}), "")]
    #[case(&CAPACITY, json!({"storageClassName": "a", "capacity": "-1"}), "capacity: Invalid value: \"-1\": must be greater than or equal to 0")]
    fn what_is_wrong(#[case] rules: &Rules, #[case] object: Value, #[case] expected: &str) {
        assert_eq!(faults(rules, object), expected);
    }

    #[rstest]
    #[case(&CLASS, json!({"provisioner": "a"}), json!({"provisioner": "b"}), "provisioner: Forbidden: updates to provisioner are forbidden.")]
    #[case(&ATTRIBUTES_CLASS, json!({"driverName": "a"}), json!({"driverName": "b"}), "driverName: Forbidden: updates to driverName are forbidden.")]
    #[case(&DRIVER, json!({"spec": {"attachRequired": true}}), json!({"spec": {"attachRequired": false}}), "spec.attachedRequired: Invalid value: false: field is immutable")]
    #[case(&DRIVER, json!({"spec": {"podInfoOnMount": true}}), json!({"spec": {"podInfoOnMount": false}}), "")]
    #[case(&ATTACHMENT, json!({"spec": {"nodeName": "a"}}), json!({"spec": {"nodeName": "b"}}), "spec: Invalid value: {\"nodeName\":\"b\"}: field is immutable")]
    #[case(&CAPACITY, json!({"storageClassName": "a"}), json!({"storageClassName": "b"}), "storageClassName: Invalid value: \"b\": field is immutable")]
    fn what_may_not_change(#[case] rules: &Rules, #[case] old: Value, #[case] new: Value, #[case] expected: &str) {
        assert_eq!(change(rules, &old, new), expected);
    }
}

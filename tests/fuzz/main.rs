//! Whatever is read from others may be damaged, on purpose too: what reads it answers with a value or an error, and neither
//! panics nor takes long nor takes much memory. `.ci/soak` runs many more cases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bounds;
mod mutate;

use std::collections::BTreeMap;
use std::path::Path;

use bounds::bounded;
use bytes::Bytes;
use coracle_api::cel::{Budget, Environment, Type as CelType, Value as CelValue};
use coracle_api::kinds::{self, Kind};
use coracle_api::schema::{self, FieldValidation};
use coracle_api::selector::{FieldSelector, LabelSelector};
use coracle_api::{apply, cron, patch, protobuf, rules, yaml};
use coracle_node::images::{Bounds, reference::Reference, unpack};
use coracle_verbs::jsonpath;
use jiff::Timestamp;
use mutate::{Mutator, cases};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: bounds::Counting = bounds::Counting;

const YAML: &[&str] = &["&a", "*a", "<<: *a", "{", "[", "- ", "? ", "|2-", "!!binary ", "%YAML", "---\n", "0x", "1e999", "\t", ": ", "~"];
const JSON: &[&str] = &["{", "[", "\"", "\\ud800", "1e999", "-0", "null", "99999999999999999999", "\"$patch\":\"replace\"", ":", ","];

fn kind(api_version: &str, kind: &str) -> &'static Kind {
    kinds::by_api_version(api_version, kind).expect("the kind is built in")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a server does with an object before it stores it, and with what it says of it.
fn admitted(kind: &Kind, mut object: Value) -> Option<Value> {
    if !object.is_object() || schema::decode(kind, &mut object, FieldValidation::Warn).is_err() {
        return None;
    }
    rules::prepare_create(kind, &mut object);
    rules::default(kind, &mut object);
    let errors = rules::validate_create(kind, &object);
    rules::warnings(kind, &object, None, "");
    errors.is_empty().then_some(object)
}

#[test]
fn yaml_texts() {
    let kinds = [kind("v1", "Pod"), kind("apps/v1", "Deployment"), kind("v1", "Service")];
    Mutator::of("yaml", YAML).run(cases(300), |bytes| {
        let text = text(bytes);
        bounded(|| {
            let _ = coracle_manifests::documents::parse(&text);
            yaml::locate(&text, 0, "spec.containers[0].image");
            for document in yaml::documents(&text).into_iter().flatten() {
                let again = yaml::documents(&yaml::to_string(&document.value));
                if !document.value.is_null() {
                    assert_eq!(
                        again.first().and_then(|read| read.as_ref().ok()).map(|read| &read.value),
                        Some(&document.value),
                        "{text:?}"
                    );
                }
                for kind in kinds {
                    admitted(kind, document.value.clone());
                }
            }
        });
    });
}

#[test]
fn json_bodies() {
    let kinds = [kind("v1", "Pod"), kind("apps/v1", "Deployment"), kind("networking.k8s.io/v1", "Ingress"), kind("batch/v1", "CronJob")];
    Mutator::of("json", JSON).run(cases(1500), |bytes| {
        bounded(|| {
            let Ok(parsed) = schema::parse_json(&Bytes::copy_from_slice(bytes)) else { return };
            for kind in kinds {
                let Some(object) = admitted(kind, parsed.value.clone()) else { continue };
                let mut again = object.clone();
                rules::default(kind, &mut again);
                assert_eq!(again, object, "defaults are there already");
                rules::selectable_fields(kind, &object);
            }
        });
    });
}

#[test]
fn patches() {
    let (pods, live) = (kind("v1", "Pod"), serde_json::from_slice::<Value>(&mutate::corpus("json")[0]).unwrap());
    let ty = pods.ty();
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for corpus in ["json-patch", "merge-patch", "apply"] {
        Mutator::of(corpus, JSON).run(cases(700), |bytes| {
            bounded(|| {
                let Ok(parsed) = schema::parse_patch(bytes, "") else { return };
                let _ = patch::json(&live, &parsed.value);
                let mut merged = live.clone();
                patch::merge(&mut merged, &parsed.value);
                let mut merged = live.clone();
                let _ = patch::strategic(&mut merged, &parsed.value, &ty);
                for before in [None, Some(&live)] {
                    if let Ok(applied) = apply::apply(before, parsed.value.clone(), "fuzz", true, &ty, now, "") {
                        let _ = apply::apply(Some(&applied), parsed.value.clone(), "other", false, &ty, now, "");
                    }
                }
            });
        });
    }
}

#[test]
fn selectors_quantities_schedules_and_names() {
    let labels = BTreeMap::from([("app".to_owned(), "web".to_owned()), ("tier".to_owned(), String::new())]);
    Mutator::of("selector", &["!", " in (", ",", "notin", "==", ")", "a/b", "exists"]).run(cases(2000), |bytes| {
        let text = text(bytes);
        bounded(|| {
            if let Ok(selector) = LabelSelector::parse(&text) {
                selector.matches(&labels);
                let again = selector.to_string();
                assert_eq!(LabelSelector::parse(&again).map(|read| read.to_string()), Ok(again));
            }
            if let Ok(selector) = FieldSelector::parse(&text) {
                selector.matches(|field: &str| field.to_owned());
            }
        });
    });
    Mutator::of("quantity", &["Ki", "Ei", "n", "m", "e", "E+9", "-", "+", ".", "999999999999999999999"]).run(cases(2000), |bytes| {
        let text = text(bytes);
        bounded(|| {
            let Ok(quantity) = text.parse::<coracle_api::quantity::Quantity>() else { return };
            let shown = quantity.to_string();
            assert_eq!(shown.parse::<coracle_api::quantity::Quantity>().map(|read| read.to_string()), Ok(shown));
            let _ = (quantity.value(), quantity.milli_value(), quantity.as_f64());
        });
    });
    let now = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    Mutator::of("cron", &["*/", "-", ",", "@", "TZ=", "L", "60", "0"]).run(cases(400), |bytes| {
        let text = text(bytes);
        bounded(|| cron::parse(&text).map(|(schedule, _)| schedule.next(&now)).ok());
    });
    Mutator::of("image", &["@sha256:", ":", "/", "..", "[::1]:5000/"]).run(cases(2000), |bytes| {
        let text = text(bytes);
        bounded(|| Reference::parse(&text).map(|reference| reference.repository()).ok());
    });
}

#[test]
fn jsonpath_templates() {
    let object = serde_json::from_slice::<Value>(&mutate::corpus("json")[0]).unwrap();
    Mutator::of("jsonpath", &["{", "}", "[?(", "@", "..", "[*]", "range", "end", "'", "-1:", ")]"]).run(cases(1500), |bytes| {
        let text = text(bytes);
        bounded(|| {
            let _ = jsonpath::print(&text, &object);
            let _ = jsonpath::find(&text, &object);
        });
    });
}

#[test]
fn expressions() {
    let object = CelValue::from_json(&serde_json::from_slice(&mutate::corpus("json")[0]).unwrap());
    let environment = Environment::new().with("object", CelType::Dyn).with("self", CelType::Dyn);
    let variables = BTreeMap::from([("object", object.clone()), ("self", object)]);
    Mutator::of(
        "cel",
        &["(", ")", "[", "]", "{", "}", "!", "? 1 : ", "&& ", "object.", ".all(x, ", ".map(x, x)", "b\"\\xff\"", "9223372036854775807"],
    )
    .run(cases(200), |bytes| {
        let text = text(bytes);
        bounded(|| {
            if let Ok(program) = environment.compile(&text) {
                let _ = program.evaluate(&variables, &Budget::new(1_000_000));
            }
        });
    });
}

#[test]
fn protocol_buffers() {
    let samples: Vec<Value> = mutate::corpus("json").iter().map(|bytes| serde_json::from_slice(bytes).unwrap()).collect();
    let whole: Vec<Vec<u8>> = samples.iter().filter_map(protobuf::encode).collect();
    assert!(whole.len() >= 2, "samples of kinds with messages");
    Mutator::from(whole).run(cases(1500), |bytes| {
        bounded(|| {
            for expected in [("v1", "Pod"), ("apps/v1", "Deployment")] {
                if let Ok(object) = protobuf::decode(bytes, expected) {
                    protobuf::encode(&object);
                }
            }
        });
    });
}

#[test]
fn layers_of_images_stay_inside() {
    let parent = tempfile::tempdir().unwrap();
    std::fs::write(parent.path().join("witness"), "untouched").unwrap();
    let directory = parent.path().join("layer");
    Mutator::of("layer", &["../", "/etc", ".wh.", ".wh..wh..opq", "\0"]).run(cases(200), |bytes| {
        std::fs::create_dir(&directory).unwrap();
        // half of them with right checksums, so that the damage goes further than the first look
        let bytes = if bytes.len() % 2 == 0 { summed(bytes) } else { bytes.to_vec() };
        bounded(|| unpack(bytes.as_slice(), &directory, Bounds { bytes: 1 << 20, entries: 200 }).ok());
        assert_nothing_else(parent.path());
        remove(&directory);
    });
}

fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            let sum: u32 = block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    bytes
}

fn assert_nothing_else(parent: &Path) {
    let mut names: Vec<_> = std::fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["layer", "witness"]);
    assert_eq!(std::fs::read_to_string(parent.join("witness")).unwrap(), "untouched");
}

/// Also what may not be read or entered by whoever made it.
fn remove(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::remove_dir_all(directory).is_ok() {
        return;
    }
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        let entries = std::fs::read_dir(&folder).unwrap().flatten();
        folders.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
    }
    std::fs::remove_dir_all(directory).unwrap();
}

/// Nested so deeply that a reader which calls itself for each level would leave its stack.
#[test]
fn nested_deeply() {
    let levels = 20_000;
    let around = |open: &str, middle: &str, close: &str| format!("{}{middle}{}", open.repeat(levels), close.repeat(levels));
    bounded(|| {
        for text in [around("[", "", "]"), around("{\"a\":", "1", "}"), around("- ", "a", ""), around("? ", "a", "")] {
            let _ = yaml::documents(&text);
            let _ = coracle_manifests::documents::parse(&text);
            let _ = schema::parse_json(&Bytes::from(text.clone()));
            let _ = schema::parse_patch(text.as_bytes(), "");
        }
        let environment = Environment::new().with("object", CelType::Dyn);
        for text in [
            around("(", "1", ")"),
            around("[", "1", "]"),
            around("!", "true", ""),
            around("-", "1", ""),
            around("{1:", "1", "}"),
            format!("1{}", "+1".repeat(levels)),
        ] {
            let _ = environment.compile(&text);
        }
        for text in [
            around("{.a[?(@", "", ")]}"),
            around("{range .a}", "", "{end}"),
            format!("{{.a{}{}}}", "[?(@.a".repeat(levels), ")]".repeat(levels)),
            around("(", "a", ")"),
        ] {
            let _ = jsonpath::print(&text, &json!({"a": [1]}));
            let _ = LabelSelector::parse(&text);
        }
    });
}

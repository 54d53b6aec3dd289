//! ConfigMaps and Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Rules;
use super::check::{Errors, Fill, Path, Read};
use crate::names;

pub(crate) static CONFIG_MAP: Rules = Rules { validate: validate_config_map, validate_update: immutable, ..Rules::PLAIN };

pub(crate) static SECRET: Rules = Rules {
    default: default_secret,
    validate: validate_secret,
    validate_update: |new, old, subresource, out| {
        out.immutable(&Path::new("type"), &new["type"], &old["type"]);
        immutable(new, old, subresource, out);
    },
    fields: &["type"],
    ..Rules::PLAIN
};

const MAX: usize = 1024 * 1024;

fn size_of(value: &Value, encoded: bool) -> usize {
    let text = value.as_str().unwrap_or("");
    if encoded { STANDARD.decode(text).map_or(text.len(), |bytes| bytes.len()) } else { text.len() }
}

fn keys(object: &Value, field: &str, out: &mut Errors) {
    for key in object.map(field).keys() {
        out.all(&Path::new(field).key(key), key.as_str(), names::config_map_key(key));
    }
}

fn validate_config_map(object: &Value, out: &mut Errors) {
    for key in object.map("data").keys() {
        let at = Path::new("data").key(key);
        out.all(&at, key.as_str(), names::config_map_key(key));
        if object.map("binaryData").contains_key(key) {
            out.invalid(at, key.as_str(), "duplicate of key present in binaryData");
        }
    }
    keys(object, "binaryData", out);
    let plain: usize = object.map("data").values().map(|value| size_of(value, false)).sum();
    let binary: usize = object.map("binaryData").values().map(|value| size_of(value, true)).sum();
    if plain + binary > MAX {
        // upstream's path without a name
        out.too_long("[]", MAX);
    }
}

/// Once `immutable` is set nothing changes any more, not even that.
fn immutable(new: &Value, old: &Value, _subresource: &str, out: &mut Errors) {
    if !old.yes("immutable") {
        return;
    }
    const WORDS: &str = "field is immutable when `immutable` is set";
    if !new.yes("immutable") {
        out.forbidden("immutable", WORDS);
    }
    for key in ["data", "binaryData"] {
        if new.map(key) != old.map(key) {
            out.forbidden(key, WORDS);
        }
    }
}

/// `stringData` becomes part of `data`, as it does upstream whenever a secret is read in.
fn default_secret(object: &mut Value) {
    object.fill_zero("type", "Opaque");
    let texts = object.map("stringData").clone();
    object.cut("stringData");
    if !texts.is_empty() {
        object.within("data", |data| {
            for (key, text) in texts {
                data.put(&key, STANDARD.encode(text.as_str().unwrap_or("")));
            }
        });
    }
}

fn validate_secret(object: &Value, out: &mut Errors) {
    let path = Path::new("data");
    keys(object, "data", out);
    let data = object.map("data");
    if data.values().map(|value| size_of(value, true)).sum::<usize>() > MAX {
        out.too_long(&path, MAX);
    }
    let require = |out: &mut Errors, names: &[&str]| {
        for name in names {
            if !data.contains_key(*name) {
                out.required(path.key(name), "");
            }
        }
    };
    match object.text("type") {
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if object["metadata"]["annotations"].text(name).is_empty() {
                out.required(Path::new("metadata").child("annotations").key(name), "");
            }
        }
        "kubernetes.io/dockercfg" => docker(object, ".dockercfg", out),
        "kubernetes.io/dockerconfigjson" => docker(object, ".dockerconfigjson", out),
        "kubernetes.io/basic-auth" if !data.contains_key("username") && !data.contains_key("password") => {
            require(out, &["username", "password"]);
        }
        "kubernetes.io/ssh-auth" if size_of(&object["data"]["ssh-privatekey"], true) == 0 => {
            out.required(path.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => require(out, &["tls.crt", "tls.key"]),
        _ => {}
    }
}

fn docker(object: &Value, key: &str, out: &mut Errors) {
    let at = Path::new("data").key(key);
    let Some(text) = object["data"][key].as_str() else {
        out.required(at, "");
        return;
    };
    let parsed = STANDARD.decode(text).ok().map(|bytes| serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes));
    if let Some(Err(error)) = parsed {
        out.invalid(at, "<secret contents redacted>", error.to_string());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn texts(check: impl FnOnce(&mut Errors)) -> Vec<String> {
        let mut out = Errors::default();
        check(&mut out);
        out.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn string_data_wins_over_data() {
        let mut secret = json!({"data": {"a": "AA==", "b": "AA=="}, "stringData": {"a": "v"}});
        default_secret(&mut secret);
        assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "dg==", "b": "AA=="}}));
    }

    #[rstest]
    #[case("kubernetes.io/tls", json!({"tls.crt": "AA=="}), &["data[tls.key]: Required value"])]
    #[case("kubernetes.io/ssh-auth", json!({}), &["data[ssh-privatekey]: Required value"])]
    #[case("kubernetes.io/basic-auth", json!({}), &["data[username]: Required value", "data[password]: Required value"])]
    #[case("kubernetes.io/basic-auth", json!({"password": "AA=="}), &[])]
    #[case("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "e30="}), &[])]
    #[case("Opaque", json!({}), &[])]
    fn types_ask_for_keys(#[case] kind: &str, #[case] data: Value, #[case] expected: &[&str]) {
        assert_eq!(texts(|out| validate_secret(&json!({"type": kind, "data": data}), out)), expected);
    }

    #[test]
    fn immutable_is_for_good() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        assert_eq!(texts(|out| immutable(&old, &old, "", out)), Vec::<String>::new());
        assert_eq!(texts(|out| immutable(&json!({"data": {}}), &old, "", out)).len(), 2);
    }
}

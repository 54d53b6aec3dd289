//! The stored form of an object, and back.
//!
//! Stored: the object's JSON without its first brace, `apiVersion` and `kind`, cut inside `"resourceVersion":""`.
//! With `{"apiVersion":…,"kind":…,` before it and the revision in the cut, it is what GET and WATCH answer; with `{`
//! alone, an item of a LIST.

use bytes::{BufMut, Bytes, BytesMut};
use coracle_api::kinds::{Kind, convert};
use coracle_api::status::Status;
use coracle_store::{Entry, Value as Stored};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::metrics::DECODES;

/// Bytes an object may have when it is stored.
pub const OBJECT_LIMIT: usize = 3 << 19;

/// Key of an object; `namespace` is empty where the kind has none.
pub fn key(kind: &Kind, namespace: &str, name: &str) -> String {
    let mut key = prefix(kind, namespace);
    key.push_str(name);
    key
}

/// What the keys of a kind's objects begin with, in one namespace or (`""`) in all.
pub fn prefix(kind: &Kind, namespace: &str) -> String {
    let group = if kind.storage.0.is_empty() { "core" } else { &kind.storage.0 };
    let mut prefix = format!("/{group}/{}/", kind.plural);
    if kind.namespaced && !namespace.is_empty() {
        prefix.push_str(namespace);
        prefix.push('/');
    }
    prefix
}

/// Namespace (empty where the kind has none) and name in a key.
pub fn names<'a>(kind: &Kind, key: &'a str) -> (&'a str, &'a str) {
    let mut parts = key.rsplitn(3, '/');
    let name = parts.next().unwrap_or_default();
    let namespace = if kind.namespaced { parts.next().unwrap_or_default() } else { "" };
    (namespace, name)
}

fn json_bytes(out: &mut Vec<u8>, value: &impl serde::Serialize) -> Result<(), Status> {
    serde_json::to_writer(out, value).map_err(Status::internal)
}

/// The stored form of an object in its storage version. Its resource version is left out.
pub fn encode(object: &Value) -> Result<Stored, Status> {
    encode_fields(object, false)
}

/// The stored form of a custom resource, which says its own version and kind.
pub fn encode_whole(object: &Value) -> Result<Stored, Status> {
    encode_fields(object, true)
}

fn encode_fields(object: &Value, identity: bool) -> Result<Stored, Status> {
    let empty = Map::new();
    let fields = object.as_object().unwrap_or(&empty);
    let mut out = Vec::with_capacity(1024);
    let mut cut = None;
    for (name, value) in fields {
        if !identity && (name == "apiVersion" || name == "kind") {
            continue;
        }
        if !out.is_empty() {
            out.push(b',');
        }
        json_bytes(&mut out, name)?;
        out.push(b':');
        match value {
            Value::Object(metadata) if name == "metadata" => cut = Some(encode_metadata(&mut out, metadata)?),
            value => json_bytes(&mut out, value)?,
        }
    }
    out.push(b'}');
    if out.len() > OBJECT_LIMIT {
        return Err(Status::too_large(format!("the object is too large: {} bytes, the limit is {OBJECT_LIMIT}", out.len())));
    }
    let cut = cut.ok_or_else(|| Status::internal("an object without metadata cannot be stored"))?;
    // what it grew by is not kept as long as the object is
    out.shrink_to_fit();
    Ok(Stored { bytes: Bytes::from(out), cut })
}

/// Writes metadata and tells where the revision goes.
fn encode_metadata(out: &mut Vec<u8>, metadata: &Map<String, Value>) -> Result<usize, Status> {
    out.push(b'{');
    let mut cut = None;
    let mut separator: &[u8] = b"";
    for (name, value) in metadata {
        if name == "resourceVersion" {
            continue;
        }
        if cut.is_none() && name.as_str() > "resourceVersion" {
            cut = Some(encode_revision(out, separator));
            separator = b",";
        }
        out.extend_from_slice(separator);
        separator = b",";
        json_bytes(out, name)?;
        out.push(b':');
        json_bytes(out, value)?;
    }
    let cut = cut.unwrap_or_else(|| encode_revision(out, separator));
    out.push(b'}');
    Ok(cut)
}

fn encode_revision(out: &mut Vec<u8>, separator: &[u8]) -> usize {
    out.extend_from_slice(separator);
    out.extend_from_slice(b"\"resourceVersion\":\"\"");
    out.len() - 1
}

/// Appends the object without its first brace, revision included.
fn put(out: &mut BytesMut, entry: &Entry) {
    out.put_slice(entry.value.head());
    put_number(out, entry.revision);
    out.put_slice(entry.value.tail());
}

fn put_number(out: &mut BytesMut, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

/// `{"apiVersion":…,"kind":…,` of a kind.
pub(crate) fn opening(kind: &Kind) -> String {
    if kind.custom.is_some() {
        return "{".to_owned();
    }
    format!("{{\"apiVersion\":\"{}\",\"kind\":\"{}\",", kind.api_version(), kind.kind)
}

/// Appends an object as GET and WATCH answer it, in the version of `kind`.
pub(crate) fn put_object(out: &mut BytesMut, kind: &Kind, entry: &Entry) -> Result<(), Status> {
    if kind.is_storage_version() {
        out.put_slice(opening(kind).as_bytes());
        put(out, entry);
        return Ok(());
    }
    let object = decode(kind, entry)?;
    out.put_slice(&serde_json::to_vec(&object).map_err(Status::internal)?);
    Ok(())
}

/// Appends an object as an item of a LIST, in the version of `kind`.
pub(crate) fn put_item(out: &mut BytesMut, kind: &Kind, entry: &Entry) -> Result<(), Status> {
    if kind.is_storage_version() {
        put_stored_item(out, entry);
        return Ok(());
    }
    let mut object = decode(kind, entry)?;
    if let Some(fields) = object.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    out.put_slice(&serde_json::to_vec(&object).map_err(Status::internal)?);
    Ok(())
}

/// Appends an object as an item of a LIST, as it is stored.
pub(crate) fn put_stored_item(out: &mut BytesMut, entry: &Entry) {
    out.reserve(item_size(entry));
    out.put_u8(b'{');
    put(out, entry);
}

/// Bytes that an object takes as an item of a LIST.
pub(crate) fn item_size(entry: &Entry) -> usize {
    let digits = entry.revision.checked_ilog10().unwrap_or(0) as usize + 1;
    1 + entry.value.bytes.len() + digits
}

/// The bytes of an object as GET answers it.
pub(crate) fn object_bytes(kind: &Kind, entry: &Entry) -> Result<Bytes, Status> {
    let mut out = BytesMut::with_capacity(entry.value.bytes.len() + 96);
    put_object(&mut out, kind, entry)?;
    Ok(out.freeze())
}

fn item_bytes(entry: &Entry) -> BytesMut {
    let mut out = BytesMut::new();
    put_stored_item(&mut out, entry);
    out
}

/// The object of an entry in its storage version. Counted.
pub fn decode_stored(kind: &Kind, entry: &Entry) -> Result<Value, Status> {
    DECODES.add(1);
    let mut object: Value = serde_json::from_slice(&item_bytes(entry)).map_err(Status::internal)?;
    object["apiVersion"] = Value::String(kind.storage_kind().api_version());
    object["kind"] = Value::String(kind.kind.to_string());
    Ok(object)
}

/// The object of an entry in the version of `kind`. Counted.
pub fn decode(kind: &Kind, entry: &Entry) -> Result<Value, Status> {
    let mut object = decode_stored(kind, entry)?;
    if !kind.is_storage_version() {
        convert(kind.storage_kind(), kind, &mut object);
    }
    Ok(object)
}

/// An object's labels; the rest of it is only skipped.
pub(crate) fn labels(entry: &Entry) -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow, default)]
        labels: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    }
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        metadata: Metadata<'a>,
    }
    let bytes = item_bytes(entry);
    let object: Result<Object<'_>, _> = serde_json::from_slice(&bytes);
    object.map(|object| object.metadata.labels.into_iter().map(|(k, v)| (k.into_owned(), v.into_owned())).collect()).unwrap_or_default()
}

/// An object's metadata as it is written; the rest of it is only skipped.
pub(crate) fn metadata(entry: &Entry) -> Result<Box<RawValue>, Status> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Box<RawValue>,
    }
    let object: Object = serde_json::from_slice(&item_bytes(entry)).map_err(Status::internal)?;
    Ok(object.metadata)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use coracle_api::kinds;
    use serde_json::json;

    fn entry(object: &Value) -> Entry {
        Entry { key: "/core/configmaps/ns/a".into(), revision: 1207, value: encode(object).unwrap() }
    }

    #[test]
    fn what_is_stored_comes_back_with_its_revision() {
        let kind = kinds::find("", "v1", "configmaps").unwrap();
        for metadata in [json!({}), json!({"name": "a"}), json!({"uid": "u"}), json!({"name": "a", "uid": "u", "resourceVersion": "7"})] {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": "\u{e9}\n"}});
            let entry = entry(&object);
            let mut wanted = object.clone();
            wanted["metadata"]["resourceVersion"] = json!("1207");
            assert_eq!(decode(kind, &entry).unwrap(), wanted);
            let served: Value = serde_json::from_slice(&object_bytes(kind, &entry).unwrap()).unwrap();
            assert_eq!(served, wanted);
            assert_eq!(item_bytes(&entry).len(), item_size(&entry));
        }
    }

    #[test]
    fn labels_are_read_alone() {
        let object = json!({"metadata": {"name": "a", "labels": {"a\"b": "1"}}, "spec": {"labels": {"x": "y"}}});
        assert_eq!(labels(&entry(&object)), BTreeMap::from([("a\"b".to_owned(), "1".to_owned())]));
        assert!(labels(&entry(&json!({"metadata": {}}))).is_empty());
    }

    #[test]
    fn keys() {
        let pods = kinds::find("", "v1", "pods").unwrap();
        let events = kinds::find("events.k8s.io", "v1", "events").unwrap();
        let nodes = kinds::find("", "v1", "nodes").unwrap();
        assert_eq!(key(pods, "a", "p"), "/core/pods/a/p");
        assert_eq!(prefix(pods, ""), "/core/pods/");
        assert_eq!(key(events, "a", "e"), "/core/events/a/e");
        assert_eq!(key(nodes, "", "n"), "/core/nodes/n");
        assert_eq!(names(pods, "/core/pods/a/p"), ("a", "p"));
        assert_eq!(names(nodes, "/core/nodes/n"), ("", "n"));
    }

    #[test]
    fn objects_are_bounded() {
        let object = json!({"metadata": {}, "data": {"x": "y".repeat(OBJECT_LIMIT)}});
        assert_eq!(encode(&object).unwrap_err().code, 413);
    }
}

//! `jumps.yaml` of k9s: where `enter` on an object of a kind leads, selectors being filled from the object.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

/// The file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Jumps {
    pub(super) jumps: HashMap<String, Jump>,
}

/// Where `enter` leads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Jump {
    /// The kind there, as `v1/pods`.
    #[serde(rename = "targetGVR")]
    pub target_gvr: String,
    label_selector: String,
    field_selector: String,
    target_namespace: String,
}

/// A jump from one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// Label selector.
    pub labels: Option<String>,
    /// Field selector.
    pub fields: Option<String>,
    /// A namespace; `None` is all.
    pub namespace: Option<String>,
}

impl Jump {
    /// Where it leads from an object.
    ///
    /// # Errors
    /// What of its templates cannot be filled.
    pub fn from(&self, object: &Value) -> Result<Landing, String> {
        let some = |text: &str| filled(text, object).map(|text| Some(text).filter(|text| !text.is_empty()));
        let own = object.pointer("/metadata/namespace").and_then(Value::as_str).map(str::to_owned);
        let namespace = match some(&self.target_namespace)?.as_deref() {
            Some("all") => None,
            Some(named) => Some(named.to_owned()),
            None => own,
        };
        Ok(Landing { labels: some(&self.label_selector)?, fields: some(&self.field_selector)?, namespace })
    }
}

/// A text with `{{ .field.of.the.object }}` and `{{ index .field "key" }}` filled in.
fn filled(template: &str, object: &Value) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, behind) = after.split_once("}}").ok_or_else(|| format!("{template:?} does not close its braces"))?;
        out.push_str(before);
        out.push_str(&value_of(inside.trim_matches(['-', ' ']), object).ok_or_else(|| format!("{{{{{inside}}}}} is not in the object"))?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

fn value_of(expression: &str, object: &Value) -> Option<String> {
    let field = |path: &str| {
        let parts = path.strip_prefix('.')?.split('.').filter(|part| !part.is_empty());
        parts.into_iter().try_fold(object, |value, part| value.get(part))
    };
    let found = match expression.strip_prefix("index ") {
        Some(arguments) => {
            let mut words = arguments.split_whitespace();
            let value = field(words.next()?)?;
            words.try_fold(value, |value, key| value.get(key.trim_matches('"')))?
        }
        None => field(expression)?,
    };
    Some(crate::source::printer::shown(found))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_are_filled_from_the_object() {
        let object =
            json!({"metadata": {"name": "shop", "namespace": "eu", "labels": {"app.example.com/name": "cart"}}, "spec": {"team": "a"}});
        let jump = |labels: &str, fields: &str, namespace: &str| Jump {
            target_gvr: "v1/pods".into(),
            label_selector: labels.into(),
            field_selector: fields.into(),
            target_namespace: namespace.into(),
        };
        let landing =
            jump("app={{.metadata.name}},of={{ index .metadata.labels \"app.example.com/name\" }}", "", "").from(&object).unwrap();
        assert_eq!(landing, Landing { labels: Some("app=shop,of=cart".into()), fields: None, namespace: Some("eu".into()) });
        let landing = jump("", "metadata.name={{ .spec.team }}", "all").from(&object).unwrap();
        assert_eq!((landing.fields.as_deref(), landing.namespace), (Some("metadata.name=a"), None));
        assert!(jump("a={{.spec.none}}", "", "").from(&object).unwrap_err().contains("not in the object"));
    }
}

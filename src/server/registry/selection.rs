//! Which objects a list or a watch means.

use coracle_api::kinds::{Kind, stored_field};
use coracle_api::rules;
use coracle_api::selector::{FieldSelector, LabelSelector};
use coracle_api::status::Status;
use coracle_store::Entry;
use serde_json::{Value, json};

use crate::codec;
use crate::http::query::Query;

/// Label and field selectors, parsed and known to fit the kind.
pub(crate) struct Selection {
    labels: Option<LabelSelector>,
    fields: Option<FieldSelector>,
    /// Whether the fields asked for are all in the key.
    fields_in_key: bool,
}

impl Selection {
    /// Reads the selectors of a query.
    pub(crate) fn parse(kind: &Kind, query: &Query) -> Result<Self, Status> {
        let labels = query.text("labelSelector").map(LabelSelector::parse).transpose()?.filter(|labels| !labels.is_everything());
        let mut fields = query.text("fieldSelector").map(FieldSelector::parse).transpose()?.filter(|fields| !fields.is_everything());
        let mut fields_in_key = true;
        if let Some(fields) = &mut fields {
            let known = rules::selectable_fields(kind.storage_kind(), &json!({}));
            for term in &mut fields.terms {
                let stored = stored_field(kind, &term.field).filter(|field| known.iter().any(|(name, _)| name == field));
                term.field = stored.ok_or_else(|| unknown_field(&term.field, known.len() > 2))?;
                fields_in_key &= matches!(term.field.as_str(), "metadata.name" | "metadata.namespace");
            }
        }
        Ok(Self { labels, fields, fields_in_key })
    }

    /// Whether every object is meant.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    /// The one name that is meant, if it is one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields.as_ref()?.required("metadata.name")
    }

    /// Whether an object that is nowhere stored is meant.
    pub(crate) fn takes(&self, kind: &Kind, object: &Value) -> bool {
        self.fields.as_ref().is_none_or(|fields| fields.matches_fields(&rules::selectable_fields(kind, object)))
            && self.labels.as_ref().is_none_or(|labels| labels.matches(&object["metadata"]["labels"]))
    }

    /// Whether an object is meant.
    pub(crate) fn matches(&self, kind: &Kind, entry: &Entry) -> Result<bool, Status> {
        if let Some(fields) = &self.fields {
            let (namespace, name) = codec::names(kind, &entry.key);
            let fits = if self.fields_in_key {
                fields.matches(|field| if field == "metadata.name" { name } else { namespace })
            } else {
                let object = codec::decode_stored(kind, entry)?;
                fields.matches_fields(&rules::selectable_fields(kind.storage_kind(), &object))
            };
            if !fits {
                return Ok(false);
            }
        }
        Ok(self.labels.as_ref().is_none_or(|labels| labels.matches(&codec::labels(entry))))
    }
}

fn unknown_field(field: &str, has_own: bool) -> Status {
    Status::bad_request(if has_own {
        format!("field label not supported: {field}")
    } else {
        format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    })
}

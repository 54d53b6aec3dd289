//! `describe`: an object with what belongs to it, in kubectl's words. The texts come from the crate `deskribe`.

use coracle_api::kinds;
use kube::api::{ApiResource, DynamicObject};
use serde_json::Value;

/// Why an object is not described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// Its kind has no description of its own.
    #[error("kind {kind} has no description of its own")]
    Unsupported {
        /// The kind.
        kind: String,
    },
    /// It, or what belongs to it, cannot be read.
    #[error("{message}")]
    Read {
        /// Why.
        message: String,
    },
}

/// Describes an object, which is read again, with its events.
pub async fn describe(client: kube::Client, object: &Value) -> Result<String, DescribeError> {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let unsupported = || DescribeError::Unsupported { kind: kind.clone() };
    let known = kinds::by_kind(group, version, &kind).ok_or_else(unsupported)?;
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.clone(),
        kind: kind.clone(),
        plural: known.plural.to_string(),
    };
    if !deskribe::supports(&resource) {
        return Err(unsupported());
    }
    let selected: DynamicObject =
        serde_json::from_value(object.clone()).map_err(|error| DescribeError::Read { message: error.to_string() })?;
    let (_, text) = deskribe::fetch(client, &resource, &selected).await.map_err(|message| DescribeError::Read { message })?;
    Ok(text)
}

//! Whether the store of a cluster that is down is whole.

use coracle_store::{Entry, verify};
use serde_json::Value;

use crate::directory::DataDirectory;
use crate::doctor::Finding;
use crate::error::ClusterError;

/// Looks at every record of the store, and changes nothing. Nobody may have the data directory.
pub fn doctor_store(directory: &DataDirectory) -> Result<Vec<Finding>, ClusterError> {
    if !directory.path().exists() {
        return Err(ClusterError::NoStore { path: directory.path().to_owned() });
    }
    let _held = directory.hold()?;
    let found = verify(&directory.store(), decodes);
    Ok(found
        .into_iter()
        .map(|check| match check.found {
            Ok(says) => Finding { subject: check.subject, works: true, says },
            Err(error) => Finding { subject: check.subject, works: false, says: chain(&error) },
        })
        .collect())
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What is stored is the object that clients read, without its first brace and its revision.
fn decodes(entry: &Entry) -> Result<(), String> {
    let (revision, value) = (entry.revision.to_string(), &entry.value);
    let text = [b"{", value.head(), revision.as_bytes(), value.tail()].concat();
    let object: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    match object["metadata"]["resourceVersion"].as_str() {
        Some(found) if found == revision => Ok(()),
        found => Err(format!("the object is of revision {}, the record of {revision}", found.unwrap_or("none"))),
    }
}

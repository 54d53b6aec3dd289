//! Why a verb fails, in kubectl's words.

use crate::fault::Fault;

/// Why a verb fails.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    /// What the server refused.
    #[error("{}", refused(.0))]
    Refused(Box<kube::core::Status>),
    /// There is no way to the server.
    #[error("Unable to connect to the server: {0}")]
    Unreachable(String),
    /// What was asked for cannot be done.
    #[error("error: {0}")]
    Wrong(String),
    /// A program in a container ended with this code.
    #[error("command terminated with exit code {0}")]
    Ended(u8),
    /// It has been said already what failed.
    #[error("")]
    Said(u8),
}

impl VerbError {
    /// What cannot be done.
    pub fn wrong(message: impl Into<String>) -> Self {
        Self::Wrong(message.into())
    }

    /// The exit status that goes with it.
    pub fn code(&self) -> u8 {
        match self {
            Self::Ended(code) | Self::Said(code) => *code,
            _ => 1,
        }
    }

    /// The server has no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code == 404)
    }
}

impl From<kube::Error> for VerbError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            other => {
                let fault = Fault::from(other);
                if fault.is_connection() { Self::Unreachable(fault.message) } else { Self::Wrong(fault.message) }
            }
        }
    }
}

fn refused(status: &kube::core::Status) -> String {
    let details = status.details.as_ref();
    let causes: Vec<String> =
        details.iter().flat_map(|details| &details.causes).map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    if let Some(details) = details.filter(|details| status.reason == "Invalid" && !details.name.is_empty()) {
        let causes = match causes.as_slice() {
            [one] => one.clone(),
            all => all.iter().map(|cause| format!("\n* {cause}")).collect(),
        };
        return format!("The {} {:?} is invalid: {causes}", details.kind, details.name);
    }
    match status.reason.as_str() {
        "" => format!("Error from server: {}", status.message),
        reason => format!("Error from server ({reason}): {}", status.message),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn the_servers_words_are_kubectls() {
        let said = |status: serde_json::Value| refused(&serde_json::from_value(status).unwrap());
        let missing = json!({"status": "Failure", "code": 404, "reason": "NotFound", "message": "pods \"a\" not found"});
        assert_eq!(said(missing), "Error from server (NotFound): pods \"a\" not found");
        let cause = |field: &str| json!({"reason": "FieldValueInvalid", "message": "Invalid value: 1: no", "field": field});
        let invalid = |causes: Vec<serde_json::Value>| json!({"status": "Failure", "code": 422, "reason": "Invalid", "message": "x", "details": {"name": "a", "kind": "Pod", "causes": causes}});
        assert_eq!(said(invalid(vec![cause("spec.a")])), "The Pod \"a\" is invalid: spec.a: Invalid value: 1: no");
        let two = "The Pod \"a\" is invalid: \n* a: Invalid value: 1: no\n* b: Invalid value: 1: no";
        assert_eq!(said(invalid(vec![cause("a"), cause("b")])), two);
    }
}

//! What went wrong with a request, in words a person can act on.

use std::error::Error as StdError;

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing listens there, or the way there is closed.
    Unreachable,
    /// It does not answer.
    Silent,
    /// TLS was refused.
    Certificate,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 409.
    Conflict,
    /// 422 or 400.
    Invalid,
    /// 410: the revision asked for is no longer kept.
    Gone,
    /// Anything else.
    Other,
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What sort of failure.
    pub kind: FaultKind,
    /// In words.
    pub message: String,
    /// Fields the server complained about, and why.
    pub causes: Vec<(String, String)>,
}

impl Fault {
    /// A failure of this sort.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new() }
    }

    /// No answer within `seconds`.
    pub fn silent(seconds: u64) -> Self {
        Self::new(FaultKind::Silent, format!("no answer for {seconds} s"))
    }

    /// The connection is the trouble, not the request.
    pub fn is_connection(&self) -> bool {
        matches!(self.kind, FaultKind::Unreachable | FaultKind::Silent | FaultKind::Certificate)
    }

    /// From a `Status` as it comes in a watch.
    pub fn from_status(status: &serde_json::Value) -> Self {
        match serde_json::from_value::<kube::core::Status>(status.clone()) {
            Ok(status) => Self::from(kube::Error::Api(status.boxed())),
            Err(_) => Self::new(FaultKind::Other, "the server sent an error that cannot be read"),
        }
    }
}

impl From<kube::Error> for Fault {
    fn from(error: kube::Error) -> Self {
        if let kube::Error::Api(status) = &error {
            let kind = match status.code {
                401 => FaultKind::Unauthorized,
                403 => FaultKind::Forbidden,
                404 => FaultKind::NotFound,
                409 => FaultKind::Conflict,
                410 => FaultKind::Gone,
                400 | 422 => FaultKind::Invalid,
                _ => FaultKind::Other,
            };
            let causes =
                status.details.iter().flat_map(|details| &details.causes).map(|cause| (cause.field.clone(), cause.message.clone()));
            let message = if status.message.is_empty() { format!("{} ({})", status.reason, status.code) } else { status.message.clone() };
            return Self { kind, message, causes: causes.collect() };
        }
        let causes = chain(&error);
        let all = causes.join(": ");
        let last = causes.last().cloned().unwrap_or_default();
        let lower = all.to_lowercase();
        if lower.contains("unsupportedcertversion") {
            let way_on = "the client certificate is X.509 v1, which rustls refuses: issue a v3 certificate, use a token, or go through `kubectl proxy`";
            return Self::new(FaultKind::Certificate, way_on);
        }
        let kind = match lower.as_str() {
            text if text.contains("certificate") || text.contains("tls") => FaultKind::Certificate,
            text if text.contains("timed out") || text.contains("timeout") || text.contains("deadline") => FaultKind::Silent,
            text if ["connect", "refused", "reset", "broken pipe", "unreachable", "dns", "closed", "eof"]
                .iter()
                .any(|word| text.contains(word)) =>
            {
                FaultKind::Unreachable
            }
            _ => FaultKind::Other,
        };
        Self::new(kind, last.split(" (os error").next().unwrap_or_default().to_lowercase())
    }
}

/// The messages of an error and of what caused it, without repetitions.
fn chain(error: &dyn StdError) -> Vec<String> {
    let mut messages = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        messages.push(cause.to_string());
        next = cause.source();
    }
    messages.dedup();
    messages
}

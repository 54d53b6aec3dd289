//! Deletes requests that have had their time: an hour after they were decided, a day when nobody cared, and when the
//! certificate is over.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequestCondition;
use kube::Api;
use kube::api::DeleteParams;
use x509_parser::pem::parse_x509_pem;

use super::{ACCOUNT, Request, conditions, each, is_issued};
use crate::Context;
use crate::wiring::{Outcome, Run, name_of, unless_gone};

const DECIDED: Duration = Duration::from_secs(60 * 60);
const PENDING: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) async fn run(context: Context) -> Run {
    let (client, clock) = (context.client(ACCOUNT), context.clock.clone());
    each(&context, move |request| reconcile(client.clone(), clock.clone(), request)).await
}

/// When a request has had its time.
fn ends(request: &Request) -> Option<Timestamp> {
    let since = |kind: &str| {
        let moment = |condition: &CertificateSigningRequestCondition| condition.last_update_time.as_ref().map(|time| time.0);
        conditions(request).iter().find(|condition| condition.type_ == kind).and_then(moment)
    };
    let created = request.metadata.creation_timestamp.as_ref().map(|time| time.0)?;
    let decided = ["Approved", "Denied", "Failed"].iter().filter_map(|kind| since(kind)).map(|time| time + DECIDED);
    let pending = conditions(request).is_empty().then(|| created + PENDING);
    // What is approved but not signed may be signed yet by who is slow.
    let counts = !conditions(request).iter().any(|condition| condition.type_ == "Approved") || is_issued(request);
    decided.filter(|_| counts).chain(pending).chain(expires(request)).min()
}

fn expires(request: &Request) -> Option<Timestamp> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    let (_, pem) = parse_x509_pem(&certificate.0).ok()?;
    Timestamp::from_second(pem.parse_x509().ok()?.validity().not_after.timestamp()).ok()
}

async fn reconcile(client: kube::Client, clock: Arc<dyn Clock>, request: Arc<Request>) -> Outcome {
    let Some(ends) = ends(&request) else { return Ok(None) };
    let left = ends.duration_since(clock.now());
    if let Ok(left) = Duration::try_from(left)
        && !left.is_zero()
    {
        return Ok(Some(left));
    }
    unless_gone(Api::<Request>::all(client).delete(name_of(&*request), &DeleteParams::default()).await).map(|()| None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(json!([]), None, Some("2026-01-02T00:00:00Z"))]
    #[case(json!([{"type": "Denied", "status": "True", "lastUpdateTime": "2026-01-01T02:00:00Z"}]), None, Some("2026-01-01T03:00:00Z"))]
    #[case(json!([{"type": "Approved", "status": "True", "lastUpdateTime": "2026-01-01T02:00:00Z"}]), None, None)]
    #[case(json!([{"type": "Approved", "status": "True", "lastUpdateTime": "2026-01-01T02:00:00Z"}]), Some("YQ=="), Some("2026-01-01T03:00:00Z"))]
    fn when_a_request_goes(#[case] conditions: Value, #[case] certificate: Option<&str>, #[case] wanted: Option<&str>) {
        let request = json!({"metadata": {"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"request": "", "signerName": "a.b/c"}, "status": {"conditions": conditions, "certificate": certificate}});
        let request: Request = serde_json::from_value(request).unwrap();
        assert_eq!(ends(&request).map(|at| at.to_string()).as_deref(), wanted);
    }
}

//! Certificate signing requests of the signers that a cluster itself has: nodes' are approved, the approved are signed, the
//! old go.

mod approving;
mod cleaning;
mod signing;
mod subject;

use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

use crate::wiring::{Key, Run};

pub(crate) use approving::run as approve;
pub(crate) use cleaning::run as clean;
pub(crate) use signing::run as sign;

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const NODE_SERVING: &str = "kubernetes.io/kubelet-serving";
const LEGACY: &str = "kubernetes.io/legacy-unknown";
/// Upstream's controllers of requests share an account.
const ACCOUNT: &str = "certificate-controller";

type Request = CertificateSigningRequest;

fn conditions(request: &Request) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn is(request: &Request, kind: &str) -> bool {
    conditions(request).iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

fn is_issued(request: &Request) -> bool {
    request.status.as_ref().and_then(|status| status.certificate.as_ref()).is_some_and(|certificate| !certificate.0.is_empty())
}

fn with_condition(request: &Request, kind: &str, reason: &str, message: &str) -> Request {
    let mut request = request.clone();
    let condition = CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        ..CertificateSigningRequestCondition::default()
    };
    request.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
    request
}

/// Follows all requests, and works on each when it changes.
async fn each<F, Fut>(context: &crate::Context, reconcile: F) -> Run
where
    F: Fn(std::sync::Arc<Request>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = crate::wiring::Outcome> + Send + 'static,
{
    let requests: coracle_client::Informer<Request> = context.informers.of();
    requests.synced().await;
    let queue = coracle_client::Queue::new();
    let followed = crate::wiring::follow_latest(requests.clone(), |request| queue.add(Key::of(request.as_ref())));
    let workers = crate::wiring::work(queue.clone(), 1, move |key: Key| {
        let (request, reconcile) = (requests.get("", &key.name), reconcile.clone());
        async move {
            match request {
                Some(request) => reconcile(request).await,
                None => Ok(None),
            }
        }
    });
    tokio::join!(followed, workers).1
}

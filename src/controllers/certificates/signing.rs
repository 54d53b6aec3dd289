//! Signs what is approved.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::seams::CertificateSigner;
use k8s_openapi::ByteString;
use kube::Api;
use kube::api::PostParams;

use super::subject::Subject;
use super::{ACCOUNT, CLIENT, LEGACY, NODE_CLIENT, NODE_SERVING, Request, each, is, is_issued, with_condition};
use crate::Context;
use crate::wiring::{Outcome, Run, name_of};

/// How long a certificate lasts that does not ask for less.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(crate) async fn run(context: Context) -> Run {
    let (client, signer) = (context.client(ACCOUNT), context.signer.clone());
    each(&context, move |request| reconcile(client.clone(), signer.clone(), request)).await
}

fn waits(request: &Request) -> bool {
    let ours = matches!(request.spec.signer_name.as_str(), CLIENT | NODE_CLIENT | NODE_SERVING | LEGACY);
    ours && is(request, "Approved") && !is(request, "Denied") && !is(request, "Failed") && !is_issued(request)
}

async fn reconcile(client: kube::Client, signer: Option<Arc<dyn CertificateSigner>>, request: Arc<Request>) -> Outcome {
    let Some(signer) = signer.filter(|_| waits(&request)) else { return Ok(None) };
    let spec = &request.spec;
    let refusal = match Subject::parse(&spec.request.0) {
        Some(subject) => subject.refusal(&spec.signer_name, spec).map(str::to_owned),
        None => Some("unable to parse the request".to_owned()),
    };
    let usages = spec.usages.clone().unwrap_or_default();
    let asked = spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let lasts = asked.unwrap_or(LONGEST).min(LONGEST);
    let signed = match refusal {
        Some(why) => Err(why),
        None => signer.sign(&String::from_utf8_lossy(&spec.request.0), &usages, lasts),
    };
    let written = match signed {
        Ok(certificate) => {
            let mut request = (*request).clone();
            request.status.get_or_insert_default().certificate = Some(ByteString(certificate.into_bytes()));
            request
        }
        Err(why) => with_condition(&request, "Failed", "SignerValidationFailure", &why),
    };
    Api::<Request>::all(client).replace_subresource("status", name_of(&*request), &PostParams::default(), &written).await?;
    Ok(None)
}

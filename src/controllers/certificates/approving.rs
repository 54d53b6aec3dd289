//! Approves the client certificates of nodes, where RBAC says that whoever asks may have them.

use std::sync::Arc;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

use super::subject::Subject;
use super::{ACCOUNT, NODE_CLIENT, Request, each, is, is_issued, with_condition};
use crate::Context;
use crate::wiring::{Outcome, Run, name_of};

pub(crate) async fn run(context: Context) -> Run {
    let client = context.client(ACCOUNT);
    each(&context, move |request| reconcile(client.clone(), request)).await
}

/// The permissions of which one lets a request pass, with the words for it; none where nobody may be asked.
fn permissions(request: &Request) -> Vec<(&'static str, &'static str)> {
    let spec = &request.spec;
    if spec.signer_name != NODE_CLIENT || is_issued(request) || is(request, "Approved") || is(request, "Denied") {
        return Vec::new();
    }
    let Some(subject) = Subject::parse(&spec.request.0).filter(|subject| subject.refusal(NODE_CLIENT, spec).is_none()) else {
        return Vec::new();
    };
    let node = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");
    if spec.username.as_deref() == Some(&subject.user) {
        return vec![("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."), node];
    }
    vec![node]
}

async fn reconcile(client: kube::Client, request: Arc<Request>) -> Outcome {
    for (subresource, message) in permissions(&request) {
        if !may(&client, &request, subresource).await? {
            continue;
        }
        let approved = with_condition(&request, "Approved", "AutoApproved", message);
        let api: Api<Request> = Api::all(client);
        api.replace_subresource("approval", name_of(&*request), &PostParams::default(), &approved).await?;
        return Ok(None);
    }
    Ok(None)
}

async fn may(client: &kube::Client, request: &Request, subresource: &str) -> Result<bool, kube::Error> {
    let spec = &request.spec;
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: spec.username.clone(),
            uid: spec.uid.clone(),
            groups: spec.groups.clone(),
            extra: spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".to_owned()),
                version: Some("*".to_owned()),
                resource: Some("certificatesigningrequests".to_owned()),
                verb: Some("create".to_owned()),
                subresource: Some(subresource.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let answered = Api::<SubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answered.status.is_some_and(|status| status.allowed))
}

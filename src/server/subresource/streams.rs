//! `pods/exec`, `pods/attach`, `pods/portforward`: finds the pod and hands over to `streams`.

use coracle_api::status::Status;
use http::Response;
use hyper::upgrade::OnUpgrade;

use super::log::{container, pod_ref};
use crate::http::body::Body;
use crate::registry::Call;
use crate::streams::{self, StreamCall};
use crate::{codec, gate};

/// Answers a request for a stream.
pub(super) async fn answer(call: &mut Call) -> Result<Response<Body>, Status> {
    let pod = codec::decode(&call.kind, &*call.find().await?)?;
    gate::connect(call).await?;
    let to_port = call.info.subresource == "portforward";
    let wanted = call.query.get("container").unwrap_or_default();
    let container = if to_port { String::new() } else { container(&pod, &call.info.name, wanted)? };
    let target = pod_ref(&pod);
    if target.node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", target.name)));
    }
    let upgrade = call.parts.extensions.remove::<OnUpgrade>();
    streams::handle(StreamCall {
        subresource: call.info.subresource.clone(),
        headers: call.parts.headers.clone(),
        query: call.query.clone(),
        upgrade,
        pod: target,
        container,
        dialer: call.server.0.dialer.clone(),
        stop: call.server.stopping(),
    })
    .await
}

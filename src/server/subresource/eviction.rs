//! `pods/eviction`: a delete that asks first.

use coracle_api::status::Status;
use http::Response;

use crate::answer;
use crate::http::body::Body;
use crate::options::{DeleteOptions, WriteOptions};
use crate::registry::{Call, body, delete};

/// Answers a POST of an Eviction.
pub(super) async fn answer(call: &mut Call) -> Result<Response<Body>, Status> {
    let writing = WriteOptions::parse("CreateOptions", &call.query, &call.agent())?;
    let mut eviction = body::own_kind(call, "policy/v1", "Eviction", "io.k8s.api.policy.v1.Eviction", &writing)?;
    let name = body::text(&eviction, "name");
    if !name.is_empty() && name != call.info.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    body::place(call, &mut eviction)?;
    let mut options = DeleteOptions::parse(&call.query, &eviction["deleteOptions"])?;
    options.dry_run |= writing.dry_run;
    delete::delete(call, &options).await?;
    Ok(answer::object(201, &super::created(), call.accepted()?.encoding))
}

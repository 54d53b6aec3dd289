//! One object.

use coracle_api::status::Status;
use http::Response;

use super::{Call, Shown, too_large_revision};
use crate::http::body::Body;
use crate::options::parse_revision;

/// Answers a GET. What is stored now is never older than any revision a client can have seen.
pub(crate) async fn answer(call: &Call) -> Result<Response<Body>, Status> {
    if let Some(wanted) = call.query.text("resourceVersion").map(parse_revision).transpose()? {
        let latest = call.server.0.store.revision();
        if wanted > latest {
            return Err(too_large_revision(wanted, latest));
        }
    }
    call.show(200, &Shown::Entry(call.find().await?))
}

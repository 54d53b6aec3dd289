//! Where the host's own routes lead.

use crate::error::NetworkError;
use crate::lab::host_links;
use crate::ranges::Cidr;

/// The ranges that routes of this host lead to; default routes and those that only guard a range are left out.
pub async fn host_routes() -> Result<Vec<Cidr>, NetworkError> {
    let routes = host_links()?.routes().await?;
    Ok(routes.into_iter().filter(|(_, link)| link.is_some()).map(|(range, _)| range).collect())
}

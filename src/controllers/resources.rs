//! What kinds the server has, by discovery.

use kube::discovery::{ApiCapabilities, ApiResource, Discovery, Scope};

/// A kind that can be listed and deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub resource: ApiResource,
    pub namespaced: bool,
    pub watchable: bool,
    pub collection: bool,
}

impl Listed {
    /// `plural.group`, or `plural` in the core group.
    pub(crate) fn qualified(&self) -> String {
        match self.resource.group.as_str() {
            "" => self.resource.plural.clone(),
            group => format!("{}.{group}", self.resource.plural),
        }
    }
}

/// Every kind that can be listed and deleted, in the preferred version of its group, sorted by group and name.
pub(crate) async fn deletable(client: &kube::Client) -> Result<Vec<Listed>, kube::Error> {
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        // A server without aggregated discovery.
        Err(kube::Error::Api(_) | kube::Error::SerdeError(_)) => Discovery::new(client.clone()).run().await?,
        Err(error) => return Err(error),
    };
    let resources = discovery.groups().flat_map(|group| group.recommended_resources());
    let mut all: Vec<Listed> = resources.filter_map(|(resource, capabilities)| listed(resource, &capabilities)).collect();
    all.sort_by(|a, b| (&a.resource.group, &a.resource.plural).cmp(&(&b.resource.group, &b.resource.plural)));
    Ok(all)
}

fn listed(resource: ApiResource, capabilities: &ApiCapabilities) -> Option<Listed> {
    let can = |verb: &str| capabilities.supports_operation(verb);
    (can("list") && can("delete")).then(|| Listed {
        namespaced: capabilities.scope == Scope::Namespaced,
        watchable: can("watch"),
        collection: can("deletecollection"),
        resource,
    })
}

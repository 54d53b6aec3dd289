//! Whose the data directory is, and what is decided at a cluster's first start.

use coracle_network::Ranges;

use crate::choice::{RuntimeKind, decide};
use crate::cluster::ClusterConfig;
use crate::directory::{Held, Identity as ClusterIdentity};
use crate::error::ClusterError;

/// Takes the data directory and finds, or decides, what the cluster is.
pub(crate) async fn claim(config: &ClusterConfig) -> Result<(Held, ClusterIdentity), ClusterError> {
    let held = config.directory.hold()?;
    let recorded = config.directory.identity();
    let runtime = decide(config.runtime, recorded.as_ref())?;
    let identity = match recorded {
        Some(identity) => identity,
        None => {
            let ranges = match config.ranges {
                Some(asked) => asked,
                // nothing of it is ever on the host's network
                None if runtime == RuntimeKind::Simulated => Ranges::for_nodes(config.nodes),
                None => Ranges::beside(&coracle_network::host_routes().await?, config.nodes),
            };
            let identity = ClusterIdentity {
                id: format!("{:08x}", rand::random::<u32>()),
                runtime,
                pod_cidr: ranges.pods.to_string(),
                service_cidr: ranges.services.to_string(),
            };
            config.directory.record(&identity)?;
            identity
        }
    };
    Ok((held, identity))
}

pub(crate) fn ranges_of(identity: &ClusterIdentity) -> Result<Ranges, ClusterError> {
    Ok(Ranges { pods: identity.pod_cidr.parse()?, services: identity.service_cidr.parse()? })
}

/// The host's name for a single node; `node-1`, `node-2`, … for several.
pub(crate) fn node_names(count: usize) -> Vec<String> {
    match count {
        0 | 1 => vec![host_name()],
        count => (1..=count).map(|number| format!("node-{number}")).collect(),
    }
}

/// The host's name as a node's: lower case, what a name may not have replaced by dashes.
fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(legal).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "node-1".to_owned() } else { name.to_owned() }
}

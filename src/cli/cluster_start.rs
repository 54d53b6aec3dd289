//! What `up` and the UI share when they start a cluster.

use std::path::PathBuf;
use std::time::Duration;

use coracle_cluster::{Cluster, ClusterConfig, DataDirectory, Ranges, Steps};

use super::arguments::{Global, Start};
use super::failure::Failure;
use super::{home, kubeconfig};

/// The configuration that the arguments ask for.
pub(crate) fn configuration(global: &Global, start: &Start) -> Result<ClusterConfig, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::new("this program's own file cannot be found", error))?;
    let ranges = (start.pod_cidr.is_some() || start.service_cidr.is_some()).then(|| {
        let default = Ranges::default();
        Ranges { pods: start.pod_cidr.unwrap_or(default.pods), services: start.service_cidr.unwrap_or(default.services) }
    });
    Ok(ClusterConfig {
        directory: home::data_directory(global)?,
        listen: start.listen,
        runtime: start.runtime,
        nodes: usize::from(start.nodes),
        ranges,
        longest_restart_delay: Duration::from_secs(start.max_container_restart_period.into()),
        program,
    })
}

/// Starts the cluster and tells the user's kubeconfig of it; returns the file that names it.
pub(crate) async fn start(global: &Global, config: ClusterConfig, steps: &Steps) -> Result<(Cluster, PathBuf), Failure> {
    let cluster = Cluster::start(config, steps).await?;
    let file = announce(global, cluster.directory())?;
    Ok((cluster, file))
}

/// Writes the context where the user's tools find it: the file named by `--kubeconfig`, else `~/.kube/config`.
fn announce(global: &Global, directory: &DataDirectory) -> Result<PathBuf, Failure> {
    let Some(file) = global.kubeconfig.clone().or_else(home::user_kubeconfig) else { return Ok(directory.kubeconfig()) };
    kubeconfig::merge(&directory.kubeconfig(), &file)?;
    Ok(file)
}

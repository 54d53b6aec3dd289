//! What `up` and the UI share when they start a cluster.

use std::path::PathBuf;
use std::time::Duration;

use coracle_cluster::{Autoscaling, Cluster, ClusterConfig, DataDirectory, Lifecycle, NodeLifecycle, Ranges, Steps, TolerationSeconds};

use super::arguments::{self, Global, Start};
use super::failure::Failure;
use super::{home, kubeconfig, rootless};

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
        lifecycle: lifecycle(&start.lifecycle),
        autoscaling: Autoscaling {
            sync_period: start.autoscaling.horizontal_pod_autoscaler_sync_period,
            downscale_stabilization: start.autoscaling.horizontal_pod_autoscaler_downscale_stabilization,
            cpu_initialization_period: start.autoscaling.horizontal_pod_autoscaler_cpu_initialization_period,
            ..Autoscaling::default()
        },
    })
}

fn lifecycle(arguments: &arguments::Lifecycle) -> Lifecycle {
    Lifecycle {
        watched: NodeLifecycle {
            node_monitor_period: arguments.node_monitor_period,
            node_monitor_grace_period: arguments.node_monitor_grace_period,
            node_eviction_rate: arguments.node_eviction_rate,
            ..NodeLifecycle::default()
        },
        tolerations: TolerationSeconds {
            not_ready: arguments.default_not_ready_toleration_seconds,
            unreachable: arguments.default_unreachable_toleration_seconds,
        },
        lease_duration: Duration::from_secs(arguments.node_lease_duration_seconds.into()),
    }
}

/// Starts the cluster and tells the user's kubeconfig of it; returns the file that names it.
pub(crate) async fn start(global: &Global, start: &Start, config: ClusterConfig, steps: &Steps) -> Result<(Cluster, PathBuf), Failure> {
    let directory = config.directory.clone();
    let mut cluster = Cluster::start(config, steps).await.inspect_err(|_| rootless::leave(&directory))?;
    if start.restart_on_image {
        cluster.restart_on_image();
    }
    let file = announce(global, cluster.directory())?;
    Ok((cluster, file))
}

/// Writes the context where the user's tools find it: the file named by `--kubeconfig`, else `~/.kube/config`.
fn announce(global: &Global, directory: &DataDirectory) -> Result<PathBuf, Failure> {
    let Some(file) = global.kubeconfig.clone().or_else(home::user_kubeconfig) else { return Ok(directory.kubeconfig()) };
    kubeconfig::merge(&directory.kubeconfig(), &file)?;
    Ok(file)
}

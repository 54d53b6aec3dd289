//! What a cluster leaves outside of its data when its process ends without a stop: pods, what is mounted for them, their
//! control groups and their network.

use std::fs;
use std::time::Duration;

use coracle_network::Lab;
use coracle_node::rootless::is_rootless;
use coracle_node::runtime::Runtime;
use coracle_node::runtime::native::{Native, NativeConfig, remove_control_groups};
use futures::future::join_all;

use crate::choice::RuntimeKind;
use crate::claim::ranges_of;
use crate::cluster::{lab_config, remove_containers};
use crate::directory::{DataDirectory, Identity};
use crate::error::ClusterError;
use crate::nodes::control_group;

/// How long a container has after it is told to end.
const GRACE: Duration = Duration::from_secs(10);

/// Ends and removes it; `false` if there is nothing. Nobody may run the cluster. What is data stays, and the next start makes
/// its pods anew, as after a stop.
pub async fn remove_leftovers(directory: &DataDirectory) -> Result<bool, ClusterError> {
    let Some(identity) = directory.identity().filter(|identity| identity.runtime != RuntimeKind::Simulated) else { return Ok(false) };
    if is_rootless() {
        crate::rootless::dissolve(directory);
        let run = directory.run();
        return match fs::remove_dir_all(&run) {
            Err(source) if run.exists() => Err(ClusterError::File { path: run, what: "delete", source }),
            _ => Ok(true),
        };
    }
    let network = lab_config(directory, &identity, ranges_of(&identity)?, &[]);
    let left = network.run_directory.exists();
    if identity.runtime == RuntimeKind::Docker {
        remove_containers(&identity).await?;
    }
    if !left {
        return Ok(false);
    }
    let _held = directory.hold()?;
    for node in fs::read_dir(directory.node("")).into_iter().flatten().flatten() {
        end_pods(directory, &identity, &node.file_name().to_string_lossy()).await?;
    }
    let unmounted = coracle_node::unmount_all_below(&directory.node(""));
    unmounted.map_err(|source| ClusterError::File { path: directory.path().to_owned(), what: "unmount what is below", source })?;
    Lab::clear(&network).await?;
    Ok(true)
}

/// Ends what runs on a node, as a stop of the cluster does.
async fn end_pods(directory: &DataDirectory, identity: &Identity, node: &str) -> Result<(), ClusterError> {
    let cgroup_root = control_group(identity, node);
    if identity.runtime == RuntimeKind::Native {
        // nothing is started, so no program is needed
        let config = NativeConfig {
            data_dir: directory.node(node).join("runtime"),
            cgroup_root: cgroup_root.clone(),
            shim: Vec::new(),
            demo: Vec::new(),
        };
        let runtime = Native::open(config).await.map_err(ClusterError::Runtime)?;
        let containers = runtime.containers().await.map_err(ClusterError::Runtime)?;
        for ended in join_all(containers.iter().map(|container| runtime.stop_container(&container.id, None, GRACE))).await {
            ended.map_err(ClusterError::Runtime)?;
        }
        for sandbox in runtime.sandboxes().await.map_err(ClusterError::Runtime)? {
            runtime.stop_sandbox(&sandbox.id).await.map_err(ClusterError::Runtime)?;
        }
    }
    remove_control_groups(&cgroup_root);
    Ok(())
}

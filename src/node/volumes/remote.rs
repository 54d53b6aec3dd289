//! Volumes of other machines: shares that `mount` can mount, and disks that somebody else would have to bring.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use k8s_openapi::api::core::v1::{NFSVolumeSource, PersistentVolumeSpec, Volume};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;

use super::mounts;
use crate::agent::Agent;

/// Whether a volume is a disk that is attached to the node by its driver.
pub(super) fn is_attached(volume: &Volume) -> bool {
    volume.gce_persistent_disk.is_some()
        || volume.aws_elastic_block_store.is_some()
        || volume.azure_disk.is_some()
        || volume.cinder.is_some()
        || volume.vsphere_volume.is_some()
}

/// Whether a persistent volume is such a disk.
pub(super) fn is_attached_persistent(spec: &PersistentVolumeSpec) -> bool {
    spec.csi.is_some()
        || spec.gce_persistent_disk.is_some()
        || spec.aws_elastic_block_store.is_some()
        || spec.azure_disk.is_some()
        || spec.cinder.is_some()
        || spec.vsphere_volume.is_some()
}

/// Mounts a share at `target`, unless it is mounted there. A node that stops does not wait for a server that is silent.
pub(super) async fn nfs(agent: &Agent, target: PathBuf, share: &NFSVolumeSource, options: &[String]) -> Result<(), String> {
    let read_only = share.read_only.unwrap_or(false).then(|| "ro".to_owned());
    let options: Vec<String> = options.iter().cloned().chain(read_only).collect();
    let mut arguments = vec!["-t".to_owned(), "nfs".to_owned()];
    if !options.is_empty() {
        arguments.extend(["-o".to_owned(), options.join(",")]);
    }
    arguments.extend([format!("{}:{}", share.server, share.path), target.display().to_string()]);
    let stop = agent.stop.clone();
    let mounting = async move { run(&target, &arguments, stop.cancelled()).await.map_err(|error| error.to_string()) };
    agent.see_through(mounting).await?
}

async fn run(target: &Path, arguments: &[String], stop: impl Future<Output = ()>) -> std::io::Result<()> {
    if mounts::is_mount_point(target)? {
        return Ok(());
    }
    std::fs::create_dir_all(target)?;
    let mut command = Command::new("mount");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let ran = match command.spawn() {
        Ok(child) => {
            let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
            let ended = child.wait_with_output();
            tokio::pin!(ended);
            tokio::select! {
                ran = &mut ended => ran,
                () = stop => {
                    // with the helper that it started
                    let _ = group.map(|group| killpg(group, Signal::SIGKILL));
                    ended.await
                }
            }
        }
        Err(error) => Err(error),
    };
    let (why, output) = match ran {
        Ok(ran) if ran.status.success() => return Ok(()),
        Ok(ran) => {
            let code = ran.status.code().map_or_else(|| ran.status.to_string(), |code| format!("exit status {code}"));
            (code, [ran.stdout, ran.stderr].concat())
        }
        Err(error) => (format!("exec: \"mount\": {error}"), Vec::new()),
    };
    let _ = std::fs::remove_dir(target);
    let (arguments, output) = (arguments.join(" "), String::from_utf8_lossy(&output).into_owned());
    Err(std::io::Error::other(format!("mount failed: {why}\nMounting command: mount\nMounting arguments: {arguments}\nOutput: {output}")))
}

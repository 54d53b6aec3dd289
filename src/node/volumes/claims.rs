//! Volumes that a pod uses through claims: directories of this machine.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{HostPathVolumeSource, PersistentVolume, Pod, Volume};

use super::{Failure, disk, host_path, ownership, remote};
use crate::agent::Agent;
use crate::pod::{namespace, uid};

/// Where a claim's volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(super) path: PathBuf,
    pub(super) read_only: bool,
}

/// Name of the claim that a volume uses; a volume made for the pod alone has a claim named after both.
pub(crate) fn name(pod: &Pod, volume: &Volume) -> Option<String> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some(source.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", crate::pod::name(pod), volume.name)),
        (None, None) => None,
    }
}

/// Finds the volume behind a claim and makes it ready.
pub(super) async fn set_up(agent: &Agent, pod: &Pod, volume: &Volume) -> Result<Claimed, Failure> {
    let persistent = bound(agent, pod, volume).await.map_err(|why| {
        let (name, space) = (name(pod, volume).unwrap_or_default(), namespace(pod));
        let v = &volume.name;
        Failure(format!(
            "Unable to attach or mount volumes: unmounted volumes=[{v}], unattached volumes=[], failed to process volumes=[{v}]: \
             error processing PVC {space}/{name}: {why}"
        ))
    })?;
    let own = volume.persistent_volume_claim.as_ref().is_some_and(|source| source.read_only == Some(true));
    let spec = persistent.spec.clone().unwrap_or_default();
    let title = persistent.metadata.name.clone().unwrap_or_default();
    if let Some(host) = spec.host_path {
        let path = PathBuf::from(&host.path);
        let source = HostPathVolumeSource { path: host.path, type_: host.type_ };
        disk::blocking(&agent.tasks, move || host_path::check(&source)).await.map_err(|error| Failure::of(&title, &error))?;
        return Ok(Claimed { path, read_only: own });
    }
    if let Some(local) = spec.local {
        let path = PathBuf::from(&local.path);
        if !path.exists() {
            let text =
                format!("MountVolume.NewMounter initialization failed for volume \"{title}\" : path \"{}\" does not exist", local.path);
            return Err(Failure(text));
        }
        if let Some(group) = ownership::group(pod) {
            let path = path.clone();
            disk::blocking(&agent.tasks, move || ownership::give(&path, group, own)).await.map_err(|error| Failure::of(&title, &error))?;
        }
        return Ok(Claimed { path, read_only: own });
    }
    if remote::is_attached_persistent(&spec) {
        return Err(Failure::awaited());
    }
    if let Some(share) = spec.nfs {
        let path = agent.pod_dir(uid(pod)).join("volumes/kubernetes.io~nfs").join(&title);
        let options = spec.mount_options.unwrap_or_default();
        remote::nfs(agent, path.clone(), &share, &options).await.map_err(|error| Failure::of(&title, &error))?;
        return Ok(Claimed { path, read_only: own });
    }
    Err(Failure::of(&title, "no volume plugin matched"))
}

/// The persistent volume of a bound claim.
async fn bound(agent: &Agent, pod: &Pod, volume: &Volume) -> Result<std::sync::Arc<PersistentVolume>, String> {
    let name = name(pod, volume).unwrap_or_default();
    let Some(claim) = agent.objects.claim(namespace(pod), &name) else {
        return Err(format!("failed to fetch PVC from API server: persistentvolumeclaims \"{name}\" not found"));
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Err("PVC is being deleted".to_owned());
    }
    let owned = || claim.metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid(pod));
    if volume.ephemeral.is_some() && !owned() {
        return Err(format!(
            "PVC {}/{name} was not created for pod {}/{} (pod is not owner)",
            namespace(pod),
            namespace(pod),
            crate::pod::name(pod)
        ));
    }
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).filter(|_| phase == Some("Bound"));
    let Some(named) = named else { return Err("PVC is not bound".to_owned()) };
    let Some(found) = agent.objects.volume(&named).await else {
        return Err(format!("failed to fetch PV {named} from API server: persistentvolumes \"{named}\" not found"));
    };
    let owner = found.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()).and_then(|reference| reference.uid.clone());
    if owner != claim.metadata.uid {
        return Err(format!("PVC {} is not bound to PV {named}", claim.metadata.uid.clone().unwrap_or_default()));
    }
    Ok(found)
}

//! Pods' volumes: made before the sandbox, refreshed while the pod lives, taken away after it.
//!
//! Below a pod's directory: `volumes/<plugin>/<name>` as the kubelet lays them out, and `volume-subpaths/<name>/<container>/<n>`.

mod atomic;
mod claims;
mod disk;
mod host_path;
mod mounts;
mod ownership;
mod payload;
mod remote;
mod subpath;
mod token;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::agent::Agent;
use crate::pod::fields::Facts;
use crate::pod::{spec, uid};
use crate::runtime::Mount;

use self::claims::Claimed;
pub(crate) use self::claims::name as claim_name;
pub(crate) use self::disk::size_of;
pub(crate) use self::mounts::{check_propagation, share};
pub use self::mounts::{remove, unmount_all_below};

/// A volume that could not be made, as an event tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) String);

impl Failure {
    fn of(volume: &str, message: &str) -> Self {
        Self(format!("MountVolume.SetUp failed for volume \"{volume}\" : {message}"))
    }

    /// It waits for a disk; whoever is to attach it tells why it does not come.
    fn awaited() -> Self {
        Self(String::new())
    }

    /// Whether an event is to tell it.
    pub(crate) fn is_told(&self) -> bool {
        !self.0.is_empty()
    }
}

/// What is known of a pod's volumes.
#[derive(Debug, Default)]
pub(crate) struct State {
    mounted: bool,
    refresh: Option<Timestamp>,
    /// Where claims' volumes are, by the volume's name in the pod.
    claims: BTreeMap<String, Claimed>,
}

/// What mounts of a pod refer to beside its own directories.
pub(crate) struct Places<'a> {
    /// Ids of the images of image volumes, by the volume's name.
    pub(crate) images: &'a BTreeMap<String, String>,
    /// The pod's volumes.
    pub(crate) state: &'a State,
}

impl State {
    /// Whether nothing is to be done at `now`.
    pub(crate) fn is_current(&self, now: Timestamp) -> bool {
        self.mounted && self.refresh.is_none_or(|refresh| now < refresh)
    }

    /// Whether all volumes have been made.
    pub(crate) fn is_mounted(&self) -> bool {
        self.mounted
    }

    /// When a token has to be renewed.
    pub(crate) fn refresh_at(&self) -> Option<Timestamp> {
        self.refresh
    }
}

/// How a volume is made.
enum Source<'a> {
    /// Files with contents that the API server knows.
    Payload {
        plugin: &'static str,
        in_memory: bool,
    },
    Empty(&'a k8s_openapi::api::core::v1::EmptyDirVolumeSource),
    Host(&'a k8s_openapi::api::core::v1::HostPathVolumeSource),
    /// Files of an image, which the runtime mounts.
    Image,
    Nfs(&'a k8s_openapi::api::core::v1::NFSVolumeSource),
    /// A disk that an attacher would have to bring.
    Attached,
    Unsupported(String),
}

fn source(volume: &Volume) -> Source<'_> {
    let payload = |plugin, in_memory| Source::Payload { plugin, in_memory };
    if volume.config_map.is_some() {
        return payload("kubernetes.io~configmap", false);
    }
    if volume.secret.is_some() {
        return payload("kubernetes.io~secret", true);
    }
    if volume.downward_api.is_some() {
        return payload("kubernetes.io~downward-api", true);
    }
    if volume.projected.is_some() {
        return payload("kubernetes.io~projected", true);
    }
    if let Some(host) = &volume.host_path {
        return Source::Host(host);
    }
    if volume.image.is_some() {
        return Source::Image;
    }
    if let Some(empty) = &volume.empty_dir {
        return Source::Empty(empty);
    }
    if let Some(share) = &volume.nfs {
        return Source::Nfs(share);
    }
    if remote::is_attached(volume) {
        return Source::Attached;
    }
    if let Some(csi) = &volume.csi {
        return Source::Unsupported(format!(
            "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name {} not found in the list of registered CSI drivers",
            csi.driver
        ));
    }
    if volume.git_repo.is_some() {
        let text = "git-repo volume plugin has been disabled; if necessary, it may be re-enabled by enabling the feature-gate `GitRepoVolumeDriver`";
        return Source::Unsupported(text.to_owned());
    }
    Source::Unsupported("no volume plugin matched".to_owned())
}

/// Config maps that the pod's volumes name.
pub(crate) fn config_maps(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .flat_map(|volume| {
            let own = volume.config_map.iter().map(|source| source.name.clone());
            let projected = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
            own.chain(projected.filter_map(|source| source.config_map.as_ref()).map(|source| source.name.clone())).collect::<Vec<_>>()
        })
        .collect()
}

/// Secrets that the pod's volumes name.
pub(crate) fn secrets(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .flat_map(|volume| {
            let own = volume.secret.iter().filter_map(|source| source.secret_name.clone());
            let projected = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
            own.chain(projected.filter_map(|source| source.secret.as_ref()).map(|source| source.name.clone())).collect::<Vec<_>>()
        })
        .collect()
}

/// Where a volume's files are.
fn path(dir: &Path, volume: &Volume) -> PathBuf {
    match source(volume) {
        Source::Payload { plugin, .. } => dir.join("volumes").join(plugin).join(&volume.name),
        Source::Empty(_) => dir.join("volumes/kubernetes.io~empty-dir").join(&volume.name),
        Source::Host(host) => PathBuf::from(&host.path),
        Source::Nfs(_) => dir.join("volumes/kubernetes.io~nfs").join(&volume.name),
        Source::Image | Source::Attached | Source::Unsupported(_) => dir.join("volumes/unsupported").join(&volume.name),
    }
}

/// Volumes on disk that are bounded or count for the pod: name, directory, limit.
pub(crate) fn local(agent: &Agent, pod: &Pod) -> Vec<(String, PathBuf, Option<Quantity>)> {
    let (pod_spec, dir) = (spec(pod), agent.pod_dir(uid(pod)));
    let on_disk = |volume: &&Volume| match source(volume) {
        Source::Empty(empty) => empty.medium.as_deref() != Some("Memory"),
        Source::Payload { in_memory, .. } => !in_memory,
        _ => false,
    };
    let limit = |volume: &Volume| volume.empty_dir.as_ref().and_then(|empty| empty.size_limit.clone());
    let volumes = pod_spec.volumes.iter().flatten().filter(on_disk);
    volumes.map(|volume| (volume.name.clone(), path(&dir, volume), limit(volume))).collect()
}

/// Makes what is missing, renews what is out of date. Each volume is tried, whatever became of the others.
pub(crate) async fn set_up(agent: &Agent, pod: &Pod, facts: &Facts, state: &mut State) -> Result<(), Vec<Failure>> {
    let pod_spec = spec(pod);
    let mut failures = Vec::new();
    let mut refresh: Option<Timestamp> = None;
    let dir = agent.pod_dir(uid(pod));
    for volume in pod_spec.volumes.iter().flatten() {
        if claim_name(pod, volume).is_some() {
            if state.claims.contains_key(&volume.name) {
                continue;
            }
            match claims::set_up(agent, pod, volume).await {
                Ok(claimed) => drop(state.claims.insert(volume.name.clone(), claimed)),
                Err(failure) => failures.push(failure),
            }
            continue;
        }
        match set_up_one(agent, pod, facts, &dir, volume).await {
            Ok(None) => {}
            Ok(Some(again)) => refresh = Some(refresh.map_or(again, |known| known.min(again))),
            Err(_) if matches!(source(volume), Source::Attached) => failures.push(Failure::awaited()),
            Err(message) => failures.push(Failure::of(&volume.name, &message)),
        }
    }
    if failures.is_empty() {
        state.mounted = true;
        state.refresh = refresh;
        return Ok(());
    }
    if state.mounted {
        // What is mounted stays; the renewal is tried again.
        state.refresh = Some(agent.clock.now() + Duration::from_secs(30));
    }
    Err(failures)
}

/// Makes one volume; answers with the moment at which it has to be renewed.
async fn set_up_one(agent: &Agent, pod: &Pod, facts: &Facts, dir: &Path, volume: &Volume) -> Result<Option<Timestamp>, String> {
    let has_files = agent.runtime.has_files();
    let target = path(dir, volume);
    match source(volume) {
        Source::Unsupported(message) => Err(message),
        Source::Attached => Err(String::new()),
        Source::Nfs(share) if has_files => remote::nfs(agent, target, share, &[]).await.map(|()| None),
        Source::Empty(empty) if has_files => {
            let (empty, group) = (empty.clone(), ownership::group(pod));
            disk::blocking(&agent.tasks, move || disk::empty_dir(&target, &empty, group)).await.map(|()| None)
        }
        Source::Host(host) if has_files => {
            let host = host.clone();
            disk::blocking(&agent.tasks, move || host_path::check(&host)).await.map(|()| None)
        }
        Source::Empty(_) | Source::Host(_) | Source::Image | Source::Nfs(_) => Ok(None),
        Source::Payload { in_memory, .. } => {
            let payload = payload::collect(agent, pod, facts, volume, has_files.then_some(target.as_path())).await?;
            if has_files {
                let (files, group) = (payload.files, ownership::group(pod));
                disk::blocking(&agent.tasks, move || disk::payload(&target, &files, in_memory, group)).await?;
            }
            Ok(payload.refresh)
        }
    }
}

/// The container's mounts of volumes, in the order of its spec; the error's text is what the container waits with.
pub(crate) async fn mounts(
    agent: &Agent,
    pod: &Pod,
    container: &Container,
    places: &Places<'_>,
    env: &[(String, String)],
) -> Result<Vec<Mount>, String> {
    let dir = agent.pod_dir(uid(pod));
    let pod_spec = spec(pod);
    let mut out = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let Some(volume) = pod_spec.volumes.iter().flatten().find(|volume| volume.name == mount.name) else {
            return Err(format!("cannot find volume \"{}\" to mount into container \"{}\"", mount.name, container.name));
        };
        let inside = subpath::inside(mount, env)?;
        if volume.image.is_some() {
            out.push(Mount {
                source: PathBuf::from(inside),
                image: Some(places.images.get(&volume.name).cloned().unwrap_or_default()),
                destination: PathBuf::from(&mount.mount_path),
                read_only: true,
                propagation: "private".to_owned(),
            });
            continue;
        }
        let claimed = places.state.claims.get(&volume.name);
        let base = claimed.map_or_else(|| path(&dir, volume), |claimed| claimed.path.clone());
        let read_only = claimed.is_some_and(|claimed| claimed.read_only)
            || mount.read_only == Some(true)
            || matches!(source(volume), Source::Payload { .. });
        let source = if inside.is_empty() {
            disk::ensure_exists(&base).await;
            base
        } else {
            let bound = dir.join("volume-subpaths").join(&mount.name).join(&container.name).join(index.to_string());
            let failed = format!("failed to prepare subPath for volumeMount \"{}\" of container \"{}\"", mount.name, container.name);
            disk::blocking(&agent.tasks, move || subpath::prepare(&base, &inside, &bound)).await.map_err(|error| {
                tracing::debug!(%error, "a subPath could not be prepared");
                failed
            })?
        };
        let propagation = match mount.mount_propagation.as_deref() {
            Some("Bidirectional") => "rshared",
            Some("HostToContainer") => "rslave",
            _ => "private",
        };
        let destination = PathBuf::from(&mount.mount_path);
        out.push(Mount { source, image: None, destination, read_only, propagation: propagation.to_owned() });
    }
    Ok(out)
}

/// Unmounts and removes everything in a pod's directory but what its containers left there to be read. Blocks.
pub(crate) fn tear_down(dir: &Path) -> std::io::Result<()> {
    unmount_all_below(dir)?;
    ["volumes", "volume-subpaths"].iter().try_for_each(|part| remove(&dir.join(part)))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

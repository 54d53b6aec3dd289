//! Disks that a driver's attacher brings to a node: asked for by a VolumeAttachment while pods there need them. Without an
//! attacher the pods wait, and are told every two minutes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_client::{EventRecorder, EventType, Informer, Queue, is_exists};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, Pod, Volume};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Resource};
use ring::digest::{SHA256, digest};

use crate::wiring::{Key, Outcome, Run, follow_latest, name_of, namespace_of, unless_gone, work};
use crate::{Context, pods};

const NAME: &str = "attachdetach-controller";
/// How long an attacher may take.
const PATIENCE: Duration = Duration::from_secs(120);

struct Controller {
    client: kube::Client,
    recorder: EventRecorder,
    clock: Arc<dyn Clock>,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    drivers: Informer<CSIDriver>,
    attachments: Informer<VolumeAttachment>,
    /// Since when an attachment is waited for, by its name.
    waits: parking_lot::Mutex<HashMap<String, Timestamp>>,
}

/// A disk that a node is to have.
#[derive(Debug, Clone, PartialEq)]
struct Disk {
    /// Name of its volume.
    title: String,
    driver: String,
    handle: String,
    source: VolumeAttachmentSource,
}

/// The name that upstream gives an attachment.
fn attachment_name(handle: &str, driver: &str, node: &str) -> String {
    let hash = digest(&SHA256, format!("{handle}{driver}{node}").as_bytes());
    hash.as_ref().iter().fold("csi-".to_owned(), |name, byte| name + &format!("{byte:02x}"))
}

/// The driver that has taken over an old kind of volume, and its name for the disk.
fn moved(volume: &Volume) -> Option<(&'static str, String, String)> {
    if let Some(disk) = &volume.gce_persistent_disk {
        let handle = format!("projects/UNSPECIFIED/zones/UNSPECIFIED/disks/{}", disk.pd_name);
        return Some(("pd.csi.storage.gke.io", disk.pd_name.clone(), handle));
    }
    let same = |driver, name: &str| Some((driver, name.to_owned(), name.to_owned()));
    if let Some(disk) = &volume.aws_elastic_block_store {
        return same("ebs.csi.aws.com", disk.volume_id.rsplit('/').next().unwrap_or_default());
    }
    if let Some(disk) = &volume.azure_disk {
        return Some(("disk.csi.azure.com", disk.disk_name.clone(), disk.disk_uri.clone()));
    }
    if let Some(disk) = &volume.cinder {
        return same("cinder.csi.openstack.org", &disk.volume_id);
    }
    volume.vsphere_volume.as_ref().and_then(|disk| same("csi.vsphere.vmware.com", &disk.volume_path))
}

/// A disk named in a pod itself.
fn inline(volume: &Volume) -> Option<Disk> {
    let (driver, name, handle) = moved(volume)?;
    let csi = CSIPersistentVolumeSource { driver: driver.to_owned(), volume_handle: handle.clone(), ..Default::default() };
    let spec = PersistentVolumeSpec { access_modes: Some(vec!["ReadWriteOnce".to_owned()]), csi: Some(csi), ..Default::default() };
    let source = VolumeAttachmentSource { inline_volume_spec: Some(spec), persistent_volume_name: None };
    Some(Disk { title: format!("{driver}-{name}"), driver: driver.to_owned(), handle, source })
}

/// The disk behind a persistent volume.
fn persistent(volume: &PersistentVolume) -> Option<Disk> {
    let csi = volume.spec.as_ref()?.csi.as_ref()?;
    let source = VolumeAttachmentSource { inline_volume_spec: None, persistent_volume_name: volume.metadata.name.clone() };
    Some(Disk { title: name_of(volume).to_owned(), driver: csi.driver.clone(), handle: csi.volume_handle.clone(), source })
}

fn volumes_of(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
}

/// Whether a pod may need a disk.
fn is_concerned(pod: &Pod) -> bool {
    volumes_of(pod).any(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some() || moved(volume).is_some())
}

pub(crate) async fn run(context: Context) -> Run {
    let controller = Arc::new(Controller {
        client: context.client(NAME),
        recorder: context.recorder(NAME),
        clock: context.clock.clone(),
        pods: context.informers.of(),
        claims: context.informers.of(),
        volumes: context.informers.of(),
        drivers: context.informers.of(),
        attachments: context.informers.of(),
        waits: Default::default(),
    });
    controller.pods.synced().await;
    controller.claims.synced().await;
    controller.volumes.synced().await;
    controller.drivers.synced().await;
    controller.attachments.synced().await;
    let queue: Queue<Key> = Queue::new();
    // Attachments are few: whatever changes, all are looked at.
    let look = || queue.add(Key::new("", "disks"));
    let pods = follow_latest(controller.pods.clone(), |pod| {
        if is_concerned(pod) {
            look();
        }
    });
    let volumes = follow_latest(controller.volumes.clone(), |volume| {
        if persistent(volume).is_some() {
            look();
        }
    });
    let attachments = follow_latest(controller.attachments.clone(), |_| look());
    let reconciler = controller.clone();
    let workers = work(queue.clone(), 1, move |_| {
        let controller = reconciler.clone();
        async move { controller.reconcile().await }
    });
    tokio::join!(pods, volumes, attachments, workers).3
}

impl Controller {
    fn disk(&self, pod: &Pod, volume: &Volume) -> Option<Disk> {
        let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => source.claim_name.clone(),
            (None, Some(_)) => format!("{}-{}", name_of(pod), volume.name),
            (None, None) => return inline(volume),
        };
        let claim = self.claims.get(namespace_of(pod), &claim)?;
        let disk = persistent(&*self.volumes.get("", claim.spec.as_ref()?.volume_name.as_deref()?)?)?;
        let driver = self.drivers.get("", &disk.driver);
        driver.is_none_or(|driver| driver.spec.attach_required != Some(false)).then_some(disk)
    }

    /// The disks that pods need, with the node and the pods, by the attachment's name.
    fn wanted(&self) -> BTreeMap<String, (Disk, String, Vec<Arc<Pod>>)> {
        let mut wanted: BTreeMap<String, (Disk, String, Vec<Arc<Pod>>)> = BTreeMap::new();
        for pod in self.pods.list().into_iter().filter(|pod| is_concerned(pod) && !pods::is_terminal(pod)) {
            let node = pods::node(&pod).to_owned();
            for disk in volumes_of(&pod).filter(|_| !node.is_empty()).filter_map(|volume| self.disk(&pod, volume)) {
                let name = attachment_name(&disk.handle, &disk.driver, &node);
                wanted.entry(name).or_insert_with(|| (disk, node.clone(), Vec::new())).2.push(pod.clone());
            }
        }
        wanted
    }

    /// Whether an attachment has the name that it would have from here.
    fn is_ours(&self, attachment: &VolumeAttachment) -> bool {
        let VolumeAttachmentSpec { attacher, node_name, source } = &attachment.spec;
        let named = || persistent(&*self.volumes.get("", source.persistent_volume_name.as_deref()?)?).map(|disk| disk.handle);
        let handle = source.inline_volume_spec.as_ref().and_then(|spec| Some(spec.csi.as_ref()?.volume_handle.clone())).or_else(named);
        handle.is_some_and(|handle| attachment_name(&handle, attacher, node_name) == name_of(attachment))
    }

    async fn reconcile(&self) -> Outcome {
        let api = Api::<VolumeAttachment>::all(self.client.clone());
        let wanted = self.wanted();
        for known in self.attachments.list() {
            let name = name_of(&*known);
            if !wanted.contains_key(name) && known.metadata.deletion_timestamp.is_none() && self.is_ours(&known) {
                unless_gone(api.delete(name, &DeleteParams::default()).await)?;
            }
        }
        self.waits.lock().retain(|name, _| wanted.contains_key(name));
        let mut again: Option<Duration> = None;
        for (name, (disk, node, pods)) in wanted {
            let known = self.attachments.get("", &name);
            if known.as_ref().and_then(|known| known.status.as_ref()).is_some_and(|status| status.attached) {
                self.waits.lock().remove(&name);
                continue;
            }
            if known.is_none() {
                match api.create(&PostParams::default(), &attachment(&name, &disk, &node)).await {
                    Err(error) if !is_exists(&error) => return Err(error),
                    _ => {}
                }
            }
            let left = self.wait(&name, &disk, known.as_deref(), &pods);
            again = Some(again.map_or(left, |again| again.min(left)));
        }
        Ok(again)
    }

    /// How long an attachment is waited for from now on; when that was too long already, its pods are told.
    fn wait(&self, name: &str, disk: &Disk, known: Option<&VolumeAttachment>, pods: &[Arc<Pod>]) -> Duration {
        let now = self.clock.now();
        let mut waits = self.waits.lock();
        let since = waits.entry(name.to_owned()).or_insert(now);
        let waited: Duration = now.duration_since(*since).try_into().unwrap_or_default();
        if waited < PATIENCE {
            return PATIENCE - waited;
        }
        *since = now;
        let refused = known.and_then(|known| known.status.as_ref()?.attach_error.as_ref()?.message.clone());
        let Disk { title, driver, handle, .. } = disk;
        let why =
            refused.unwrap_or_else(|| format!("timed out waiting for external-attacher of {driver} CSI driver to attach volume {handle}"));
        for pod in pods {
            let message = format!("AttachVolume.Attach failed for volume \"{title}\" : {why}");
            self.recorder.event(&pod.object_ref(&()), EventType::Warning, "FailedAttachVolume", message);
        }
        PATIENCE
    }
}

fn attachment(name: &str, disk: &Disk, node: &str) -> VolumeAttachment {
    VolumeAttachment {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: VolumeAttachmentSpec { attacher: disk.driver.clone(), node_name: node.to_owned(), source: disk.source.clone() },
        status: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn old_kinds_of_disks_have_moved_to_drivers() {
        let disk = |volume: Value| inline(&serde_json::from_value(volume).unwrap()).map(|disk| (disk.title, disk.handle));
        let of = |title: &str, handle: &str| Some((title.to_owned(), handle.to_owned()));
        assert_eq!(
            disk(json!({"name": "v", "gcePersistentDisk": {"pdName": "d"}})),
            of("pd.csi.storage.gke.io-d", "projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d")
        );
        assert_eq!(
            disk(json!({"name": "v", "awsElasticBlockStore": {"volumeID": "aws://az/vol-1"}})),
            of("ebs.csi.aws.com-vol-1", "vol-1")
        );
        assert_eq!(disk(json!({"name": "v", "emptyDir": {}})), None);
    }

    #[test]
    fn an_attachment_is_named_after_disk_driver_and_node() {
        let name = attachment_name("h", "d", "n");
        assert_eq!(name, "csi-9072ed11cc1acb5fa433a877ff339b6311d013f33bddd1d0092711a8ace5b16d");
    }
}

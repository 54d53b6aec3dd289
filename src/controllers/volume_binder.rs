//! Claims and volumes find each other: a claim gets the smallest volume that is enough, or a directory of the machine where
//! its class is ours; what a deleted claim leaves is kept or removed as its volume says.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coracle_api::quantity::Quantity as Number;
use coracle_client::{Change, EventRecorder, EventType, Informer, Queue, is_exists};
use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use kube::core::{Selector, SelectorExt};
use kube::{Api, Resource};

use crate::Context;
use crate::wiring::{Key, Outcome, Run, follow, name_of, namespace_of, uid_of, unless_gone, work};

const NAME: &str = "persistent-volume-binder";
/// The provisioner of classes whose volumes are directories of this machine.
pub(crate) const PROVISIONER: &str = "coracle.local/local-path";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const BOUND: &str = "pv.kubernetes.io/bind-completed";

struct Controller {
    client: kube::Client,
    recorder: EventRecorder,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    directory: PathBuf,
    remove_directory: fn(&Path) -> io::Result<()>,
}

pub(crate) async fn run(context: Context) -> Run {
    let controller = Arc::new(Controller {
        client: context.client(NAME),
        recorder: context.recorder(NAME),
        claims: context.informers.of(),
        volumes: context.informers.of(),
        classes: context.informers.of(),
        directory: context.volumes.clone(),
        remove_directory: context.remove_directory,
    });
    controller.claims.synced().await;
    controller.volumes.synced().await;
    controller.classes.synced().await;
    let queue = Queue::new();
    let claims = follow(controller.claims.clone(), |change| {
        if let Change::Deleted(claim) = &change {
            let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).unwrap_or_default();
            queue.add(Key::new("", &volume));
        }
        let (Change::Added(claim) | Change::Updated { new: claim, .. } | Change::Deleted(claim)) = &change else { return };
        queue.add(Key::of(claim.as_ref()));
    });
    // A volume that is free may be what any waiting claim needs.
    let all_waiting = || {
        let waiting = controller.claims.list().into_iter().filter(|claim| phase_of(claim) != "Bound");
        waiting.for_each(|claim| queue.add(Key::of(claim.as_ref())));
    };
    let volumes = follow(controller.volumes.clone(), |change| {
        if let Change::Added(volume) | Change::Updated { new: volume, .. } | Change::Deleted(volume) = &change {
            queue.add(Key::of(volume.as_ref()));
        }
        all_waiting();
    });
    let classes = follow(controller.classes.clone(), |_| all_waiting());
    let reconciler = controller.clone();
    let workers = work(queue.clone(), 2, move |key: Key| {
        let controller = reconciler.clone();
        async move { if key.namespace.is_empty() { controller.volume(&key.name).await } else { controller.claim(&key).await } }
    });
    tokio::join!(claims, volumes, classes, workers).3
}

fn phase_of(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

fn class_of(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or_default()
}

fn amount(list: Option<&BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>) -> i64 {
    list.and_then(|list| list.get("storage")?.0.parse::<Number>().ok()).map_or(0, |number| number.value())
}

/// The volume is set aside for the claim, or is its already.
fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    reference.is_some_and(|one| {
        one.namespace.as_deref() == Some(namespace_of(claim))
            && one.name.as_deref() == Some(name_of(claim))
            && one.uid.as_deref().is_none_or(|uid| uid.is_empty() || uid == uid_of(claim))
    })
}

/// It has what the claim asks for.
fn is_enough(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let (Some(has), Some(wants)) = (&volume.spec, &claim.spec) else { return false };
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    let has_modes = has.access_modes.clone().unwrap_or_default();
    let labels = volume.metadata.labels.clone().unwrap_or_default();
    let selector = wants.selector.clone().map(Selector::try_from);
    has.storage_class_name.as_deref().unwrap_or_default() == class_of(claim)
        && mode(&has.volume_mode) == mode(&wants.volume_mode)
        && wants.access_modes.iter().flatten().all(|mode| has_modes.contains(mode))
        && amount(has.capacity.as_ref()) >= amount(wants.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
        && selector.is_none_or(|selector| selector.is_ok_and(|selector| selector.matches(&labels)))
}

/// What to do for a claim that is not bound.
#[derive(Debug, PartialEq)]
enum Step {
    Bind(String),
    Provision,
    /// Why it waits: reason and message of the event.
    Wait(&'static str, String),
}

fn plan(claim: &PersistentVolumeClaim, volumes: &[Arc<PersistentVolume>], class: Option<&StorageClass>) -> Step {
    let free = |volume: &&Arc<PersistentVolume>| {
        volume.metadata.deletion_timestamp.is_none() && volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_none())
    };
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).filter(|name| !name.is_empty());
    if let Some(name) = named {
        let volume = volumes.iter().find(|volume| name_of(volume.as_ref()) == name);
        return match volume {
            Some(volume) if is_for(volume, claim) || free(&volume) => Step::Bind(name.to_owned()),
            Some(_) => Step::Wait("FailedBinding", format!("volume {name:?} already bound to a different claim.")),
            None => Step::Wait("FailedBinding", format!("volume {name:?} not found")),
        };
    }
    if let Some(own) = volumes.iter().find(|volume| is_for(volume, claim)) {
        return Step::Bind(name_of(own.as_ref()).to_owned());
    }
    let waits = class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    let selected = claim.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(SELECTED_NODE));
    if waits && !selected {
        return Step::Wait("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned());
    }
    let mut fitting: Vec<_> = volumes.iter().filter(free).filter(|volume| is_enough(volume, claim)).collect();
    fitting
        .sort_by_key(|volume| (amount(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref())), name_of(volume.as_ref()).to_owned()));
    match (fitting.first(), class) {
        (Some(volume), _) if !waits => Step::Bind(name_of(volume.as_ref()).to_owned()),
        (_, Some(class)) if class.provisioner == PROVISIONER => Step::Provision,
        (_, Some(class)) if class.provisioner != "kubernetes.io/no-provisioner" => {
            let message = format!(
                "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system administrator. If \
                 volume creation is delayed, please verify that the provisioner is running and correctly registered.",
                class.provisioner
            );
            Step::Wait("ExternalProvisioning", message)
        }
        _ => Step::Wait("FailedBinding", "no persistent volumes available for this claim and no storage class is set".to_owned()),
    }
}

/// A directory of the machine as a volume; on the node where the claim's first consumer runs.
fn provisioned(claim: &PersistentVolumeClaim, class: &StorageClass, directory: &Path) -> PersistentVolume {
    let name = format!("pvc-{}", uid_of(claim));
    let spec = claim.spec.clone().unwrap_or_default();
    let node = claim.metadata.annotations.as_ref().and_then(|all| all.get(SELECTED_NODE));
    let on_node = node.map(|node| {
        let hostname = NodeSelectorRequirement {
            key: "kubernetes.io/hostname".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node.clone()]),
        };
        let term = NodeSelectorTerm { match_expressions: Some(vec![hostname]), match_fields: None };
        VolumeNodeAffinity { required: Some(NodeSelector { node_selector_terms: vec![term] }) }
    });
    let path = directory.join(&name).to_string_lossy().into_owned();
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name),
            annotations: Some(BTreeMap::from([(PROVISIONED_BY.to_owned(), PROVISIONER.to_owned())])),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes,
            capacity: spec.resources.and_then(|resources| resources.requests),
            claim_ref: Some(reference(claim)),
            host_path: Some(HostPathVolumeSource { path, type_: Some("DirectoryOrCreate".to_owned()) }),
            node_affinity: on_node,
            persistent_volume_reclaim_policy: Some(class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned())),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: spec.volume_mode,
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

fn reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    let mut reference = claim.object_ref(&());
    reference.resource_version.clone_from(&claim.metadata.resource_version);
    reference
}

/// Only what is directly below our own directory.
async fn remove_directory(spec: &PersistentVolumeSpec, own: &Path, remove: fn(&Path) -> io::Result<()>) {
    let path = spec.host_path.as_ref().map(|source| PathBuf::from(&source.path));
    let Some(path) = path.filter(|path| path.file_name().is_some_and(|name| own.join(name) == *path)) else { return };
    let shown = path.display().to_string();
    let removed = tokio::task::spawn_blocking(move || remove(&path)).await;
    if let Err(error) = removed.unwrap_or_else(|error| Err(io::Error::other(error))) {
        tracing::warn!(path = shown, %error, "a volume's directory was not removed");
    }
}

impl Controller {
    async fn claim(&self, key: &Key) -> Outcome {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else { return Ok(None) };
        let spec = claim.spec.clone().unwrap_or_default();
        if phase_of(&claim) == "Bound" || claim.metadata.deletion_timestamp.is_some() && spec.volume_name.is_none() {
            return self.check_bound(&claim).await;
        }
        let class = self.classes.get("", class_of(&claim));
        match plan(&claim, &self.volumes.list(), class.as_deref()) {
            Step::Bind(volume) => self.bind(&claim, &volume).await?,
            Step::Provision => {
                let Some(class) = class else { return Ok(None) };
                let volume = provisioned(&claim, &class, &self.directory);
                match Api::<PersistentVolume>::all(self.client.clone()).create(&PostParams::default(), &volume).await {
                    Err(error) if !is_exists(&error) => return Err(error),
                    _ => {}
                }
                let message = format!("Successfully provisioned volume {}", name_of(&volume));
                self.recorder.event(&claim.object_ref(&()), EventType::Normal, "ProvisioningSucceeded", message);
            }
            Step::Wait(reason, message) => self.recorder.event(&claim.object_ref(&()), EventType::Normal, reason, message),
        }
        Ok(None)
    }

    /// A bound claim whose volume is gone has lost its data.
    async fn check_bound(&self, claim: &PersistentVolumeClaim) -> Outcome {
        let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
        if phase_of(claim) == "Bound" && self.volumes.get("", name).is_none() {
            let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
            self.recorder.event(&claim.object_ref(&()), EventType::Warning, "ClaimLost", message);
            let mut lost = claim.clone();
            lost.status.get_or_insert_default().phase = Some("Lost".to_owned());
            self.claim_api(claim).replace_status(name_of(claim), &PostParams::default(), &lost).await?;
        }
        Ok(None)
    }

    /// First the volume says whose it is, then the claim which it has: who is interrupted goes on from there.
    async fn bind(&self, claim: &PersistentVolumeClaim, name: &str) -> Result<(), kube::Error> {
        let Some(volume) = self.volumes.get("", name) else { return Ok(()) };
        let volumes = Api::<PersistentVolume>::all(self.client.clone());
        let mut volume = volume.as_ref().clone();
        let reference_of = |volume: &PersistentVolume| volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.clone());
        if reference_of(&volume).as_deref() != Some(uid_of(claim)) {
            volume.spec.get_or_insert_default().claim_ref = Some(reference(claim));
            volume = volumes.replace(name, &PostParams::default(), &volume).await?;
        }
        self.set_phase(&volumes, volume.clone(), "Bound").await?;
        let api = self.claim_api(claim);
        let mut bound = claim.clone();
        bound.metadata.annotations.get_or_insert_default().insert(BOUND.to_owned(), "yes".to_owned());
        bound.spec.get_or_insert_default().volume_name = Some(name.to_owned());
        let mut bound = api.replace(name_of(claim), &PostParams::default(), &bound).await?;
        let spec = volume.spec.unwrap_or_default();
        let status = bound.status.get_or_insert_default();
        (status.phase, status.access_modes, status.capacity) = (Some("Bound".to_owned()), spec.access_modes, spec.capacity);
        api.replace_status(name_of(claim), &PostParams::default(), &bound).await.map(drop)
    }

    async fn set_phase(&self, api: &Api<PersistentVolume>, mut volume: PersistentVolume, phase: &str) -> Result<(), kube::Error> {
        let status = volume.status.get_or_insert_default();
        if status.phase.as_deref() == Some(phase) {
            return Ok(());
        }
        status.phase = Some(phase.to_owned());
        let name = name_of(&volume).to_owned();
        api.replace_status(&name, &PostParams::default(), &volume).await.map(drop)
    }

    /// The phase of a volume, and the end of one whose claim is gone.
    async fn volume(&self, name: &str) -> Outcome {
        let Some(volume) = self.volumes.get("", name) else { return Ok(None) };
        let spec = volume.spec.clone().unwrap_or_default();
        let api = Api::<PersistentVolume>::all(self.client.clone());
        let phase = match &spec.claim_ref {
            None => "Available",
            Some(reference) if reference.uid.as_deref().is_none_or(str::is_empty) => "Available",
            Some(reference) => {
                let (namespace, name) = (reference.namespace.as_deref().unwrap_or_default(), reference.name.as_deref().unwrap_or_default());
                match self.claims.get(namespace, name).filter(|claim| claim.metadata.uid == reference.uid) {
                    Some(claim) if phase_of(&claim) == "Bound" => "Bound",
                    Some(_) => return Ok(None),
                    None => "Released",
                }
            }
        };
        let ours = volume.metadata.annotations.as_ref().and_then(|all| all.get(PROVISIONED_BY)).is_some_and(|by| by == PROVISIONER);
        self.set_phase(&api, volume.as_ref().clone(), phase).await?;
        if phase == "Released" && ours && spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete") {
            remove_directory(&spec, &self.directory, self.remove_directory).await;
            if volume.metadata.deletion_timestamp.is_some() {
                return Ok(None);
            }
            return unless_gone(api.delete(name, &DeleteParams::default()).await).map(|()| None);
        }
        Ok(None)
    }

    fn claim_api(&self, claim: &PersistentVolumeClaim) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), namespace_of(claim))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn claim(extra: Value) -> PersistentVolumeClaim {
        let mut claim = json!({"metadata": {"name": "data", "namespace": "n", "uid": "u"}, "spec": {"storageClassName": "local",
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        for (key, value) in extra.as_object().unwrap() {
            claim[key].as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        }
        serde_json::from_value(claim).unwrap()
    }

    fn volume(name: &str, size: &str, claim: Value) -> Arc<PersistentVolume> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"storageClassName": "local", "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"], "claimRef": claim}}))
            .unwrap(),
        )
    }

    #[rstest]
    #[case::smallest(json!({}), "Immediate", "kubernetes.io/no-provisioner", "bind medium")]
    #[case::named(json!({"spec": {"volumeName": "large"}}), "Immediate", "x", "bind large")]
    #[case::taken(json!({"spec": {"volumeName": "taken"}}), "Immediate", "x", "FailedBinding")]
    #[case::waits(json!({}), "WaitForFirstConsumer", PROVISIONER, "WaitForFirstConsumer")]
    #[case::consumed(json!({"metadata": {"annotations": {SELECTED_NODE: "n1"}}}), "WaitForFirstConsumer", PROVISIONER, "provision")]
    #[case::none_fits(json!({"spec": {"accessModes": ["ReadWriteMany"]}}), "Immediate", "kubernetes.io/no-provisioner", "FailedBinding")]
    #[case::made(json!({"spec": {"accessModes": ["ReadWriteMany"]}}), "Immediate", PROVISIONER, "provision")]
    #[case::elsewhere(json!({"spec": {"accessModes": ["ReadWriteMany"]}}), "Immediate", "csi.example.com", "ExternalProvisioning")]
    fn claims_find_volumes(#[case] extra: Value, #[case] mode: &str, #[case] provisioner: &str, #[case] expected: &str) {
        let other = json!({"namespace": "n", "name": "other", "uid": "o"});
        let all = [
            volume("large", "5Gi", Value::Null),
            volume("medium", "2Gi", Value::Null),
            volume("small", "1Mi", Value::Null),
            volume("taken", "1Gi", other),
        ];
        let class =
            serde_json::from_value(json!({"metadata": {"name": "local"}, "provisioner": provisioner, "volumeBindingMode": mode})).unwrap();
        let step = match plan(&claim(extra), &all, Some(&class)) {
            Step::Bind(name) => format!("bind {name}"),
            Step::Provision => "provision".to_owned(),
            Step::Wait(reason, _) => reason.to_owned(),
        };
        assert_eq!(step, expected);
    }

    #[test]
    fn a_volume_set_aside_is_taken() {
        let mine = json!({"namespace": "n", "name": "data"});
        let all = [volume("medium", "2Gi", Value::Null), volume("mine", "9Gi", mine)];
        assert_eq!(plan(&claim(json!({})), &all, None), Step::Bind("mine".to_owned()));
    }

    #[tokio::test]
    async fn a_volumes_directory_goes_as_the_machines_directories_do() {
        fn delete(path: &Path) -> io::Result<()> {
            std::fs::remove_dir_all(path)
        }
        let own = tempfile::tempdir().unwrap();
        let volume = own.path().join("pvc-u");
        std::fs::create_dir_all(volume.join("data")).unwrap();
        let spec = |path: &Path| PersistentVolumeSpec {
            host_path: Some(HostPathVolumeSource { path: path.to_string_lossy().into_owned(), type_: None }),
            ..PersistentVolumeSpec::default()
        };
        // who looks for mounts refuses where there are some: then nothing is deleted
        remove_directory(&spec(&volume), own.path(), |_| Err(io::ErrorKind::ResourceBusy.into())).await;
        assert!(volume.join("data").exists());
        for other in [volume.join("data"), own.path().join("x/../pvc-u"), own.path().to_owned()] {
            remove_directory(&spec(&other), own.path(), delete).await;
            assert!(volume.join("data").exists(), "{}", other.display());
        }
        remove_directory(&spec(&volume), own.path(), delete).await;
        assert!(!volume.exists());
    }

    #[test]
    fn a_directory_is_a_volume_on_the_consumers_node() {
        let class = serde_json::from_value(json!({"metadata": {"name": "standard"}, "provisioner": PROVISIONER})).unwrap();
        let volume = provisioned(&claim(json!({"metadata": {"annotations": {SELECTED_NODE: "n1"}}})), &class, Path::new("/data/volumes"));
        let spec = volume.spec.unwrap();
        assert_eq!(
            (spec.host_path.unwrap().path.as_str(), spec.persistent_volume_reclaim_policy.as_deref()),
            ("/data/volumes/pvc-u", Some("Delete"))
        );
        assert_eq!(spec.node_affinity.unwrap().required.unwrap().node_selector_terms.len(), 1);
    }
}

//! A pod's claims must exist, and be bound to volumes that the node can reach, or be bindable there.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::placement::selects_node;
use coracle_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use super::{Filter, Reject};
use crate::cycle::Cycle;
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use crate::world::World;

const ZONES: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

type Candidates = Vec<Arc<PersistentVolume>>;
/// A claim that waits for its consumer, and the volume for it; without one it is provisioned.
pub(crate) type ClaimToBind = (Arc<PersistentVolumeClaim>, Option<Arc<PersistentVolume>>);

/// The pod's claims, looked up once per decision.
#[derive(Debug, Default)]
pub(crate) struct State {
    bound: Vec<Arc<PersistentVolume>>,
    /// Claims that wait for the first consumer, with the volumes that would do; without any, they are provisioned.
    unbound: Vec<(Arc<PersistentVolumeClaim>, Option<Candidates>)>,
    /// Nodes where a pod has a claim that only one pod may have.
    taken: BTreeSet<String>,
}

impl State {
    /// Why the pod can run nowhere, as an error.
    pub(crate) fn new(pod: &PodInfo, snapshot: &Snapshot, world: &World) -> Result<Self, String> {
        let mut state = Self::default();
        for name in &pod.claims {
            let Some(claim) = world.claims.get(pod.namespace(), name) else {
                return Err(format!("persistentvolumeclaim {name:?} not found"));
            };
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            state.add(&claim, world)?;
            let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_ref());
            if modes.is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteOncePod")) {
                let users = snapshot.placed().filter(|(_, other)| other.namespace() == pod.namespace() && other.claims.contains(name));
                state.taken.extend(users.map(|(node, _)| node.name().to_owned()));
            }
        }
        Ok(state)
    }

    fn add(&mut self, claim: &Arc<PersistentVolumeClaim>, world: &World) -> Result<(), String> {
        let spec = claim.spec.clone().unwrap_or_default();
        if let Some(name) = spec.volume_name.as_ref().filter(|name| !name.is_empty()) {
            match world.volumes.get("", name) {
                Some(volume) if is_bound(claim) => self.bound.push(volume),
                Some(_) => return Err("pod has unbound immediate PersistentVolumeClaims".to_owned()),
                None => return Err(format!("persistentvolume {name:?} not found")),
            }
            return Ok(());
        }
        let class = spec.storage_class_name.as_ref().and_then(|name| world.classes.get("", name));
        let Some(class) = class.filter(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")) else {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
        };
        let volumes: Vec<_> = world.volumes.list().into_iter().filter(|volume| satisfies(volume, claim)).collect();
        let provisions = class.provisioner != NO_PROVISIONER;
        self.unbound.push((claim.clone(), (!provisions || !volumes.is_empty()).then_some(volumes)));
        Ok(())
    }

    /// What must be written before the pod can be bound to this node: claims to provision there, or to give a volume.
    pub(crate) fn to_bind(&self, node: &NodeInfo) -> Vec<ClaimToBind> {
        let reachable = |volumes: &Option<Candidates>| {
            let mut near: Vec<_> = volumes.iter().flatten().filter(|volume| can_reach(node, volume)).cloned().collect();
            near.sort_by_key(|volume| capacity(volume));
            near.into_iter().next()
        };
        self.unbound.iter().map(|(claim, volumes)| (claim.clone(), reachable(volumes))).collect()
    }
}

pub(crate) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

fn amount(quantity: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>) -> i64 {
    quantity.and_then(|quantity| quantity.0.parse::<Quantity>().ok()).map_or(0, |quantity| quantity.value())
}

fn capacity(volume: &PersistentVolume) -> i64 {
    amount(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()?.get("storage")))
}

/// A free volume that is what the claim asks for.
fn satisfies(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let (Some(has), Some(wants)) = (&volume.spec, &claim.spec) else { return false };
    let asked = wants.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get("storage"));
    let modes = |modes: &Option<Vec<String>>| modes.clone().unwrap_or_default();
    let selector = wants.selector.clone().map(kube::core::Selector::try_from);
    let labels = volume.metadata.labels.clone().unwrap_or_default();
    let kind = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    has.claim_ref.is_none()
        && volume.metadata.deletion_timestamp.is_none()
        && has.storage_class_name.clone().unwrap_or_default() == wants.storage_class_name.clone().unwrap_or_default()
        && kind(&has.volume_mode) == kind(&wants.volume_mode)
        && modes(&wants.access_modes).iter().all(|mode| modes(&has.access_modes).contains(mode))
        && capacity(volume) >= amount(asked)
        && selector.is_none_or(|selector| selector.is_ok_and(|selector| kube::core::SelectorExt::matches(&selector, &labels)))
}

fn can_reach(node: &NodeInfo, volume: &PersistentVolume) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    affinity.is_none_or(|required| selects_node(required, node.name(), node.labels()))
}

pub(crate) struct VolumeBinding;

impl Filter for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Vec<Reject> {
        let state = &cycle.volumes;
        if state.taken.contains(node.name()) {
            let why = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
            return vec![Reject::occupied(why)];
        }
        let mut rejects = Vec::new();
        if !state.bound.iter().all(|volume| can_reach(node, volume)) {
            rejects.push(Reject::unresolvable("node(s) didn't match PersistentVolume's node affinity"));
        }
        let findable =
            |volumes: &Option<Candidates>| volumes.as_ref().is_none_or(|volumes| volumes.iter().any(|volume| can_reach(node, volume)));
        if !state.unbound.iter().all(|(_, volumes)| findable(volumes)) {
            rejects.push(Reject::unresolvable("node(s) didn't find available persistent volumes to bind"));
        }
        rejects
    }
}

pub(crate) struct VolumeZone;

impl Filter for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    /// A volume's zone label names the zones it can be reached from, with `__` between them.
    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Vec<Reject> {
        let fits = |volume: &Arc<PersistentVolume>| {
            ZONES.iter().all(|key| {
                let zones = volume.metadata.labels.as_ref().and_then(|labels| labels.get(*key));
                zones.is_none_or(|zones| node.label(key).is_none_or(|own| zones.split("__").any(|zone| zone == own)))
            })
        };
        if cycle.volumes.bound.iter().all(fits) {
            return Vec::new();
        }
        vec![Reject::unresolvable("node(s) had no available volume zone")]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use crate::cycle::tests::{chosen, cluster};
    use crate::pod::tests::pod;
    use crate::world::tests::world;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn claim(class: &str, volume: Option<&str>) -> Value {
        let phase = if volume.is_some() { "Bound" } else { "Pending" };
        json!([{"metadata": {"name": "data", "namespace": "n"}, "spec": {"storageClassName": class, "volumeName": volume,
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}, "status": {"phase": phase}}])
    }

    fn volume(node: &str, size: &str) -> Value {
        json!([{"metadata": {"name": "pv"}, "spec": {"storageClassName": "local", "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"],
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}}}])
    }

    #[rstest]
    #[case::missing(json!([]), json!([]), Err("0/2 nodes are available: persistentvolumeclaim \"data\" not found."))]
    #[case::unbound(claim("fast", None), json!([]), Err("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."))]
    #[case::bound(claim("local", Some("pv")), volume("n2", "1Gi"), Ok("n2"))]
    #[case::bound_elsewhere(
        claim("local", Some("pv")),
        volume("n9", "1Gi"),
        Err("2 node(s) didn't match PersistentVolume's node affinity")
    )]
    #[case::waits(claim("local", None), volume("n2", "1Gi"), Ok("n2"))]
    #[case::too_small(claim("local", None), volume("n2", "1Mi"), Err("2 node(s) didn't find available persistent volumes to bind"))]
    fn claims_decide(#[case] claims: Value, #[case] volumes: Value, #[case] expected: Result<&str, &str>) {
        let classes = json!([{"metadata": {"name": "local"}, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"},
            {"metadata": {"name": "fast"}, "provisioner": "x", "volumeBindingMode": "Immediate"}]);
        let snapshot = cluster(&[("n1", json!({})), ("n2", json!({}))]);
        let wants = pod("p", json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}));
        match (chosen(&wants, &snapshot, &world(claims, volumes, classes)), expected) {
            (Ok(node), Ok(wanted)) => assert_eq!(node, wanted),
            (Err(message), Err(why)) => assert!(message.contains(why), "{message}"),
            (got, expected) => panic!("{got:?}, not {expected:?}"),
        }
    }
}

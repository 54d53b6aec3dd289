//! The types schemas are generated from: every kind and every body of a subresource.

use k8s_openapi::api::{
    admissionregistration::v1 as admissionregistration, apps::v1 as apps, authentication::v1 as authentication,
    authorization::v1 as authorization, autoscaling::v1 as autoscaling_v1, autoscaling::v2 as autoscaling_v2, batch::v1 as batch,
    certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery, events::v1 as events,
    flowcontrol::v1 as flowcontrol, networking::v1 as networking, node::v1 as node, policy::v1 as policy, rbac::v1 as rbac,
    resource::v1 as resource, scheduling::v1 as scheduling, storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

type Generate = fn(&mut SchemaGenerator) -> Schema;

/// What a group's full names begin with, and its types.
type Package = (&'static str, &'static [(&'static str, Generate)]);

fn generate<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

macro_rules! packages {
    ($($package:literal $module:ident: $($name:ident)*;)*) => {
        &[$(($package, &[$((stringify!($name), generate::<$module::$name> as Generate)),*])),*]
    };
}

const PACKAGES: &[Package] = packages! {
    "io.k8s.api.core.v1" core: Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume
        PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount PodSpec;
    "io.k8s.api.apps.v1" apps: ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet;
    "io.k8s.api.events.v1" events: Event;
    "io.k8s.api.authentication.v1" authentication: SelfSubjectReview TokenRequest TokenReview;
    "io.k8s.api.authorization.v1" authorization: LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview
        SubjectAccessReview;
    "io.k8s.api.autoscaling.v1" autoscaling_v1: HorizontalPodAutoscaler Scale;
    "io.k8s.api.autoscaling.v2" autoscaling_v2: HorizontalPodAutoscaler;
    "io.k8s.api.batch.v1" batch: CronJob Job;
    "io.k8s.api.certificates.v1" certificates: CertificateSigningRequest;
    "io.k8s.api.networking.v1" networking: IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR;
    "io.k8s.api.policy.v1" policy: Eviction PodDisruptionBudget;
    "io.k8s.api.rbac.v1" rbac: ClusterRole ClusterRoleBinding Role RoleBinding;
    "io.k8s.api.storage.v1" storage: CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass;
    "io.k8s.api.admissionregistration.v1" admissionregistration: MutatingAdmissionPolicy MutatingAdmissionPolicyBinding
        MutatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration;
    "io.k8s.api.scheduling.v1" scheduling: PriorityClass;
    "io.k8s.api.coordination.v1" coordination: Lease;
    "io.k8s.api.node.v1" node: RuntimeClass;
    "io.k8s.api.discovery.v1" discovery: EndpointSlice;
    "io.k8s.api.resource.v1" resource: DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice;
    "io.k8s.api.flowcontrol.v1" flowcontrol: FlowSchema PriorityLevelConfiguration;
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1" apiextensions: CustomResourceDefinition;
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1" apiregistration: APIService;
    "io.k8s.apimachinery.pkg.apis.meta.v1" meta: ObjectMeta DeleteOptions LabelSelector Status ListMeta;
};

/// The schemas of a type and of all it refers to, by full name; `None` where the name is neither a root nor below one
/// of its package's.
pub(crate) fn definitions(name: &str) -> Option<Map<String, Value>> {
    let (package, short) = name.rsplit_once('.')?;
    let (_, types) = PACKAGES.iter().find(|(own, _)| *own == package)?;
    if let Some((_, generate)) = types.iter().find(|(own, _)| *own == short) {
        return Some(generated(&[*generate]));
    }
    let all: Vec<Generate> = types.iter().map(|(_, generate)| *generate).collect();
    let found = generated(&all);
    if found.contains_key(name) { Some(found) } else { None }
}

fn generated(roots: &[Generate]) -> Map<String, Value> {
    let mut generator = SchemaGenerator::default();
    for generate in roots {
        generate(&mut generator);
    }
    generator.take_definitions(false)
}

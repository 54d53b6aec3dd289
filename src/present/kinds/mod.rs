//! Which file prints which kind.

mod config;
mod devices;
mod events;
mod network;
mod node;
pub(crate) mod pod;
mod policy;
mod storage;
mod workloads;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Column;
use crate::text::str_at;

/// Columns and cells of a kind.
pub(crate) struct Printer {
    pub(crate) columns: &'static [Column],
    pub(crate) cells: fn(&Value, Timestamp) -> Vec<Value>,
}

/// Cells from anything that is JSON.
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$(serde_json::json!($cell)),*] };
}
pub(crate) use row;

static NAME_AND_CREATION: Printer = Printer {
    columns: &[Column::name(), Column::created_at()],
    cells: |object, _| vec![json!(str_at(object, "/metadata/name")), json!(str_at(object, "/metadata/creationTimestamp"))],
};

static NAME_AND_AGE: Printer = Printer {
    columns: &[Column::name(), Column::age()],
    cells: |object, now| vec![json!(str_at(object, "/metadata/name")), json!(crate::text::age(object, now))],
};

/// The printer of a kind.
pub(crate) fn printer(group: &str, kind: &str) -> &'static Printer {
    match (group, kind) {
        ("", "Pod") => &pod::POD,
        ("", "PodTemplate") => &workloads::POD_TEMPLATE,
        ("", "ReplicationController") => &workloads::REPLICATION_CONTROLLER,
        ("apps", "ReplicaSet") => &workloads::REPLICA_SET,
        ("apps", "Deployment") => &workloads::DEPLOYMENT,
        ("apps", "DaemonSet") => &workloads::DAEMON_SET,
        ("apps", "StatefulSet") => &workloads::STATEFUL_SET,
        ("apps", "ControllerRevision") => &workloads::CONTROLLER_REVISION,
        ("batch", "Job") => &workloads::JOB,
        ("batch", "CronJob") => &workloads::CRON_JOB,
        ("autoscaling", "HorizontalPodAutoscaler") => &policy::HORIZONTAL_POD_AUTOSCALER,
        ("policy", "PodDisruptionBudget") => &policy::POD_DISRUPTION_BUDGET,
        ("", "Service") => &network::SERVICE,
        ("", "Endpoints") => &network::ENDPOINTS,
        ("discovery.k8s.io", "EndpointSlice") => &network::ENDPOINT_SLICE,
        ("networking.k8s.io", "Ingress") => &network::INGRESS,
        ("networking.k8s.io", "IngressClass") => &network::INGRESS_CLASS,
        ("networking.k8s.io", "NetworkPolicy") => &network::NETWORK_POLICY,
        ("networking.k8s.io", "ServiceCIDR") => &network::SERVICE_CIDR,
        ("networking.k8s.io", "IPAddress") => &network::IP_ADDRESS,
        ("", "Node") => &node::NODE,
        ("", "Namespace") => &node::NAMESPACE,
        ("", "ComponentStatus") => &node::COMPONENT_STATUS,
        ("", "Event") | ("events.k8s.io", "Event") => &events::EVENT,
        ("", "ConfigMap") => &config::CONFIG_MAP,
        ("", "Secret") => &config::SECRET,
        ("", "ServiceAccount") => &NAME_AND_AGE,
        ("", "ResourceQuota") => &config::RESOURCE_QUOTA,
        ("", "PersistentVolume") => &storage::PERSISTENT_VOLUME,
        ("", "PersistentVolumeClaim") => &storage::PERSISTENT_VOLUME_CLAIM,
        ("storage.k8s.io", "StorageClass") => &storage::STORAGE_CLASS,
        ("storage.k8s.io", "VolumeAttachment") => &storage::VOLUME_ATTACHMENT,
        ("storage.k8s.io", "VolumeAttributesClass") => &storage::VOLUME_ATTRIBUTES_CLASS,
        ("storage.k8s.io", "CSINode") => &storage::CSI_NODE,
        ("storage.k8s.io", "CSIDriver") => &storage::CSI_DRIVER,
        ("storage.k8s.io", "CSIStorageCapacity") => &NAME_AND_CREATION,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &policy::ROLE_BINDING,
        ("scheduling.k8s.io", "PriorityClass") => &policy::PRIORITY_CLASS,
        ("node.k8s.io", "RuntimeClass") => &policy::RUNTIME_CLASS,
        ("coordination.k8s.io", "Lease") => &policy::LEASE,
        ("certificates.k8s.io", "CertificateSigningRequest") => &policy::CERTIFICATE_SIGNING_REQUEST,
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
            &policy::WEBHOOK_CONFIGURATION
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => &policy::VALIDATING_ADMISSION_POLICY,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => &policy::MUTATING_ADMISSION_POLICY,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding") => {
            &policy::ADMISSION_POLICY_BINDING
        }
        ("apiregistration.k8s.io", "APIService") => &policy::API_SERVICE,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => &policy::FLOW_SCHEMA,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => &policy::PRIORITY_LEVEL,
        ("resource.k8s.io", "DeviceClass" | "ResourceClaimTemplate") => &NAME_AND_AGE,
        ("resource.k8s.io", "ResourceClaim") => &devices::CLAIM,
        ("resource.k8s.io", "ResourceSlice") => &devices::SLICE,
        _ => &NAME_AND_CREATION,
    }
}

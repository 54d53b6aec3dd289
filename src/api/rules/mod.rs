//! What each kind means beyond its schema: defaults, what create and update keep or reset, validation, warnings and the
//! fields that field selectors know. Upstream's `defaults.go`, `strategy.go` and `validation.go`, one file per kind.
//!
//! Objects have passed `schema::decode`: types are right and nothing is null. The order of a write is decode, `default`,
//! `prepare_create` or `prepare_update`, admission, `validate_create` or `validate_update`. A kind is a `Rules` row.

mod admission_policy;
mod autoscaler;
mod certificates;
mod check;
mod config;
mod deployment;
mod endpoints;
mod extension;
mod flow_control;
mod job;
mod job_policies;
mod meta;
mod namespace;
mod network;
mod node;
mod pod;
mod policy;
mod quota;
mod rbac;
mod replicaset;
mod runtime_class;
mod selector;
mod service;
mod storage;
mod template;
mod type_checking;
mod volumes;
mod webhooks;
mod workloads;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::field::FieldError;
use crate::kinds::Kind;
use crate::{names, time};
pub use admission_policy::{Place, expression_variables};
pub(crate) use check::{Errors, Fill, Path, Read};
pub(crate) use meta::validate as check_metadata;
pub use type_checking::type_checked;

/// Rule for the names of a kind.
pub(crate) type NameRule = fn(&str) -> Vec<String>;

/// What a kind does where it differs from `PLAIN`.
pub(crate) struct Rules {
    /// Names of objects.
    pub(crate) name: NameRule,
    /// Whether `metadata.generation` counts changes of the spec.
    pub(crate) generation: bool,
    /// Paths of the desired state: a change of them moves the generation.
    pub(crate) desired: &'static [&'static str],
    /// The status every new object has; null where the kind has none.
    pub(crate) status: fn(&Value) -> Value,
    /// Whether an update without `resourceVersion` is allowed.
    pub(crate) unconditional_update: bool,
    /// Whether PUT creates what does not exist.
    pub(crate) create_on_update: bool,
    /// Fills defaults.
    pub(crate) default: fn(&mut Value),
    /// Beyond status and generation: what a create drops or computes.
    pub(crate) create: fn(&mut Value),
    /// Beyond status, spec and generation: what an update of a (sub)resource keeps from the old object.
    pub(crate) update: fn(&mut Value, &Value, &str),
    /// Validates all but `metadata`.
    pub(crate) validate: fn(&Value, &mut Errors),
    /// Validates what only a new object must keep to.
    pub(crate) validate_create: fn(&Value, &mut Errors),
    /// Validates an update of a (sub)resource, all but `metadata`.
    pub(crate) validate_update: fn(&Value, &Value, &str, &mut Errors),
    /// Times the system writes when a state begins: new object, old one, now.
    pub(crate) stamp: fn(&mut Value, Option<&Value>, &str),
    /// Warnings for whoever writes such an object.
    pub(crate) warnings: fn(&Value) -> Vec<String>,
    /// Whether an update warns like a create.
    pub(crate) warns_on_update: bool,
    /// What a name that is no DNS label will be a nuisance in; empty where it will not.
    pub(crate) name_is_used_in: &'static str,
    /// Fields for field selectors beyond `metadata.name` and `metadata.namespace`.
    pub(crate) fields: &'static [&'static str],
}

impl Rules {
    pub(crate) const PLAIN: Self = Self {
        name: names::dns1123_subdomain,
        generation: false,
        desired: &["spec"],
        status: |_| Value::Null,
        unconditional_update: true,
        create_on_update: false,
        default: |_| {},
        create: |_| {},
        update: |_, _, _| {},
        validate: |_, _| {},
        validate_create: |_, _| {},
        validate_update: |_, _, _, _| {},
        stamp: |_, _, _| {},
        warnings: |_| Vec::new(),
        warns_on_update: true,
        name_is_used_in: "",
        fields: &[],
    };
}

static PLAIN: Rules = Rules::PLAIN;
/// Custom resources: the rest is `Custom`'s.
static CUSTOM: Rules = Rules { generation: true, unconditional_update: false, ..Rules::PLAIN };
/// Kinds with a spec whose generation counts, and nothing more to say.
static COUNTED: Rules = Rules { generation: true, ..Rules::PLAIN };
/// Kinds known only by their columns in the registry: a status is reset on create, kept apart on update.
static WITH_STATUS: Rules = Rules { status: |_| json!({}), ..Rules::PLAIN };

fn of(kind: &Kind) -> &'static Rules {
    if kind.custom.is_some() {
        return &CUSTOM;
    }
    match (&*kind.group, &*kind.kind) {
        ("", "Pod") => &pod::RULES,
        ("", "Service") => &service::RULES,
        ("", "ConfigMap") => &config::CONFIG_MAP,
        ("", "Secret") => &config::SECRET,
        ("", "Namespace") => &namespace::RULES,
        ("", "Node") => &node::RULES,
        ("", "ServiceAccount") => &rbac::SERVICE_ACCOUNT,
        ("", "Endpoints") => &endpoints::ENDPOINTS,
        ("", "ReplicationController") => &replicaset::REPLICATION_CONTROLLER,
        ("", "PodTemplate") => &workloads::POD_TEMPLATE,
        ("", "PersistentVolume") => &volumes::VOLUME,
        ("", "PersistentVolumeClaim") => &volumes::CLAIM,
        ("", "LimitRange") => &policy::LIMIT_RANGE,
        ("", "ResourceQuota") => &quota::QUOTA,
        ("" | "events.k8s.io", "Event") => &policy::EVENT,
        ("apps", "Deployment") => &deployment::RULES,
        ("apps", "ReplicaSet") => &replicaset::RULES,
        ("apps", "StatefulSet") => &workloads::STATEFUL_SET,
        ("apps", "DaemonSet") => &workloads::DAEMON_SET,
        ("apps", "ControllerRevision") => &workloads::CONTROLLER_REVISION,
        ("batch", "Job") => &job::JOB,
        ("batch", "CronJob") => &job::CRON_JOB,
        ("autoscaling", "HorizontalPodAutoscaler") => &autoscaler::RULES,
        ("apiregistration.k8s.io", "APIService") => &extension::API_SERVICE,
        ("certificates.k8s.io", "CertificateSigningRequest") => &certificates::REQUEST,
        ("coordination.k8s.io", "Lease") => &policy::LEASE,
        ("discovery.k8s.io", "EndpointSlice") => &endpoints::SLICE,
        ("networking.k8s.io", "Ingress") => &network::INGRESS,
        ("networking.k8s.io", "IngressClass") => &network::INGRESS_CLASS,
        ("networking.k8s.io", "NetworkPolicy") => &network::POLICY,
        ("networking.k8s.io", "ServiceCIDR") => &network::SERVICE_CIDR,
        ("networking.k8s.io", "IPAddress") => &network::IP_ADDRESS,
        ("node.k8s.io", "RuntimeClass") => &runtime_class::RULES,
        ("policy", "PodDisruptionBudget") => &policy::BUDGET,
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => &rbac::ROLE,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &rbac::BINDING,
        ("scheduling.k8s.io", "PriorityClass") => &policy::PRIORITY_CLASS,
        ("storage.k8s.io", "StorageClass") => &storage::CLASS,
        ("storage.k8s.io", "VolumeAttributesClass") => &storage::ATTRIBUTES_CLASS,
        ("storage.k8s.io", "CSIDriver") => &storage::DRIVER,
        ("storage.k8s.io", "CSINode") => &storage::NODE,
        ("storage.k8s.io", "CSIStorageCapacity") => &storage::CAPACITY,
        ("storage.k8s.io", "VolumeAttachment") => &storage::ATTACHMENT,
        ("admissionregistration.k8s.io", name) if name.ends_with("WebhookConfiguration") => &webhooks::RULES,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => &admission_policy::VALIDATING,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => &admission_policy::MUTATING,
        ("admissionregistration.k8s.io", _) => &admission_policy::BINDING,
        ("resource.k8s.io", "ResourceSlice") => &COUNTED,
        ("apiextensions.k8s.io", _) => &crate::custom::RULES,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => &flow_control::SCHEMA,
        ("flowcontrol.apiserver.k8s.io", _) => &flow_control::LEVEL,
        _ if kind.subresource("status").is_some() => &WITH_STATUS,
        _ => &PLAIN,
    }
}

/// Fills the defaults upstream fills. Idempotent.
pub fn default(kind: &Kind, object: &mut Value) {
    if let Some(custom) = &kind.custom {
        custom.default(object);
    }
    (of(kind).default)(object);
}

/// Prepares a new object: resets what only the system sets (status, generation) and computes derived fields.
pub fn prepare_create(kind: &Kind, object: &mut Value) {
    let rules = of(kind);
    match (rules.status)(object) {
        Value::Null => {}
        status => object.put("status", status),
    }
    if rules.generation {
        object.within("metadata", |meta| meta.put("generation", 1));
    }
    (rules.create)(object);
}

/// Prepares an update of an object (`subresource` empty) or of its `status`, `ephemeralcontainers`, `resize`, …: takes
/// from `old` what this path may not change, and moves the generation when the desired state changed.
pub fn prepare_update(kind: &Kind, new: &mut Value, old: &Value, subresource: &str) {
    let rules = of(kind);
    let has_status = kind.subresource("status").is_some();
    new.within("metadata", |meta| {
        for key in ["generation", "selfLink"] {
            meta.take_from(key, &old["metadata"]);
        }
        for key in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            if !meta.has(key) {
                meta.take_from(key, &old["metadata"]);
            }
        }
    });
    match subresource {
        "" if has_status => new.take_from("status", old),
        "status" => {
            let kept = old.as_object().into_iter().flatten().map(|(key, _)| key.clone());
            let given = new.as_object().into_iter().flatten().map(|(key, _)| key.clone());
            for key in kept.chain(given).collect::<std::collections::BTreeSet<_>>() {
                if !matches!(&*key, "status" | "metadata" | "apiVersion" | "kind") {
                    new.take_from(&key, old);
                }
            }
            if kind.custom.is_some() {
                keep_metadata(new, old);
            }
        }
        _ => {}
    }
    (rules.update)(new, old, subresource);
    let changed = match &kind.custom {
        Some(_) => desired_of_custom(new, has_status).ne(desired_of_custom(old, has_status)),
        None => rules.desired.iter().any(|path| at(new, path) != at(old, path)),
    };
    if rules.generation && subresource != "status" && changed {
        let generation = old["metadata"].int("generation").unwrap_or(0) + 1;
        new.within("metadata", |meta| meta.put("generation", generation));
    }
}

/// Of the metadata of a custom resource a write to its status changes who manages what, no more.
fn keep_metadata(new: &mut Value, old: &Value) {
    let mut metadata = old["metadata"].clone();
    for key in ["managedFields", "resourceVersion"] {
        metadata.take_from(key, &new["metadata"]);
    }
    new.put("metadata", metadata);
}

/// What an update of a custom resource may change that moves its generation.
fn desired_of_custom(object: &Value, has_status: bool) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten().filter(move |(name, _)| *name != "metadata" && !(has_status && *name == "status"))
}

/// What is wrong with a new object, in upstream's order and words; empty when nothing is.
pub fn validate_create(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let rules = of(kind);
    let mut out = Errors::default();
    meta::validate(object, kind.namespaced, rules.name, &mut out);
    if kind.custom.is_none() {
        meta::qualified_finalizers(object, &mut out);
    }
    (rules.validate_create)(object, &mut out);
    (rules.validate)(object, &mut out);
    out.0.extend(kind.custom.iter().flat_map(|custom| custom.validate(object, None, "")));
    out.0
}

/// What is wrong with an update of an object or of a subresource of it.
pub fn validate_update(kind: &Kind, new: &Value, old: &Value, subresource: &str) -> Vec<FieldError> {
    let rules = of(kind);
    let mut out = Errors::default();
    meta::validate_update(new, old, &mut out);
    if kind.custom.is_none() {
        meta::qualified_finalizers(new, &mut out);
    }
    if subresource.is_empty() {
        (rules.validate)(new, &mut out);
    }
    (rules.validate_update)(new, old, subresource, &mut out);
    out.0.extend(kind.custom.iter().flat_map(|custom| custom.validate(new, Some(old), subresource)));
    out.0
}

/// Writes the times at which a state began, on create (`old` is none) and on an update of the object or of its `status`.
pub fn stamp(kind: &Kind, new: &mut Value, old: Option<&Value>, now: Timestamp) {
    (of(kind).stamp)(new, old, &time::seconds(now));
}

/// Warnings for whoever creates or updates such an object, for the `Warning` header. An update warns only when the
/// desired state changed, where that is counted, and not of what cannot be changed.
pub fn warnings(kind: &Kind, new: &Value, old: Option<&Value>, subresource: &str) -> Vec<String> {
    let rules = of(kind);
    if kind.custom.is_some() {
        return if subresource.is_empty() { meta::plain_finalizers(new, old) } else { Vec::new() };
    }
    let Some(old) = old else {
        let name = names::dns1123_label(new["metadata"].text("name"));
        let mut out = Vec::new();
        if !rules.name_is_used_in.is_empty() && !name.is_empty() {
            out.push(format!(
                "metadata.name: this is used in {}, which can result in surprising behavior; a DNS label is recommended: [{}]",
                rules.name_is_used_in,
                name.join(" ")
            ));
        }
        out.extend((rules.warnings)(new));
        return out;
    };
    let changed = !rules.generation || new["metadata"]["generation"] != old["metadata"]["generation"];
    if rules.warns_on_update && changed && subresource.is_empty() { (rules.warnings)(new) } else { Vec::new() }
}

/// Whether an update without `metadata.resourceVersion` is allowed; otherwise the server refuses it as
/// `metadata.resourceVersion: Invalid value: "": must be specified for an update`.
pub fn allows_unconditional_update(kind: &Kind) -> bool {
    of(kind).unconditional_update
}

/// Whether PUT on a name that does not exist creates the object.
pub fn allows_create_on_update(kind: &Kind) -> bool {
    of(kind).create_on_update
}

/// Whether a pod has the quality-of-service class `BestEffort`.
pub fn is_best_effort(pod: &Value) -> bool {
    pod::qos::class(pod) == "BestEffort"
}

/// The fields a field selector may name, with this object's values.
pub fn selectable_fields(kind: &Kind, object: &Value) -> Vec<(String, String)> {
    let mut out = vec![("metadata.name".to_owned(), object["metadata"].text("name").to_owned())];
    if kind.namespaced {
        out.push(("metadata.namespace".to_owned(), object["metadata"].text("namespace").to_owned()));
    }
    for field in of(kind).fields {
        out.push(((*field).to_owned(), selectable(object, field)));
    }
    out.extend(kind.custom.iter().flat_map(|custom| custom.selectable(object)));
    out
}

fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(object, |value, part| &value[part])
}

/// The text of one field; booleans and numbers as text, absent is empty but `false` for `spec.hostNetwork` and the like.
fn selectable(object: &Value, field: &str) -> String {
    match at(object, field) {
        Value::String(text) => text.clone(),
        Value::Null => match field {
            "spec.hostNetwork" | "spec.unschedulable" => "false".to_owned(),
            "status.successful" | "status.replicas" => "0".to_owned(),
            _ => String::new(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;

//! The table of built-in resources of upstream v1.36's v1 groups.

use super::{Kind, Subresource, Text};

const STORED: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const CREATE: &[&str] = &["create"];
const PART: &[&str] = &["get", "patch", "update"];
const CONNECT: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

fn texts(list: &[&'static str]) -> Vec<Text> {
    list.iter().map(|&text| Text::Borrowed(text)).collect()
}

/// A resource of a group: collects rows that share group and version.
struct Group {
    group: &'static str,
    version: &'static str,
    package: &'static str,
    rows: Vec<Kind>,
}

impl Group {
    fn new(group: &'static str, version: &'static str, package: &'static str) -> Self {
        Self { group, version, package, rows: Vec::new() }
    }

    fn row(&self, kind: &'static str, plural: &'static str, namespaced: bool) -> Kind {
        Kind {
            group: self.group.into(),
            version: self.version.into(),
            kind: kind.into(),
            list_kind: format!("{kind}List").into(),
            plural: plural.into(),
            singular: kind.to_ascii_lowercase().into(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced,
            verbs: texts(STORED),
            subresources: Vec::new(),
            schema: format!("{}.{kind}", self.package).into(),
            stored: true,
            storage: (self.group.into(), self.version.into()),
            custom: None,
        }
    }

    fn add(mut self, row: Kind) -> Self {
        self.rows.push(row);
        self
    }

    fn namespaced(self, kind: &'static str, plural: &'static str, edit: impl FnOnce(Kind) -> Kind) -> Self {
        let row = edit(self.row(kind, plural, true));
        self.add(row)
    }

    fn cluster(self, kind: &'static str, plural: &'static str, edit: impl FnOnce(Kind) -> Kind) -> Self {
        let row = edit(self.row(kind, plural, false));
        self.add(row)
    }
}

impl Kind {
    fn short(mut self, names: &[&'static str]) -> Self {
        self.short_names = texts(names);
        self
    }

    fn category(mut self, name: &'static str) -> Self {
        self.categories = texts(&[name]);
        self
    }

    fn verbs(mut self, verbs: &[&'static str]) -> Self {
        self.verbs = texts(verbs);
        self
    }

    /// Only answered, never kept.
    fn virtual_(mut self) -> Self {
        self.stored = false;
        self.verbs(CREATE)
    }

    fn stored_as(mut self, group: &'static str, version: &'static str) -> Self {
        self.storage = (group.into(), version.into());
        self
    }

    fn sub(mut self, sub: Subresource) -> Self {
        let at = self.subresources.partition_point(|own| own.name < sub.name);
        self.subresources.insert(at, sub);
        self
    }

    /// A subresource whose body is the object itself.
    fn part(self, name: &'static str, verbs: &[&'static str]) -> Self {
        let sub = Subresource {
            name: name.into(),
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
            schema: self.schema.clone(),
            verbs: texts(verbs),
        };
        self.sub(sub)
    }

    fn status(self) -> Self {
        self.part("status", PART)
    }

    /// A subresource that answers with bytes or streams.
    fn stream(self, name: &'static str, kind: &'static str, verbs: &[&'static str]) -> Self {
        let sub = Subresource {
            name: name.into(),
            group: self.group.clone(),
            version: self.version.clone(),
            kind: kind.into(),
            schema: "".into(),
            verbs: texts(verbs),
        };
        self.sub(sub)
    }

    /// A subresource whose body is an object of another kind.
    fn other(self, name: &'static str, group: &'static str, package: &'static str, kind: &'static str, verbs: &[&'static str]) -> Self {
        let sub = Subresource {
            name: name.into(),
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
            schema: format!("{package}.{kind}").into(),
            verbs: texts(verbs),
        };
        self.sub(sub)
    }

    fn scale(self) -> Self {
        self.other("scale", "autoscaling", "io.k8s.api.autoscaling.v1", "Scale", PART)
    }
}

fn same(kind: Kind) -> Kind {
    kind
}

pub(super) fn kinds() -> Vec<Kind> {
    let groups = [
        core(),
        aggregation(),
        apps(),
        events(),
        authentication(),
        authorization(),
        autoscaling_v2(),
        autoscaling_v1(),
        batch(),
        certificates(),
        networking(),
        policy(),
        rbac(),
        storage(),
        admission(),
        extensions(),
        scheduling(),
        coordination(),
        node(),
        discovery(),
        resource(),
        flowcontrol(),
    ];
    groups.into_iter().flat_map(|group| group.rows).collect()
}

fn core() -> Group {
    Group::new("", "v1", "io.k8s.api.core.v1")
        .namespaced("Binding", "bindings", Kind::virtual_)
        .cluster("ComponentStatus", "componentstatuses", |kind| {
            let mut kind = kind.short(&["cs"]).verbs(&["get", "list"]);
            kind.stored = false;
            kind
        })
        .namespaced("ConfigMap", "configmaps", |kind| kind.short(&["cm"]))
        .namespaced("Endpoints", "endpoints", |kind| kind.short(&["ep"]))
        .namespaced("Event", "events", |kind| kind.short(&["ev"]))
        .namespaced("LimitRange", "limitranges", |kind| kind.short(&["limits"]))
        .cluster("Namespace", "namespaces", |kind| {
            kind.short(&["ns"])
                .verbs(&["create", "delete", "get", "list", "patch", "update", "watch"])
                .part("finalize", &["update"])
                .status()
        })
        .cluster("Node", "nodes", |kind| kind.short(&["no"]).stream("proxy", "NodeProxyOptions", PROXY).status())
        .namespaced("PersistentVolumeClaim", "persistentvolumeclaims", |kind| kind.short(&["pvc"]).status())
        .cluster("PersistentVolume", "persistentvolumes", |kind| kind.short(&["pv"]).status())
        .namespaced("Pod", "pods", pod)
        .namespaced("PodTemplate", "podtemplates", same)
        .namespaced("ReplicationController", "replicationcontrollers", |kind| kind.short(&["rc"]).category("all").scale().status())
        .namespaced("ResourceQuota", "resourcequotas", |kind| kind.short(&["quota"]).status())
        .namespaced("Secret", "secrets", same)
        .namespaced("ServiceAccount", "serviceaccounts", |kind| {
            kind.short(&["sa"]).other("token", "authentication.k8s.io", "io.k8s.api.authentication.v1", "TokenRequest", CREATE)
        })
        .namespaced("Service", "services", |kind| {
            kind.short(&["svc"]).category("all").stream("proxy", "ServiceProxyOptions", PROXY).status()
        })
}

fn pod(kind: Kind) -> Kind {
    kind.short(&["po"])
        .category("all")
        .stream("attach", "PodAttachOptions", CONNECT)
        .other("binding", "", "io.k8s.api.core.v1", "Binding", CREATE)
        .part("ephemeralcontainers", PART)
        .other("eviction", "policy", "io.k8s.api.policy.v1", "Eviction", CREATE)
        .stream("exec", "PodExecOptions", CONNECT)
        .stream("log", "Pod", &["get"])
        .stream("portforward", "PodPortForwardOptions", CONNECT)
        .stream("proxy", "PodProxyOptions", PROXY)
        .part("resize", PART)
        .status()
}

fn aggregation() -> Group {
    Group::new("apiregistration.k8s.io", "v1", "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1").cluster(
        "APIService",
        "apiservices",
        |kind| kind.category("api-extensions").status(),
    )
}

fn apps() -> Group {
    Group::new("apps", "v1", "io.k8s.api.apps.v1")
        .namespaced("ControllerRevision", "controllerrevisions", same)
        .namespaced("DaemonSet", "daemonsets", |kind| kind.short(&["ds"]).category("all").status())
        .namespaced("Deployment", "deployments", |kind| kind.short(&["deploy"]).category("all").scale().status())
        .namespaced("ReplicaSet", "replicasets", |kind| kind.short(&["rs"]).category("all").scale().status())
        .namespaced("StatefulSet", "statefulsets", |kind| kind.short(&["sts"]).category("all").scale().status())
}

fn events() -> Group {
    Group::new("events.k8s.io", "v1", "io.k8s.api.events.v1").namespaced("Event", "events", |kind| kind.short(&["ev"]).stored_as("", "v1"))
}

fn authentication() -> Group {
    Group::new("authentication.k8s.io", "v1", "io.k8s.api.authentication.v1")
        .cluster("SelfSubjectReview", "selfsubjectreviews", Kind::virtual_)
        .cluster("TokenReview", "tokenreviews", Kind::virtual_)
}

fn authorization() -> Group {
    Group::new("authorization.k8s.io", "v1", "io.k8s.api.authorization.v1")
        .namespaced("LocalSubjectAccessReview", "localsubjectaccessreviews", Kind::virtual_)
        .cluster("SelfSubjectAccessReview", "selfsubjectaccessreviews", Kind::virtual_)
        .cluster("SelfSubjectRulesReview", "selfsubjectrulesreviews", Kind::virtual_)
        .cluster("SubjectAccessReview", "subjectaccessreviews", Kind::virtual_)
}

fn autoscaling_v2() -> Group {
    Group::new("autoscaling", "v2", "io.k8s.api.autoscaling.v2")
        .namespaced("HorizontalPodAutoscaler", "horizontalpodautoscalers", |kind| kind.short(&["hpa"]).category("all").status())
}

fn autoscaling_v1() -> Group {
    Group::new("autoscaling", "v1", "io.k8s.api.autoscaling.v1").namespaced("HorizontalPodAutoscaler", "horizontalpodautoscalers", |kind| {
        kind.short(&["hpa"]).category("all").status().stored_as("autoscaling", "v2")
    })
}

fn batch() -> Group {
    Group::new("batch", "v1", "io.k8s.api.batch.v1")
        .namespaced("CronJob", "cronjobs", |kind| kind.short(&["cj"]).category("all").status())
        .namespaced("Job", "jobs", |kind| kind.category("all").status())
}

fn certificates() -> Group {
    Group::new("certificates.k8s.io", "v1", "io.k8s.api.certificates.v1").cluster(
        "CertificateSigningRequest",
        "certificatesigningrequests",
        |kind| kind.short(&["csr"]).part("approval", PART).status(),
    )
}

fn networking() -> Group {
    Group::new("networking.k8s.io", "v1", "io.k8s.api.networking.v1")
        .cluster("IngressClass", "ingressclasses", same)
        .namespaced("Ingress", "ingresses", |kind| kind.short(&["ing"]).status())
        .cluster("IPAddress", "ipaddresses", |kind| kind.short(&["ip"]))
        .namespaced("NetworkPolicy", "networkpolicies", |kind| kind.short(&["netpol"]))
        .cluster("ServiceCIDR", "servicecidrs", |kind| kind.status())
}

fn policy() -> Group {
    Group::new("policy", "v1", "io.k8s.api.policy.v1")
        .namespaced("PodDisruptionBudget", "poddisruptionbudgets", |kind| kind.short(&["pdb"]).status())
}

fn rbac() -> Group {
    Group::new("rbac.authorization.k8s.io", "v1", "io.k8s.api.rbac.v1")
        .cluster("ClusterRoleBinding", "clusterrolebindings", same)
        .cluster("ClusterRole", "clusterroles", same)
        .namespaced("RoleBinding", "rolebindings", same)
        .namespaced("Role", "roles", same)
}

fn storage() -> Group {
    Group::new("storage.k8s.io", "v1", "io.k8s.api.storage.v1")
        .cluster("CSIDriver", "csidrivers", same)
        .cluster("CSINode", "csinodes", same)
        .namespaced("CSIStorageCapacity", "csistoragecapacities", same)
        .cluster("StorageClass", "storageclasses", |kind| kind.short(&["sc"]))
        .cluster("VolumeAttachment", "volumeattachments", |kind| kind.status())
        .cluster("VolumeAttributesClass", "volumeattributesclasses", |kind| kind.short(&["vac"]))
}

fn admission() -> Group {
    let row = |kind: Kind| kind.category("api-extensions");
    Group::new("admissionregistration.k8s.io", "v1", "io.k8s.api.admissionregistration.v1")
        .cluster("MutatingAdmissionPolicy", "mutatingadmissionpolicies", row)
        .cluster("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", row)
        .cluster("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", row)
        .cluster("ValidatingAdmissionPolicy", "validatingadmissionpolicies", |kind| row(kind).status())
        .cluster("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", row)
        .cluster("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", row)
}

fn extensions() -> Group {
    Group::new("apiextensions.k8s.io", "v1", "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1").cluster(
        "CustomResourceDefinition",
        "customresourcedefinitions",
        |kind| kind.short(&["crd", "crds"]).category("api-extensions").status(),
    )
}

fn scheduling() -> Group {
    Group::new("scheduling.k8s.io", "v1", "io.k8s.api.scheduling.v1")
        .cluster("PriorityClass", "priorityclasses", |kind| kind.short(&["pc"]))
}

fn coordination() -> Group {
    Group::new("coordination.k8s.io", "v1", "io.k8s.api.coordination.v1").namespaced("Lease", "leases", same)
}

fn node() -> Group {
    Group::new("node.k8s.io", "v1", "io.k8s.api.node.v1").cluster("RuntimeClass", "runtimeclasses", same)
}

fn discovery() -> Group {
    Group::new("discovery.k8s.io", "v1", "io.k8s.api.discovery.v1").namespaced("EndpointSlice", "endpointslices", same)
}

fn resource() -> Group {
    Group::new("resource.k8s.io", "v1", "io.k8s.api.resource.v1")
        .cluster("DeviceClass", "deviceclasses", same)
        .namespaced("ResourceClaim", "resourceclaims", |kind| kind.status())
        .namespaced("ResourceClaimTemplate", "resourceclaimtemplates", same)
        .cluster("ResourceSlice", "resourceslices", same)
}

fn flowcontrol() -> Group {
    Group::new("flowcontrol.apiserver.k8s.io", "v1", "io.k8s.api.flowcontrol.v1")
        .cluster("FlowSchema", "flowschemas", |kind| kind.status())
        .cluster("PriorityLevelConfiguration", "prioritylevelconfigurations", |kind| kind.status())
}

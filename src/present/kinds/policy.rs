//! Who may do what, when and how much: roles, budgets, autoscalers, classes, webhooks.

use serde_json::Value;

use super::{Printer, row};
use crate::Column;
use crate::text::{NONE, UNKNOWN, age, int_at, list_at, or_none, str_at};

pub(crate) static POD_DISRUPTION_BUDGET: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Min Available", "The minimum number of pods that must be available."),
        Column::text("Max Unavailable", "The maximum number of pods that may be unavailable."),
        Column::integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
        Column::age(),
    ],
    cells: |object, now| {
        let amount = |field: &str| match object.pointer(&format!("/spec/{field}")) {
            Some(Value::String(text)) => text.clone(),
            Some(number) => number.to_string(),
            None => "N/A".to_owned(),
        };
        row![
            str_at(object, "/metadata/name"),
            amount("minAvailable"),
            amount("maxUnavailable"),
            int_at(object, "/status/disruptionsAllowed"),
            age(object, now),
        ]
    },
};

pub(crate) static HORIZONTAL_POD_AUTOSCALER: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Reference", "@io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec.scaleTargetRef"),
        Column::text("Targets", "@io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec.metrics"),
        Column::text("MinPods", "@io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec.minReplicas"),
        Column::text("MaxPods", "@io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec.maxReplicas"),
        Column::text("Replicas", "@io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus.currentReplicas"),
        Column::age(),
    ],
    cells: |object, now| {
        let target = format!("{}/{}", str_at(object, "/spec/scaleTargetRef/kind"), str_at(object, "/spec/scaleTargetRef/name"));
        let minimum = object.pointer("/spec/minReplicas").map_or("<unset>".to_owned(), Value::to_string);
        row![
            str_at(object, "/metadata/name"),
            target,
            metrics(object),
            minimum,
            int_at(object, "/spec/maxReplicas"),
            int_at(object, "/status/currentReplicas"),
            age(object, now),
        ]
    },
};

/// `cpu: 12%/80%` for each metric, the first two of them.
fn metrics(autoscaler: &Value) -> String {
    let wanted = list_at(autoscaler, "/spec/metrics");
    let current = list_at(autoscaler, "/status/currentMetrics");
    let shown = wanted.iter().enumerate().map(|(index, metric)| {
        let source = match str_at(metric, "/type") {
            "ContainerResource" => "containerResource",
            "Resource" => "resource",
            "Pods" => "pods",
            "Object" => "object",
            _ => "external",
        };
        let value = |of: &Value, field: &str| of.pointer(&format!("/{source}/{field}")).cloned();
        let is = current.get(index).and_then(|current| value(current, "current"));
        let resource = str_at(metric, &format!("/{source}/name"));
        let prefix = if resource.is_empty() { String::new() } else { format!("{resource}: ") };
        let target = value(metric, "target").unwrap_or_default();
        match target.get("averageUtilization") {
            Some(percent) => {
                let now = is.and_then(|is| is.get("averageUtilization").map(|now| format!("{now}%")));
                format!("{prefix}{}/{percent}%", now.unwrap_or_else(|| UNKNOWN.to_owned()))
            }
            None => {
                let field = if target.get("averageValue").is_some() { "averageValue" } else { "value" };
                let now = is.and_then(|is| is.get(field).and_then(Value::as_str).map(str::to_owned));
                format!("{prefix}{}/{}", now.unwrap_or_else(|| UNKNOWN.to_owned()), str_at(&target, &format!("/{field}")))
            }
        }
    });
    let shown: Vec<String> = shown.collect();
    match shown.len() {
        0 => NONE.to_owned(),
        1 | 2 => shown.join(", "),
        more => format!("{} + {} more...", shown[..2].join(", "), more - 2),
    }
}

pub(crate) static ROLE_BINDING: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Role", "@io.k8s.api.rbac.v1.RoleBinding.roleRef"),
        Column::age(),
        Column::wide("Users", "Users in the roleBinding"),
        Column::wide("Groups", "Groups in the roleBinding"),
        Column::wide("ServiceAccounts", "ServiceAccounts in the roleBinding"),
    ],
    cells: |object, now| {
        let of = |kind: &str| {
            let subjects = list_at(object, "/subjects").iter().filter(|subject| str_at(subject, "/kind") == kind);
            let names = subjects.map(|subject| match str_at(subject, "/namespace") {
                "" => str_at(subject, "/name").to_owned(),
                namespace => format!("{namespace}/{}", str_at(subject, "/name")),
            });
            names.collect::<Vec<_>>().join(", ")
        };
        let role = format!("{}/{}", str_at(object, "/roleRef/kind"), str_at(object, "/roleRef/name"));
        row![str_at(object, "/metadata/name"), role, age(object, now), of("User"), of("Group"), of("ServiceAccount")]
    },
};

pub(crate) static PRIORITY_CLASS: Printer = Printer {
    columns: &[
        Column::name(),
        Column::integer("Value", "@io.k8s.api.scheduling.v1.PriorityClass.value"),
        Column::boolean("Global-Default", "@io.k8s.api.scheduling.v1.PriorityClass.globalDefault"),
        Column::age(),
        Column::text("PreemptionPolicy", "@io.k8s.api.scheduling.v1.PriorityClass.preemptionPolicy"),
    ],
    cells: |object, now| {
        row![
            str_at(object, "/metadata/name"),
            int_at(object, "/value"),
            object.get("globalDefault").and_then(Value::as_bool).unwrap_or_default(),
            age(object, now),
            str_at(object, "/preemptionPolicy"),
        ]
    },
};

pub(crate) static RUNTIME_CLASS: Printer = Printer {
    columns: &[Column::name(), Column::text("Handler", ""), Column::age()],
    cells: |object, now| row![str_at(object, "/metadata/name"), str_at(object, "/handler"), age(object, now)],
};

pub(crate) static LEASE: Printer = Printer {
    columns: &[Column::name(), Column::text("Holder", "@io.k8s.api.coordination.v1.LeaseSpec.holderIdentity"), Column::age()],
    cells: |object, now| row![str_at(object, "/metadata/name"), str_at(object, "/spec/holderIdentity"), age(object, now)],
};

pub(crate) static CERTIFICATE_SIGNING_REQUEST: Printer = Printer {
    columns: &[
        Column::name(),
        Column::age(),
        Column::text("SignerName", "@io.k8s.api.certificates.v1.CertificateSigningRequestSpec.signerName"),
        Column::text("Requestor", "@io.k8s.api.certificates.v1.CertificateSigningRequestSpec.request"),
        Column::text("RequestedDuration", "@io.k8s.api.certificates.v1.CertificateSigningRequestSpec.expirationSeconds"),
        Column::text("Condition", "@io.k8s.api.certificates.v1.CertificateSigningRequestStatus.conditions"),
    ],
    cells: |object, now| {
        let has = |wanted: &str| list_at(object, "/status/conditions").iter().any(|condition| str_at(condition, "/type") == wanted);
        let mut condition = match () {
            () if has("Denied") => "Denied",
            () if has("Approved") => "Approved",
            () => "Pending",
        }
        .to_owned();
        if has("Failed") {
            condition.push_str(",Failed");
        }
        if !str_at(object, "/status/certificate").is_empty() {
            condition.push_str(",Issued");
        }
        let requested = object.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
        row![
            str_at(object, "/metadata/name"),
            age(object, now),
            or_none(str_at(object, "/spec/signerName")),
            str_at(object, "/spec/username"),
            requested.map_or(NONE.to_owned(), crate::text::duration),
            condition,
        ]
    },
};

pub(crate) static WEBHOOK_CONFIGURATION: Printer = Printer {
    columns: &[
        Column::name(),
        Column::integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
        Column::age(),
    ],
    cells: |object, now| row![str_at(object, "/metadata/name"), list_at(object, "/webhooks").len(), age(object, now)],
};

fn param_kind(object: &Value) -> String {
    object
        .pointer("/spec/paramKind")
        .map_or("<unset>".to_owned(), |kind| format!("{}/{}", str_at(kind, "/apiVersion"), str_at(kind, "/kind")))
}

pub(crate) static VALIDATING_ADMISSION_POLICY: Printer = Printer {
    columns: &[
        Column::name(),
        Column::integer("Validations", "Validations indicates the number of validation rules defined in this configuration"),
        Column::text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
        Column::age(),
    ],
    cells: |object, now| {
        row![str_at(object, "/metadata/name"), list_at(object, "/spec/validations").len(), param_kind(object), age(object, now)]
    },
};

pub(crate) static MUTATING_ADMISSION_POLICY: Printer = Printer {
    columns: &[
        Column::name(),
        Column::integer("Mutations", "Mutation indicates the number of mutations rules defined in this configuration"),
        Column::text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
        Column::age(),
    ],
    cells: |object, now| {
        row![str_at(object, "/metadata/name"), list_at(object, "/spec/mutations").len(), param_kind(object), age(object, now)]
    },
};

pub(crate) static ADMISSION_POLICY_BINDING: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
        Column::text("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
        Column::age(),
    ],
    cells: |object, now| {
        let parameter = object.pointer("/spec/paramRef").map_or("<unset>".to_owned(), |reference| {
            match (str_at(reference, "/namespace"), str_at(reference, "/name")) {
                (_, "") => "<unset>".to_owned(),
                ("", name) => format!("*/{name}"),
                (namespace, name) => format!("{namespace}/{name}"),
            }
        });
        row![str_at(object, "/metadata/name"), str_at(object, "/spec/policyName"), parameter, age(object, now)]
    },
};

pub(crate) static API_SERVICE: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Service", "The reference to the service that hosts this API endpoint."),
        Column::text("Available", "Whether this service is available."),
        Column::age(),
    ],
    cells: |object, now| {
        let service = object
            .pointer("/spec/service")
            .filter(|service| service.is_object())
            .map_or("Local".to_owned(), |service| format!("{}/{}", str_at(service, "/namespace"), str_at(service, "/name")));
        let available = list_at(object, "/status/conditions").iter().find(|condition| str_at(condition, "/type") == "Available");
        let available = available.map_or("Unknown".to_owned(), |condition| match str_at(condition, "/status") {
            "True" => "True".to_owned(),
            status => format!("{status} ({})", str_at(condition, "/reason")),
        });
        row![str_at(object, "/metadata/name"), service, available, age(object, now)]
    },
};

pub(crate) static FLOW_SCHEMA: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("PriorityLevel", "@io.k8s.api.flowcontrol.v1.FlowSchemaSpec.priorityLevelConfiguration"),
        Column::text("MatchingPrecedence", "@io.k8s.api.flowcontrol.v1.FlowSchemaSpec.matchingPrecedence"),
        Column::text("DistinguisherMethod", "@io.k8s.api.flowcontrol.v1.FlowSchemaSpec.distinguisherMethod"),
        Column::age(),
        Column::text("MissingPL", "references to a broken or non-existent PriorityLevelConfiguration"),
    ],
    cells: |object, now| {
        let dangling = list_at(object, "/status/conditions").iter().find(|condition| str_at(condition, "/type") == "Dangling");
        row![
            str_at(object, "/metadata/name"),
            str_at(object, "/spec/priorityLevelConfiguration/name"),
            int_at(object, "/spec/matchingPrecedence"),
            or_none(str_at(object, "/spec/distinguisherMethod/type")),
            age(object, now),
            dangling.map_or("?", |condition| str_at(condition, "/status")),
        ]
    },
};

pub(crate) static PRIORITY_LEVEL: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Type", "@io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec.type"),
        Column::text("NominalConcurrencyShares", "@io.k8s.api.flowcontrol.v1.LimitedPriorityLevelConfiguration.nominalConcurrencyShares"),
        Column::text("Queues", "@io.k8s.api.flowcontrol.v1.QueuingConfiguration.queues"),
        Column::text("HandSize", "@io.k8s.api.flowcontrol.v1.QueuingConfiguration.handSize"),
        Column::text("QueueLengthLimit", "@io.k8s.api.flowcontrol.v1.QueuingConfiguration.queueLengthLimit"),
        Column::age(),
    ],
    cells: |object, now| {
        let number = |pointer: &str| object.pointer(pointer).cloned().unwrap_or_else(|| NONE.into());
        let queuing = |field: &str| number(&format!("/spec/limited/limitResponse/queuing/{field}"));
        row![
            str_at(object, "/metadata/name"),
            str_at(object, "/spec/type"),
            number("/spec/limited/nominalConcurrencyShares"),
            queuing("queues"),
            queuing("handSize"),
            queuing("queueLengthLimit"),
            age(object, now),
        ]
    },
};

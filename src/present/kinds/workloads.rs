//! Workloads: what owns pods.

use jiff::Timestamp;
use serde_json::Value;

use super::{Printer, row};
use crate::Column;
use crate::text::{NONE, UNKNOWN, age, containers, duration, int_at, labels, list_at, or_none, selector, str_at};

const CONTAINERS: Column = Column::wide("Containers", "Names of each container in the template.");
const IMAGES: Column = Column::wide("Images", "Images referenced by each container in the template.");
const TEMPLATE: &str = "/spec/template/spec/containers";

pub(crate) static DEPLOYMENT: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Ready", "Number of the pod with ready state"),
        Column::text("Up-to-date", "@io.k8s.api.apps.v1.DeploymentStatus.updatedReplicas"),
        Column::text("Available", "@io.k8s.api.apps.v1.DeploymentStatus.availableReplicas"),
        Column::age(),
        CONTAINERS,
        IMAGES,
        Column::wide("Selector", "@io.k8s.api.apps.v1.DeploymentSpec.selector"),
    ],
    cells: |object, now| {
        let (names, images) = containers(object, TEMPLATE);
        row![
            str_at(object, "/metadata/name"),
            format!("{}/{}", int_at(object, "/status/readyReplicas"), int_at(object, "/spec/replicas")),
            int_at(object, "/status/updatedReplicas"),
            int_at(object, "/status/availableReplicas"),
            age(object, now),
            names,
            images,
            selector(object.pointer("/spec/selector")),
        ]
    },
};

pub(crate) static REPLICA_SET: Printer = Printer {
    columns: &[
        Column::name(),
        Column::integer("Desired", "@io.k8s.api.apps.v1.ReplicaSetSpec.replicas"),
        Column::integer("Current", "@io.k8s.api.apps.v1.ReplicaSetStatus.replicas"),
        Column::integer("Ready", "@io.k8s.api.apps.v1.ReplicaSetStatus.readyReplicas"),
        Column::age(),
        CONTAINERS,
        IMAGES,
        Column::wide("Selector", "@io.k8s.api.apps.v1.ReplicaSetSpec.selector"),
    ],
    cells: |object, now| replicas(object, selector(object.pointer("/spec/selector")), now),
};

pub(crate) static REPLICATION_CONTROLLER: Printer = Printer {
    columns: &[
        Column::name(),
        Column::integer("Desired", "@io.k8s.api.core.v1.ReplicationControllerSpec.replicas"),
        Column::integer("Current", "@io.k8s.api.core.v1.ReplicationControllerStatus.replicas"),
        Column::integer("Ready", "@io.k8s.api.core.v1.ReplicationControllerStatus.readyReplicas"),
        Column::age(),
        CONTAINERS,
        IMAGES,
        Column::wide("Selector", "@io.k8s.api.core.v1.ReplicationControllerSpec.selector"),
    ],
    cells: |object, now| replicas(object, labels(object.pointer("/spec/selector")), now),
};

fn replicas(object: &Value, selector: String, now: Timestamp) -> Vec<Value> {
    let (names, images) = containers(object, TEMPLATE);
    row![
        str_at(object, "/metadata/name"),
        int_at(object, "/spec/replicas"),
        int_at(object, "/status/replicas"),
        int_at(object, "/status/readyReplicas"),
        age(object, now),
        names,
        images,
        selector,
    ]
}

pub(crate) static DAEMON_SET: Printer = Printer {
    columns: &[
        Column::name(),
        Column::integer("Desired", "@io.k8s.api.apps.v1.DaemonSetStatus.desiredNumberScheduled"),
        Column::integer("Current", "@io.k8s.api.apps.v1.DaemonSetStatus.currentNumberScheduled"),
        Column::integer("Ready", "@io.k8s.api.apps.v1.DaemonSetStatus.numberReady"),
        Column::integer("Up-to-date", "@io.k8s.api.apps.v1.DaemonSetStatus.updatedNumberScheduled"),
        Column::integer("Available", "@io.k8s.api.apps.v1.DaemonSetStatus.numberAvailable"),
        Column::text("Node Selector", "@io.k8s.api.core.v1.PodSpec.nodeSelector"),
        Column::age(),
        CONTAINERS,
        IMAGES,
        Column::wide("Selector", "@io.k8s.api.apps.v1.DaemonSetSpec.selector"),
    ],
    cells: |object, now| {
        let (names, images) = containers(object, TEMPLATE);
        row![
            str_at(object, "/metadata/name"),
            int_at(object, "/status/desiredNumberScheduled"),
            int_at(object, "/status/currentNumberScheduled"),
            int_at(object, "/status/numberReady"),
            int_at(object, "/status/updatedNumberScheduled"),
            int_at(object, "/status/numberAvailable"),
            labels(object.pointer("/spec/template/spec/nodeSelector")),
            age(object, now),
            names,
            images,
            selector(object.pointer("/spec/selector")),
        ]
    },
};

pub(crate) static STATEFUL_SET: Printer = Printer {
    columns: &[Column::name(), Column::text("Ready", "Number of the pod with ready state"), Column::age(), CONTAINERS, IMAGES],
    cells: |object, now| {
        let (names, images) = containers(object, TEMPLATE);
        let ready = format!("{}/{}", int_at(object, "/status/readyReplicas"), int_at(object, "/spec/replicas"));
        row![str_at(object, "/metadata/name"), ready, age(object, now), names, images]
    },
};

pub(crate) static CONTROLLER_REVISION: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Controller", "Controller of the object"),
        Column::text("Revision", "@io.k8s.api.apps.v1.ControllerRevision.revision"),
        Column::age(),
    ],
    cells: |object, now| {
        let owner = list_at(object, "/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true);
        let controller = owner.map_or(NONE.to_owned(), |owner| {
            let kind = str_at(owner, "/kind").to_ascii_lowercase();
            match str_at(owner, "/apiVersion").split_once('/') {
                Some((group, _)) => format!("{kind}.{group}/{}", str_at(owner, "/name")),
                None => format!("{kind}/{}", str_at(owner, "/name")),
            }
        });
        row![str_at(object, "/metadata/name"), controller, int_at(object, "/revision"), age(object, now)]
    },
};

pub(crate) static POD_TEMPLATE: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Containers", "Names of each container in the template."),
        Column::text("Images", "Images referenced by each container in the template."),
        Column::text("Pod Labels", "The labels for the pod template."),
    ],
    cells: |object, _| {
        let (names, images) = containers(object, "/template/spec/containers");
        row![str_at(object, "/metadata/name"), names, images, labels(object.pointer("/template/metadata/labels"))]
    },
};

pub(crate) static JOB: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Status", "Status of the job."),
        Column::text("Completions", "@io.k8s.api.batch.v1.JobStatus.succeeded"),
        Column::text("Duration", "Time required to complete the job."),
        Column::age(),
        CONTAINERS,
        IMAGES,
        Column::wide("Selector", "@io.k8s.api.batch.v1.JobSpec.selector"),
    ],
    cells: |object, now| {
        let succeeded = int_at(object, "/status/succeeded");
        let completions = match (object.pointer("/spec/completions"), int_at(object, "/spec/parallelism")) {
            (Some(wanted), _) => format!("{succeeded}/{wanted}"),
            (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
            (None, _) => format!("{succeeded}/1"),
        };
        let time = |pointer: &str| str_at(object, pointer).parse::<Timestamp>().ok();
        let took = time("/status/startTime")
            .map_or(String::new(), |start| duration(time("/status/completionTime").unwrap_or(now).as_second() - start.as_second()));
        let (names, images) = containers(object, TEMPLATE);
        let selector = selector(object.pointer("/spec/selector"));
        row![str_at(object, "/metadata/name"), job_status(object), completions, took, age(object, now), names, images, selector]
    },
};

fn job_status(job: &Value) -> &'static str {
    let is_true =
        |wanted: &str| list_at(job, "/status/conditions").iter().any(|c| str_at(c, "/type") == wanted && str_at(c, "/status") == "True");
    match () {
        () if is_true("Complete") => "Complete",
        () if is_true("Failed") => "Failed",
        () if !str_at(job, "/metadata/deletionTimestamp").is_empty() => "Terminating",
        () if is_true("Suspended") => "Suspended",
        () if is_true("FailureTarget") => "FailureTarget",
        () if is_true("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

pub(crate) static CRON_JOB: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Schedule", "@io.k8s.api.batch.v1.CronJobSpec.schedule"),
        Column::text("Timezone", "@io.k8s.api.batch.v1.CronJobSpec.timeZone"),
        Column::boolean("Suspend", "@io.k8s.api.batch.v1.CronJobSpec.suspend"),
        Column::integer("Active", "@io.k8s.api.batch.v1.CronJobStatus.active"),
        Column::text("Last Schedule", "@io.k8s.api.batch.v1.CronJobStatus.lastScheduleTime"),
        Column::age(),
        CONTAINERS,
        IMAGES,
        Column::wide("Selector", "@io.k8s.api.batch.v1.JobSpec.selector"),
    ],
    cells: |object, now| {
        let (names, images) = containers(object, "/spec/jobTemplate/spec/template/spec/containers");
        let last = crate::text::age_at(object, "/status/lastScheduleTime", now);
        row![
            str_at(object, "/metadata/name"),
            str_at(object, "/spec/schedule"),
            or_none(str_at(object, "/spec/timeZone")),
            if object.pointer("/spec/suspend") == Some(&Value::Bool(true)) { "True" } else { "False" },
            list_at(object, "/status/active").len(),
            if last == UNKNOWN { NONE.to_owned() } else { last },
            age(object, now),
            names,
            images,
            selector(object.pointer("/spec/jobTemplate/spec/selector")),
        ]
    },
};

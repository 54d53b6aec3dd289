//! What the tutorials have their readers do, done at the terminal UI: with keys, on real clusters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../harness/mod.rs"]
mod harness;
mod inside;
mod lesson;
mod pods;
mod storage;
mod workloads;

use harness::{Cluster, IMPATIENT, Need, story};
use lesson::Lesson;

/// The pods of these lessons, some of which take their time, are made by a folder; then they are looked at.
#[test]
fn lessons_about_pods() {
    story("lessons about pods", &[Need::Native], || {
        let cluster = Cluster::native(&[]);
        let mut lesson = Lesson::begins(cluster, &[pods::manifests(), inside::manifests()].concat());
        pods::a_pod_is_described(&mut lesson);
        pods::a_service_answers(&mut lesson);
        pods::labels_choose(&mut lesson);
        pods::an_image_comes_later(&mut lesson);
        inside::a_greeting_is_typed(&mut lesson);
        inside::files_are_copied(&mut lesson);
        inside::a_sidecar_runs_beside(&mut lesson);
        pods::init_containers_come_first(&mut lesson);
        pods::probes_are_watched(&mut lesson);
        pods::hooks_fail(&mut lesson);
        pods::containers_end(&mut lesson);
        lesson.ends();
    });
}

/// What pods keep, and what they leave.
#[test]
fn lessons_about_storage() {
    story("lessons about storage", &[Need::Native], || {
        let cluster = Cluster::native(&[]);
        let objects = storage::manifests(&cluster.place.path().join("host"));
        let mut lesson = Lesson::begins(cluster, &objects);
        storage::containers_share_files(&mut lesson);
        storage::a_claim_keeps_its_files(&mut lesson);
        storage::wrong_host_paths_are_explained(&mut lesson);
        storage::values_are_decoded(&mut lesson);
        pods::a_pod_is_ended(&mut lesson);
        lesson.ends();
    });
}

/// What keeps pods, and what becomes of them with their nodes.
#[test]
fn lessons_about_workloads() {
    story("lessons about workloads", &[], || {
        let cluster = Cluster::simulated(&[&["--nodes=3"], &IMPATIENT[..]].concat());
        let mut lesson = Lesson::begins(cluster, &workloads::manifests());
        workloads::the_cluster_is_looked_at(&mut lesson);
        workloads::everything_gets_ready(&mut lesson);
        workloads::a_pod_is_replaced(&mut lesson);
        workloads::an_image_is_rolled_out_and_back(&mut lesson);
        workloads::a_cron_job_is_started(&mut lesson);
        workloads::a_node_is_drained(&mut lesson);
        workloads::a_node_is_lost(&mut lesson);
        workloads::what_was_done_is_deleted(&mut lesson);
        lesson.ends();
    });
}

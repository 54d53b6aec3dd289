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

/// One lesson after the other, in one cluster.
fn taught(name: &str, needs: &[Need], begins: fn() -> Lesson, lessons: &'static [fn(&mut Lesson)]) {
    story(name, needs, move || {
        let mut lesson = begins();
        lessons.iter().for_each(|next| next(&mut lesson));
        lesson.ends();
    });
}

/// The pods of these lessons, some of which take their time, are made by a folder; then they are looked at.
#[test]
fn lessons_about_pods() {
    let begins = || Lesson::begins(Cluster::native(&[]), &[pods::manifests(), inside::manifests()].concat());
    let lessons: &[fn(&mut Lesson)] = &[
        pods::a_pod_is_described,
        pods::a_service_answers,
        pods::labels_choose,
        pods::an_image_comes_later,
        inside::a_greeting_is_typed,
        inside::files_are_copied,
        inside::a_sidecar_runs_beside,
        inside::a_proxy_adds_tls,
        pods::init_containers_come_first,
        pods::probes_are_watched,
        pods::hooks_fail,
        pods::containers_end,
    ];
    taught("lessons about pods", &[Need::Native, Need::Socat], begins, lessons);
}

/// What pods keep, and what they leave.
#[test]
fn lessons_about_storage() {
    let begins = || {
        let cluster = Cluster::native(&[]);
        let objects = storage::manifests(&cluster.place.path().join("host"));
        Lesson::begins(cluster, &objects)
    };
    let lessons: &[fn(&mut Lesson)] = &[
        storage::containers_share_files,
        storage::a_claim_keeps_its_files,
        storage::wrong_host_paths_are_explained,
        storage::values_are_decoded,
        pods::a_pod_is_ended,
    ];
    taught("lessons about storage", &[Need::Native], begins, lessons);
}

/// What keeps pods, and what becomes of them with their nodes.
#[test]
fn lessons_about_workloads() {
    let begins = || Lesson::begins(Cluster::simulated(&[&["--nodes=3"], &IMPATIENT[..]].concat()), &workloads::manifests());
    let lessons: &[fn(&mut Lesson)] = &[
        workloads::the_cluster_is_looked_at,
        workloads::everything_gets_ready,
        workloads::a_pod_is_replaced,
        workloads::an_image_is_rolled_out_and_back,
        workloads::a_cron_job_is_started,
        workloads::a_node_is_drained,
        workloads::a_node_is_lost,
        workloads::what_was_done_is_deleted,
    ];
    taught("lessons about workloads", &[], begins, lessons);
}

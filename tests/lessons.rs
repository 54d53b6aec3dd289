//! What tutorials have their readers do, and which tests show that it works here: with kubectl, and in the terminal UI.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

/// Shown by functions of a file below `tests` or `src`.
type Shown = &'static [(&'static str, &'static [&'static str])];

/// A lesson, what shows it with kubectl, and what in the UI.
const LESSONS: &[(&str, Shown, Shown)] = &[
    (
        "containers",
        &[
            ("readme/table.rs", &["every_command_of_the_table_works"]),
            ("tutorials.rs", &["containers_share_an_address"]),
            ("conformance/node/resize.rs", &["kernel_keeps"]),
        ],
        &[("ui_day.rs", &["a_shell_is_used"])],
    ),
    (
        "local cluster",
        &[("readme/main.rs", &["every_line_of_the_readme_works"]), ("readme/table.rs", &["every_command_of_the_table_works"])],
        &[("ui_day.rs", &["a_day_at_the_terminal"]), ("ui_lessons/workloads.rs", &["the_cluster_is_looked_at"])],
    ),
    (
        "connect",
        &[
            ("conformance/cli/mod.rs", &["the_cluster_says_what_it_is", "objects_are_described"]),
            ("conformance/cli/proxy.rs", &["the_api_is_reached_through_a_proxy"]),
            ("conformance/kubectl/look.rs", &["of_the_whole"]),
        ],
        &[("ui_lessons/workloads.rs", &["the_cluster_is_looked_at", "everything_gets_ready"])],
    ),
    (
        "deploy",
        &[("kubectl_session.rs", &["a_deployment_is_created_and_exposed", "a_pod_is_described"])],
        &[("ui_day.rs", &["pods_turn_running", "events_are_read"])],
    ),
    ("not a kind", &[("verbs.rs", &["outputs_are_kubectls"])], &[("ui_lessons/workloads.rs", &["the_cluster_is_looked_at"])]),
    (
        "expose",
        &[("kubectl_session.rs", &["a_deployment_is_created_and_exposed", "every_address_reaches_every_pod"])],
        &[("ui_lessons/pods.rs", &["a_service_answers"])],
    ),
    (
        "scale",
        &[("kubectl_session.rs", &["a_deployment_is_created_and_exposed", "every_address_reaches_every_pod"])],
        &[("ui_day.rs", &["a_deployment_is_scaled", "scaling_is_undone_and_done_again"])],
    ),
    (
        "self-healing",
        &[("kubectl_session.rs", &["a_deleted_pod_is_replaced"]), ("nodes.rs", &["a_lost_node_loses_its_pods"])],
        &[("ui_lessons/workloads.rs", &["a_pod_is_replaced", "a_node_is_lost"])],
    ),
    (
        "objects",
        &[("kubectl_session.rs", &["fields_are_explained"]), ("conformance/kubectl/look.rs", &["formats", "explained", "of_the_whole"])],
        &[("ui_lessons/workloads.rs", &["the_cluster_is_looked_at"])],
    ),
    (
        "events",
        &[("tutorials.rs", &["events_tell"]), ("../src/controllers/event_expiry.rs", &["the_last_count_is_what_counts"])],
        &[("ui_day.rs", &["events_are_read"]), ("ui_lessons/pods.rs", &["a_pod_is_described"])],
    ),
    (
        "pod from a manifest",
        &[("readme/lessons.rs", &["every_command_of_the_lessons_works"]), ("conformance/kubectl/create.rs", &["workloads"])],
        &[("ui_lessons/main.rs", &["lessons_about_pods"]), ("ui_day.rs", &["replicas_are_edited_in_place"])],
    ),
    (
        "reach a pod",
        &[
            ("tutorials.rs", &["a_port_is_forwarded"]),
            ("samples.rs", &["teaches"]),
            ("readme/lessons.rs", &["every_command_of_the_lessons_works"]),
        ],
        &[("ui_day.rs", &["a_port_is_forwarded", "logs_are_followed"])],
    ),
    (
        "logs",
        &[("kubectl_session.rs", &["logs_are_followed"]), ("conformance/cli/mod.rs", &["logs_are_filtered"])],
        &[("ui_day.rs", &["logs_are_followed"]), ("ui_lessons/pods.rs", &["containers_end"])],
    ),
    (
        "files and commands",
        &[("tutorials.rs", &["files_are_copied", "commands_and_terminals"])],
        &[("ui_lessons/inside.rs", &["files_are_copied"]), ("ui_day.rs", &["a_shell_is_used"])],
    ),
    (
        "attach",
        &[("tutorials.rs", &["a_greeting_is_typed"]), ("pods_by_hand.rs", &["clients_are_attached"])],
        &[("ui_lessons/inside.rs", &["a_greeting_is_typed"])],
    ),
    (
        "several containers",
        &[("tutorials.rs", &["containers_share_an_address", "a_proxy_adds_tls"]), ("samples.rs", &["teaches"])],
        &[("ui_lessons/inside.rs", &["a_sidecar_runs_beside", "a_proxy_adds_tls"])],
    ),
    ("init containers", &[("tutorials.rs", &["init_containers_come_first"])], &[("ui_lessons/pods.rs", &["init_containers_come_first"])]),
    (
        "delete",
        &[("kubectl_session.rs", &["everything_is_deleted"]), ("conformance/kubectl/apply.rs", &["deleted"])],
        &[("ui_lessons/pods.rs", &["a_pod_is_ended"]), ("ui_lessons/workloads.rs", &["what_was_done_is_deleted"])],
    ),
    (
        "status",
        &[("pods_by_hand.rs", &["a_failing_pod_is_described"])],
        &[("ui_lessons/pods.rs", &["a_pod_is_described", "containers_end"])],
    ),
    (
        "crash",
        &[
            ("kubectl_session.rs", &["a_killed_process_is_restarted"]),
            ("pods_by_hand.rs", &["a_failing_pod_is_described"]),
            ("../src/node/pod/backoff.rs", &["delays_double_up_to_the_longest", "ten_quiet_minutes_are_forgiven"]),
        ],
        &[("ui_lessons/pods.rs", &["containers_end"])],
    ),
    (
        "restart policies",
        &[("../src/node/tests/agent/stories.rs", &["a_container_that_ends_well_is_over_on_failure"]), ("samples.rs", &["teaches"])],
        &[("ui_lessons/pods.rs", &["containers_end"])],
    ),
    ("liveness", &[("tutorials.rs", &["probes_restart"])], &[("ui_lessons/pods.rs", &["probes_are_watched"])]),
    ("startup probe", &[("tutorials.rs", &["probes_restart"])], &[("ui_lessons/pods.rs", &["probes_are_watched"])]),
    (
        "post-start hook",
        &[("tutorials.rs", &["a_hook_holds_back_the_start"]), ("conformance/node/probes.rs", &["hooks_run"])],
        &[("ui_lessons/pods.rs", &["hooks_fail"])],
    ),
    ("pre-stop hook", &[("tutorials.rs", &["a_hook_comes_before_the_end"])], &[("ui_lessons/pods.rs", &["a_pod_is_ended"])]),
    ("pull policies", &[("tutorials.rs", &["images_come_or_not"])], &[("ui_lessons/pods.rs", &["an_image_comes_later"])]),
    (
        "termination",
        &[("tutorials.rs", &["a_hook_comes_before_the_end"]), ("readme/lessons.rs", &["every_command_of_the_lessons_works"])],
        &[("ui_lessons/pods.rs", &["a_pod_is_ended"])],
    ),
    (
        "emptyDir",
        &[("tutorials.rs", &["files_outlive_containers"]), ("pods_by_hand.rs", &["storage_over_a_limit"])],
        &[("ui_lessons/storage.rs", &["containers_share_files"])],
    ),
    (
        "mounts",
        &[
            ("pods_by_hand.rs", &["parts_of_host_paths"]),
            ("conformance/node/environment.rs", &["a_part_of_a_volume_named_by_the_environment"]),
            ("mounts.rs", &["between_a_pod_and_the_machine"]),
        ],
        &[("ui_lessons/storage.rs", &["containers_share_files"]), ("mounts.rs", &["seen_in_the_ui"])],
    ),
    (
        "persistent data",
        &[("samples.rs", &["teaches"]), ("tutorials.rs", &["disks_that_do_not_come"]), ("pods_by_hand.rs", &["a_claim_gets_a_directory"])],
        &[("ui_lessons/storage.rs", &["a_claim_keeps_its_files"])],
    ),
    (
        "hostPath",
        &[("pods_by_hand.rs", &["parts_of_host_paths", "types_of_host_paths"])],
        &[("ui_lessons/storage.rs", &["wrong_host_paths_are_explained", "containers_share_files"])],
    ),
    (
        "manifests as code",
        &[
            ("manifests.rs", &["a_folder_is_followed_and_what_it_names_no_more_goes"]),
            ("verbs.rs", &["manifests_go_from_one_cluster_to_another"]),
            ("tutorials.rs", &["images_come_or_not"]),
            ("readme/lessons.rs", &["every_command_of_the_lessons_works"]),
        ],
        &[("ui_day.rs", &["a_file_is_changed", "a_file_is_broken"]), ("ui_lessons/pods.rs", &["labels_choose", "an_image_comes_later"])],
    ),
];

fn is_there(file: &str, function: &str) -> bool {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file)).unwrap_or_default();
    text.contains(&format!("fn {function}("))
}

#[test]
fn every_lesson_is_shown_with_kubectl_and_in_the_ui() {
    let names: BTreeSet<&str> = LESSONS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names.len(), LESSONS.len(), "each has one row");
    for (name, kubectl, ui) in LESSONS {
        assert!(!kubectl.is_empty() && !ui.is_empty(), "{name} is not shown in both");
        for (file, functions) in kubectl.iter().chain(*ui) {
            for function in *functions {
                assert!(is_there(file, function), "{name}: {file} has no {function}");
            }
        }
    }
}

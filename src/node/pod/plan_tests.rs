#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::json;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn pod(policy: &str, init: serde_json::Value, main: &[&str]) -> Pod {
    let containers: Vec<_> = main.iter().map(|name| json!({"name": name, "image": "i"})).collect();
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"restartPolicy": policy, "initContainers": init, "containers": containers},
    }))
    .unwrap()
}

fn sandbox(attempt: u32, ready: bool) -> Sandbox {
    Sandbox { id: format!("s{attempt}"), pod_uid: "u".into(), namespace: "n".into(), name: "p".into(), attempt, ready, created: at(0) }
}

/// `name:state` with state `run`, `made`, or an exit code; ended at second 100, made in sandbox s0.
fn containers(text: &str) -> Vec<Container> {
    text.split_whitespace()
        .map(|part| {
            let (name, state) = part.split_once(':').unwrap();
            let state = match state {
                "run" => ContainerState::Running { started: at(50) },
                "made" => ContainerState::Created,
                code => ContainerState::Exited {
                    started: Some(at(50)),
                    finished: at(100),
                    code: code.parse().unwrap(),
                    reason: String::new(),
                    message: String::new(),
                },
            };
            Container {
                id: format!("id-{name}"),
                sandbox_id: "s0".into(),
                pod_uid: "u".into(),
                name: name.into(),
                attempt: 0,
                image: "i".into(),
                image_id: "sha256:i".into(),
                created: at(50),
                state,
                pid: None,
                labels: BTreeMap::new(),
                log_path: Default::default(),
            }
        })
        .collect()
}

fn brief(plan: &Plan) -> String {
    let mut out = Vec::new();
    if let SandboxPlan::Create { attempt, changed } = plan.sandbox {
        out.push(format!("sandbox{attempt}{}", if changed { "!" } else { "" }));
    }
    if plan.kill_pod {
        out.push("end".into());
    }
    out.extend(plan.kill.iter().map(|kill| format!("kill({})", kill.name)));
    out.extend(plan.start.iter().map(|(_, name)| format!("start({name})")));
    out.extend(plan.wait.iter().map(|wait| format!("wait({} {}s)", wait.name, wait.delay.as_secs())));
    out.join(" ")
}

fn two_inits() -> serde_json::Value {
    json!([{"name": "i1", "image": "i"}, {"name": "i2", "image": "i"}])
}

fn with_sidecar() -> serde_json::Value {
    json!([{"name": "side", "image": "i", "restartPolicy": "Always"}, {"name": "i2", "image": "i"}])
}

#[rstest]
#[case::both_at_once("Always", json!([]), "", "start(a) start(b)")]
#[case::one_runs("Always", json!([]), "a:run", "start(b)")]
#[case::restart_after_success("Always", json!([]), "a:0 b:run", "start(a)")]
#[case::success_stays("OnFailure", json!([]), "a:0 b:run", "")]
#[case::failure_again("OnFailure", json!([]), "a:3 b:run", "start(a)")]
#[case::never_again("Never", json!([]), "a:3 b:run", "")]
#[case::all_over("Never", json!([]), "a:3 b:0", "end")]
#[case::all_succeeded("OnFailure", json!([]), "a:0 b:0", "end")]
#[case::made_but_not_started("Never", json!([]), "a:made b:run", "start(a)")]
#[case::first_init("Always", two_inits(), "", "start(i1)")]
#[case::init_runs("Always", two_inits(), "i1:run", "")]
#[case::second_init("Always", two_inits(), "i1:0", "start(i2)")]
#[case::init_failed("Always", two_inits(), "i1:1", "start(i1)")]
#[case::init_failed_for_good("Never", two_inits(), "i1:1", "end")]
#[case::inits_done("Always", two_inits(), "i1:0 i2:0", "start(a) start(b)")]
#[case::inits_not_repeated("Always", two_inits(), "i1:0 i2:0 a:run", "start(b)")]
#[case::inits_forgotten_when_collected("Always", two_inits(), "a:run", "start(b)")]
#[case::sidecar_first("Never", with_sidecar(), "", "start(side)")]
#[case::after_sidecar("Never", with_sidecar(), "side:run", "start(i2)")]
#[case::sidecar_again_before_init("Never", with_sidecar(), "side:1", "start(side)")]
#[case::sidecar_again_later("Never", with_sidecar(), "side:1 i2:0 a:run b:run", "start(side)")]
#[case::mains_over_sidecar_runs("Never", with_sidecar(), "side:run i2:0 a:0 b:0", "end")]
fn next_steps(#[case] policy: &str, #[case] init: serde_json::Value, #[case] state: &str, #[case] expected: &str) {
    let pod = pod(policy, init, &["a", "b"]);
    let observed = Observed::new(vec![sandbox(0, true)], containers(state));
    let next = plan(&pod, &observed, &Probed::default(), &Backoffs::default(), at(200));
    assert_eq!(brief(&next), expected);
}

#[rstest]
#[case::new_pod("Always", vec![], "", "sandbox0")]
#[case::killed("Always", vec![sandbox(0, false)], "a:run", "sandbox1!")]
#[case::killed_never("Never", vec![sandbox(0, false)], "a:137", "end")]
#[case::failed_before_any_container("Never", vec![sandbox(0, false)], "", "sandbox1!")]
#[case::over("OnFailure", vec![sandbox(0, false)], "a:0", "end")]
#[case::third(  "Always", vec![sandbox(1, false), sandbox(0, false)], "a:137", "sandbox2!")]
fn without_a_usable_sandbox(#[case] policy: &str, #[case] sandboxes: Vec<Sandbox>, #[case] state: &str, #[case] expected: &str) {
    let pod = pod(policy, json!([]), &["a"]);
    let next = plan(&pod, &Observed::new(sandboxes, containers(state)), &Probed::default(), &Backoffs::default(), at(200));
    assert_eq!(brief(&next), expected);
}

#[test]
fn init_containers_run_again_in_a_new_sandbox() {
    let pod = pod("Always", two_inits(), &["a"]);
    let observed = Observed::new(vec![sandbox(1, true), sandbox(0, false)], containers("i1:0 i2:0 a:0"));
    let next = plan(&pod, &observed, &Probed::default(), &Backoffs::default(), at(200));
    assert_eq!(brief(&next), "start(i1)");
}

#[test]
fn a_failed_container_waits_for_its_back_off() {
    let pod = pod("Always", json!([]), &["a"]);
    let observed = Observed::new(vec![sandbox(0, true)], containers("a:1"));
    let mut backoffs = Backoffs::default();
    backoffs.tried("a", at(90), at(90));
    let waiting = plan(&pod, &observed, &Probed::default(), &backoffs, at(105));
    assert_eq!(brief(&waiting), "wait(a 10s)");
    assert_eq!(waiting.wait[0].until, at(110));
    let due = plan(&pod, &observed, &Probed::default(), &backoffs, at(110));
    assert_eq!(brief(&due), "start(a)");
}

#[rstest]
#[case("Always", "Container a failed liveness probe, will be restarted")]
#[case("Never", "Container a failed liveness probe")]
fn a_failed_probe_kills(#[case] policy: &str, #[case] message: &str) {
    let pod = pod(policy, json!([]), &["a"]);
    let observed = Observed::new(vec![sandbox(0, true)], containers("a:run"));
    let probed = Probed { failed: BTreeMap::from([("id-a".to_owned(), "liveness")]), ..Probed::default() };
    let next = plan(&pod, &observed, &probed, &Backoffs::default(), at(200));
    assert_eq!(next.kill[0].message, message);
}

#[test]
fn a_sidecar_holds_back_the_rest_until_it_started() {
    let pod = pod("Always", with_sidecar(), &["a"]);
    let observed = Observed::new(vec![sandbox(0, true)], containers("side:run"));
    let probed = Probed { unstarted: ["id-side".to_owned()].into(), ..Probed::default() };
    assert_eq!(brief(&plan(&pod, &observed, &probed, &Backoffs::default(), at(200))), "");
}

#[rstest]
#[case(json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}), 42, true)]
#[case(json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}), 0, false)]
#[case(json!({"restartPolicy": "OnFailure"}), 1, true)]
#[case(json!({"restartPolicy": "OnFailure"}), 0, false)]
#[case(json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [0]}}]}), 5, true)]
fn rules_of_one_container(#[case] fields: serde_json::Value, #[case] code: i32, #[case] expected: bool) {
    let pod = pod("Never", json!([]), &["a"]);
    let mut spec = fields;
    spec["name"] = json!("a");
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let ended = containers(&format!("a:{code}"));
    assert_eq!(should_restart(&pod, Role::Main, &spec, ended.first()), expected);
}

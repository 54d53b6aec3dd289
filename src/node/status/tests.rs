#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::pod::resize::Resizes;
use crate::runtime::{Container, ContainerState, Sandbox};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn pod(policy: &str, init: Value, main: &[&str]) -> Pod {
    let containers: Vec<_> = main.iter().map(|name| json!({"name": name, "image": "i"})).collect();
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1},
        "spec": {"restartPolicy": policy, "initContainers": init, "containers": containers},
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }))
    .unwrap()
}

/// `name:state` with state `run` or an exit code, `name:state/attempt`.
fn observed(text: &str) -> Observed {
    let containers = text
        .split_whitespace()
        .map(|part| {
            let (name, state) = part.split_once(':').unwrap();
            let (state, attempt) = state.split_once('/').unwrap_or((state, "0"));
            let state = match state {
                "run" => ContainerState::Running { started: at(50) },
                code => ContainerState::Exited {
                    started: Some(at(50)),
                    finished: at(100),
                    code: code.parse().unwrap(),
                    reason: if code == "0" { "Completed" } else { "Error" }.into(),
                    message: String::new(),
                },
            };
            let attempt: u32 = attempt.parse().unwrap();
            Container {
                id: format!("{name}{attempt}"),
                sandbox_id: "s0".into(),
                pod_uid: "u".into(),
                name: name.into(),
                attempt,
                image: "i".into(),
                image_id: "sha256:i".into(),
                created: at(i64::from(attempt)),
                state,
                pid: None,
                labels: BTreeMap::from([(containers::USER.to_owned(), "0:0:0".to_owned())]),
                log_path: Default::default(),
            }
        })
        .collect();
    let sandbox =
        Sandbox { id: "s0".into(), pod_uid: "u".into(), namespace: "n".into(), name: "p".into(), attempt: 0, ready: true, created: at(0) };
    Observed::new(vec![sandbox], containers)
}

struct Case {
    pod: Pod,
    observed: Observed,
    reasons: BTreeMap<String, Reason>,
    health: BTreeMap<String, Health>,
    ending: bool,
}

impl Case {
    fn new(pod: Pod, text: &str) -> Self {
        Self { pod, observed: observed(text), reasons: BTreeMap::new(), health: BTreeMap::new(), ending: false }
    }

    fn status(&self) -> PodStatus {
        let old = self.pod.status.clone().unwrap_or_default();
        generate(&Inputs {
            pod: &self.pod,
            old: &old,
            observed: &self.observed,
            reasons: &self.reasons,
            messages: &BTreeMap::new(),
            health: &self.health,
            resizes: &Resizes::default(),
            runtime: "native",
            host_ips: &["10.0.0.1".parse().unwrap()],
            pod_ips: &["10.244.0.2".parse().unwrap()],
            start_time: at(0),
            ending: self.ending,
            verdict: None,
            now: at(200),
        })
    }
}

/// `phase [name=state …]`, as the recorded stories are told.
fn story(status: &PodStatus) -> String {
    let one = |status: &ContainerStatus| {
        let state = status.state.clone().unwrap_or_default();
        let text = match (&state.waiting, &state.terminated) {
            (Some(waiting), _) => format!("waiting:{}", waiting.reason.clone().unwrap_or_default()),
            (_, Some(end)) => format!("{}({})", end.reason.clone().unwrap_or_default(), end.exit_code),
            _ => "running".to_owned(),
        };
        let ready = if status.ready { "+" } else { "" };
        let restarts = if status.restart_count > 0 { format!("x{}", status.restart_count) } else { String::new() };
        format!("{}={text}{ready}{restarts}", status.name)
    };
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    format!("{} [{}]", status.phase.clone().unwrap_or_default(), all.map(one).collect::<Vec<_>>().join(" "))
}

fn inits() -> Value {
    json!([{"name": "i1", "image": "i"}])
}

fn sidecar() -> Value {
    json!([{"name": "side", "image": "i", "restartPolicy": "Always"}])
}

#[rstest]
#[case::new("Always", json!([]), "", "Pending [c=waiting:ContainerCreating]")]
#[case::runs("Always", json!([]), "c:run", "Running [c=running+]")]
#[case::ended("Always", json!([]), "c:3", "Running [c=Error(3)]")]
#[case::again("Always", json!([]), "c:3 c:run/1", "Running [c=running+x1]")]
#[case::completed("OnFailure", json!([]), "c:0", "Succeeded [c=Completed(0)]")]
#[case::failed("Never", json!([]), "c:3", "Failed [c=Error(3)]")]
#[case::failed_and_again("OnFailure", json!([]), "c:3", "Running [c=Error(3)]")]
#[case::init_waits("Always", inits(), "", "Pending [i1=waiting:PodInitializing c=waiting:PodInitializing]")]
#[case::init_runs("Always", inits(), "i1:run", "Pending [i1=running c=waiting:PodInitializing]")]
#[case::init_done("Always", inits(), "i1:0", "Pending [i1=Completed(0)+ c=waiting:PodInitializing]")]
#[case::init_failed("Never", inits(), "i1:7", "Failed [i1=Error(7) c=waiting:PodInitializing]")]
#[case::init_failed_again("OnFailure", inits(), "i1:7", "Pending [i1=Error(7) c=waiting:PodInitializing]")]
#[case::sidecar_first("Never", sidecar(), "side:run", "Pending [side=running+ c=waiting:PodInitializing]")]
#[case::sidecar_left("Never", sidecar(), "side:run c:0", "Running [side=running+ c=Completed(0)]")]
#[case::sidecar_over("Never", sidecar(), "side:0 c:0", "Succeeded [side=Completed(0) c=Completed(0)]")]
fn phases(#[case] policy: &str, #[case] init: Value, #[case] state: &str, #[case] expected: &str) {
    assert_eq!(story(&Case::new(pod(policy, init, &["c"]), state).status()), expected);
}

#[test]
fn a_container_in_back_off_says_so() {
    let mut case = Case::new(pod("Always", json!([]), &["c"]), "c:3/1 c:3/0");
    let message = "back-off 10s restarting failed container=c pod=p_n(u)".to_owned();
    case.reasons.insert("c".into(), Reason { reason: "CrashLoopBackOff".into(), message });
    let status = case.status();
    assert_eq!(story(&status), "Running [c=waiting:CrashLoopBackOffx1]");
    let last = status.container_statuses.unwrap()[0].last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.container_id.unwrap().as_str()), (3, "native://c1"));
}

#[test]
fn readiness_comes_from_probes() {
    let mut case = Case::new(pod("Always", json!([]), &["c"]), "c:run");
    case.health.insert("c0".into(), Health { started: true, ready: false });
    let status = case.status();
    assert_eq!(story(&status), "Running [c=running]");
    let texts: Vec<String> = status
        .conditions
        .unwrap()
        .iter()
        .map(|condition| format!("{}={} {}", condition.type_, condition.status, condition.message.clone().unwrap_or_default()))
        .collect();
    assert_eq!(
        texts,
        [
            "PodReadyToStartContainers=True ",
            "Initialized=True ",
            "Ready=False containers with unready status: [c]",
            "ContainersReady=False containers with unready status: [c]",
            "PodScheduled=True ",
        ]
    );
}

#[test]
fn a_final_phase_is_held_while_something_runs() {
    let case = Case::new(pod("Never", json!([]), &["c"]), "c:0");
    let (old, new) = (PodStatus { phase: Some("Running".into()), ..Default::default() }, case.status());
    assert_eq!(new.phase.as_deref(), Some("Succeeded"));
    assert_eq!(hold(new.clone(), &old).phase.as_deref(), Some("Running"));
    let reasons: Vec<_> = new.conditions.unwrap().into_iter().filter_map(|condition| condition.reason).collect();
    assert_eq!(reasons, ["PodCompleted", "PodCompleted", "PodCompleted"]);
}

#[rstest]
#[case::never_ran(json!([]), "", "Failed [c=ContainerStatusUnknown(137)]")]
#[case::ran(json!([]), "c:0", "Succeeded [c=Completed(0)]")]
#[case::killed(json!([]), "c:137", "Failed [c=Error(137)]")]
#[case::in_init(inits(), "i1:7", "Failed [i1=Error(7) c=waiting:PodInitializing]")]
#[case::before_init(inits(), "", "Failed [i1=waiting:PodInitializing c=waiting:PodInitializing]")]
fn a_deleted_pod_ends(#[case] init: Value, #[case] state: &str, #[case] expected: &str) {
    let mut case = Case::new(pod("Always", init, &["c"]), state);
    case.ending = true;
    assert_eq!(story(&finish(case.status(), &case.pod)), expected);
}

#[test]
fn readiness_gates_of_others_count() {
    let mut pod = pod("Always", json!([]), &["c"]);
    pod.spec.as_mut().unwrap().readiness_gates =
        Some(vec![k8s_openapi::api::core::v1::PodReadinessGate { condition_type: "example.com/g".into() }]);
    let ready = |pod: &Pod| {
        let conditions = Case::new(pod.clone(), "c:run").status().conditions.unwrap();
        conditions.iter().find(|condition| condition.type_ == "Ready").unwrap().clone()
    };
    assert_eq!(ready(&pod).reason.as_deref(), Some("ReadinessGatesNotReady"));
    let status: PodStatus = serde_json::from_value(json!({"conditions": [{"type": "example.com/g", "status": "True"}]})).unwrap();
    pod.status = Some(status);
    assert_eq!(ready(&pod).status, "True");
}

//! What keeps pods, and the nodes they are on. The processes are simulated.

use serde_json::{Value, json};

use crate::lesson::{CTRL_D, CTRL_U, Lesson, rows};

const PODS: &str = "▸ pods";

fn of(kind: &str, version: &str, name: &str, spec: Value) -> Value {
    let labels = json!({"app": name});
    let container = json!({"name": "main", "image": "coracle.local/kubia:1.0", "ports": [{"containerPort": 8080}]});
    let spread = json!([{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels}}]);
    let pod = json!({"terminationGracePeriodSeconds": 1, "containers": [container], "topologySpreadConstraints": spread});
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}});
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object
}

pub fn manifests() -> Vec<Value> {
    let job =
        json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "coracle.local/kubia:1.0"}]}}});
    let cron = json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}});
    let ports = json!([{"port": 80, "targetPort": 8080}]);
    vec![
        of("Deployment", "apps/v1", "web", json!({"replicas": 3})),
        of("StatefulSet", "apps/v1", "memo", json!({"replicas": 2, "serviceName": "memo"})),
        of("DaemonSet", "apps/v1", "watchman", json!({})),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"}, "spec": cron}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": ports}}),
    ]
}

/// Where pods of a name are that are not going, once there are so many and all are ready.
fn ready(lesson: &Lesson, name: &str, count: usize) -> Vec<(String, String)> {
    lesson.terminal.until(&format!("{count} ready pods of {name}"), |text| {
        let staying: Vec<_> = rows(text, &format!("{name}-")).into_iter().filter(|row| !row.contains(&"Terminating")).collect();
        let well = staying.iter().all(|row| row.contains(&"1/1") && row.contains(&"Running"));
        let node = |row: &[&str]| row.iter().find(|word| word.starts_with("node-")).map(|node| (*node).to_owned());
        let found: Option<Vec<_>> = staying.iter().map(|row| Some((row[0].to_owned(), node(row)?))).collect();
        found.filter(|found| well && found.len() == count)
    })
}

pub fn the_cluster_is_looked_at(lesson: &mut Lesson) {
    lesson.go("ctx", "▸ contexts 1");
    lesson.shows_row("coracle", &["coracle"]);
    lesson.go("nodes", "▸ nodes 3");
    for node in ["node-1", "node-2", "node-3"] {
        lesson.row(node, "is ready", |row| row[1] == "Ready" && row.iter().any(|word| word.starts_with("v1.36")));
    }
    lesson.opens("y", "▸ yaml node node-1");
    lesson.terminal.shows(&["kind: Node", "metadata:", "spec:", "status:"]);
    lesson.go("nodes", "▸ nodes 3");
    lesson.opens("d", "▸ describe node node-1");
    lesson.terminal.shows(&["Roles:", "Conditions:", "Capacity:"]);
    lesson.terminal.press("G");
    lesson.terminal.shows(&["Allocated resources:", "Events:"]);
    lesson.back("▸ nodes 3");
    lesson.terminal.press(":containers\r");
    lesson.terminal.shows(&["no kind and no command is called containers"]);
}

pub fn everything_gets_ready(lesson: &mut Lesson) {
    lesson.go("pulse", "▸ pulse");
    lesson.terminal.shows(&["deployments", "statefulsets", "nodes"]);
    lesson.go("deployments", "▸ deployments 1");
    lesson.shows_row("web", &["3/3"]);
    lesson.go("statefulsets", "▸ statefulsets 1");
    lesson.shows_row("memo", &["2/2"]);
    lesson.go("daemonsets", "▸ daemonsets 1");
    lesson.row("watchman", "three of three", |row| row[1..6] == ["3", "3", "3", "3", "3"]);
    lesson.go("services", "▸ services 2");
    lesson.shows_row("web", &["LoadBalancer"]);
    lesson.go("pods", PODS);
    let nodes: std::collections::BTreeSet<String> = ready(lesson, "web", 3).into_iter().map(|(_, node)| node).collect();
    assert_eq!(nodes.len(), 3, "{nodes:?}");
    assert_eq!(ready(lesson, "memo", 2).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["memo-0", "memo-1"]);
}

pub fn a_pod_is_replaced(lesson: &mut Lesson) {
    lesson.go("pods", PODS);
    let before = ready(lesson, "web", 3);
    lesson.pod(&before[0].0);
    lesson.terminal.press(CTRL_D);
    lesson.terminal.shows(&[&format!("Delete pod {} in default", before[0].0)]);
    lesson.terminal.press("\r");
    lesson.terminal.until("it is gone", |text| rows(text, &before[0].0).is_empty().then_some(()));
    lesson.go("pods", PODS);
    assert!(!ready(lesson, "web", 3).contains(&before[0]));
}

pub fn an_image_is_rolled_out_and_back(lesson: &mut Lesson) {
    lesson.go("deployments", "▸ deployments 1");
    lesson.terminal.press("i");
    lesson.terminal.shows(&["Images of deployment web"]);
    lesson.terminal.press(&format!("{CTRL_U}coracle.local/kubia:1.1\r"));
    lesson.go("deployments", "▸ deployments 1");
    lesson.opens("H", "▸ revisions of deployment web 2");
    lesson.shows_row("2", &["current", "3/3", "coracle.local/kubia:1.1"]);
    lesson.terminal.press("j");
    lesson.terminal.until("the cursor is on the first", |text| {
        text.lines().any(|line| line.starts_with('▶') && line.contains("kubia:1.0")).then_some(())
    });
    lesson.terminal.press("r");
    lesson.terminal.shows(&["Roll deployment web back to revision 1?"]);
    lesson.terminal.press("\r");
    lesson.shows_row("3", &["current", "3/3", "coracle.local/kubia:1.0"]);
    lesson.back("▸ deployments 1");
}

pub fn a_cron_job_is_started(lesson: &mut Lesson) {
    lesson.go("cronjobs", "▸ cronjobs 1");
    lesson.shows_row("tick", &["False"]);
    lesson.terminal.press("t");
    lesson.terminal.shows(&["job tick-manual-"]);
    lesson.terminal.press("s");
    lesson.shows_row("tick", &["True"]);
    lesson.go("jobs", "▸ jobs 1");
    lesson.shows_row("tick-manual-", &["0/1"]);
}

pub fn a_node_is_drained(lesson: &mut Lesson) {
    lesson.go("nodes", "▸ nodes 3");
    lesson.terminal.press("c");
    lesson.row("node-1", "is cordoned", |row| row[1] == "Ready,SchedulingDisabled");
    lesson.terminal.press("r");
    lesson.terminal.shows(&["Drain node-1: no new pods, and those there are evicted."]);
    lesson.terminal.press("\r");
    lesson.go("pods", PODS);
    lesson.terminal.until("what can go has gone from node-1", |text| {
        let on = |start: &str| rows(text, start).iter().any(|row| row.contains(&"node-1"));
        let there = rows(text, "web-").len() >= 3 && rows(text, "memo-").len() == 2;
        (there && !on("web-") && !on("memo-") && on("watchman-")).then_some(())
    });
    lesson.go("nodes", "▸ nodes 3");
    lesson.terminal.press("u");
    lesson.row("node-1", "is open again", |row| row[1] == "Ready");
    lesson.go("pods", PODS);
    ready(lesson, "web", 3);
    ready(lesson, "memo", 2);
}

pub fn a_node_is_lost(lesson: &mut Lesson) {
    lesson.go("pods", PODS);
    let lost = ready(lesson, "web", 3).remove(0).1;
    lesson.cluster.coracle(&["node", "stop", &lost]).ok();
    lesson.go("nodes", "▸ nodes 3");
    lesson.row(&lost, "is not ready", |row| row[1].starts_with("NotReady"));
    lesson.go("pods", PODS);
    lesson.terminal.until("three are ready elsewhere", |text| {
        let rows = rows(text, "web-");
        let elsewhere = rows.iter().filter(|row| row.contains(&"Running") && row.contains(&"1/1") && !row.contains(&lost.as_str()));
        (elsewhere.count() == 3).then_some(())
    });
    lesson.cluster.coracle(&["node", "start", &lost]).ok();
    lesson.go("nodes", "▸ nodes 3");
    lesson.row(&lost, "is ready again", |row| row[1] == "Ready");
}

pub fn what_was_done_is_deleted(lesson: &mut Lesson) {
    lesson.go("events", "▸ events");
    lesson.terminal.shows(&["Normal", "LAST SEEN", "REASON"]);
    lesson.go("deployments", "▸ deployments 1");
    lesson.terminal.press(CTRL_D);
    lesson.terminal.shows(&["web in default", "propagation"]);
    lesson.terminal.press("\r");
    lesson.comes("▸ deployments 0");
    lesson.go("pods", PODS);
    lesson.terminal.until("its pods are gone, and others are not", |text| {
        (rows(text, "web-").is_empty() && rows(text, "memo-").len() == 2).then_some(())
    });
}

//! `kill -9` at any instant: nothing acknowledged is lost, and pods run on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::wait::so;
use harness::{Cluster, Need, story, until};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(60);

#[test]
fn pods_run_on_and_every_object_is_there() {
    story("crash pods", &[Need::Native, Need::Kubectl], || {
        let mut cluster = Cluster::native(&[]);
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
        for lesson in ["01-first-pod", "02-deployment", "03-multi-container", "04-init-containers", "05-config-and-secrets"] {
            cluster.kubectl(&["apply", "-R", "-f", samples.join(lesson).to_str().unwrap()]).ok();
        }
        cluster.kubectl(&["wait", "pods", "--all", "--for=condition=Ready", "--timeout=90s"]).ok();
        let (objects, containers) = (uids(&cluster), containers(&cluster));
        assert!(containers.len() >= 8, "{containers:?}");
        let address = pod_address(&cluster, "first-pod");
        cluster.kill();
        // nobody is at the helm, and the pod answers
        cluster.run("curl", &["-sS", "--max-time", "5", &address]).shows(&["this is first-pod."]);
        cluster.restart();
        let after = uids(&cluster);
        for (object, uid) in &objects {
            assert_eq!(after.get(object), Some(uid), "{object}");
        }
        the_node_comes_back(&cluster);
        assert_eq!(self::containers(&cluster), containers, "containers that run now, and those that ran before");
        cluster.run("curl", &["-sS", "--max-time", "5", &address]).shows(&["this is first-pod."]);
        let pod = &cluster.ready_pods("app=kubia", 3)[0];
        cluster.kubectl(&["logs", pod]).shows(&["Kubia server starting"]);
        assert_eq!(cluster.kubectl(&["exec", pod, "--", "sh", "-c", "exit 7"]).code, Some(7));
        let service = cluster.get(&["service", "kubia"])["spec"]["clusterIP"].as_str().unwrap().to_owned();
        cluster.run("curl", &["-sS", "--max-time", "5", &format!("{service}:8080")]).shows(&["this is kubia-"]);
        // an adopted process is watched as one of our own
        cluster.kubectl(&["exec", "first-pod", "--", "sh", "-c", "kill 1"]);
        until("an adopted container is restarted", SOON, || {
            let status = cluster.get(&["pod", "first-pod"])["status"].clone();
            so(status["containerStatuses"][0]["restartCount"] == 1 && status["containerStatuses"][0]["ready"] == true, status)
        });
        cluster.down();
    });
}

/// Every object but those that come and go by themselves, with its uid.
fn uids(cluster: &Cluster) -> BTreeMap<String, Value> {
    let kinds = "nodes,namespaces,pods,deployments.apps,replicasets.apps,services,endpointslices,configmaps,secrets,serviceaccounts,\
                 clusterroles,clusterrolebindings,roles,rolebindings";
    let text = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let named = |object: Value| {
        (format!("{} {}/{}", object["kind"], text(&object, "namespace"), text(&object, "name")), object["metadata"]["uid"].clone())
    };
    cluster.items(&["-A", kinds]).into_iter().map(named).collect()
}

/// Of every container of every pod: its id and how often it was restarted.
fn containers(cluster: &Cluster) -> BTreeMap<String, (Value, Value)> {
    let mut found = BTreeMap::new();
    for pod in cluster.items(&["pods"]) {
        for container in pod["status"]["containerStatuses"].as_array().into_iter().flatten() {
            let name = format!("{}/{}", harness::kubectl::name(&pod), container["name"]);
            found.insert(name, (container["containerID"].clone(), container["restartCount"].clone()));
        }
    }
    found
}

fn pod_address(cluster: &Cluster, pod: &str) -> String {
    format!("{}:8080", cluster.get(&["pod", pod])["status"]["podIP"].as_str().unwrap())
}

/// The node has said that it is well after the restart.
fn the_node_comes_back(cluster: &Cluster) {
    let holder = |cluster: &Cluster| cluster.items(&["-n", "kube-node-lease", "leases"])[0]["spec"]["renewTime"].clone();
    let before = holder(cluster);
    until("the node renews its lease", SOON, || so(holder(cluster) != before, cluster.kubectl(&["get", "nodes"]).said()));
    cluster.kubectl(&["wait", "nodes", "--all", "--for=condition=Ready", "--timeout=60s"]).ok();
}

const ROUNDS: u64 = 50;
const WRITERS: u64 = 8;

#[test]
fn every_acknowledged_write_is_there() {
    story("crash writes", &[], || {
        let seed = std::env::var("CORACLE_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(clock_seed);
        println!("CORACLE_TEST_SEED={seed} repeats the instants of this run");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut cluster = Cluster::simulated(&[]);
        let mut random = Random(seed | 1);
        let mut record = Record::default();
        for round in 0..ROUNDS {
            let before = record.counters.len();
            let instant = Duration::from_micros(500 + random.next() % 250_000);
            runtime.block_on(write_until_killed(&mut cluster, round, instant, &mut record));
            assert!(record.counters.len() >= before, "round {round}");
            cluster.restart();
            runtime.block_on(record.check(&cluster, round));
        }
        assert!(record.names.len() as u64 > ROUNDS, "only {} writes were acknowledged in {ROUNDS} rounds", record.names.len());
        println!(
            "{} objects were acknowledged, {} updates",
            record.names.len(),
            record.counters.values().map(|range| range.0).sum::<u64>()
        );
        cluster.down();
    });
}

fn clock_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// What the server has acknowledged.
#[derive(Default)]
struct Record {
    /// Names of created objects and what was in them.
    names: BTreeMap<String, String>,
    /// Per counter: the last value acknowledged, the last one sent.
    counters: BTreeMap<String, (u64, u64)>,
}

/// What one writer did.
#[derive(Default)]
struct Written {
    names: Vec<(String, String)>,
    counter: (u64, u64),
}

async fn api(cluster: &Cluster) -> Api<ConfigMap> {
    let kubeconfig = Kubeconfig::read_from(cluster.place.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Api::namespaced(kube::Client::try_from(config).unwrap(), "default")
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("value".to_owned(), value.to_owned())])),
        ..ConfigMap::default()
    }
}

async fn write_until_killed(cluster: &mut Cluster, round: u64, instant: Duration, record: &mut Record) {
    let mut writers = JoinSet::new();
    let begun = Instant::now();
    for writer in 0..WRITERS {
        // a connection of its own: what one has in flight does not order the others
        let api = api(cluster).await;
        let counter = record.counters.get(&format!("counter-{writer}")).copied().unwrap_or_default();
        writers.spawn(async move { (writer, write(&api, round, writer, counter.1).await) });
    }
    tokio::time::sleep(instant.saturating_sub(begun.elapsed())).await;
    cluster.kill();
    while let Some(done) = writers.join_next().await {
        let (writer, written) = done.unwrap();
        record.names.extend(written.names);
        let counter = record.counters.entry(format!("counter-{writer}")).or_default();
        *counter = (counter.0.max(written.counter.0), counter.1.max(written.counter.1));
    }
}

/// Creates objects and counts in one, until the server is gone.
async fn write(api: &Api<ConfigMap>, round: u64, writer: u64, counted: u64) -> Written {
    let mut written = Written { names: Vec::new(), counter: (0, counted) };
    let params = PatchParams::apply("crash");
    for number in 0.. {
        let (name, value) = (format!("round-{round}-{writer}-{number}"), format!("{writer} wrote {number} in round {round}"));
        match api.create(&PostParams::default(), &config_map(&name, &value)).await {
            Ok(_) => written.names.push((name, value)),
            Err(kube::Error::Api(status)) => panic!("{name} was refused: {status:?}"),
            Err(_) => break,
        }
        written.counter.1 += 1;
        let counter = config_map(&format!("counter-{writer}"), &written.counter.1.to_string());
        match api.patch(&format!("counter-{writer}"), &params, &Patch::Apply(&counter)).await {
            Ok(_) => written.counter.0 = written.counter.1,
            Err(kube::Error::Api(status)) => panic!("counter {writer} was refused: {status:?}"),
            Err(_) => break,
        }
    }
    written
}

impl Record {
    /// Everything acknowledged is in the store, and counters stand where they may.
    async fn check(&self, cluster: &Cluster, round: u64) {
        let list = api(cluster).await.list(&ListParams::default()).await.unwrap();
        let value = |object: ConfigMap| object.data.unwrap_or_default().remove("value").unwrap_or_default();
        let found: BTreeMap<String, String> =
            list.items.into_iter().map(|object| (object.metadata.name.clone().unwrap_or_default(), value(object))).collect();
        for (name, value) in &self.names {
            assert_eq!(found.get(name), Some(value), "{name} was acknowledged and is not there after round {round}");
        }
        for (name, &(acknowledged, sent)) in self.counters.iter().filter(|(_, range)| range.0 > 0) {
            let stands: u64 = found.get(name).and_then(|text| text.parse().ok()).unwrap_or_default();
            assert!((acknowledged..=sent).contains(&stands), "{name}: {acknowledged} acknowledged, {sent} sent, {stands} found");
        }
    }
}

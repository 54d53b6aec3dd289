//! A folder that is kept applied by the real binary: whatever happens to its files, the cluster ends as they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::kubectl::name;
use harness::terminal::Terminal;
use harness::wait::so;
use harness::{Cluster, Need, Place, story, until};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};

const SOON: Duration = Duration::from_secs(90);
/// All that a folder made has this label, whatever its value.
const PART_OF: &str = "applyset.kubernetes.io/part-of";

fn config_map(name: &str, value: u32) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  value: \"{value}\"\n")
}

/// Names and values of the config maps that folders made.
fn made(cluster: &Cluster) -> BTreeMap<String, String> {
    let maps = cluster.items(&["configmaps", "-l", PART_OF]);
    maps.iter().map(|map| (name(map), map["data"]["value"].as_str().unwrap_or_default().to_owned())).collect()
}

fn watching(folder: &Path) -> Cluster {
    Cluster::start(Place::new(), &["--runtime", "simulated", "--watch", folder.to_str().unwrap()])
}

#[test]
fn a_folder_is_followed_and_what_it_names_no_more_goes() {
    story("manifest folder", &[Need::Kubectl], || {
        let directory = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a.yaml", &format!("{}---\n{}", config_map("one", 1), config_map("two", 2)));
        write("deep/b.yaml", &config_map("three", 3));
        write("left-out/c.yaml", &config_map("never", 0));
        write(".coracleignore", "left-out/\n");
        let cluster = watching(directory.path());
        let until_made = |wanted: &[(&str, &str)]| {
            let wanted: BTreeMap<String, String> = wanted.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            until("the cluster is as the folder", SOON, || {
                let made = made(&cluster);
                so(made == wanted, made)
            });
        };
        until_made(&[("one", "1"), ("three", "3"), ("two", "2")]);
        let parents = cluster.items(&["secrets", "-l", "applyset.kubernetes.io/id"]);
        assert_eq!(parents[0]["metadata"]["annotations"]["applyset.kubernetes.io/contains-group-kinds"], "ConfigMap", "{parents:?}");

        // A document is taken out, another one changes.
        write("a.yaml", &config_map("one", 11));
        until_made(&[("one", "11"), ("three", "3")]);

        // Nothing is deleted while a file cannot be read.
        write("broken.yaml", "kind: [");
        fs::remove_file(directory.path().join("deep/b.yaml")).unwrap();
        write("a.yaml", &config_map("one", 12));
        until_made(&[("one", "12"), ("three", "3")]);
        fs::remove_file(directory.path().join("broken.yaml")).unwrap();
        until_made(&[("one", "12")]);

        // A kind and an object of it, in one file: what needs the kind waits for it.
        write("kind.yaml", BOAT);
        until("the boat is there", SOON, || cluster.kubectl(&["get", "boat", "coracle"]).try_ok());
        fs::remove_file(directory.path().join("kind.yaml")).unwrap();
        until("the kind is gone", SOON, || {
            let kinds = cluster.kubectl(&["get", "customresourcedefinitions", "-o", "name"]).ok();
            so(!kinds.contains("boats"), kinds)
        });

        // An overlay is not applied by halves; what is taken out beside it goes nevertheless.
        write("overlay/kustomization.yaml", "resources: [d.yaml]\n");
        write("overlay/d.yaml", &config_map("four", 4));
        write("a.yaml", &config_map("five", 5));
        until_made(&[("five", "5")]);

        // An empty folder is no wish.
        fs::remove_dir_all(directory.path().join("overlay")).unwrap();
        fs::remove_file(directory.path().join("a.yaml")).unwrap();
        write("b.yaml", &config_map("six", 6));
        until_made(&[("six", "6")]);
        fs::remove_file(directory.path().join("b.yaml")).unwrap();
        cluster.kubectl(&["create", "configmap", "marker"]).ok();
        assert_eq!(made(&cluster).keys().collect::<Vec<_>>(), ["six"]);
        cluster.down();
    });
}

const BOAT: &str = "apiVersion: boats.example.com/v1
kind: Boat
metadata:
  name: coracle
spec:
  seats: 1
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: boats.boats.example.com
spec:
  group: boats.example.com
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        x-kubernetes-preserve-unknown-fields: true
";

/// The loop as a developer has it, with the UI open: what is saved is soon applied; and after a thousand operations on files,
/// as fast as they go, the cluster is as the folder.
#[test]
fn the_ui_keeps_up_with_whoever_saves() {
    story("manifest operations", &[Need::Kubectl], || {
        let cluster = Cluster::simulated(&[]);
        let folder = cluster.place.path().join("manifests");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("always.yaml"), config_map("always", 0)).unwrap();
        let mut terminal = Terminal::start(&cluster.place.coracle(&["tui", "--watch", "manifests"]), 120, 32);
        saves_are_applied(&cluster, &folder.join("always.yaml"));
        let mut random = Random(20_261_121);
        for step in 0..1_000 {
            operate(&folder, step, &mut random);
        }
        tidy(&folder);
        let wanted = read(&folder);
        assert!(wanted.len() > 1, "{wanted:?}");
        until("the cluster is as the folder", SOON, || {
            let made = made(&cluster);
            so(made == wanted, format!("made {made:?}, wanted {wanted:?}"))
        });
        terminal.press(":q\r");
        assert_eq!(terminal.end(), 0, "{}", terminal.text());
        cluster.down();
    });
}

/// Saves a file again and again, and prints how long it took until the cluster had what it says.
fn saves_are_applied(cluster: &Cluster, file: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut times = runtime.block_on(async {
        let kubeconfig = Kubeconfig::read_from(cluster.place.kubeconfig()).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let maps: Api<ConfigMap> = Api::namespaced(kube::Client::try_from(config).unwrap(), "default");
        let mut times = Vec::new();
        for value in 100..121 {
            let begun = Instant::now();
            fs::write(file, config_map("always", value)).unwrap();
            loop {
                let map = maps.get_opt("always").await.unwrap();
                let data = map.and_then(|map| map.data).unwrap_or_default();
                if data.get("value").is_some_and(|found| *found == value.to_string()) {
                    break;
                }
                assert!(begun.elapsed() < SOON, "{value} is not applied: {data:?}");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            times.push(begun.elapsed());
        }
        times
    });
    // the first waited for the UI as well
    times.remove(0);
    times.sort();
    println!("saved → applied: p50 {:.0?}, slowest {:.0?}, of {}", times[times.len() / 2], times[times.len() - 1], times.len());
}

/// The same numbers in every run (a linear congruential generator).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn operate(root: &Path, step: u32, random: &mut Random) {
    let folder = |random: &mut Random| root.join(["", "x", "y", "x/z"][random.below(4) as usize]);
    let number = random.below(12);
    let file = folder(random).join(format!("f{number}.yaml"));
    let _ = fs::create_dir_all(file.parent().unwrap());
    let text = config_map(&format!("m{number}"), step);
    let other = folder(random).join(format!("f{number}.yaml"));
    // What does not go, since there is nothing to rename or delete, is no operation.
    let _ = match random.below(9) {
        0..3 => fs::write(&file, text),
        3 => fs::write(&file, &text[..text.len() / 2]),
        8 => fs::write(&file, ""),
        4 => {
            let next = file.with_extension("tmp");
            fs::write(&next, text).and_then(|()| fs::rename(next, &file))
        }
        5 => fs::rename(&file, &other),
        6 => fs::remove_file(&file),
        _ => fs::rename(root.join("x"), root.join("w")).and_then(|()| fs::rename(root.join("w"), root.join("x"))),
    };
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found.sort();
    found
}

/// Completes what was half-written, and leaves one file of each name.
fn tidy(root: &Path) {
    let mut seen = BTreeMap::new();
    for file in files(root) {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        if stem == "always" {
            continue;
        }
        if seen.insert(stem.clone(), ()).is_some() {
            fs::remove_file(&file).unwrap();
        } else {
            fs::write(&file, config_map(&stem.replace('f', "m"), 7)).unwrap();
        }
    }
}

fn read(root: &Path) -> BTreeMap<String, String> {
    let texts = files(root)
        .into_iter()
        .filter(|file| file.extension().is_some_and(|it| it == "yaml"))
        .map(|file| fs::read_to_string(file).unwrap());
    let value = |text: &str, key: &str| text.split_once(key).unwrap().1.split_whitespace().next().unwrap().trim_matches('"').to_owned();
    texts.map(|text| (value(&text, "name: "), value(&text, "value: "))).collect()
}

//! Bad input gets a clear answer: what is wrong, where, and what to do next.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use harness::place::PROGRAM;
use harness::run::run;
use harness::wait::so;
use harness::{Cluster, Need, Place, story, until};

const SOON: Duration = Duration::from_secs(30);

/// A config map with a line of its own.
fn config_map(name: &str, line: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n{line}\n")
}

#[test]
fn faults_in_a_watched_folder_are_said_with_file_line_and_column() {
    story("bad_input watch", &[], || {
        let place = Place::new();
        place.write("manifests/good.yaml", config_map("good", "data: {a: b}"));
        place.write("manifests/broken.yaml", config_map("broken", "data:\n  - [a, b"));
        place.write("manifests/unknown-kind.yaml", "apiVersion: v1\nkind: Podd\nmetadata: {name: x}\n");
        place.write("manifests/unknown-field.yaml", config_map("field", "datta: {a: b}"));
        place.write("manifests/wrong-type.yaml", config_map("type", "data:\n  a: [1]"));
        let mut cluster = Cluster::start(place, &["--runtime", "simulated", "--watch", "manifests"]);
        let says = |cluster: &mut Cluster, parts: &[&str]| {
            until(&format!("one line says {parts:?}"), SOON, || {
                let said = cluster.said();
                so(said.lines().any(|line| parts.iter().all(|part| line.contains(part))), said)
            });
        };
        says(&mut cluster, &["good.yaml", "ConfigMap", "good", "created"]);
        says(&mut cluster, &["broken.yaml: line 6, column 5: unclosed bracket"]);
        says(&mut cluster, &["unknown-kind.yaml: line 2, column 1", "no matches for kind \"Podd\" in version \"v1\""]);
        says(&mut cluster, &["unknown-field.yaml: line 5, column 1: ", ".datta: field not declared in schema"]);
        says(&mut cluster, &["wrong-type.yaml: line 6, column 3", ".data.a: expected string, got "]);
        cluster.place.write("manifests/broken.yaml", config_map("broken", "data: {now: fine}"));
        says(&mut cluster, &["broken.yaml", "ConfigMap", "broken", "created"]);
        cluster.down();
    });
}

#[test]
fn what_the_server_refuses_is_said_as_upstream_says_it() {
    story("bad_input api", &[Need::Kubectl], || {
        let cluster = Cluster::simulated(&[]);
        let apply = |text: &str| cluster.kubectl_with(&["apply", "-f", "-"], text.as_bytes()).failed(1);
        let unknown_kind = apply("apiVersion: v1\nkind: Podd\nmetadata: {name: x}\n");
        assert!(unknown_kind.contains("no matches for kind \"Podd\" in version \"v1\""), "{unknown_kind}");
        let unknown_field = apply(&config_map("x", "datta: {a: b}"));
        assert!(unknown_field.contains("strict decoding error: unknown field \"datta\""), "{unknown_field}");
        let wrong_type = apply("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: many}\n");
        assert!(wrong_type.contains("Error from server (BadRequest)"), "{wrong_type}");
        assert!(wrong_type.contains("Deployment in version \"v1\" cannot be handled as a Deployment"), "{wrong_type}");
        let invalid = apply("apiVersion: v1\nkind: Pod\nmetadata: {name: Not_A_Name}\nspec: {containers: []}\n");
        assert!(invalid.contains("The Pod \"Not_A_Name\" is invalid"), "{invalid}");
        assert!(invalid.contains("metadata.name") && invalid.contains("spec.containers: Required value"), "{invalid}");
        let broken = apply("apiVersion: v1\nkind: [");
        assert!(broken.contains("error parsing") || broken.contains("error converting YAML"), "{broken}");
        objects_that_are_too_large(&cluster);
        cluster.kubectl(&["get", "nodes"]).ok();
        cluster.down();
    });
}

fn objects_that_are_too_large(cluster: &Cluster) {
    let file = |name: &str, size: usize| cluster.place.write(name, "x".repeat(size)).to_str().unwrap().to_owned();
    let two = cluster.kubectl(&["create", "configmap", "two", &format!("--from-file={}", file("two", 2 << 20))]).failed(1);
    assert!(two.contains("ConfigMap \"two\" is invalid: []: Too long: may not be more than 1048576 bytes"), "{two}");
    // two MiB that no rule of their kind forbids: annotations and labels are too small for that, a list of args is not
    let arguments: Vec<String> = (0..2 << 10).map(|_| "y".repeat(1 << 10)).collect();
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "large"},
        "spec": {"containers": [{"name": "a", "image": "a", "args": arguments}]},
    });
    let large = cluster.kubectl_with(&["create", "-f", "-"], pod.to_string().as_bytes()).failed(1);
    assert!(large.contains("(RequestEntityTooLarge)") && large.contains("the limit is 1572864"), "{large}");
    let four = cluster.kubectl(&["create", "configmap", "four", &format!("--from-file={}", file("four", 4 << 20))]).failed(1);
    assert!(four.contains("Request entity too large: limit is 3145728"), "{four}");
    assert!(cluster.items(&["configmaps,pods"]).iter().all(|object| object["metadata"]["name"] == "kube-root-ca.crt"));
}

#[test]
fn a_port_in_use_is_said_with_its_user() {
    story("bad_input port", &[], || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let place = Place::new();
        let said = place.run(&["up", "--runtime", "simulated", "--listen", &address]).failed(1);
        assert!(said.starts_with(&format!("error: cannot listen on {address}: in use by ")), "{said}");
        assert!(said.contains(&format!("(process {})", std::process::id())), "{said}");
        assert!(said.contains("\nhint: choose another address with --listen"), "{said}");
    });
}

#[test]
fn without_an_address_the_next_free_port_is_taken() {
    story("bad_input next port", &[Need::Native], || {
        let _taken = TcpListener::bind("127.0.0.1:6443").unwrap();
        let cluster = Cluster::simulated(&[]);
        assert!(cluster.ready_line.contains("https://127.0.0.1:6444 "), "{}", cluster.ready_line);
        cluster.interrupt();
    });
}

#[test]
fn a_second_up_on_the_same_data_says_who_has_it() {
    story("bad_input second up", &[], || {
        let cluster = Cluster::simulated(&[]);
        // ready is whatever admits a pod
        cluster.coracle(&["run", "at-once", "--image=nothing"]).ok();
        let said = cluster.coracle(&["up", "--runtime", "simulated"]).failed(1);
        assert!(said.contains("is in use by process ") && said.contains(&cluster.process().to_string()), "{said}");
        assert!(said.contains("hint: use the running cluster, or stop it with `coracle down`"), "{said}");
        let said = cluster.coracle(&["reset", "--yes"]).failed(1);
        assert!(said.contains("the cluster is running"), "{said}");
        cluster.coracle(&["status"]).shows(&["up", "runtime: simulated"]);
        cluster.down();
    });
}

#[test]
fn a_damaged_store_is_refused_and_the_doctor_says_why() {
    story("bad_input store", &[], || {
        let mut cluster = Cluster::simulated(&[]);
        let said = cluster.coracle(&["doctor", "--store"]).failed(1);
        assert!(said.contains("is in use by process "), "{said}");
        cluster.coracle(&["down"]).ok();
        let data = cluster.place.data();
        let doctor = |cluster: &Cluster| cluster.coracle(&["doctor", "--store"]);
        let whole = doctor(&cluster).shows(&["ok tables ", "; closed", "ok journal ", "ok revisions ", "ok objects "]);
        assert!(!whole.contains("no "), "{whole}");
        let refused = |cluster: &Cluster, part: &str| {
            let said = cluster.coracle(&["up", "--runtime", "simulated"]).failed(1);
            assert!(said.contains("error: the store is damaged: ") && said.contains(part), "{said}");
            assert!(said.contains("hint: `coracle doctor --store`") && said.contains("`coracle up --from SNAPSHOT`"), "{said}");
            let doctor = doctor(cluster);
            assert!(doctor.code == Some(1) && doctor.text().lines().any(|line| line.starts_with("no ")), "{}", doctor.said());
        };
        let (tables, journal) = (data.join("store.redb"), data.join("store.journal"));
        let bytes = std::fs::read(&journal).unwrap();
        std::fs::write(&journal, &bytes[..bytes.len() / 2]).unwrap();
        refused(&cluster, "the journal has 524288 of its 1048576 bytes");
        std::fs::remove_file(&journal).unwrap();
        refused(&cluster, "store.journal is gone");
        std::fs::write(&journal, bytes).unwrap();
        let mut bytes = std::fs::read(&tables).unwrap();
        let text = b"cluster-admin";
        let at = bytes.windows(text.len()).position(|part| part == text).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&tables, bytes).unwrap();
        refused(&cluster, "record of revision ");
        cluster.coracle(&["reset", "--yes"]).ok();
        cluster.restart();
        cluster.down();
    });
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    story("bad_input directory", &[], || {
        let place = Place::new();
        // a file stands where a directory should, which stops root too
        place.write("occupied", "a file");
        let directory = place.path().join("occupied/data");
        let mut command = place.command(PROGRAM);
        command.args(["up", "--runtime", "simulated", "--data-dir"]).arg(&directory);
        let said = run(&mut command, b"", SOON).failed(1);
        assert!(said.contains(directory.to_str().unwrap()) && said.contains("Not a directory"), "{said}");
        assert!(said.contains("hint: choose another place with --data-dir"), "{said}");
    });
}

/// The program as a plain user.
fn as_nobody(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(open_program(place)).args(arguments);
    command
}

/// The same where the kernel keeps namespaces from plain users, as it does from whoever has another root directory.
fn as_nobody_confined(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command("unshare");
    let confine = "mount --rbind / /mnt && exec chroot --userspec=65534:65534 /mnt \"$@\"";
    command.args(["--mount", "sh", "-c", confine, "sh"]).arg(open_program(place)).args(arguments);
    command
}

/// The program where a plain user may run it.
fn open_program(place: &Place) -> PathBuf {
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // the program may stand where only root may go
    let program = place.path().join("coracle");
    if !program.exists() {
        std::fs::copy(PROGRAM, &program).unwrap();
    }
    program
}

#[test]
fn a_plain_user_learns_what_would_help() {
    story("bad_input plain user", &[Need::Native], || {
        let place = Place::new();
        let home = place.path().join("nobody");
        std::fs::create_dir(&home).unwrap();
        std::os::unix::fs::chown(&home, Some(65534), Some(65534)).unwrap();
        let data = home.join("data");
        let data = data.to_str().unwrap();
        let said = run(&mut as_nobody_confined(&place, &["up", "--data-dir", data]), b"", SOON).failed(1);
        assert!(said.contains("error: no container runtime works here: ") && said.contains("native: needs root"), "{said}");
        assert!(said.contains("hint: ") && said.contains("`coracle doctor`") && said.contains("--runtime simulated"), "{said}");
        let doctor = run(&mut as_nobody_confined(&place, &["doctor", "--data-dir", data]), b"", SOON).ok();
        assert!(doctor.lines().any(|line| line.starts_with("no native runtime") && line.contains("closed to plain users")), "{doctor}");
        let locked = place.path().join("locked");
        std::fs::create_dir(&locked).unwrap();
        let data = locked.join("data");
        let command = ["up", "--runtime", "simulated", "--data-dir", data.to_str().unwrap()];
        let said = run(&mut as_nobody(&place, &command), b"", SOON).failed(1);
        assert!(said.contains(data.to_str().unwrap()) && said.contains("Permission denied"), "{said}");
    });
}

#[test]
fn wrong_usage_is_an_error_of_its_own() {
    story("bad_input usage", &[], || {
        let place = Place::new();
        for arguments in [&["up", "--runtime", "podman"][..], &["up", "--nodes", "0"], &["upp"], &["up", "--pod-cidr", "10.0.0.1/8"]] {
            place.run(arguments).failed(2);
        }
        let said = place.run(&["kubeconfig"]).failed(1);
        assert!(said.contains("hint: `coracle up` starts a cluster"), "{said}");
        place.run(&["down"]).shows(&["no cluster is running on"]);
        assert_eq!(place.run(&["status"]).code, Some(1));
    });
}

//! Real kubectl, oldest and newest, against the server over TLS: what needs discovery, OpenAPI, certificates,
//! tokens and access reviews. Skipped where there is no kubectl.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use coracle_server::pki::{Pki, PkiOptions};
use coracle_server::{Config, Server};
use coracle_store::{Options, Store};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

struct Cluster {
    directory: tempfile::TempDir,
    server: Server,
    task: tokio::task::JoinHandle<()>,
}

impl Cluster {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = PkiOptions {
            directory: directory.path().join("pki"),
            names: Vec::new(),
            service_ip: "10.96.0.1".parse().unwrap(),
            pod_network_ip: "10.244.0.1".parse().unwrap(),
        };
        let pki = Pki::load_or_create(&options, jiff::Timestamp::now()).unwrap();
        let config = Config {
            store: Store::open(&directory.path().join("store"), Options::default()).unwrap(),
            clock: Arc::new(coracle_api::clock::SystemClock),
            dialer: Arc::new(harness::Dialer),
            tls: Some(Arc::new(pki.tls_config().unwrap())),
            token_key: pki.token_key().to_vec(),
            bootstrap: harness::bootstrap(),
            control: None,
        };
        let server = Server::new(config).unwrap();
        server.bootstrap().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        std::fs::write(directory.path().join("kubeconfig"), pki.kubeconfig("test", &url)).unwrap();
        let serving = server.clone();
        let task = tokio::spawn(async move { serving.serve_tls(listener, std::future::pending()).await.unwrap() });
        Self { directory, server, task }
    }

    /// Exit code, standard output and standard error of a kubectl command.
    async fn run(&self, kubectl: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
        let mut child = tokio::process::Command::new(kubectl)
            .args(arguments)
            .env("KUBECONFIG", self.directory.path().join("kubeconfig"))
            .env("HOME", self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    async fn ok(&self, kubectl: &Path, arguments: &[&str], input: &str) -> String {
        let (code, stdout, stderr) = self.run(kubectl, arguments, input).await;
        assert_eq!(code, 0, "{kubectl:?} {arguments:?}: {stdout}{stderr}");
        stdout
    }
}

/// The newest tried; typed clients write protocol buffers from 1.32 on.
const NEWEST: &str = "kubectl.1.33";

/// The oldest and newest kubectl on this machine.
fn kubectls() -> Vec<PathBuf> {
    let Some(path) = std::env::var_os("PATH") else { return Vec::new() };
    let Some(plain) = std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.exists()) else {
        return Vec::new();
    };
    let folder = plain.canonicalize().ok().and_then(|file| file.parent().map(Path::to_owned));
    let mut versions: Vec<PathBuf> = folder
        .and_then(|folder| std::fs::read_dir(folder).ok())
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kubectl.") && *name <= *NEWEST))
        .collect();
    versions.sort();
    match (versions.first(), versions.last()) {
        (Some(oldest), Some(newest)) => vec![oldest.clone(), newest.clone()],
        _ => Vec::new(),
    }
}

const MANIFEST: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: applied\ndata:\n  a: \"1\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_finds_what_it_needs() {
    let kubectls = kubectls();
    if kubectls.is_empty() {
        eprintln!("skipped: there is no kubectl");
        return;
    }
    for kubectl in kubectls {
        let cluster = Cluster::start().await;
        let run = async |arguments: &[&str]| cluster.ok(&kubectl, arguments, "").await;

        let resources = run(&["api-resources", "-o", "name"]).await;
        assert!(
            ["pods", "deployments.apps", "clusterroles.rbac.authorization.k8s.io"].iter().all(|name| resources.contains(name)),
            "{resources}"
        );
        assert!(run(&["api-versions"]).await.contains("apps/v1"));
        assert!(run(&["create", "configmap", "a", "--from-literal=x=1"]).await.contains("configmap/a created"));
        assert!(run(&["create", "deployment", "kubia", "--image=i:1"]).await.contains("deployment.apps/kubia created"));
        assert!(run(&["explain", "pod.spec.containers"]).await.contains("imagePullPolicy"));
        assert!(run(&["explain", "deployment.spec.replicas"]).await.contains("<integer>"));
        assert_eq!(run(&["auth", "can-i", "create", "pods"]).await, "yes\n");
        assert_eq!(cluster.run(&kubectl, &["auth", "can-i", "create", "pods", "--as=nobody"], "").await.1, "no\n");

        for (value, says) in [("1", "created"), ("1", "unchanged"), ("2", "configured")] {
            let said = cluster.ok(&kubectl, &["apply", "-f", "-"], &MANIFEST.replace("\"1\"", &format!("\"{value}\""))).await;
            assert!(said.contains(says), "{said}");
        }
        let (code, _, refused) = cluster.run(&kubectl, &["apply", "-f", "-"], &MANIFEST.replace("\ndata:", "\ndatum:")).await;
        assert!(code != 0 && refused.contains("unknown field \"datum\""), "{refused}");

        let forbidden = cluster.run(&kubectl, &["get", "pods", "--as=jane"], "").await.2;
        assert!(forbidden.contains(r#"User "jane" cannot list resource "pods" in API group "" in the namespace "default""#), "{forbidden}");

        run(&["create", "serviceaccount", "robot"]).await;
        run(&["create", "rolebinding", "robot", "--clusterrole=view", "--serviceaccount=default:robot"]).await;
        let token = run(&["create", "token", "robot", "--duration=10m"]).await;
        let url = run(&["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]).await;
        let plain = ["--kubeconfig=/dev/null", "--insecure-skip-tls-verify", "-n", "default", "--server", &url, "--token", token.trim()];
        let as_robot = |more: &[&'static str]| {
            plain.iter().map(|&word| word.to_owned()).chain(more.iter().map(|&word| word.to_owned())).collect::<Vec<_>>()
        };
        let words = as_robot(&["get", "configmap", "a", "-o", "name"]);
        assert_eq!(run(&words.iter().map(String::as_str).collect::<Vec<_>>()).await, "configmap/a\n");
        let words = as_robot(&["delete", "configmap", "a"]);
        assert_ne!(cluster.run(&kubectl, &words.iter().map(String::as_str).collect::<Vec<_>>(), "").await.0, 0);

        cluster.server.stop();
        cluster.task.abort();
    }
}

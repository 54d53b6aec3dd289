//! Real kubectl against a server over TLS.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use coracle_server::pki::{Pki, PkiOptions};
use coracle_server::{Config, Server};
use coracle_store::{Options, Store};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// A server that kubectl reaches by a kubeconfig.
pub struct Cluster {
    directory: tempfile::TempDir,
    pub server: Server,
    task: tokio::task::JoinHandle<()>,
}

impl Cluster {
    /// A server with what every cluster begins with.
    pub async fn start() -> Self {
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
            dialer: Arc::new(super::Dialer),
            tls: Some(Arc::new(pki.tls_config().unwrap())),
            token_key: pki.token_key().to_vec(),
            authorities: pki.authorities().unwrap(),
            bootstrap: super::bootstrap(),
            control: None,
            tolerations: Default::default(),
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
    pub async fn run(&self, kubectl: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
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

    /// Standard output of a command that must succeed.
    pub async fn ok(&self, kubectl: &Path, arguments: &[&str], input: &str) -> String {
        let (code, stdout, stderr) = self.run(kubectl, arguments, input).await;
        assert_eq!(code, 0, "{kubectl:?} {arguments:?}: {stdout}{stderr}");
        stdout
    }

    /// Ends the server.
    pub fn stop(self) {
        self.server.stop();
        self.task.abort();
    }
}

/// The newest tried; typed clients write protocol buffers from 1.32 on.
const NEWEST: &str = "kubectl.1.33";

/// Every kubectl on this machine that has its version in its name, the oldest first.
pub fn kubectls() -> Vec<PathBuf> {
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
    versions
}

//! The program under load: started in a directory of its own, measured from outside.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::Failure;
use crate::target::Target;

/// How often a start is looked at.
const POLL: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program.
pub struct Server {
    pub target: Target,
    /// When it first said that it is ready, since it was started.
    pub answered: Duration,
    begun: Instant,
    child: Child,
    directory: TempDir,
}

impl Server {
    /// Starts it with the simulated runtime and waits until the API is ready.
    pub async fn start(nodes: usize) -> Result<Self, Failure> {
        Self::with(&["--runtime", "simulated", "--nodes", &nodes.to_string()]).await
    }

    /// Starts it with these options.
    pub async fn with(options: &[&str]) -> Result<Self, Failure> {
        let directory = TempDir::new()?;
        let data = directory.path().join("data");
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command.arg("up").args(options).args(["--listen", &format!("127.0.0.1:{port}")]);
        command.arg("--data-dir").arg(&data).arg("--kubeconfig").arg(directory.path().join("kubeconfig"));
        command.stdout(Stdio::null()).kill_on_drop(true);
        let begun = Instant::now();
        let child = command.spawn()?;
        let kubeconfig = data.join("kubeconfig");
        let mut target = None;
        let answered = loop {
            tokio::time::sleep(POLL).await;
            if begun.elapsed() > PATIENCE {
                return Err("the program did not become ready".into());
            }
            if target.is_none() && kubeconfig.exists() {
                target = Target::of_kubeconfig(&kubeconfig).await.ok();
            }
            let Some(target) = &target else { continue };
            let Ok(connection) = target.connect_anonymously().await else { continue };
            if connection.get("/readyz").await.is_ok() {
                break begun.elapsed();
            }
        };
        let target = target.ok_or("no kubeconfig")?;
        Ok(Self { target, answered, begun, child, directory })
    }

    /// When the node was Ready, since the start.
    pub async fn node_ready(&self) -> Result<Duration, Failure> {
        loop {
            let request = hyper::Request::get("/api/v1/nodes").body(Vec::new())?;
            let nodes: Value = self.target.client.request(request).await?;
            let items = nodes["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let conditions = items.first().and_then(|node| node["status"]["conditions"].as_array());
            let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
            if conditions.is_some_and(|conditions| conditions.iter().any(ready)) {
                return Ok(self.begun.elapsed());
            }
            if self.begun.elapsed() > PATIENCE {
                return Err("the node did not become Ready".into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn id(&self) -> Result<u32, Failure> {
        self.child.id().ok_or_else(|| "the program has ended".into())
    }

    /// Resident memory in MB.
    pub fn memory(&self) -> Result<f64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: f64 = resident.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// Memory of its own, and its share of what it has in common with others, in MB: of it and of the processes it started
    /// for pods.
    pub fn memory_with_shims(&self) -> Result<f64, Failure> {
        let directory = self.directory.path().to_string_lossy().into_owned();
        let mut kib = 0.0;
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words: Vec<_> = command.split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
            let ours =
                words.iter().any(|word| word.contains(&directory)) && words.get(1).is_some_and(|word| word == "up" || word == "__shim");
            if !ours {
                continue;
            }
            let rollup = std::fs::read_to_string(entry.path().join("smaps_rollup")).unwrap_or_default();
            let share = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
            kib += share.and_then(|share| share.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0);
        }
        Ok(kib * 1024.0 / 1e6)
    }

    /// Processor time its threads have used so far.
    fn used(&self) -> Result<Duration, Failure> {
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.id()?))? {
            // one that has just ended is no failure
            let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            nanoseconds += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Processor time used while it is looked at for so long.
    pub async fn processor(&self, span: Duration) -> Result<Duration, Failure> {
        let before = self.used()?;
        tokio::time::sleep(span).await;
        Ok(self.used()?.saturating_sub(before))
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> std::path::PathBuf {
        self.directory.path().join("data/kubeconfig")
    }

    /// Ends it.
    pub async fn stop(mut self) -> Result<(), Failure> {
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }

    /// Ends it as a user would, with all its pods.
    pub async fn down(mut self) -> Result<(), Failure> {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.id()?.cast_signed()), nix::sys::signal::Signal::SIGTERM)?;
        self.child.wait().await?;
        Ok(())
    }
}

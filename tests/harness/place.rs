//! A place of its own for a cluster: data, home and kubeconfig below one temporary directory.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::run::{Ran, run};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_coracle");

/// Where one cluster and its user live.
pub struct Place {
    directory: tempfile::TempDir,
    /// The Docker engine that programs here find; `None`: the machine's.
    engine: Option<String>,
    /// Who runs the programs here; `None`: who runs the test.
    user: Option<u32>,
    program: PathBuf,
    /// What the program under test finds in its environment beside the usual.
    pub environment: Vec<(String, PathBuf)>,
}

/// Somebody without rights, on every machine.
const NOBODY: u32 = 65_534;

impl Place {
    /// A new one.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("coracle-test-").tempdir().unwrap();
        std::fs::create_dir(directory.path().join("home")).unwrap();
        Self { directory, engine: None, user: None, program: PROGRAM.into(), environment: Vec::new() }
    }

    /// A new one of a plain user; of who runs the test, if that is one.
    pub fn plain() -> Self {
        let place = Self::new();
        if !nix::unistd::geteuid().is_root() {
            return place;
        }
        for path in [place.path().to_owned(), place.path().join("home")] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let open = |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o1 != 0);
        let mut program = PathBuf::from(PROGRAM);
        if !program.ancestors().all(open) {
            program = place.path().join("coracle");
            std::fs::copy(PROGRAM, &program).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { user: Some(NOBODY), program, ..place }
    }

    /// A new one whose programs find this Docker engine.
    pub fn with_engine(address: &str) -> Self {
        Self { engine: Some(address.to_owned()), ..Self::new() }
    }

    /// The directory of it all.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The cluster's data.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The kubeconfig that `up` writes.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path().join("kubeconfig")
    }

    /// Writes a file below the place.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Any program, with an environment that knows only this place.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for name in ["KUBECONFIG", "CORACLE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "NO_COLOR"] {
            command.env_remove(name);
        }
        command.env("HOME", self.path().join("home")).env("KUBECONFIG", self.kubeconfig()).current_dir(self.path());
        command.envs(self.engine.iter().map(|address| ("DOCKER_HOST", address)));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// The program under test, on this place's data.
    pub fn coracle(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.program.to_string_lossy());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(arguments).arg("--data-dir").arg(self.data()).arg("--kubeconfig").arg(self.kubeconfig());
        command
    }

    /// Runs the program under test to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        run(&mut self.coracle(arguments), b"", Duration::from_secs(60))
    }

    /// Id of the cluster made here: names of links, control groups and run directories have it.
    pub fn cluster_id(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.data().join("cluster.json")).ok()?;
        let identity: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(identity["id"].as_str()?.to_owned())
    }

    /// The end of the newest log file.
    pub fn log_end(&self) -> String {
        let files = std::fs::read_dir(self.data().join("logs")).into_iter().flatten().flatten();
        let newest = files.map(|entry| entry.path()).max();
        let text = newest.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

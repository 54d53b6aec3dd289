//! The kernel's packet tables inside the lab, through the `nft` program: a script is one change, whole or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::namespace;

/// Where the program is looked for, besides `$PATH`.
const DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// A way to change the tables of the lab.
#[derive(Clone)]
pub(crate) struct Nft(Arc<Inner>);

struct Inner {
    program: PathBuf,
    namespace: PathBuf,
}

/// The program, where the host has it.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(DIRECTORIES.map(PathBuf::from)).map(|directory| directory.join("nft")).find(|file| file.is_file())
}

impl Nft {
    /// Finds the program and sees that the kernel has what our tables need.
    pub(crate) async fn find(namespace: &Path) -> Option<Self> {
        let found = Self(Arc::new(Inner { program: program()?, namespace: namespace.to_owned() }));
        let probe = "table ip probe {\n chain nat { type nat hook prerouting priority dstnat;\n\
             meta l4proto tcp dnat to numgen random mod 1 map { 0 : 192.0.2.1 . 1 }\n }\n\
             chain filter { type filter hook forward priority filter;\n ct state established accept\n }\n}\ndelete table ip probe\n";
        match found.apply(probe.to_owned()).await {
            Ok(()) => Some(found),
            Err(error) => {
                tracing::info!(%error, "the kernel's packet tables cannot be used");
                None
            }
        }
    }

    /// Changes the tables.
    pub(crate) async fn apply(&self, script: String) -> io::Result<()> {
        let inner = self.0.clone();
        let work = move || {
            let program = inner.program.clone();
            namespace::inside(&inner.namespace, move || run(Command::new(program), &script)).map_err(|error| {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                io::Error::other(source.unwrap_or_else(|| error.to_string()))
            })
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }
}

/// Runs `nft` in the namespace of the calling thread.
pub(crate) fn run(mut program: Command, script: &str) -> io::Result<()> {
    let mut child = program.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())) }
}

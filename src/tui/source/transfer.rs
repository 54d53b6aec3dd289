//! Files from and to containers, as a stream of tar: nothing here is read or written before the way there stands.

use std::io::{ErrorKind, Result as IoResult, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::io::SyncIoBridge;

use super::fault::{Fault, FaultKind};
use crate::kinds::Target;

/// Bytes under way between the program and us.
const BUFFER: usize = 256 * 1024;

/// Copies a file or a folder of a container into a folder of ours.
///
/// # Errors
/// `there` is no name, nothing can be written here, or the container's tar fails.
pub async fn download(client: &kube::Client, pod: &Target, container: &str, there: &str, here: PathBuf) -> Result<(), Fault> {
    let path = Path::new(there.trim_end_matches('/'));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("/"));
    let name = path.file_name().ok_or_else(|| Fault::new(FaultKind::Invalid, format!("{there} is no file and no folder")))?;
    let command = ["tar", "cf", "-", "-C", &folder.to_string_lossy(), &name.to_string_lossy()];
    let mut program = begin(client, pod, container, &command, false).await?;
    let mut stdout = program.stdout().ok_or_else(broken)?;
    let (mut to, from) = tokio::io::duplex(BUFFER);
    let archive = SyncIoBridge::new(from);
    let work = tokio::task::spawn_blocking(move || unpack(archive, &here));
    let moved = async move { drop(tokio::io::copy(&mut stdout, &mut to).await) };
    end(program, work, moved).await
}

/// Copies a file or a folder of ours into a folder of a container.
///
/// # Errors
/// There is no such file here, or the container's tar fails.
pub async fn upload(client: &kube::Client, pod: &Target, container: &str, there: &str, here: PathBuf) -> Result<(), Fault> {
    let source = std::fs::canonicalize(&here).map_err(io)?;
    let mut program = begin(client, pod, container, &["tar", "xmf", "-", "-C", there], true).await?;
    let mut stdin = program.stdin().ok_or_else(broken)?;
    let (to, mut from) = tokio::io::duplex(BUFFER);
    let archive = SyncIoBridge::new(to);
    let work = tokio::task::spawn_blocking(move || pack(archive, &here, &source));
    let moved = async move {
        let _ = tokio::io::copy(&mut from, &mut stdin).await;
        // tar over there waits for the end, whatever became of ours
        let _ = stdin.shutdown().await;
    };
    end(program, work, moved).await
}

fn unpack(archive: impl std::io::Read, here: &Path) -> IoResult<()> {
    std::fs::create_dir_all(here)?;
    let mut archive = tar::Archive::new(archive);
    // what would land outside of the folder is left out
    archive.unpack(here)?;
    // tar fills its last block up, and ends when all of it is read
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map(drop)
}

fn pack(archive: impl Write, here: &Path, source: &Path) -> IoResult<()> {
    let mut archive = tar::Builder::new(archive);
    // links stay links: they may lead in circles
    archive.follow_symlinks(false);
    let name = here.file_name().map_or_else(|| ".".into(), ToOwned::to_owned);
    match source.is_dir() {
        true => archive.append_dir_all(name, source)?,
        false => archive.append_path_with_name(source, name)?,
    }
    archive.into_inner()?.flush()
}

async fn begin(client: &kube::Client, pod: &Target, container: &str, command: &[&str], input: bool) -> Result<AttachedProcess, Fault> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let how = AttachParams::default().container(container).stdin(input).stdout(true).stderr(true);
    let how = how.max_stdin_buf_size(BUFFER).max_stdout_buf_size(BUFFER);
    pods.exec(&pod.name, command.iter().copied(), &how).await.map_err(Fault::from)
}

/// Waits for our work and for the program, whatever comes first, and says how it has ended.
async fn end(mut program: AttachedProcess, mut work: JoinHandle<IoResult<()>>, moved: impl Future<Output = ()>) -> Result<(), Fault> {
    let mut stderr = program.stderr().ok_or_else(broken)?;
    // what a program writes that is only to read
    let mut stdout = program.stdout();
    let status = program.take_status();
    let mut errors = Vec::new();
    let mut moving = Box::pin(async {
        let rest = async {
            if let Some(stdout) = &mut stdout {
                let _ = tokio::io::copy(stdout, &mut tokio::io::sink()).await;
            }
        };
        let ((), _, ()) = futures::join!(moved, stderr.read_to_end(&mut errors), rest);
    });
    let mut status = Box::pin(async {
        match status {
            Some(status) => status.await,
            None => None,
        }
    });
    let (mut worked, mut all_moved) = (false, false);
    let ended = loop {
        tokio::select! {
            result = &mut work, if !worked => {
                ours(result)?;
                worked = true;
            }
            () = &mut moving, if !all_moved => all_moved = true,
            ended = &mut status => break ended,
        }
    };
    let well = ended.as_ref().is_some_and(|status| status.status.as_deref() == Some("Success"));
    if well && !all_moved {
        (&mut moving).await;
    } else if !all_moved {
        // what it said of its end may still be on the way
        let _ = tokio::time::timeout(Duration::from_secs(1), &mut moving).await;
    }
    // with its end of the pipe gone, our work ends too
    drop(moving);
    if !worked {
        ours(work.await)?;
    }
    if well {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&errors).trim().to_owned();
    let message = if said.is_empty() { ended.and_then(|status| status.message).unwrap_or_default() } else { said };
    Err(Fault::new(FaultKind::Other, message))
}

/// What our part came to; where the program ended before us, it says why.
fn ours(worked: Result<IoResult<()>, JoinError>) -> Result<(), Fault> {
    match worked.unwrap_or_else(|error| Err(error.into())) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(io(error)),
        _ => Ok(()),
    }
}

fn broken() -> Fault {
    Fault::new(FaultKind::Unreachable, "there is no way to the program")
}

fn io(error: std::io::Error) -> Fault {
    Fault::new(FaultKind::Other, error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_with_its_links_and_without_circles() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let site = from.path().join("site");
        std::fs::create_dir_all(site.join("deep")).unwrap();
        std::fs::write(site.join("deep/page"), "hello").unwrap();
        std::os::unix::fs::symlink("..", site.join("deep/circle")).unwrap();
        let mut archive = Vec::new();
        pack(&mut archive, &site, &site).unwrap();
        unpack(archive.as_slice(), to.path()).unwrap();
        assert_eq!(std::fs::read_to_string(to.path().join("site/deep/page")).unwrap(), "hello");
        assert_eq!(std::fs::read_link(to.path().join("site/deep/circle")).unwrap(), Path::new(".."));
    }
}

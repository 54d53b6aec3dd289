//! `cp`: files into containers, and out of them, by the containers' own `tar`.

use std::path::{Component, Path, PathBuf};

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::error::VerbError;
use crate::pods;
use crate::session::{Out, Session};

/// Copies files into a container, or out of one
#[derive(Debug, Clone, Args)]
pub struct Copy {
    /// A path here, or POD:PATH
    from: String,
    /// A path here, or POD:PATH
    to: String,
    /// The container
    #[arg(short, long)]
    container: Option<String>,
}

/// A pod and a path in it.
fn there(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|(pod, _)| !pod.is_empty() && !pod.starts_with('.') && !pod.contains("/."))
}

impl Copy {
    /// Copies them.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        match (there(&self.from), there(&self.to)) {
            (None, Some((pod, path))) => self.into(session, pod, path, out).await,
            (Some((pod, path)), None) => self.out_of(session, pod, path, out).await,
            _ => Err(VerbError::wrong("one of src or dest must be a local file specification, and one a remote one (POD:PATH)")),
        }
    }

    async fn into(&self, session: &Session, pod: &str, path: &str, out: &mut Out<'_>) -> Result<(), VerbError> {
        let from = PathBuf::from(&self.from);
        let failed = |error: std::io::Error| VerbError::wrong(format!("{}: {error}", from.display()));
        let of_folder = std::fs::metadata(&from).map_err(failed)?.is_dir();
        // into a folder that is there it goes under its own name, as cp does
        let is_folder = path.ends_with('/') || self.program(session, pod, &["test", "-d", path], Vec::new(), out).await.is_ok();
        let own = from.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let target = if is_folder { Path::new(path).join(own) } else { PathBuf::from(path) };
        let (folder, name) = (target.parent().unwrap_or(Path::new("/")).to_owned(), target.file_name().unwrap_or_default().to_owned());
        let archive = || -> std::io::Result<Vec<u8>> {
            let mut archive = tar::Builder::new(Vec::new());
            archive.follow_symlinks(false);
            if of_folder {
                archive.append_dir_all(&name, &from)?
            } else {
                archive.append_path_with_name(&from, &name)?
            }
            archive.into_inner()
        };
        let folder = if folder.as_os_str().is_empty() { ".".to_owned() } else { folder.to_string_lossy().into_owned() };
        self.program(session, pod, &["tar", "-xmf", "-", "-C", &folder], archive().map_err(failed)?, out).await?;
        Ok(())
    }

    async fn out_of(&self, session: &Session, pod: &str, path: &str, out: &mut Out<'_>) -> Result<(), VerbError> {
        let path = path.trim_end_matches('/');
        let bytes = self.program(session, pod, &["tar", "cf", "-", path], Vec::new(), out).await?;
        let stripped = path.trim_start_matches('/');
        let to = PathBuf::from(&self.to);
        let to = if to.is_dir() { to.join(Path::new(path).file_name().unwrap_or_default()) } else { to };
        let failed = |error: std::io::Error| VerbError::wrong(format!("{}: {error}", to.display()));
        let mut archive = tar::Archive::new(bytes.as_slice());
        for entry in archive.entries().map_err(failed)? {
            let mut entry = entry.map_err(failed)?;
            let name = entry.path().map_err(failed)?.into_owned();
            let Ok(below) = name.strip_prefix(stripped) else { continue };
            // what a container says must not lead out of where it was to go, nor must a link that it made
            let leads_out = below.components().any(|part| !matches!(part, Component::Normal(_)));
            if leads_out || !matches!(entry.header().entry_type(), tar::EntryType::Regular | tar::EntryType::Directory) {
                if !below.as_os_str().is_empty() {
                    out.aside(format!("warning: skipping {}: it is no file or folder below {path}", name.display()));
                }
                continue;
            }
            let target = if below.as_os_str().is_empty() { to.clone() } else { to.join(below) };
            if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                std::fs::create_dir_all(parent).map_err(failed)?;
            }
            match entry.header().entry_type() {
                tar::EntryType::Directory => std::fs::create_dir_all(&target).map_err(failed)?,
                _ => drop(std::io::copy(&mut entry, &mut std::fs::File::create(&target).map_err(failed)?).map_err(failed)?),
            }
        }
        Ok(())
    }

    /// Runs a program in the container; what it writes.
    async fn program(
        &self,
        session: &Session,
        pod: &str,
        command: &[&str],
        input: Vec<u8>,
        out: &mut Out<'_>,
    ) -> Result<Vec<u8>, VerbError> {
        let (session, pod) = match pod.split_once('/') {
            Some((namespace, name)) => (&Session::new(session.client.clone(), namespace.to_owned()), name),
            None => (session, pod),
        };
        let object = pods::pod(session, pod).await?;
        let container = pods::container(&object, self.container.as_deref(), out)?;
        let api: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
        let how = AttachParams::default().container(container).stdin(!input.is_empty()).stdout(true).stderr(true);
        let mut process = api.exec(pod, command.iter().copied(), &how).await?;
        let lost = || VerbError::Unreachable("there is no way to the program".to_owned());
        let (mut stdout, mut stderr) = (process.stdout().ok_or_else(lost)?, process.stderr().ok_or_else(lost)?);
        let (stdin, status) = (process.stdin(), process.take_status());
        let writing = async move {
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(&input).await;
                let _ = stdin.shutdown().await;
            }
        };
        let (mut said, mut complaint) = (Vec::new(), String::new());
        let ((), read, _) = futures::join!(writing, stdout.read_to_end(&mut said), stderr.read_to_string(&mut complaint));
        read.map_err(|error| VerbError::Unreachable(error.to_string()))?;
        match status {
            Some(status) => match status.await {
                Some(status) if status.status.as_deref() == Some("Success") => Ok(said),
                other => {
                    let why =
                        if complaint.trim().is_empty() { other.and_then(|status| status.message).unwrap_or_default() } else { complaint };
                    Err(VerbError::wrong(why.trim()))
                }
            },
            None => Ok(said),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_from_a_path() {
        assert_eq!(there("web:/tmp/a"), Some(("web", "/tmp/a")));
        assert_eq!(there("shop/web:a"), Some(("shop/web", "a")));
        assert_eq!(there("./a:b"), None);
        assert_eq!(there("a"), None);
    }
}

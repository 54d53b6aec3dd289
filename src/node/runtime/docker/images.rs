//! Images of the engine, under the names that pods use for them.

use std::path::{Path, PathBuf};

use bollard::Docker as Client;
use bollard::auth::DockerCredentials;
use bollard::models::{ImageInspect, ImageSummary};
use bollard::query_parameters::{CreateImageOptionsBuilder, ImportImageOptionsBuilder, ListImagesOptions, RemoveImageOptionsBuilder};
use futures::TryStreamExt;
use tokio_util::io::ReaderStream;

use super::export::{SOURCE, archive};
use super::{Docker, blocking, failed, io, is_missing, not_found, words};
use crate::images::reference::Reference;
use crate::images::registry::manifest_url;
use crate::images::{ImageError, ImageRecord, KUBIA, build_from_host, build_kubia};
use crate::runtime::{Credentials, Image, RuntimeError, RuntimeEvent};

pub(super) fn image_error(error: ImageError) -> RuntimeError {
    RuntimeError::Image { message: crate::pod::act::chain(&error) }
}

/// A name in full, as `docker.io/library/busybox:latest`.
fn full(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.to_string())
}

/// Names of an image; those of images that have lost theirs are `<none>`.
fn names(list: &[String]) -> Vec<String> {
    list.iter().filter(|name| !name.contains("<none>")).map(|name| full(name)).collect()
}

fn size(bytes: Option<i64>) -> u64 {
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default()
}

fn inspected(found: ImageInspect) -> Image {
    Image {
        id: found.id.unwrap_or_default(),
        tags: names(&found.repo_tags.unwrap_or_default()),
        digests: names(&found.repo_digests.unwrap_or_default()),
        size: size(found.size),
        user: found.config.and_then(|config| config.user).unwrap_or_default(),
    }
}

fn listed(found: ImageSummary) -> Image {
    Image {
        id: found.id,
        tags: names(&found.repo_tags),
        digests: names(&found.repo_digests),
        size: size(Some(found.size)),
        user: String::new(),
    }
}

/// Loads an archive; returns the names of what was in it, or the ids where there are no names.
pub(super) async fn load(client: &Client, archive: &Path) -> Result<Vec<String>, RuntimeError> {
    let file = tokio::fs::File::open(archive).await.map_err(io(format!("open {}", archive.display())))?;
    let options = ImportImageOptionsBuilder::new().quiet(true).build();
    let told: Result<Vec<_>, _> = client.import_image_stream(options, ReaderStream::with_capacity(file, 1 << 20), None).try_collect().await;
    let told = told.map_err(|error| RuntimeError::Image { message: format!("{}: {}", archive.display(), words(error)) })?;
    let text: String = told.into_iter().filter_map(|line| line.stream).collect();
    let loaded: Vec<String> = text
        .lines()
        .filter_map(|line| match (line.strip_prefix("Loaded image: "), line.strip_prefix("Loaded image ID: ")) {
            (Some(name), _) => Some(full(name.trim())),
            (None, id) => id.map(|id| id.trim().to_owned()),
        })
        .collect();
    if loaded.is_empty() {
        return Err(RuntimeError::Image { message: format!("{}: there is no image in it", archive.display()) });
    }
    Ok(loaded)
}

/// A registry that did not answer: the engine tells of its first question, others of the one for the manifest.
fn no_answer(reference: &Reference, message: &str) -> Option<String> {
    let (url, why) = message.strip_prefix("Get \"")?.split_once("\": ")?;
    let scheme = url.strip_suffix("/v2/")?.split_once("://")?.0;
    Some(format!("failed to do request: Head \"{}\": {why}", manifest_url(reference, scheme)))
}

impl Docker {
    pub(super) async fn find_image(&self, name: &str) -> Result<Option<Image>, RuntimeError> {
        match self.client().inspect_image(name).await {
            Ok(found) => Ok(Some(inspected(found))),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    pub(super) async fn list_images(&self) -> Result<Vec<Image>, RuntimeError> {
        let found = self.client().list_images(None::<ListImagesOptions>).await.map_err(failed)?;
        Ok(found.into_iter().map(listed).filter(|image| image.tags != [super::pause::PAUSE]).collect())
    }

    pub(super) async fn fetch_image(&self, name: &str, credentials: &[Credentials]) -> Result<Image, RuntimeError> {
        let reference = Reference::parse(name).map_err(|error| RuntimeError::Image { message: error.to_string() })?;
        if reference.repository() == KUBIA
            && let Some(image) = self.image_made_here(name).await?
        {
            return Ok(image);
        }
        let registry = reference.repository().split('/').next().map(str::to_owned);
        let mut attempts: Vec<Option<DockerCredentials>> = credentials
            .iter()
            .map(|known| {
                Some(DockerCredentials {
                    username: Some(known.username.clone()),
                    password: Some(known.password.clone()),
                    serveraddress: registry.clone(),
                    ..DockerCredentials::default()
                })
            })
            .collect();
        if attempts.is_empty() {
            attempts.push(None);
        }
        let mut message = String::new();
        for credentials in attempts {
            // With a digest there is no tag: the engine takes the name in one piece.
            let options = CreateImageOptionsBuilder::new().from_image(&reference.to_string()).build();
            let pull: Result<Vec<_>, _> = self.client().create_image(Some(options), None, credentials).try_collect().await;
            match pull {
                Ok(_) => {
                    self.publish(RuntimeEvent::Images);
                    return self.find_image(name).await?.ok_or_else(|| not_found("image", name));
                }
                Err(error) => message = words(error),
            }
        }
        let message = no_answer(&reference, &message).unwrap_or(message);
        Err(RuntimeError::Image { message: format!("failed to pull and unpack image \"{reference}\": failed to resolve image: {message}") })
    }

    async fn image_made_here(&self, name: &str) -> Result<Option<Image>, RuntimeError> {
        self.ensure_kubia().await?;
        self.find_image(name).await
    }

    pub(super) async fn drop_image(&self, name: &str) -> Result<(), RuntimeError> {
        let options = RemoveImageOptionsBuilder::new().force(false).build();
        match self.client().remove_image(name, Some(options), None).await {
            Ok(_) => {
                self.publish(RuntimeEvent::Images);
                Ok(())
            }
            Err(error) if is_missing(&error) => Err(not_found("image", name)),
            Err(error) => Err(RuntimeError::Image { message: words(error) }),
        }
    }

    /// Makes the project's own image when it is first asked for.
    pub(super) async fn ensure_kubia(&self) -> Result<(), RuntimeError> {
        let made = self.0.kubia.get_or_try_init(|| async {
            let Some((program, arguments)) = self.0.config.demo.split_first() else { return Ok(()) };
            let arguments: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            let (images, program) = (self.0.images.clone(), PathBuf::from(program));
            let made = blocking(move || build_kubia(&images, &program, &arguments).map_err(image_error)).await?;
            self.hand_over(made).await
        });
        made.await.copied()
    }

    pub(super) async fn make_image(&self, name: &str, programs: &[PathBuf]) -> Result<Image, RuntimeError> {
        let (images, owned, programs) = (self.0.images.clone(), name.to_owned(), programs.to_vec());
        let made = blocking(move || build_from_host(&images, &owned, &programs).map_err(image_error)).await?;
        self.hand_over(vec![made]).await?;
        self.publish(RuntimeEvent::Images);
        self.find_image(name).await?.ok_or_else(|| not_found("image", name))
    }

    /// Gives images made of the host's programs to the engine, unless it has them.
    async fn hand_over(&self, images: Vec<ImageRecord>) -> Result<(), RuntimeError> {
        let mut missing = Vec::new();
        for image in images {
            let names = self.0.images.names(&image.id);
            for name in &names {
                let found = self.client().inspect_image(name).await.ok();
                let labels = found.and_then(|found| found.config).and_then(|config| config.labels).unwrap_or_default();
                if labels.get(SOURCE) != Some(&image.id) {
                    missing.push((names.clone(), image.clone()));
                    break;
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let (store, arch) = (self.0.images.clone(), self.0.config.engine.arch.clone());
        let scratch = self.0.images.scratch().map_err(image_error)?;
        let directory = scratch.clone();
        let write = move || archive(&store, &missing, &arch, &directory).map_err(io("make an archive of an image"));
        let result = match blocking(write).await {
            Ok(path) => load(self.client(), &path).await.map(drop),
            Err(error) => Err(error),
        };
        let _ = tokio::fs::remove_dir_all(scratch).await;
        result
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_registry_that_does_not_answer() {
        let reference = Reference::parse("nosuch:1").unwrap();
        let said = no_answer(&reference, "Get \"https://registry-1.docker.io/v2/\": dial tcp: no such host");
        let expected = "failed to do request: Head \"https://registry-1.docker.io/v2/library/nosuch/manifests/1\": dial tcp: no such host";
        assert_eq!(said.as_deref(), Some(expected));
        assert_eq!(no_answer(&reference, "manifest unknown"), None);
    }
}

//! Getting a container's image, by its pull policy.

use std::sync::Arc;
use std::time::Duration;

use coracle_client::EventType;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Volume};

use super::life::Life;
use super::{Member, spec};
use crate::runtime::{Credentials, Image, RuntimeError};
use crate::status::Reason;

/// Why there is no image, and when to look again.
pub(super) struct Missing {
    pub(super) reason: Reason,
    pub(super) retry: Timestamp,
}

/// A mistake in an image's name, in the words of the reference parser.
fn name_error(name: &str) -> Option<String> {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    let bare = name.split('@').next().unwrap_or_default();
    let (domain, rest) = match bare.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || first != first.to_lowercase() => (Some(first), rest),
        _ => (None, bare),
    };
    let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
    if path != path.to_lowercase() {
        return Some(format!("invalid reference format: repository name ({path}) must be lowercase"));
    }
    if domain.is_some_and(|domain| domain != domain.to_lowercase()) && path.starts_with('/') {
        return Some(format!("invalid reference format: repository name ({path}) must be lowercase"));
    }
    let well_formed = !path.is_empty()
        && path.bytes().all(valid)
        && path.split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '_', '-']) && !part.ends_with(['.', '_', '-']));
    let tagged = tag.is_none_or(|tag| {
        !tag.is_empty() && tag.len() <= 128 && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    });
    (!(well_formed && tagged)).then(|| "invalid reference format".to_owned())
}

/// Which image is wanted, and where events about it point.
pub(super) struct Wanted {
    pub(super) name: String,
    policy: Option<String>,
    /// `None`: the pod.
    path: Option<String>,
}

impl Wanted {
    /// The image of a container.
    pub(super) fn of(member: &Member<'_>) -> Self {
        Self {
            name: member.spec.image.clone().unwrap_or_default(),
            policy: member.spec.image_pull_policy.clone(),
            path: Some(member.field_path()),
        }
    }

    /// The images of the image volumes that a container mounts, by the volume's name.
    pub(super) fn volumes(pod: &Pod, member: &Member<'_>) -> Vec<(String, Self)> {
        let pod_spec = spec(pod);
        let mounted = |volume: &&Volume| member.spec.volume_mounts.iter().flatten().any(|mount| mount.name == volume.name);
        let image = |volume: &Volume| {
            let source = volume.image.as_ref()?;
            let wanted = Self { name: source.reference.clone()?, policy: source.pull_policy.clone(), path: None };
            Some((volume.name.clone(), wanted))
        };
        pod_spec.volumes.iter().flatten().filter(mounted).filter_map(image).collect()
    }

    fn policy(&self) -> &str {
        let latest = self.name.ends_with(":latest") || !self.name.rsplit('/').next().unwrap_or_default().contains([':', '@']);
        self.policy.as_deref().unwrap_or(if latest { "Always" } else { "IfNotPresent" })
    }
}

impl Life {
    fn image_event(&self, wanted: &Wanted, kind: EventType, reason: &str, message: String) {
        self.agent.event(&self.pod, wanted.path.clone(), kind, reason, message);
    }

    /// The image, fetched if need be. Events tell each step, as the kubelet's do.
    pub(super) async fn ensure_image(&mut self, wanted: &Wanted) -> Result<Image, Missing> {
        let name = wanted.name.as_str();
        let now = self.now();
        let later = now + std::time::Duration::from_secs(10);
        let credentials = self.credentials(name).await;
        let missing = |reason: &str, message: String| Missing { reason: Reason { reason: reason.to_owned(), message }, retry: later };
        if let Some(error) = name_error(name) {
            let message = format!("Failed to apply default image tag \"{name}\": couldn't parse image name \"{name}\": {error}");
            self.image_event(wanted, EventType::Warning, "InspectFailed", message.clone());
            return Err(missing("InvalidImageName", message));
        }
        let present = match self.agent.runtime.image(name).await {
            Ok(present) => present,
            Err(error) => {
                let message = format!("Failed to inspect image \"{name}\": {error}");
                self.image_event(wanted, EventType::Warning, "InspectFailed", message.clone());
                return Err(missing("ImageInspectError", message));
            }
        };
        match (wanted.policy(), present) {
            ("Never", None) => {
                let message = format!("Container image \"{name}\" is not present with pull policy of Never");
                self.image_event(wanted, EventType::Warning, "ErrImageNeverPull", message.clone());
                Err(missing("ErrImageNeverPull", message))
            }
            ("Never" | "IfNotPresent", Some(image)) => {
                let message = format!("Container image \"{name}\" already present on machine and can be accessed by the pod");
                self.image_event(wanted, EventType::Normal, "Pulled", message);
                self.agent.image_used(&image.id);
                Ok(image)
            }
            _ => self.pull(wanted, credentials, now).await,
        }
    }

    async fn pull(&mut self, wanted: &Wanted, credentials: Vec<Credentials>, now: Timestamp) -> Result<Image, Missing> {
        let name = wanted.name.as_str();
        if let Some((failed, text)) = self.pull_failures.get(name)
            && let Some((_, until)) = self.pull_backoffs.waiting(name, *failed, now)
        {
            let back_off = format!("Back-off pulling image \"{name}\"");
            let message = format!("{back_off}: ErrImagePull: {text}");
            self.image_event(wanted, EventType::Normal, "BackOff", back_off);
            let reason = Reason { reason: "ImagePullBackOff".to_owned(), message };
            return Err(Missing { reason, retry: until });
        }
        self.image_event(wanted, EventType::Normal, "Pulling", format!("Pulling image \"{name}\""));
        let begun = tokio::time::Instant::now();
        let Some((result, took)) = self.fetch(name, credentials).await else {
            let reason = Reason { reason: "ContainerCreating".to_owned(), message: String::new() };
            return Err(Missing { reason, retry: now });
        };
        match result {
            Ok(image) => {
                self.pull_failures.remove(name);
                let (size, waited) = (image.size, begun.elapsed());
                let message = format!(
                    "Successfully pulled image \"{name}\" in {} ({} including waiting). Image size: {size} bytes.",
                    go_time(took),
                    go_time(waited)
                );
                self.image_event(wanted, EventType::Normal, "Pulled", message);
                self.agent.image_used(&image.id);
                self.agent.status_changed.notify_one();
                Ok(image)
            }
            Err(error) => {
                let (text, now) = (error.to_string(), self.now());
                self.image_event(wanted, EventType::Warning, "Failed", format!("Failed to pull image \"{name}\": {text}"));
                let before = self.pull_failures.get(name).map_or(now, |(failed, _)| *failed);
                self.pull_backoffs.tried(name, before, now);
                self.pull_failures.insert(name.to_owned(), (now, text.clone()));
                // Looked at again at once: then the wait is told.
                Err(Missing { reason: Reason { reason: "ErrImagePull".to_owned(), message: text }, retry: now })
            }
        }
    }

    /// Fetches an image, one pod at a time, and how long that took without the waiting; `None`: the pod ends.
    async fn fetch(&self, name: &str, credentials: Vec<Credentials>) -> Option<(Result<Image, RuntimeError>, Duration)> {
        let lock = self.agent.pulls.lock().entry(name.to_owned()).or_default().clone();
        let (runtime, wanted) = (self.agent.runtime.clone(), name.to_owned());
        // In a task of its own: a pod that is deleted meanwhile does not wait, and the image is there for the next one.
        let mut task = tokio::spawn(async move {
            let _turn = lock.lock().await;
            let pulling = tokio::time::Instant::now();
            (runtime.pull_image(&wanted, &credentials).await, pulling.elapsed())
        });
        let ending = self.worker.ending.clone();
        let done = tokio::select! {
            done = &mut task => done,
            () = ending.cancelled() => return None,
        };
        self.agent.pulls.lock().retain(|_, lock| Arc::strong_count(lock) > 1);
        let failed = |error: tokio::task::JoinError| (Err(RuntimeError::Engine { message: error.to_string() }), Duration::ZERO);
        Some(done.unwrap_or_else(failed))
    }
}

/// As Go prints a duration, in whole milliseconds.
fn go_time(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds < 1_000 { format!("{milliseconds}ms") } else { format!("{}.{:03}s", milliseconds / 1_000, milliseconds % 1_000) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("busybox", None)]
    #[case("docker.io/library/busybox:1.36", None)]
    #[case("127.0.0.1:5999/a/b:1", None)]
    #[case("localhost/x@sha256:0000", None)]
    #[case("BAD//Name:::x", Some("invalid reference format: repository name (/Name) must be lowercase"))]
    #[case("a//b", Some("invalid reference format"))]
    #[case("a:b:c", Some("invalid reference format"))]
    #[case("", Some("invalid reference format"))]
    fn names(#[case] name: &str, #[case] expected: Option<&str>) {
        assert_eq!(name_error(name).as_deref(), expected);
    }
}

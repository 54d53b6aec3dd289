//! `imagePullSecrets`: which credentials are for an image's registry.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_client::EventType;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;

use super::life::Life;
use super::{namespace, spec};
use crate::runtime::Credentials;

/// One registry of a docker configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
}

impl Entry {
    fn credentials(&self) -> Option<Credentials> {
        if self.auth.is_empty() {
            return (!self.username.is_empty()).then(|| Credentials { username: self.username.clone(), password: self.password.clone() });
        }
        let text = String::from_utf8(STANDARD.decode(self.auth.trim()).ok()?).ok()?;
        let (username, password) = text.split_once(':')?;
        Some(Credentials { username: username.to_owned(), password: password.trim_end_matches('\0').to_owned() })
    }
}

/// Registries of a secret of type `kubernetes.io/dockerconfigjson` or `kubernetes.io/dockercfg`.
fn entries(secret: &Secret) -> BTreeMap<String, Entry> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.as_slice());
    if let Some(text) = data(".dockerconfigjson") {
        return serde_json::from_slice::<DockerConfig>(text).unwrap_or_default().auths;
    }
    data(".dockercfg").and_then(|text| serde_json::from_slice(text).ok()).unwrap_or_default()
}

/// The key of a registry without scheme and API version.
fn registry_key(key: &str) -> String {
    let bare = key.trim_start_matches("https://").trim_start_matches("http://");
    let (host, path) = bare.split_once('/').map_or((bare, ""), |(host, path)| (host, path));
    let path = ["v1/", "v2/"].iter().find_map(|version| path.strip_prefix(version)).unwrap_or(path);
    let path = path.trim_end_matches('/');
    if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") }
}

/// Whether a registry's key, in whose host `*` stands for a part, is for the image.
fn matches(key: &str, image: &str) -> bool {
    let split =
        |text: &str| text.split_once('/').map_or((text.to_owned(), String::new()), |(host, path)| (host.to_owned(), path.to_owned()));
    let ((key_host, key_path), (host, path)) = (split(key), split(image));
    let port = |host: &str| host.split_once(':').map(|(_, port)| port.to_owned());
    let name = |host: &str| host.split(':').next().unwrap_or_default().to_owned();
    if port(&key_host) != port(&host) || !path.starts_with(&key_path) {
        return false;
    }
    let (key_name, name) = (name(&key_host), name(&host));
    let (wanted, found): (Vec<&str>, Vec<&str>) = (key_name.split('.').collect(), name.split('.').collect());
    wanted.len() == found.len() && wanted.iter().zip(&found).all(|(wanted, found)| part_matches(wanted, found))
}

fn part_matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, rest)) => {
            let Some(tail) = text.strip_prefix(before) else { return false };
            (0..=tail.len()).filter(|&at| tail.is_char_boundary(at)).any(|at| part_matches(rest, &tail[at..]))
        }
    }
}

/// Credentials for `image`, the most specific key first.
fn credentials(secrets: &[std::sync::Arc<Secret>], image: &str) -> Vec<Credentials> {
    let name = match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => image.to_owned(),
        _ => format!("docker.io/{image}"),
    };
    let mut found: Vec<(String, Credentials)> = Vec::new();
    for secret in secrets {
        for (key, entry) in entries(secret) {
            let key = registry_key(&key);
            let hub = matches(&key, &name.replacen("docker.io/", "index.docker.io/", 1));
            if (matches(&key, &name) || hub)
                && let Some(credentials) = entry.credentials()
            {
                found.push((key, credentials));
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    let mut out: Vec<Credentials> = Vec::new();
    for (_, credentials) in found {
        if !out.contains(&credentials) {
            out.push(credentials);
        }
    }
    out
}

impl Life {
    /// The pod's credentials for an image; a secret that is missing is told.
    pub(super) async fn credentials(&self, image: &str) -> Vec<Credentials> {
        let names = spec(&self.pod).image_pull_secrets.clone().unwrap_or_default();
        let (mut secrets, mut missing) = (Vec::new(), Vec::new());
        for reference in names.into_iter().filter(|reference| !reference.name.is_empty()) {
            match self.agent.objects.secret(namespace(&self.pod), &reference.name).await {
                Ok(Some(secret)) => secrets.push(secret),
                _ => missing.push(reference.name),
            }
        }
        if !missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            self.agent.event(&self.pod, None, EventType::Warning, "FailedToRetrieveImagePullSecret", message);
        }
        credentials(&secrets, image)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Arc;

    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("https://index.docker.io/v1/", "index.docker.io")]
    #[case("registry.example.com", "registry.example.com")]
    #[case("https://registry.example.com/v2/team/", "registry.example.com/team")]
    fn keys(#[case] key: &str, #[case] expected: &str) {
        assert_eq!(registry_key(key), expected);
    }

    #[rstest]
    #[case("registry.example.com", "registry.example.com/a/b:1", true)]
    #[case("*.example.com", "registry.example.com/a", true)]
    #[case("*.com", "registry.example.com/a", false)]
    #[case("r*y.example.com", "registry.example.com/a", true)]
    #[case("registry.example.com:5000", "registry.example.com/a", false)]
    #[case("registry.example.com/team", "registry.example.com/other/a", false)]
    #[case("registry.example.com/team", "registry.example.com/team/a", true)]
    fn which_registry(#[case] key: &str, #[case] image: &str, #[case] expected: bool) {
        assert_eq!(matches(key, image), expected);
    }

    fn secret(key: &str, value: serde_json::Value) -> Arc<Secret> {
        let text = k8s_openapi::ByteString(serde_json::to_vec(&value).unwrap());
        Arc::new(Secret { data: Some([(key.to_owned(), text)].into()), ..Secret::default() })
    }

    #[test]
    fn the_most_specific_comes_first_and_both_forms_are_read() {
        let new = secret(
            ".dockerconfigjson",
            json!({"auths": {
                "r.example.com": {"auth": STANDARD.encode("all:one")},
                "https://r.example.com/team": {"username": "team", "password": "two"},
                "https://index.docker.io/v1/": {"username": "hub", "password": "three"},
            }}),
        );
        let old = secret(".dockercfg", json!({"r.example.com": {"username": "old", "password": "four"}}));
        let users = |image: &str| -> Vec<String> {
            credentials(&[new.clone(), old.clone()], image)
                .into_iter()
                .map(|found| format!("{}:{}", found.username, found.password))
                .collect()
        };
        assert_eq!(users("r.example.com/team/a:1"), ["team:two", "all:one", "old:four"]);
        assert_eq!(users("r.example.com/x"), ["all:one", "old:four"]);
        assert_eq!(users("busybox:1"), ["hub:three"]);
        assert!(users("other.example.com/x").is_empty());
    }
}

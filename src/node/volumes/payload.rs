//! The files of volumes whose contents the API server knows: config maps, secrets, the pod's own fields, tokens.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume};

use super::atomic::{File, Files};
use super::{ownership, token};
use crate::agent::Agent;
use crate::pod::fields::{Facts, field, resource};
use crate::pod::namespace;

/// A volume's files, and when they have to be made again.
#[derive(Debug, Default)]
pub(super) struct Payload {
    pub(super) files: Files,
    pub(super) refresh: Option<Timestamp>,
}

const DEFAULT_MODE: i32 = 0o644;

fn file(content: impl Into<Vec<u8>>, mode: i32) -> File {
    File { content: content.into(), mode: u32::try_from(mode).unwrap_or(0o644) & 0o777, owner: None }
}

/// Keys of a config map or secret as files: all of them, or those that `items` name.
fn keys(what: &str, data: &BTreeMap<String, Vec<u8>>, items: Option<&Vec<KeyToPath>>, mode: i32, optional: bool) -> Result<Files, String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data.iter().map(|(key, content)| (key.clone(), file(content.clone(), mode))).collect());
    };
    let mut out = Files::new();
    for item in items {
        match data.get(&item.key) {
            Some(content) => {
                out.insert(item.path.clone(), file(content.clone(), item.mode.unwrap_or(mode)));
            }
            None if optional => {}
            None => {
                let article =
                    if what == "secret" { "references non-existent secret key" } else { "configmap references non-existent config key" };
                return Err(format!("{article}: {}", item.key));
            }
        }
    }
    Ok(out)
}

fn config_map_data(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    text.chain(binary).collect()
}

fn secret_data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

/// Where a volume's parts come from.
struct Collector<'a> {
    agent: &'a Agent,
    pod: &'a Pod,
    facts: &'a Facts,
    /// Where the files are now; `None`: they are only checked for, not made.
    dir: Option<&'a Path>,
    out: Payload,
}

impl Collector<'_> {
    async fn config_map(&mut self, name: &str, items: Option<&Vec<KeyToPath>>, mode: i32, optional: bool) -> Result<(), String> {
        let found = self.agent.objects.config_map(namespace(self.pod), name).await.map_err(|error| error.to_string())?;
        match found {
            Some(map) => self.out.files.extend(keys("configmap", &config_map_data(&map), items, mode, optional)?),
            None if optional => {}
            None => return Err(format!("configmap \"{name}\" not found")),
        }
        Ok(())
    }

    async fn secret(&mut self, name: &str, items: Option<&Vec<KeyToPath>>, mode: i32, optional: bool) -> Result<(), String> {
        let found = self.agent.objects.secret(namespace(self.pod), name).await.map_err(|error| error.to_string())?;
        match found {
            Some(secret) => self.out.files.extend(keys("secret", &secret_data(&secret), items, mode, optional)?),
            None if optional => {}
            None => return Err(format!("secret \"{name}\" not found")),
        }
        Ok(())
    }

    fn downward(&mut self, items: &[DownwardAPIVolumeFile], mode: i32) -> Result<(), String> {
        for item in items {
            let value = if let Some(selector) = &item.field_ref {
                field(self.pod, self.facts, selector).ok_or_else(|| format!("unsupported fieldPath: {}", selector.field_path))?
            } else if let Some(selector) = &item.resource_field_ref {
                resource(self.pod, self.facts, None, selector)
                    .ok_or_else(|| format!("unsupported container resource : {}", selector.resource))?
            } else {
                continue;
            };
            self.out.files.insert(item.path.clone(), file(value, item.mode.unwrap_or(mode)));
        }
        Ok(())
    }

    async fn token(&mut self, path: &str, audience: Option<&str>, seconds: i64, mode: i32) -> Result<(), String> {
        let Some(dir) = self.dir else { return Ok(()) };
        let current = tokio::fs::read_to_string(dir.join(path)).await.ok();
        let (text, refresh) = token::token(self.agent, self.pod, audience, seconds, current).await?;
        // Only the pod's user may read it, where that user is known.
        let (owner, group) = (ownership::user(self.pod), ownership::group(self.pod));
        let mode = if owner.is_some() || group.is_some() { 0o600 } else { mode };
        self.out.files.insert(path.to_owned(), File { owner, ..file(text, mode) });
        self.out.refresh = Some(self.out.refresh.map_or(refresh, |known| known.min(refresh)));
        Ok(())
    }
}

/// Collects the files of `volume`.
pub(super) async fn collect(agent: &Agent, pod: &Pod, facts: &Facts, volume: &Volume, dir: Option<&Path>) -> Result<Payload, String> {
    let mut collector = Collector { agent, pod, facts, dir, out: Payload::default() };
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        collector.config_map(&source.name, source.items.as_ref(), mode, source.optional == Some(true)).await?;
    }
    if let Some(source) = &volume.secret {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let name = source.secret_name.clone().unwrap_or_default();
        collector.secret(&name, source.items.as_ref(), mode, source.optional == Some(true)).await?;
    }
    if let Some(source) = &volume.downward_api {
        collector.downward(source.items.as_deref().unwrap_or_default(), source.default_mode.unwrap_or(DEFAULT_MODE))?;
    }
    if let Some(source) = &volume.projected {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        for part in source.sources.iter().flatten() {
            if let Some(map) = &part.config_map {
                collector.config_map(&map.name, map.items.as_ref(), mode, map.optional == Some(true)).await?;
            }
            if let Some(secret) = &part.secret {
                collector.secret(&secret.name, secret.items.as_ref(), mode, secret.optional == Some(true)).await?;
            }
            if let Some(downward) = &part.downward_api {
                collector.downward(downward.items.as_deref().unwrap_or_default(), mode)?;
            }
            if let Some(token) = &part.service_account_token {
                collector.token(&token.path, token.audience.as_deref(), token.expiration_seconds.unwrap_or(3_600), mode).await?;
            }
        }
    }
    Ok(collector.out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn data() -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())])
    }

    fn item(key: &str, path: &str, mode: Option<i32>) -> KeyToPath {
        KeyToPath { key: key.into(), path: path.into(), mode }
    }

    #[test]
    fn all_keys_or_those_named() {
        let all = keys("configmap", &data(), None, 0o644, false).unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b"]);
        let one = keys("configmap", &data(), Some(&vec![item("a", "x/y", Some(0o400))]), 0o644, false).unwrap();
        assert_eq!(one["x/y"], File { content: b"1".to_vec(), mode: 0o400, owner: None });
    }

    #[test]
    fn a_missing_key_is_named() {
        let missing = keys("configmap", &data(), Some(&vec![item("zz", "z", None)]), 0o644, false);
        assert_eq!(missing.unwrap_err(), "configmap references non-existent config key: zz");
        assert!(keys("configmap", &data(), Some(&vec![item("zz", "z", None)]), 0o644, true).unwrap().is_empty());
    }
}

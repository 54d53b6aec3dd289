//! Fetches images from registries.

use std::error::Error as _;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference as Remote};
use sha2::{Digest, Sha256};

use super::archive::{ImageConfig, add_layer, check, invalid, parse};
use super::reference::Reference;
use super::store::{ImageRecord, Store};
use super::{ImageError, hex, io_error};
use crate::runtime::Credentials;

const CONNECT: Duration = Duration::from_secs(30);
/// So long a server may say nothing.
const SILENCE: Duration = Duration::from_secs(60);
const AT_ONCE: usize = 3;
const LONGEST_CONFIG: u64 = 8 << 20;

/// Why a registry gave no image.
enum Trouble {
    Registry(OciDistributionError),
    Image(ImageError),
}

impl From<OciDistributionError> for Trouble {
    fn from(error: OciDistributionError) -> Self {
        Self::Registry(error)
    }
}

impl From<ImageError> for Trouble {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// Where the manifest is asked for.
pub(crate) fn manifest_url(reference: &Reference, scheme: &str) -> String {
    let host = if reference.domain == "docker.io" { "registry-1.docker.io" } else { &reference.domain };
    let version = reference.digest.as_deref().or(reference.tag.as_deref()).unwrap_or("latest");
    format!("{scheme}://{host}/v2/{}/manifests/{version}", reference.path)
}

fn host_and_port(reference: &Reference) -> (String, u16) {
    let host = if reference.domain == "docker.io" { "registry-1.docker.io" } else { &reference.domain };
    match host.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?))) {
        Some(found) => found,
        None => (host.to_owned(), 443),
    }
}

/// The innermost words of a request that got no answer, as Go's client has them.
fn dial_error(error: &OciDistributionError, reference: &Reference) -> String {
    let (host, port) = host_and_port(reference);
    let mut cause = error.source();
    let mut last = error.to_string();
    while let Some(inner) = cause {
        last = inner.to_string();
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            match io.kind() {
                ErrorKind::ConnectionRefused => return format!("dial tcp {host}:{port}: connect: connection refused"),
                ErrorKind::TimedOut => return format!("dial tcp {host}:{port}: i/o timeout"),
                ErrorKind::NetworkUnreachable => return format!("dial tcp {host}:{port}: connect: network is unreachable"),
                ErrorKind::HostUnreachable => return format!("dial tcp {host}:{port}: connect: no route to host"),
                _ => {}
            }
        }
        if last.contains("lookup address information") || last == "dns error" {
            return format!("dial tcp: lookup {host} on {}: no such host", name_server());
        }
        cause = inner.source();
    }
    last
}

/// The server that the machine asks for names.
fn name_server() -> String {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let server = text.lines().find_map(|line| line.trim().strip_prefix("nameserver "));
    format!("{}:53", server.map_or("127.0.0.1", str::trim))
}

/// The message of a failed pull, in the words of the reference engine.
fn words(error: &OciDistributionError, reference: &Reference, scheme: &str) -> String {
    let resolve = format!("failed to pull and unpack image \"{reference}\": failed to resolve image: ");
    let bare = Reference { tag: None, digest: None, ..reference.clone() };
    let denied = format!("pull access denied, repository does not exist or may require authorization: authorization failed: {bare}");
    match error {
        OciDistributionError::RequestError(inner) if inner.is_status() || inner.is_decode() => format!("{resolve}{inner}"),
        OciDistributionError::RequestError(_) => {
            format!("{resolve}failed to do request: Head \"{}\": {}", manifest_url(reference, scheme), dial_error(error, reference))
        }
        OciDistributionError::ImageManifestNotFoundError(_) => format!("{resolve}{reference}: not found"),
        OciDistributionError::RegistryError { envelope, .. }
            if envelope.errors.iter().any(|error| format!("{:?}", error.code).contains("Unknown")) =>
        {
            format!("{resolve}{reference}: not found")
        }
        OciDistributionError::ServerError { code: 404, .. } => format!("{resolve}{reference}: not found"),
        _ if is_refused(error) => format!("{resolve}{denied}"),
        OciDistributionError::ServerError { code, .. } => {
            format!("{resolve}unexpected status from HEAD request to {}: {code}", manifest_url(reference, scheme))
        }
        other => format!("{resolve}{other}"),
    }
}

fn is_refused(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => true,
        OciDistributionError::ServerError { code, .. } => matches!(code, 401 | 403),
        OciDistributionError::RegistryError { envelope, .. } => {
            envelope.errors.iter().any(|error| matches!(format!("{:?}", error.code).as_str(), "Unauthorized" | "Denied"))
        }
        _ => false,
    }
}

/// A registry of this machine may do without TLS.
fn is_local(reference: &Reference) -> bool {
    let (host, _) = host_and_port(reference);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether the other side does not speak TLS.
fn is_plain(error: &OciDistributionError) -> bool {
    let mut cause: Option<&dyn std::error::Error> = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if text.contains("InvalidContentType") || text.contains("corrupt message") || text.contains("record layer") {
            return true;
        }
        cause = inner.source();
    }
    false
}

async fn client(protocol: ClientProtocol) -> Result<Client, ImageError> {
    let make = || {
        // Another provider that was there first is as good.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        Client::try_from(ClientConfig {
            protocol,
            connect_timeout: Some(CONNECT),
            read_timeout: Some(SILENCE),
            user_agent: concat!("coracle/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })
        .map_err(|error| invalid(error.to_string()))
    };
    // Reads the machine's certificates.
    tokio::task::spawn_blocking(make).await.map_err(|error| invalid(error.to_string()))?
}

/// Fetches an image into the store; the first of `credentials` that the registry takes is used, none: as anybody.
pub async fn pull(store: &Arc<Store>, reference: &Reference, credentials: &[Credentials]) -> Result<ImageRecord, ImageError> {
    let mut schemes = vec![(ClientProtocol::Https, "https")];
    if is_local(reference) {
        schemes.push((ClientProtocol::Http, "http"));
    }
    let remote: Remote = reference.to_string().parse().map_err(|error| invalid(format!("{error}")))?;
    let mut failure = invalid("no way to the registry");
    for (protocol, scheme) in schemes {
        let mut fall_back = false;
        let auths = credentials.iter().map(|known| RegistryAuth::Basic(known.username.clone(), known.password.clone()));
        let auths: Vec<RegistryAuth> = if credentials.is_empty() { vec![RegistryAuth::Anonymous] } else { auths.collect() };
        for auth in auths {
            // One for each: a client keeps the first that it was given.
            let client = client(protocol.clone()).await?;
            match fetch(&client, store, reference, &remote, &auth).await {
                Ok(image) => return Ok(image),
                Err(Trouble::Image(error)) => return Err(error),
                Err(Trouble::Registry(error)) => {
                    fall_back = is_plain(&error);
                    failure = invalid(words(&error, reference, scheme));
                    if !is_refused(&error) {
                        break;
                    }
                }
            }
        }
        if !fall_back {
            break;
        }
    }
    Err(failure)
}

async fn fetch(
    client: &Client,
    store: &Arc<Store>,
    reference: &Reference,
    remote: &Remote,
    auth: &RegistryAuth,
) -> Result<ImageRecord, Trouble> {
    let (manifest, digest, list) = client.pull_image_manifest_and_list_digest(remote, auth).await?;
    let config = blob(client, store, remote, &manifest.config).await?;
    let bytes = std::fs::read(&config.0).map_err(|error| io_error("read", &config.0, error))?;
    check(&manifest.config.digest, &format!("sha256:{}", hex(&Sha256::digest(&bytes))))?;
    let config: ImageConfig = parse("image configuration", &bytes)?;
    layers(client, store, remote, &manifest, &config).await?;
    let from = format!("{}@{}", reference.repository(), list.unwrap_or(digest));
    let named = reference.tag.as_ref().map(|tag| format!("{}:{tag}", reference.repository()));
    let names: Vec<String> = named.into_iter().chain([from]).collect();
    Ok(store.add_image(&manifest.config.digest, config.config.unwrap_or_default(), config.rootfs.diff_ids, &names)?)
}

async fn layers(
    client: &Client,
    store: &Arc<Store>,
    remote: &Remote,
    manifest: &OciImageManifest,
    config: &ImageConfig,
) -> Result<(), Trouble> {
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(invalid("the image's configuration and manifest differ in their layers").into());
    }
    let mut work = Vec::new();
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids).filter(|(_, diff_id)| !store.has_layer(diff_id)) {
        work.push(one_layer(client, store, remote, layer, diff_id).boxed());
    }
    futures::stream::iter(work).buffer_unordered(AT_ONCE).try_collect().await
}

async fn one_layer(client: &Client, store: &Arc<Store>, remote: &Remote, layer: &OciDescriptor, diff_id: &str) -> Result<(), Trouble> {
    let file = blob(client, store, remote, layer).await?;
    let (store, diff_id, digest) = (store.clone(), diff_id.to_owned(), layer.digest.clone());
    let unpack = move || {
        let reader = std::fs::File::open(&file.0).map_err(|error| io_error("open", &file.0, error))?;
        add_layer(&store, reader, &diff_id, Some(&digest))
    };
    tokio::task::spawn_blocking(unpack).await.map_err(|error| invalid(error.to_string()))??;
    Ok(())
}

/// A file that goes away with its directory.
struct Scratch(std::path::PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap_or(Path::new("/nonexistent")));
    }
}

/// Fetches a blob into a file; its digest is checked on the way.
async fn blob(client: &Client, store: &Store, remote: &Remote, descriptor: &OciDescriptor) -> Result<Scratch, Trouble> {
    if descriptor.media_type.contains("config") && u64::try_from(descriptor.size).unwrap_or(0) > LONGEST_CONFIG {
        return Err(invalid("the image's configuration is too long").into());
    }
    let path = Scratch(store.scratch()?.join("blob"));
    let file = tokio::fs::File::create(&path.0).await.map_err(|error| io_error("make", &path.0, error))?;
    client.pull_blob(remote, descriptor, file).await?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn where_a_manifest_is_asked_for() {
        let url = |name: &str| manifest_url(&Reference::parse(name).unwrap(), "https");
        assert_eq!(url("busybox:1.36"), "https://registry-1.docker.io/v2/library/busybox/manifests/1.36");
        assert_eq!(url("127.0.0.1:5999/a/b:1"), "https://127.0.0.1:5999/v2/a/b/manifests/1");
        assert!(is_local(&Reference::parse("127.0.0.1:5999/a").unwrap()) && !is_local(&Reference::parse("a/b").unwrap()));
    }

    #[tokio::test]
    async fn a_closed_registry_is_told_in_the_words_of_the_reference_engine() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(directory.path()).unwrap());
        // A port that was free a moment ago and is closed now.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let reference = Reference::parse(&format!("127.0.0.1:{port}/a/b:1")).unwrap();
        let error = pull(&store, &reference, &[]).await.unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "failed to pull and unpack image \"{reference}\": failed to resolve image: failed to do request: \
                 Head \"https://127.0.0.1:{port}/v2/a/b/manifests/1\": dial tcp 127.0.0.1:{port}: connect: connection refused"
            )
        );
    }
}

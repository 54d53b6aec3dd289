//! Loads images from archives, as `docker save` writes them (docker-archive) or as an OCI image layout in a tar.
//! Every digest an archive names is checked.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::reference::Reference;
use super::store::{Config, Store};
use super::unpack::{Bounds, unpack};
use super::{ImageError, hex, io_error};

/// Longest JSON document in an archive.
const LONGEST_DOCUMENT: u64 = 8 << 20;

pub(super) fn invalid(reason: impl Into<String>) -> ImageError {
    ImageError::Invalid { reason: reason.into() }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An image's configuration, as far as it is needed.
#[derive(Deserialize)]
pub(super) struct ImageConfig {
    #[serde(default)]
    pub(super) config: Option<Config>,
    pub(super) rootfs: RootFs,
}

/// Its layers.
#[derive(Deserialize)]
pub(super) struct RootFs {
    pub(super) diff_ids: Vec<String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// An archive whose members can be read in any order.
struct Members {
    file: File,
    places: HashMap<String, (u64, u64)>,
    links: HashMap<String, String>,
}

/// Adds the images of an archive; returns their names, or their ids where they have none.
pub fn load(store: &Store, archive: &Path) -> Result<Vec<String>, ImageError> {
    let scratch = store.scratch()?;
    let result = Members::open(archive, &scratch.join("plain")).and_then(|mut members| {
        if members.places.contains_key("manifest.json") {
            load_docker(store, &mut members)
        } else if members.places.contains_key("index.json") {
            load_layout(store, &mut members)
        } else {
            Err(invalid("the archive is neither a docker archive (manifest.json) nor an OCI layout (index.json)"))
        }
    });
    let _ = std::fs::remove_dir_all(scratch);
    result
}

impl Members {
    fn open(path: &Path, plain: &Path) -> Result<Self, ImageError> {
        let failed = |error| io_error("read", path, error);
        let mut file = File::open(path).map_err(failed)?;
        let mut magic = [0_u8; 4];
        let length = file.read(&mut magic).map_err(failed)?;
        file.rewind().map_err(failed)?;
        match compression(magic.get(..length).unwrap_or_default())? {
            Compression::None => {}
            Compression::Gzip => {
                let mut out = File::options().read(true).write(true).create_new(true).open(plain).map_err(failed)?;
                let mut bounded = MultiGzDecoder::new(BufReader::new(file)).take(Bounds::default().bytes);
                io::copy(&mut bounded, &mut out).map_err(failed)?;
                out.rewind().map_err(failed)?;
                file = out;
            }
        }
        let mut members = Self { file, places: HashMap::new(), links: HashMap::new() };
        members.index().map_err(|error| invalid(format!("{}: {error}", path.display())))?;
        Ok(members)
    }

    fn index(&mut self) -> io::Result<()> {
        let mut archive = tar::Archive::new(&self.file);
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            let name = clean(&String::from_utf8_lossy(&entry.path_bytes()));
            if entry.header().entry_type().is_file() {
                self.places.insert(name, (entry.raw_file_position(), entry.size()));
            } else if let Some(target) = entry.link_name_bytes() {
                // Old engines link equal layers to each other.
                let target = String::from_utf8_lossy(&target).into_owned();
                let base = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                let full = if entry.header().entry_type().is_symlink() { format!("{base}/{target}") } else { target };
                self.links.insert(name, clean(&full));
            }
        }
        Ok(())
    }

    fn member(&mut self, name: &str) -> Result<io::Take<&mut File>, ImageError> {
        let name = clean(name);
        let name = self.links.get(&name).unwrap_or(&name);
        let (position, size) = *self.places.get(name).ok_or_else(|| invalid(format!("{name} is missing in the archive")))?;
        self.file.seek(SeekFrom::Start(position)).map_err(|e| invalid(e.to_string()))?;
        Ok((&mut self.file).take(size))
    }

    fn bytes(&mut self, name: &str) -> Result<Vec<u8>, ImageError> {
        let mut member = self.member(name)?;
        if member.limit() > LONGEST_DOCUMENT {
            return Err(invalid(format!("{name} is too long")));
        }
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).map_err(|e| invalid(format!("{name}: {e}")))?;
        Ok(bytes)
    }

    fn document<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, ImageError> {
        parse(name, &self.bytes(name)?)
    }

    /// A document of an OCI layout, checked against its digest.
    fn blob(&mut self, digest: &str) -> Result<Vec<u8>, ImageError> {
        let bytes = self.bytes(&blob_path(digest)?)?;
        check(digest, &format!("sha256:{}", hex(&Sha256::digest(&bytes))))?;
        Ok(bytes)
    }
}

pub(super) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|e| invalid(format!("{name}: {e}")))
}

pub(super) fn check(expected: &str, found: &str) -> Result<(), ImageError> {
    if expected == found { Ok(()) } else { Err(ImageError::Digest { expected: expected.to_owned(), found: found.to_owned() }) }
}

fn blob_path(digest: &str) -> Result<String, ImageError> {
    match super::reference::valid_digest(digest) {
        true => Ok(format!("blobs/{}", digest.replace(':', "/"))),
        false => Err(invalid(format!("digest {digest:?} is not supported"))),
    }
}

fn clean(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

enum Compression {
    None,
    Gzip,
}

fn compression(magic: &[u8]) -> Result<Compression, ImageError> {
    match magic {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd] => Err(invalid("zstd compression is not supported; save the image uncompressed or with gzip")),
        [b'B', b'Z', b'h', _] => Err(invalid("bzip2 compression is not supported; save the image uncompressed or with gzip")),
        [0xfd, b'7', b'z', b'X'] => Err(invalid("xz compression is not supported; save the image uncompressed or with gzip")),
        _ => Ok(Compression::None),
    }
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    fn digest(self) -> String {
        format!("sha256:{}", hex(&self.hasher.finalize()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Unpacks one layer: `diff_id` is the digest of its plain bytes, `blob` that of its bytes as they are read.
pub(super) fn add_layer(store: &Store, reader: impl Read, diff_id: &str, blob: Option<&str>) -> Result<(), ImageError> {
    if !super::reference::valid_digest(diff_id) {
        return Err(invalid(format!("digest {diff_id:?} is not supported")));
    }
    if store.has_layer(diff_id) {
        return Ok(());
    }
    let mut outer = BufReader::with_capacity(64 << 10, Hashing::new(reader));
    let magic = outer.fill_buf().map_err(|e| invalid(e.to_string()))?;
    let compression = compression(magic)?;
    let scratch = store.scratch()?;
    let unpacked = match compression {
        Compression::None => unpack_hashed(&mut outer, &scratch),
        Compression::Gzip => unpack_hashed(&mut MultiGzDecoder::new(&mut outer), &scratch),
    };
    let result = unpacked.map_err(|e| invalid(format!("layer {diff_id}: {e}"))).and_then(|(size, found)| {
        check(diff_id, &found)?;
        // What follows the compressed stream belongs to the digest too.
        io::copy(&mut outer, &mut io::sink()).map_err(|e| invalid(e.to_string()))?;
        if let Some(blob) = blob {
            check(blob, &outer.into_inner().digest())?;
        }
        store.add_layer(diff_id, &scratch, size)
    });
    let _ = std::fs::remove_dir_all(&scratch);
    result
}

fn unpack_hashed(reader: &mut impl Read, directory: &Path) -> io::Result<(u64, String)> {
    let mut plain = Hashing::new(reader);
    let size = unpack(&mut plain, directory, Bounds::default())?;
    Ok((size, plain.digest()))
}

fn full_names(names: &[String]) -> Result<Vec<String>, ImageError> {
    names.iter().map(|name| Reference::parse(name).map(|r| r.to_string()).map_err(|e| invalid(e.to_string()))).collect()
}

fn finish(store: &Store, id: &str, config: ImageConfig, names: &[String]) -> Result<Vec<String>, ImageError> {
    let names = full_names(names)?;
    let image = store.add_image(id, config.config.unwrap_or_default(), config.rootfs.diff_ids, &names)?;
    Ok(if names.is_empty() { vec![image.id] } else { names })
}

fn load_docker(store: &Store, members: &mut Members) -> Result<Vec<String>, ImageError> {
    let mut loaded = Vec::new();
    for image in members.document::<Vec<DockerImage>>("manifest.json")? {
        let bytes = members.bytes(&image.config)?;
        let id = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        // The file is named by its digest: `<hex>.json` or `blobs/sha256/<hex>`.
        let stem = image.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
        if stem.len() == 64 {
            check(&format!("sha256:{stem}"), &id)?;
        }
        let config: ImageConfig = parse(&image.config, &bytes)?;
        if config.rootfs.diff_ids.len() != image.layers.len() {
            return Err(invalid("the image's configuration and manifest differ in their layers"));
        }
        for (name, diff_id) in image.layers.iter().zip(&config.rootfs.diff_ids) {
            if !store.has_layer(diff_id) {
                add_layer(store, members.member(name)?, diff_id, None)?;
            }
        }
        loaded.extend(finish(store, &id, config, &image.repo_tags.unwrap_or_default())?);
    }
    Ok(loaded)
}

fn load_layout(store: &Store, members: &mut Members) -> Result<Vec<String>, ImageError> {
    let mut loaded = Vec::new();
    for descriptor in members.document::<Index>("index.json")?.manifests {
        let named = |key: &str| descriptor.annotations.get(key).cloned();
        let name = named("io.containerd.image.name")
            .or_else(|| named("org.opencontainers.image.ref.name").filter(|name| name.contains(['/', ':'])));
        let manifest = platform_manifest(members, &descriptor, 0)?;
        let bytes = members.blob(&manifest.config.digest)?;
        let config: ImageConfig = parse("image configuration", &bytes)?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(invalid("the image's configuration and manifest differ in their layers"));
        }
        for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            if !store.has_layer(diff_id) {
                add_layer(store, members.member(&blob_path(&layer.digest)?)?, diff_id, Some(&layer.digest))?;
            }
        }
        loaded.extend(finish(store, &manifest.config.digest, config, &name.into_iter().collect::<Vec<_>>())?);
    }
    Ok(loaded)
}

/// The manifest for this machine, looked for in nested indexes.
fn platform_manifest(members: &mut Members, descriptor: &Descriptor, depth: u32) -> Result<Manifest, ImageError> {
    let bytes = members.blob(&descriptor.digest)?;
    if !descriptor.media_type.contains("index") && !descriptor.media_type.contains("manifest.list") {
        return parse("image manifest", &bytes);
    }
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let fits = |d: &&Descriptor| d.platform.as_ref().is_none_or(|p| p.os == "linux" && p.architecture == architecture);
    let index: Index = parse("image index", &bytes)?;
    match index.manifests.iter().find(fits) {
        Some(inner) if depth < 4 => platform_manifest(members, inner, depth + 1),
        Some(_) => Err(invalid("image indexes are nested too deeply")),
        None => Err(invalid(format!("no image for linux/{architecture} in the archive"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, data) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            header.set_uid(nix::unistd::geteuid().as_raw().into());
            header.set_gid(nix::unistd::getegid().as_raw().into());
            builder.append_data(&mut header, name, *data).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn digest(bytes: &[u8]) -> String {
        format!("sha256:{}", hex(&Sha256::digest(bytes)))
    }

    fn docker(diff_id: Option<&str>) -> Vec<u8> {
        let layer = tar_of(&[("hello", b"world")]);
        let config = json!({"config": {"Cmd": ["/hello"], "Entrypoint": null, "Env": ["A=b"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id.map_or_else(|| digest(&layer), str::to_owned)]}});
        let config = serde_json::to_vec(&config).unwrap();
        let name = format!("{}.json", digest(&config).trim_start_matches("sha256:"));
        let manifest = json!([{"Config": name, "RepoTags": ["hello:1"], "Layers": ["x/layer.tar"]}]);
        tar_of(&[("x/layer.tar", &layer), (&name, &config), ("manifest.json", &serde_json::to_vec(&manifest).unwrap())])
    }

    fn load_bytes(bytes: &[u8]) -> (tempfile::TempDir, Store, Result<Vec<String>, ImageError>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive");
        std::fs::write(&path, bytes).unwrap();
        let store = Store::open(&directory.path().join("images")).unwrap();
        let result = load(&store, &path);
        (directory, store, result)
    }

    #[test]
    fn a_docker_archive_plain_and_compressed() {
        for bytes in [docker(None), gzip(&docker(None))] {
            let (_directory, store, result) = load_bytes(&bytes);
            assert_eq!(result.unwrap(), ["docker.io/library/hello:1"]);
            let image = store.image("hello:1").unwrap();
            assert_eq!((image.config.cmd.clone(), image.config.entrypoint.len(), image.size), (vec!["/hello".to_owned()], 0, 5));
            let file = store.layer_root().join(Store::layer_name(&image.layers[0])).join("hello");
            assert_eq!(std::fs::read(file).unwrap(), b"world");
        }
    }

    #[test]
    fn an_oci_layout_behind_an_index() {
        let layer = tar_of(&[("hello", b"world")]);
        let packed = gzip(&layer);
        let config = serde_json::to_vec(&json!({"config": {}, "rootfs": {"diff_ids": [digest(&layer)]}})).unwrap();
        let manifest =
            serde_json::to_vec(&json!({"config": {"digest": digest(&config)}, "layers": [{"digest": digest(&packed)}]})).unwrap();
        let index = serde_json::to_vec(&json!({"manifests": [{"digest": digest(&manifest)}]})).unwrap();
        let top = serde_json::to_vec(&json!({"manifests": [{"mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": digest(&index), "annotations": {"io.containerd.image.name": "docker.io/library/hello:2"}}]}))
        .unwrap();
        let blobs: Vec<(String, &[u8])> =
            [&packed, &config, &manifest, &index].map(|b| (blob_path(&digest(b)).unwrap(), b.as_slice())).into();
        let mut files: Vec<(&str, &[u8])> = blobs.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        files.push(("index.json", &top));
        let (_directory, store, result) = load_bytes(&tar_of(&files));
        assert_eq!(result.unwrap(), ["docker.io/library/hello:2"]);
        assert_eq!(store.image("hello:2").unwrap().layers, [digest(&layer)]);
    }

    #[test]
    fn a_wrong_digest_leaves_nothing() {
        let (_directory, store, result) = load_bytes(&docker(Some(&digest(b"other"))));
        assert!(matches!(result, Err(ImageError::Digest { .. })), "{result:?}");
        assert!(store.images().is_empty());
        assert_eq!(std::fs::read_dir(store.layer_root()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_archive_is_said_so() {
        for bytes in [b"".to_vec(), b"hello".to_vec(), tar_of(&[("x", b"y")]), vec![0x28, 0xb5, 0x2f, 0xfd, 0], vec![0x1f, 0x8b, 9, 9]] {
            let (_directory, _store, result) = load_bytes(&bytes);
            assert!(result.is_err());
        }
    }
}

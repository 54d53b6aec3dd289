//! The images of a node on disk. Layers are directories shared by all images that have them; a layer's name is the
//! beginning of its digest, so that many fit into the options of one mount.
//!
//! ```text
//! images/layers/<32 hex>/     files of a layer, as overlay takes them
//! images/layers/<32 hex>.json digest and size; written after the files: without it the layer is not there
//! images/configs/<64 hex>.json   one image: its configuration and its layers
//! images/names.json              names → image id
//! images/new/                    what is being made; emptied at start
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::reference::{Reference, valid_digest};
use super::{ImageError, io_error};
use crate::shim::record;

/// The part of an image's configuration that running it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config {
    /// User, and group after a colon.
    pub user: String,
    /// `NAME=value`.
    #[serde(deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// Program.
    #[serde(deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// Default arguments.
    #[serde(deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// Working directory.
    pub working_dir: String,
    /// Signal that stops it.
    pub stop_signal: String,
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(input: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// Its configuration.
    pub config: Config,
    /// Digests of its layers, the lowest first.
    pub layers: Vec<String>,
    /// Bytes of its layers.
    pub size: u64,
    /// Names with digests.
    pub digests: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct LayerRecord {
    digest: String,
    size: u64,
}

#[derive(Debug, Default)]
struct Known {
    names: BTreeMap<String, String>,
    images: BTreeMap<String, ImageRecord>,
}

/// All images of a node.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    known: Mutex<Known>,
}

impl Store {
    /// Opens the store, clearing what a crash left half made.
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        let store = Self { root: root.to_owned(), known: Mutex::default() };
        let _ = fs::remove_dir_all(store.root.join("new"));
        for part in ["layers", "configs", "new"] {
            let directory = root.join(part);
            fs::create_dir_all(&directory).map_err(|e| io_error("make", &directory, e))?;
        }
        let mut known = Known::default();
        let configs = root.join("configs");
        for entry in fs::read_dir(&configs).map_err(|e| io_error("read", &configs, e))?.flatten() {
            // A record that cannot be read is an image that is not there.
            if let Ok(image) = record::read::<ImageRecord>(&entry.path())
                && image.layers.iter().all(|layer| store.layer(layer).is_some())
            {
                known.images.insert(image.id.clone(), image);
            }
        }
        known.names = record::read(&store.names_path()).unwrap_or_default();
        known.names.retain(|_, id| known.images.contains_key(id));
        *store.known.lock() = known;
        store.sweep();
        Ok(store)
    }

    fn names_path(&self) -> PathBuf {
        self.root.join("names.json")
    }

    /// The directory that `layer_name`s are in.
    pub fn layer_root(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Name of a layer's directory.
    pub fn layer_name(digest: &str) -> String {
        digest.trim_start_matches("sha256:").chars().take(32).collect()
    }

    fn layer(&self, digest: &str) -> Option<LayerRecord> {
        let path = self.layer_root().join(format!("{}.json", Self::layer_name(digest)));
        record::read::<LayerRecord>(&path).ok().filter(|layer| layer.digest == digest)
    }

    /// Whether a layer is here.
    pub fn has_layer(&self, digest: &str) -> bool {
        self.layer(digest).is_some()
    }

    /// A new empty directory for a layer in the making.
    pub fn scratch(&self) -> Result<PathBuf, ImageError> {
        let path = self.root.join("new").join(uuid::Uuid::new_v4().simple().to_string());
        fs::create_dir_all(&path).map_err(|e| io_error("make", &path, e))?;
        Ok(path)
    }

    /// Takes a finished directory as the layer `digest`.
    pub fn add_layer(&self, digest: &str, directory: &Path, size: u64) -> Result<(), ImageError> {
        sync_tree(directory);
        // One at a time, so that of two makers of the same layer the second finds the first one's.
        let _guard = self.known.lock();
        if self.has_layer(digest) {
            let _ = fs::remove_dir_all(directory);
            return Ok(());
        }
        let target = self.layer_root().join(Self::layer_name(digest));
        let _ = fs::remove_dir_all(&target);
        fs::rename(directory, &target).map_err(|e| io_error("rename", directory, e))?;
        let path = target.with_extension("json");
        record::write(&path, &LayerRecord { digest: digest.to_owned(), size }).map_err(|e| io_error("write", &path, e))
    }

    /// Adds an image whose layers are here, under names; one with a digest is where it came from.
    pub fn add_image(&self, id: &str, config: Config, layers: Vec<String>, names: &[String]) -> Result<ImageRecord, ImageError> {
        let mut known = self.known.lock();
        let mut size = 0;
        for digest in &layers {
            size += self.layer(digest).ok_or_else(|| ImageError::Invalid { reason: format!("layer {digest} is missing") })?.size;
        }
        let mut digests = known.images.get(id).map(|image| image.digests.clone()).unwrap_or_default();
        let (from, names): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| name.contains('@'));
        digests.extend(from.into_iter().cloned());
        digests.sort_unstable();
        digests.dedup();
        let image = ImageRecord { id: id.to_owned(), config, layers, size, digests };
        let path = self.image_path(id);
        record::write(&path, &image).map_err(|e| io_error("write", &path, e))?;
        known.images.insert(image.id.clone(), image.clone());
        for name in names {
            known.names.insert(name.clone(), image.id.clone());
        }
        self.save_names(&known)?;
        Ok(image)
    }

    fn image_path(&self, id: &str) -> PathBuf {
        self.root.join("configs").join(format!("{}.json", id.trim_start_matches("sha256:")))
    }

    fn save_names(&self, known: &Known) -> Result<(), ImageError> {
        let path = self.names_path();
        record::write(&path, &known.names).map_err(|e| io_error("write", &path, e))
    }

    fn resolve(known: &Known, name: &str) -> Option<String> {
        if valid_digest(name) && known.images.contains_key(name) {
            return Some(name.to_owned());
        }
        let bare = format!("sha256:{name}");
        if known.images.contains_key(&bare) {
            return Some(bare);
        }
        let reference = Reference::parse(name).ok()?;
        if let Some(digest) = &reference.digest {
            let wanted = format!("{}@{digest}", reference.repository());
            let has = |image: &&ImageRecord| image.digests.contains(&wanted) || &image.id == digest;
            return known.images.values().find(has).map(|image| image.id.clone());
        }
        known.names.get(&reference.to_string()).cloned()
    }

    /// An image by name, digest or id.
    pub fn image(&self, name: &str) -> Option<ImageRecord> {
        let known = self.known.lock();
        known.images.get(&Self::resolve(&known, name)?).cloned()
    }

    /// Names of an image.
    pub fn names(&self, id: &str) -> Vec<String> {
        self.known.lock().names.iter().filter(|(_, image)| *image == id).map(|(name, _)| name.clone()).collect()
    }

    /// Every image.
    pub fn images(&self) -> Vec<ImageRecord> {
        self.known.lock().images.values().cloned().collect()
    }

    /// Removes a name, or an image by its id with all names; the image goes with its last name, and then the layers
    /// that no image and none of `used` has.
    pub fn remove(&self, name: &str, used: &[String]) -> Result<bool, ImageError> {
        let mut known = self.known.lock();
        let Some(id) = Self::resolve(&known, name) else { return Ok(false) };
        match Reference::parse(name).map(|reference| reference.to_string()) {
            Ok(full) if known.names.get(&full) == Some(&id) => drop(known.names.remove(&full)),
            _ => known.names.retain(|_, image| *image != id),
        }
        self.save_names(&known)?;
        if !known.names.values().any(|image| *image == id) {
            let path = self.image_path(&id);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &path, error)),
                _ => {}
            }
            known.images.remove(&id);
            self.sweep_layers(&known, used);
        }
        Ok(true)
    }

    /// Removes layers that nobody has.
    fn sweep_layers(&self, known: &Known, used: &[String]) {
        let kept: Vec<String> = known.images.values().flat_map(|image| &image.layers).map(|digest| Self::layer_name(digest)).collect();
        for entry in fs::read_dir(self.layer_root()).into_iter().flatten().flatten() {
            let path = entry.path();
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            if kept.contains(&stem) || used.contains(&stem) {
                continue;
            }
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }

    /// Layers without a record are what a crash left; nothing uses them.
    fn sweep(&self) {
        for entry in fs::read_dir(self.layer_root()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.with_extension("json").exists() {
                let _ = fs::remove_dir_all(&path);
            }
        }
    }

    /// Removes layers that neither an image nor one of `used` has: after a restart, when it is known what runs.
    pub fn collect(&self, used: &[String]) {
        let known = self.known.lock();
        self.sweep_layers(&known, used);
    }
}

/// Brings the files of a layer to the disk before its record says that they are there.
fn sync_tree(directory: &Path) {
    if let Ok(file) = fs::File::open(directory) {
        // One call for the whole file system instead of one for each file.
        unsafe {
            libc::syncfs(std::os::fd::AsRawFd::as_raw_fd(&file));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn digest(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    #[test]
    fn images_share_layers_and_take_them_along_when_the_last_goes() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        for letter in ["a", "b", "c"] {
            let scratch = store.scratch().unwrap();
            fs::write(scratch.join("file"), letter).unwrap();
            store.add_layer(&digest(letter), &scratch, 1).unwrap();
        }
        let names = ["docker.io/library/one:latest".to_owned(), "docker.io/library/one:1".to_owned()];
        store.add_image(&digest("1"), Config::default(), vec![digest("a"), digest("b")], &names).unwrap();
        store
            .add_image(&digest("2"), Config::default(), vec![digest("a"), digest("c")], &["docker.io/library/two:latest".to_owned()])
            .unwrap();
        assert!(store.add_image(&digest("3"), Config::default(), vec![digest("d")], &[]).is_err());

        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.image("one").unwrap().size, 2);
        assert_eq!(store.image(&"1".repeat(64)).unwrap().id, digest("1"));
        assert!(store.remove("one:1", &[]).unwrap());
        assert!(store.image("one").is_some() && store.has_layer(&digest("b")));
        assert!(store.remove("one", &[]).unwrap() && !store.remove("one", &[]).unwrap());
        assert!(store.has_layer(&digest("a")) && !store.has_layer(&digest("b")));
        assert!(store.remove(&digest("2"), &[Store::layer_name(&digest("c"))]).unwrap());
        assert!(store.has_layer(&digest("c")) && !store.has_layer(&digest("a")));
        store.collect(&[]);
        assert!(!store.has_layer(&digest("c")));
    }
}

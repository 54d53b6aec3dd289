//! Writes images of the store as an archive that engines load (`manifest.json`, configurations, layers).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::images::{ImageRecord, Store, hex};

/// Label with the id that the image has in the store: what is the same need not be handed over again.
pub(super) const SOURCE: &str = "coracle.source";

struct Hashing<W> {
    to: W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Writes the files of a layer into `path`; returns the digest.
fn layer(directory: &Path, path: &Path) -> io::Result<String> {
    let to = Hashing { to: BufWriter::with_capacity(1 << 20, File::create(path)?), hasher: Sha256::new() };
    let mut archive = tar::Builder::new(to);
    archive.follow_symlinks(false);
    // Not every engine knows how files with holes are written.
    archive.sparse(false);
    archive.append_dir_all(".", directory)?;
    let mut done = archive.into_inner()?;
    done.flush()?;
    Ok(hex(&done.hasher.finalize()))
}

fn append(archive: &mut tar::Builder<File>, name: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content)
}

/// Writes images with their names into an archive in `directory`, which is empty.
pub(super) fn archive(store: &Store, images: &[(Vec<String>, ImageRecord)], arch: &str, directory: &Path) -> io::Result<PathBuf> {
    let path = directory.join("images.tar");
    let mut archive = tar::Builder::new(File::create(&path)?);
    let mut digests: BTreeMap<String, String> = BTreeMap::new();
    let mut manifest = Vec::new();
    for (names, image) in images {
        for name in &image.layers {
            if !digests.contains_key(name) {
                let file = directory.join("layer");
                let digest = layer(&store.layer_root().join(Store::layer_name(name)), &file)?;
                archive.append_path_with_name(&file, format!("{digest}.tar"))?;
                std::fs::remove_file(file)?;
                digests.insert(name.clone(), digest);
            }
        }
        let layers: Vec<&String> = image.layers.iter().filter_map(|name| digests.get(name)).collect();
        let config = &image.config;
        let config = json!({
            "architecture": arch, "os": "linux",
            "config": {
                "User": config.user, "Env": config.env, "Entrypoint": config.entrypoint, "Cmd": config.cmd,
                "WorkingDir": config.working_dir, "StopSignal": config.stop_signal, "Labels": {SOURCE: image.id},
            },
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|digest| format!("sha256:{digest}")).collect::<Vec<_>>()},
        });
        let text = serde_json::to_vec(&config)?;
        let name = format!("{}.json", hex(&Sha256::digest(&text)));
        append(&mut archive, &name, &text)?;
        let files: Vec<String> = layers.iter().map(|digest| format!("{digest}.tar")).collect();
        manifest.push(json!({"Config": name, "RepoTags": names, "Layers": files}));
    }
    append(&mut archive, "manifest.json", &serde_json::to_vec(&manifest)?)?;
    archive.into_inner()?.flush()?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::images::{Config, build};

    #[test]
    fn what_is_written_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("from")).unwrap();
        let config = |word: &str| Config { cmd: vec![word.to_owned()], ..Config::default() };
        let variants = [(vec!["a.b/one:1".to_owned()], config("one")), (vec!["a.b/two:1".to_owned()], config("two"))];
        let made = build(&store, &["/bin/sh".into()], &[], &variants).unwrap();
        let images: Vec<_> = made.into_iter().map(|image| (store.names(&image.id), image)).collect();
        let path = archive(&store, &images, "amd64", &store.scratch().unwrap()).unwrap();
        let other = Store::open(&directory.path().join("to")).unwrap();
        assert_eq!(other.load(&path).unwrap(), ["a.b/one:1", "a.b/two:1"]);
        let read = other.image("a.b/two:1").unwrap();
        assert_eq!((read.config.cmd, read.layers.len()), (vec!["two".to_owned()], 1));
    }
}

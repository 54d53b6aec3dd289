//! Images on a node: what is there, archives that are loaded, registries, images made from the host's own programs.
//!
//! Nothing here trusts an archive: digests are checked, and no path leads out of a layer's directory. What a crash
//! interrupts is not there afterwards. Begin reading at `store`.

mod archive;
mod build;
mod elf;
mod kubia;
pub mod reference;
pub(crate) mod registry;
pub mod rooted;
mod store;
mod unpack;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use build::{Extra, build, build_from_host};
pub use kubia::{KUBIA, build_kubia, is_kubia};
pub use registry::pull;
pub use store::{Config, ImageRecord, Store};
pub use unpack::{Bounds, unpack};

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file cannot be read or written.
    #[error("{step} {path}", path = path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Content and digest differ.
    #[error("digest mismatch: expected {expected}, found {found}")]
    Digest {
        /// What the archive says.
        expected: String,
        /// What it has.
        found: String,
    },
    /// An archive or name that is not what it should be.
    #[error("{reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
}

fn io_error(step: &'static str, path: &Path, source: io::Error) -> ImageError {
    ImageError::Io { step, path: path.to_owned(), source }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Store {
    /// Adds the images of a docker-archive or OCI-layout tar, plain or gzip; returns their names (ids where unnamed).
    pub fn load(&self, path: &Path) -> Result<Vec<String>, ImageError> {
        archive::load(self, path)
    }

    /// A small text file of an image, looked for from the uppermost layer down.
    pub fn read_file(&self, image: &ImageRecord, path: &Path) -> Option<String> {
        for layer in image.layers.iter().rev() {
            let Ok(root) = fs::File::open(self.layer_root().join(Self::layer_name(layer))) else { continue };
            let Ok(file) = rooted::open_file(&root, path) else { continue };
            // A deletion is a device; it hides what is below.
            if !file.metadata().is_ok_and(|meta| meta.is_file()) {
                return None;
            }
            let mut text = String::new();
            return file.take(4 << 20).read_to_string(&mut text).ok().map(|_| text);
        }
        None
    }
}

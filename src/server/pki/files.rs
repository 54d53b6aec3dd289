//! The files that keys and certificates are kept in.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rcgen::KeyPair;

use super::issue::failed;
use super::{KeyedCertificate, PkiError};

/// The directory the files are in.
pub(super) struct Directory<'a> {
    path: &'a Path,
    wrote: std::cell::Cell<bool>,
}

impl<'a> Directory<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, PkiError> {
        let failed = |action| move |source| PkiError::File { action, path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create directory"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed("protect directory"))?;
        Ok(Self { path, wrote: std::cell::Cell::new(false) })
    }

    /// The file's text; `None` if there is none.
    fn read(&self, name: &str) -> Result<Option<String>, PkiError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PkiError::File { action: "read", path, source }),
        }
    }

    fn write(&self, name: &str, mode: u32, text: &str) -> Result<(), PkiError> {
        write_file(&self.path.join(name), mode, text)?;
        self.wrote.set(true);
        Ok(())
    }

    /// Reads `name`.crt and `name`.key; makes them if they are missing or not `good`.
    pub(super) fn pair(
        &self,
        name: &str,
        good: impl FnOnce(&KeyedCertificate) -> bool,
        make: impl FnOnce() -> Result<KeyedCertificate, PkiError>,
    ) -> Result<KeyedCertificate, PkiError> {
        let (certificate_file, key_file) = (format!("{name}.crt"), format!("{name}.key"));
        if let (Some(certificate), Some(key)) = (self.read(&certificate_file)?, self.read(&key_file)?) {
            let pair = KeyedCertificate { certificate, key };
            if good(&pair) {
                return Ok(pair);
            }
        }
        let pair = make()?;
        self.write(&key_file, 0o600, &pair.key)?;
        self.write(&certificate_file, 0o644, &pair.certificate)?;
        Ok(pair)
    }

    /// The service accounts' key, from `sa.key`.
    pub(super) fn token_key(&self) -> Result<Vec<u8>, PkiError> {
        let key = match self.read("sa.key")?.and_then(|text| KeyPair::from_pem(&text).ok()) {
            Some(key) => key,
            None => {
                let key = KeyPair::generate().map_err(failed("sa"))?;
                self.write("sa.key", 0o600, &key.serialize_pem())?;
                key
            }
        };
        Ok(key.serialize_der())
    }

    /// Makes the renames durable.
    pub(super) fn sync(&self) -> Result<(), PkiError> {
        if self.wrote.get() {
            sync_directory(self.path)?;
        }
        Ok(())
    }
}

fn sync_directory(path: &Path) -> Result<(), PkiError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|source| PkiError::File {
        action: "sync directory",
        path: path.to_owned(),
        source,
    })
}

/// Replaces a file so that a reader, or a crash, sees the old text or the new, never a part; the directory is not synced.
fn write_file(path: &Path, mode: u32, text: &str) -> Result<(), PkiError> {
    let temporary = path.with_extension("tmp");
    let write = || {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| PkiError::File { action: "write", path: path.to_owned(), source })
}

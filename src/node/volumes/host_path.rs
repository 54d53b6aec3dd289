//! `hostPath`: a path of the node, checked for its type.

use std::fs::{DirBuilder, FileType, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

/// Checks the type, and makes what `DirectoryOrCreate` and `FileOrCreate` ask for.
pub(super) fn check(source: &HostPathVolumeSource) -> std::io::Result<()> {
    let path = Path::new(&source.path);
    let is = |test: fn(&FileType) -> bool| std::fs::metadata(path).is_ok_and(|meta| test(&meta.file_type()));
    let verdict = |fine: bool, what: &str| {
        if fine { Ok(()) } else { Err(std::io::Error::other(format!("hostPath type check failed: {} is not {what}", source.path))) }
    };
    match source.type_.as_deref().unwrap_or_default() {
        "DirectoryOrCreate" => {
            if !path.exists() {
                DirBuilder::new().recursive(true).mode(0o755).create(path)?;
            }
            verdict(is(FileType::is_dir), "a directory")
        }
        "Directory" => verdict(is(FileType::is_dir), "a directory"),
        "FileOrCreate" => {
            if !path.exists() {
                OpenOptions::new().create(true).append(true).mode(0o644).open(path)?;
            }
            verdict(is(FileType::is_file), "a file")
        }
        "File" => verdict(is(FileType::is_file), "a file"),
        "Socket" => verdict(is(FileType::is_socket), "a socket file"),
        "CharDevice" => verdict(is(FileType::is_char_device), "a character device"),
        "BlockDevice" => verdict(is(FileType::is_block_device), "a block device"),
        _ => Ok(()),
    }
}

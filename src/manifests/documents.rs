//! From files to documents.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use coracle_api::yaml::{self, YamlError};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde_json::Value;

/// A manifest larger than this is not read: it is none.
const LARGEST: u64 = 16 << 20;
/// How deep folders are followed.
const DEEPEST: usize = 32;

/// A file of a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestFile {
    /// Path below the folder.
    pub path: PathBuf,
    /// Its text, or why it cannot be read.
    pub text: Result<String, String>,
}

/// Where documents come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder, or a file.
    Folder(PathBuf),
    /// A text, as from standard input.
    Text(String),
}

impl Source {
    /// The folder or file; `-` for a text.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) => path,
            Self::Text(_) => Path::new("-"),
        }
    }

    /// Its files.
    pub fn read(&self) -> io::Result<Vec<ManifestFile>> {
        match self {
            Self::Folder(path) => read(path),
            Self::Text(text) => Ok(vec![ManifestFile { path: PathBuf::from("-"), text: Ok(text.clone()) }]),
        }
    }
}

/// One object of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Position of its document in the file, from 0.
    pub index: usize,
    /// Line on which the document begins, from 1.
    pub line: usize,
    /// The object.
    pub object: Value,
}

/// Names what is left out, in the syntax of `.gitignore`.
const IGNORE: &str = ".coracleignore";

/// The manifests below `folder` (or the one file it is), sorted by path. Hidden files and folders, files that are neither
/// YAML nor JSON, and what `.coracleignore` names are left out.
pub fn read(folder: &Path) -> io::Result<Vec<ManifestFile>> {
    let mut out = Vec::new();
    if fs::metadata(folder)?.is_file() {
        out.push(read_file(folder, PathBuf::from(folder.file_name().unwrap_or_default())));
    } else {
        let mut ignored = GitignoreBuilder::new(folder);
        if let Some(error) = ignored.add(folder.join(IGNORE)).filter(|error| error.io_error().is_none()) {
            tracing::warn!(folder = %folder.display(), %error, "a line of {IGNORE} is not understood");
        }
        let ignored = ignored.build().unwrap_or_else(|_| Gitignore::empty());
        collect(folder, Path::new(""), 0, &ignored, &mut out)?;
    }
    out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(out)
}

/// A folder that is an overlay to be built, not manifests to be applied as they are.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Whether a file says how an overlay is built.
pub fn is_kustomization(path: &Path) -> bool {
    path.file_name().is_some_and(|name| KUSTOMIZATIONS.iter().any(|known| name == *known))
}

fn collect(root: &Path, below: &Path, depth: usize, ignored: &Gitignore, out: &mut Vec<ManifestFile>) -> io::Result<()> {
    let entries = fs::read_dir(root.join(below))?.collect::<io::Result<Vec<_>>>()?;
    if let Some(overlay) = entries.iter().map(|entry| below.join(entry.file_name())).find(|path| is_kustomization(path)) {
        let message = "kustomize overlays are not supported: build this one with `kubectl kustomize`, and watch what it prints";
        out.push(ManifestFile { path: overlay, text: Err(message.to_owned()) });
        return Ok(());
    }
    for entry in entries {
        let name = entry.file_name();
        let path = below.join(&name);
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        // a link counts as what it leads to; one that leads nowhere is passed over
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        if ignored.matched(&path, metadata.is_dir()).is_ignore() {
            continue;
        }
        if metadata.is_dir() && depth < DEEPEST {
            match collect(root, &path, depth + 1, ignored, out) {
                // a folder that goes while we look is none
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        } else if metadata.is_file() && is_manifest(&path) {
            out.push(read_file(&entry.path(), path));
        }
    }
    Ok(())
}

/// Whether a file's name is one of a manifest.
pub fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    matches!(extension, "yaml" | "yml" | "json")
}

fn read_file(file: &Path, path: PathBuf) -> ManifestFile {
    let text = match fs::metadata(file) {
        Ok(metadata) if metadata.len() > LARGEST => Err(format!("larger than {} MiB", LARGEST >> 20)),
        _ => fs::read(file).map_err(|error| error.to_string()).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|error| format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
        }),
    };
    ManifestFile { path, text }
}

/// The objects of a text: `List` objects are taken apart. The first fault makes the whole text unusable, since a half-written
/// file must not be applied by halves.
pub fn parse(text: &str) -> Result<Vec<Manifest>, YamlError> {
    let mut out = Vec::new();
    for document in yaml::documents(text) {
        let document = document?;
        if let Some(duplicate) = document.duplicates.into_iter().next() {
            return Err(duplicate);
        }
        let (index, line) = (document.index, document.line);
        let fault = |message: String| YamlError { line, column: 1, message };
        let Some(fields) = document.value.as_object() else { return Err(fault("a manifest is a map with apiVersion and kind".into())) };
        let is_list = fields.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        match fields.get("items").filter(|_| is_list) {
            Some(Value::Array(items)) => out.extend(items.iter().map(|item| Manifest { index, line, object: item.clone() })),
            _ => out.push(Manifest { index, line, object: document.value }),
        }
    }
    for manifest in &out {
        for field in ["apiVersion", "kind"] {
            if manifest.object[field].as_str().is_none_or(str::is_empty) {
                return Err(YamlError { line: manifest.line, column: 1, message: format!("{field} is not set") });
            }
        }
        if manifest.object.pointer("/metadata/name").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(YamlError { line: manifest.line, column: 1, message: "metadata.name is not set".into() });
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_are_found_by_name_and_documents_counted() {
        let directory = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("b.yaml", "kind: A");
        write("sub/a.yml", "kind: A");
        write(".git/x.yaml", "kind: A");
        write("notes.txt", "no manifest");
        write("c.json", "{}");
        std::os::unix::fs::symlink("nowhere.yaml", directory.path().join("d.yaml")).unwrap();
        let paths: Vec<_> = read(directory.path()).unwrap().into_iter().map(|file| file.path.display().to_string()).collect();
        assert_eq!(paths, ["b.yaml", "c.json", "sub/a.yml"]);
        write(".coracleignore", "*.json\n/sub/\n!keep.yaml\n");
        let paths: Vec<_> = read(directory.path()).unwrap().into_iter().map(|file| file.path.display().to_string()).collect();
        assert_eq!(paths, ["b.yaml"]);
        fs::remove_file(directory.path().join(".coracleignore")).unwrap();
        write("sub/kustomization.yaml", "resources: [a.yml]");
        let files = read(directory.path()).unwrap();
        assert_eq!(files[2].path, Path::new("sub/kustomization.yaml"));
        assert!(files[2].text.as_ref().unwrap_err().starts_with("kustomize overlays are not supported"));
    }

    #[test]
    fn faults_have_a_place() {
        let object = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n");
        let two = format!("{}---\n{}", object("a"), object("b"));
        assert_eq!(parse(&two).unwrap().iter().map(|manifest| manifest.line).collect::<Vec<_>>(), [1, 6]);
        assert_eq!(
            parse("apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: x}\n").unwrap()[0].object["kind"],
            "Pod"
        );
        let broken = parse(&format!("{}---\nkind: [\n", object("a"))).unwrap_err();
        assert!(broken.line >= 6, "{broken}");
        assert_eq!(parse("- 1").unwrap_err().message, "a manifest is a map with apiVersion and kind");
        assert_eq!(parse(&format!("{}---\nkind: Pod\n", object("a"))).unwrap_err().to_string(), "line 6, column 1: apiVersion is not set");
    }
}

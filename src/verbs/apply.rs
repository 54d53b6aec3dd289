//! `apply` and `diff`: manifests, by server-side apply.

use std::path::PathBuf;

use clap::Args;
use coracle_api::yaml;
use coracle_manifests::documents::Source;
use coracle_manifests::{ApplyOptions, DocumentState, DocumentStatus, FolderStatus};
use serde_json::Value;
use similar::TextDiff;

use crate::error::VerbError;
use crate::session::{Out, Session};

/// Which manifests.
#[derive(Debug, Clone, Args)]
pub struct Manifests {
    /// A file, a folder (all that is below it), or - for standard input
    #[arg(short, long = "filename", value_name = "PATH", required_unless_present = "paths")]
    pub filename: Vec<PathBuf>,
    /// The same without -f
    #[arg(value_name = "PATH", conflicts_with = "filename")]
    pub paths: Vec<PathBuf>,
    /// Take fields from whoever owns them
    #[arg(long)]
    pub force_conflicts: bool,
}

impl Manifests {
    /// The sources that are named; standard input is read to its end.
    pub fn sources(&self) -> Result<Vec<Source>, VerbError> {
        let source = |path: &PathBuf| match path.to_str() {
            Some("-") => std::io::read_to_string(std::io::stdin()).map(Source::Text),
            Some(url) if url.starts_with("https://") || url.starts_with("http://") => {
                Err(std::io::Error::other("addresses are not read: get the file first, or pipe it to `-f -`"))
            }
            _ => std::path::absolute(path).map(Source::Folder),
        };
        let named = self.filename.iter().chain(&self.paths);
        named.map(|path| source(path).map_err(|error| VerbError::wrong(format!("{}: {error}", path.display())))).collect()
    }

    fn options(&self, session: &Session) -> ApplyOptions {
        ApplyOptions { namespace: session.namespace.clone(), force: self.force_conflicts, ..ApplyOptions::default() }
    }
}

/// Applies sources, and deletes what they named before and name no more, if `prune` says so; that a source has no documents
/// at all is meant if `nothing` says so.
pub async fn apply(
    session: &Session,
    sources: Vec<Source>,
    manifests: &Manifests,
    prune: bool,
    nothing: bool,
    out: &mut Out<'_>,
) -> Result<(), VerbError> {
    let options = ApplyOptions { prune, nothing_is_meant: nothing, ..manifests.options(session) };
    let mut well = true;
    for source in sources {
        let path = source.path().to_owned();
        if let Source::Folder(path) = &source
            && !prune
            && !path.exists()
        {
            return Err(VerbError::wrong(format!("the path {:?} does not exist", path)));
        }
        let status = coracle_manifests::apply(session.client.clone(), source, &options).await;
        if !prune && status.files.is_empty() {
            return Err(VerbError::wrong(format!("no objects passed to apply: {} has no manifests", path.display())));
        }
        tell(&status, out);
        well &= status.is_well();
    }
    if well { Ok(()) } else { Err(VerbError::Said(1)) }
}

/// The objects that sources without documents made before; they are deleted only if somebody confirms it.
pub async fn left_over(session: &Session, sources: &[Source]) -> Result<Vec<String>, VerbError> {
    let mut left = Vec::new();
    for source in sources {
        if source.read().is_ok_and(|files| !files.is_empty()) {
            continue;
        }
        left.extend(coracle_manifests::left_over(session.client.clone(), source, &session.namespace).await?);
    }
    Ok(left)
}

fn tell(status: &FolderStatus, out: &mut Out<'_>) {
    for note in &status.notes {
        out.aside(format!("{}: {note}", status.dir.display()));
    }
    for file in &status.files {
        if let Some((line, column, message)) = &file.error {
            out.aside(format!("error: {}: {}{message}", file.path.display(), place(*line, *column)));
        }
        for document in &file.documents {
            let path = file.path.display();
            match became(document) {
                Ok(word) => out.line(format!("{} {word}", named(document))),
                Err(why) => out.aside(format!("error: {path}: {}{}: {why}", place(document.line, document.column), named(document))),
            }
        }
    }
}

fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!("line {line}, column {column}: ") }
}

fn named(document: &DocumentStatus) -> String {
    let kind = document.kind.to_lowercase();
    match document.group.as_str() {
        "" => format!("{kind}/{}", document.name),
        group => format!("{kind}.{group}/{}", document.name),
    }
}

fn became(document: &DocumentStatus) -> Result<&str, &str> {
    match document.state {
        DocumentState::Unchanged => Ok("unchanged"),
        DocumentState::Pruned => Ok("pruned"),
        DocumentState::Applied if document.message == "created" => Ok("created"),
        DocumentState::Applied => Ok("configured"),
        DocumentState::Conflict | DocumentState::Failed => Err(&document.message),
        DocumentState::Pending => Err("not applied"),
    }
}

/// Prints what applying sources would change, as `diff -u` does; whether anything would.
pub async fn diff(session: &Session, manifests: &Manifests, out: &mut Out<'_>) -> Result<bool, VerbError> {
    let options = manifests.options(session);
    let (mut differs, mut failed) = (false, false);
    for source in manifests.sources()? {
        let compared = coracle_manifests::compare(session.client.clone(), &source, &options).await;
        for one in compared.map_err(|error| VerbError::wrong(format!("{}: {error}", source.path().display())))? {
            let merged = match &one.merged {
                Ok(merged) => merged,
                Err(why) => {
                    let name = if one.name.is_empty() { String::new() } else { format!("{}: ", one.name) };
                    out.aside(format!("error: {}: {name}{why}", one.path.display()));
                    failed = true;
                    continue;
                }
            };
            let (old, new) = (one.live.as_ref().map(shown).unwrap_or_default(), shown(merged));
            if old != new {
                differs = true;
                let diff = TextDiff::from_lines(&old, &new);
                out.put(diff.unified_diff().header(&format!("LIVE/{}", one.name), &format!("MERGED/{}", one.name)).to_string());
            }
        }
    }
    if failed { Err(VerbError::Said(2)) } else { Ok(differs) }
}

/// An object without what changes with every write.
fn shown(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"] {
            metadata.remove(field);
        }
    }
    yaml::to_string(&object)
}

//! `delete`: objects, and waiting until they are gone.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use coracle_manifests::documents;

use crate::call::Call;
use crate::error::VerbError;
use crate::get::Selection;
use crate::kinds::Target;
use crate::session::{Named, Out, Session};

/// Deletes objects
#[derive(Debug, Clone, Args)]
pub struct Delete {
    /// As `pod NAME`, `pod/NAME`, `pods -l app=web` or `pods --all`
    #[arg(value_name = "TYPE", required_unless_present = "filename")]
    what: Vec<String>,
    /// The objects of these manifests
    #[arg(short, long, value_name = "PATH", conflicts_with = "what")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    selection: Selection,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// Seconds that pods have to end
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    grace_period: Option<i64>,
    /// Do not wait for the node: with a grace period of 0 pods are gone at once, whether they have ended or not
    #[arg(long)]
    force: bool,
    /// A grace period of 1 second
    #[arg(long, conflicts_with = "grace_period")]
    now: bool,
    /// What becomes of what the object owns: background, foreground or orphan
    #[arg(long, value_name = "HOW", default_value = "background")]
    cascade: String,
    /// What is not there is no fault
    #[arg(long)]
    ignore_not_found: bool,
    /// Wait until they are gone
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    wait: bool,
}

impl Delete {
    /// Deletes them.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let grace = match (self.now, self.force, self.grace_period) {
            (true, ..) => Some(1),
            (_, true, None) => Some(0),
            (_, _, given) => given.filter(|seconds| *seconds >= 0),
        };
        let propagation = match self.cascade.as_str() {
            "background" | "true" => "Background",
            "foreground" => "Foreground",
            "orphan" | "false" => "Orphan",
            other => {
                return Err(VerbError::wrong(format!(
                    "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
                )));
            }
        };
        if self.force && grace == Some(0) {
            out.aside("Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.");
        }
        let (mut going, mut failed) = (Vec::new(), None);
        for target in self.targets(session).await? {
            match session.ask(&Call::delete(&target, propagation, grace)).await {
                Ok(answer) => {
                    let word = if self.force && grace == Some(0) { "force deleted" } else { "deleted" };
                    let kind = if target.kind.group.is_empty() {
                        target.kind.singular.clone()
                    } else {
                        format!("{}.{}", target.kind.singular, target.kind.group)
                    };
                    out.line(format!("{kind} {:?} {word}", target.name));
                    let uid = answer.pointer("/details/uid").or(answer.pointer("/metadata/uid")).cloned().unwrap_or_default();
                    going.push((target, uid));
                }
                Err(error) if error.is_not_found() && (self.ignore_not_found || self.all || self.selection.selector.is_some()) => {}
                Err(error) => failed = said(failed, error, out),
            }
        }
        if going.is_empty() && failed.is_none() && !self.ignore_not_found {
            out.line("No resources found");
        }
        for (target, uid) in going.iter().filter(|_| self.wait) {
            loop {
                match session.read(target.path()).await {
                    Ok(now) if now["metadata"]["uid"] == *uid => tokio::time::sleep(Duration::from_millis(100)).await,
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => break,
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn targets(&self, session: &Session) -> Result<Vec<Target>, VerbError> {
        let mut found = Vec::new();
        for path in &self.filename {
            let files = documents::read(path).map_err(|error| VerbError::wrong(format!("{}: {error}", path.display())))?;
            for file in files {
                let text = file.text.map_err(|why| VerbError::wrong(format!("{}: {why}", file.path.display())))?;
                let parsed = documents::parse(&text).map_err(|why| VerbError::wrong(format!("{}: {why}", file.path.display())))?;
                for manifest in parsed {
                    let target = session.target_of(&manifest.object).await?;
                    if target.name.is_empty() {
                        return Err(VerbError::wrong(format!("{}: resource name may not be empty", file.path.display())));
                    }
                    found.push(target);
                }
            }
        }
        let several = self.all || self.selection.selector.is_some() || self.selection.field_selector.is_some();
        for one in if self.filename.is_empty() { session.targets(&self.what).await? } else { Vec::new() } {
            match one {
                Named::One(target) => found.push(target),
                Named::All(_) if !several => {
                    return Err(VerbError::wrong("resource(s) were provided, but no name was specified"));
                }
                Named::All(kind) => {
                    for object in self.selection.list(session, &kind).await? {
                        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
                        found.push(Target { kind: kind.clone(), namespace: text("namespace"), name: text("name") });
                    }
                }
            }
        }
        Ok(found)
    }
}

/// Keeps the last failure for the end, and says the one before.
fn said(before: Option<VerbError>, error: VerbError, out: &mut Out<'_>) -> Option<VerbError> {
    before.iter().for_each(|error| out.aside(error.to_string()));
    Some(error)
}

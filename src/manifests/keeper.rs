//! Keeps a cluster as the documents of a source say, round by round.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use coracle_api::yaml;
use jiff::Zoned;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::applier::{Applied, Applier, Refusal};
use crate::applyset::{ApplySet, Member};
use crate::documents::{self, Manifest, ManifestFile, Source};
use crate::folder::Control;
use crate::status::{DocumentState, DocumentStatus, FileStatus, FolderStatus};

/// What may help itself is tried again after this time, and then ever later.
pub(crate) const RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(15);
/// After a change the folder is read once more: the system may not have told of what came into a folder that is new itself.
/// What is missed then too is gone.
const ONCE_MORE: Duration = Duration::from_secs(1);

/// Applies the documents of a source, and remembers what became of them.
pub(crate) struct Keeper {
    applier: Applier,
    /// What the documents made before; without it nothing is pruned.
    set: Option<ApplySet>,
    source: Source,
    sender: watch::Sender<FolderStatus>,
    /// What was sent last for each object and taken, with its status.
    applied: HashMap<Member, (Value, DocumentStatus)>,
    /// The file that an object was last read from.
    places: HashMap<Member, PathBuf>,
    control: Control,
    /// How long an object must be missed before it is deleted.
    patience: Duration,
}

/// Begins the note about a folder without documents.
const NOTHING: &str = "the folder has no documents";

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Taken,
    /// The same again would be refused again.
    Refused,
    /// Worth another try.
    Later,
}

/// Where a document stands in the status.
type Place = (usize, usize);

impl Keeper {
    pub(crate) fn new(
        applier: Applier,
        set: Option<ApplySet>,
        source: Source,
        sender: watch::Sender<FolderStatus>,
        control: Control,
    ) -> Self {
        Self { applier, set, source, sender, applied: HashMap::new(), places: HashMap::new(), control, patience: Duration::ZERO }
    }

    pub(crate) async fn run(mut self, mut changes: mpsc::UnboundedReceiver<()>) {
        self.patience = ONCE_MORE;
        let mut retry = RETRY;
        let control = self.control.clone();
        let mut once_more = true;
        loop {
            let settled = self.round().await;
            retry = if settled { RETRY } else { (retry * 2).min(LONGEST_RETRY) };
            let wait = match settled {
                true if once_more => ONCE_MORE,
                true => Duration::MAX,
                false => retry,
            };
            tokio::select! {
                change = changes.recv() => {
                    if change.is_none() {
                        return;
                    }
                    while changes.try_recv().is_ok() {}
                    retry = RETRY;
                    once_more = true;
                }
                () = control.0.wake.notified() => retry = RETRY,
                () = tokio::time::sleep(wait) => once_more &= !settled,
            }
        }
    }

    /// Reads the folder and applies what is new; `false` when something is worth another try without a change.
    pub(crate) async fn round(&mut self) -> bool {
        let files = match self.source.read() {
            Ok(files) => files,
            Err(error) => {
                let gone = error.kind() == std::io::ErrorKind::NotFound;
                let status = FileStatus { error: Some((0, 0, error.to_string())), ..FileStatus::default() };
                // a folder that is gone is an empty one
                let nothing = BTreeSet::new();
                let meant = gone && self.control.take_nothing();
                self.sender.send_modify(|folder| folder.files = if meant { Vec::new() } else { vec![status] });
                self.note_nothing(gone && !meant).await;
                return meant && self.prune(&nothing, Duration::ZERO).await;
            }
        };
        let parsed: Vec<(FileStatus, Vec<Manifest>)> = files.iter().map(parse).collect();
        let (mut work, mut named) = (Vec::<(Place, Manifest)>::new(), Vec::new());
        let mut statuses = Vec::new();
        for (at, (mut status, manifests)) in parsed.into_iter().enumerate() {
            status.paused = self.control.is_paused(&status.path);
            let again = self.control.take_again(&status.path);
            named.extend(manifests.iter().map(|manifest| (at, manifest.object.clone())));
            if again {
                // what is not remembered is sent
                self.applied.retain(|key, _| !manifests.iter().any(|manifest| is_of(key, &manifest.object)));
            }
            if again || !status.paused {
                work.extend(manifests.into_iter().enumerate().map(|(index, manifest)| ((at, index), manifest)));
            } else {
                for (document, manifest) in status.documents.iter_mut().zip(&manifests) {
                    self.recall(document, &manifest.object);
                }
            }
            statuses.push(status);
        }
        let readable = statuses.iter().all(|file: &FileStatus| file.error.is_none() || documents::is_kustomization(&file.path));
        let only_looked_at = work.is_empty() && !statuses.is_empty() && statuses.iter().all(|file| file.paused);
        self.sender.send_modify(|folder| folder.files = statuses);
        if only_looked_at {
            return true;
        }
        work.sort_by_key(|(place, manifest)| (rank(&manifest.object), *place));
        let members = self.members(&named, &files).await;
        let announced = match &mut self.set {
            Some(set) => set.announce(&members, self.source.path()).await,
            None => Ok(()),
        };
        if let Err(error) = &announced {
            tracing::warn!(folder = %self.source.path().display(), %error, "the parent of the folder's objects was not written");
            // It may not be, or its namespace comes with the documents: what is applied without it is not pruned.
            if !matches!(error, kube::Error::Api(status) if matches!(status.code, 403 | 404)) {
                return false;
            }
        }
        let mut outcomes = Vec::new();
        for (place, manifest) in work {
            let text = files[place.0].text.as_deref().unwrap_or_default();
            outcomes.push(self.one(place, &manifest, text).await);
        }
        let taken = outcomes.iter().all(|outcome| *outcome == Outcome::Taken);
        let nothing_is_meant = members.is_empty() && self.control.take_nothing();
        let meant = !members.is_empty() || nothing_is_meant;
        let patience = if nothing_is_meant { Duration::ZERO } else { self.patience };
        let pruned = match &announced {
            Ok(()) if readable && taken && meant => self.prune(&members, patience).await,
            Err(kube::Error::Api(status)) => status.code == 403,
            _ => true,
        };
        self.note_nothing(members.is_empty() && !meant && readable).await;
        pruned && !outcomes.contains(&Outcome::Later)
    }

    /// Says that what an empty folder made stays until somebody confirms that it is meant.
    async fn note_nothing(&mut self, is_empty: bool) {
        let mut left = 0;
        if let Some(set) = self.set.as_mut().filter(|_| is_empty) {
            left = set.left(&BTreeSet::new()).await.map_or(0, |left| left.len());
        }
        let note = format!("{NOTHING}: {left} objects that it made stay until `coracle apply --prune` confirms it");
        self.sender.send_if_modified(|folder| {
            let had = folder.notes.len();
            folder.notes.retain(|known| !known.starts_with(NOTHING) || (left > 0 && *known == note));
            let add = left > 0 && !folder.notes.contains(&note);
            folder.notes.extend(add.then_some(note));
            add || folder.notes.len() != had
        });
    }

    /// The objects that the documents name, those of paused files too; objects of kinds that are not known yet are no
    /// members yet.
    async fn members(&mut self, named: &[(usize, Value)], files: &[ManifestFile]) -> BTreeSet<Member> {
        let mut members = BTreeSet::new();
        for (file, object) in named {
            let Ok(namespace) = self.applier.namespace_of(object).await else { continue };
            let member = member(object, namespace);
            self.places.insert(member.clone(), files[*file].path.clone());
            members.insert(member);
        }
        members
    }

    /// Deletes what no document names any more, and says so beside the file it came from; `false` when there may be more
    /// to delete.
    async fn prune(&mut self, members: &BTreeSet<Member>, patience: Duration) -> bool {
        let Some(set) = &mut self.set else { return true };
        let pruned = match set.prune(members, self.source.path(), patience).await {
            Ok(pruned) => pruned,
            Err(error) => {
                tracing::warn!(folder = %self.source.path().display(), %error, "not all that no document names was deleted");
                return false;
            }
        };
        for member in pruned.gone {
            self.applied.remove(&member);
            let path = self.places.remove(&member).unwrap_or_default();
            let Member { group, kind, namespace, name } = member;
            let applied_at = Zoned::now().strftime("%H:%M:%S").to_string();
            let status =
                DocumentStatus { group, kind, namespace, name, state: DocumentState::Pruned, applied_at, ..DocumentStatus::default() };
            self.sender.send_modify(|folder| match folder.files.iter_mut().find(|file| file.path == path) {
                Some(file) => file.documents.push(status),
                None => {
                    folder.files.push(FileStatus { path, documents: vec![status], ..FileStatus::default() });
                    folder.files.sort_by(|a, b| a.path.cmp(&b.path));
                }
            });
        }
        !pruned.spared
    }

    /// What became of an object when it was sent last.
    fn recall(&self, document: &mut DocumentStatus, object: &Value) {
        if let Some((_, known)) = self.applied.iter().find(|(key, _)| is_of(key, object)).map(|(_, sent)| sent) {
            document.clone_from(known);
        }
    }

    async fn one(&mut self, place: Place, manifest: &Manifest, text: &str) -> Outcome {
        let begun = Instant::now();
        let mut status = described(&manifest.object);
        let namespace = self.applier.namespace_of(&manifest.object).await;
        if let Ok(namespace) = &namespace {
            status.namespace.clone_from(namespace);
        }
        let key = member(&manifest.object, status.namespace.clone());
        if let Some((_, known)) = self.applied.get(&key).filter(|(sent, _)| *sent == manifest.object) {
            let known = known.clone();
            self.tell(place, known);
            return Outcome::Taken;
        }
        let result = match namespace {
            Ok(_) => self.applier.apply(&manifest.object).await,
            Err(refusal) => Err(refusal),
        };
        let outcome = match result {
            Ok(applied) => {
                status.state = if applied == Applied::Unchanged { DocumentState::Unchanged } else { DocumentState::Applied };
                match applied {
                    Applied::Created => "created",
                    Applied::Changed => "changed",
                    Applied::Unchanged => "",
                }
                .clone_into(&mut status.message);
                status.applied_at = Zoned::now().strftime("%H:%M:%S").to_string();
                status.took = Some(begun.elapsed());
                self.applied.insert(key, (manifest.object.clone(), status.clone()));
                Outcome::Taken
            }
            Err(refusal) => {
                self.applied.remove(&key);
                let outcome = if refusal.transient { Outcome::Later } else { Outcome::Refused };
                refused(&mut status, refusal, manifest, text);
                outcome
            }
        };
        self.tell(place, status);
        outcome
    }

    fn tell(&self, (file, document): Place, status: DocumentStatus) {
        self.sender.send_if_modified(|folder| {
            let Some(slot) = folder.files.get_mut(file).and_then(|file| file.documents.get_mut(document)) else { return false };
            let differs = *slot != status;
            *slot = status;
            differs
        });
    }
}

/// Whether an object is this member; without a namespace of its own it may be in any.
fn is_of(key: &Member, object: &Value) -> bool {
    let own = member(object, object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default().to_owned());
    let namespace = if own.namespace.is_empty() { key.namespace.clone() } else { own.namespace.clone() };
    *key == Member { namespace, ..own }
}

fn member(object: &Value, namespace: String) -> Member {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").split_once('/').map_or("", |(group, _)| group).to_owned();
    Member { group, kind: text("/kind").to_owned(), namespace, name: text("/metadata/name").to_owned() }
}

/// Namespaces first, then definitions of kinds, then the rest.
fn rank(object: &Value) -> u8 {
    match object["kind"].as_str() {
        Some("Namespace") => 0,
        Some("CustomResourceDefinition") => 1,
        _ => 2,
    }
}

fn described(object: &Value) -> DocumentStatus {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    DocumentStatus {
        group: text("/apiVersion").split_once('/').map_or_else(String::new, |(group, _)| group.to_owned()),
        kind: text("/kind"),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
        ..DocumentStatus::default()
    }
}

fn parse(file: &ManifestFile) -> (FileStatus, Vec<Manifest>) {
    let mut status = FileStatus { path: file.path.clone(), ..FileStatus::default() };
    let parsed = match &file.text {
        Err(message) => Err((0, 0, message.clone())),
        Ok(text) => documents::parse(text).map_err(|error| (error.line, error.column, error.message)),
    };
    match parsed {
        Ok(manifests) => {
            status.documents = manifests.iter().map(|manifest| described(&manifest.object)).collect();
            (status, manifests)
        }
        Err(error) => {
            status.error = Some(error);
            (status, Vec::new())
        }
    }
}

fn refused(status: &mut DocumentStatus, refusal: Refusal, manifest: &Manifest, text: &str) {
    status.state = if refusal.conflict { DocumentState::Conflict } else { DocumentState::Failed };
    let place = refusal.field.as_deref().and_then(|field| yaml::locate(text, manifest.index, field.trim_start_matches('.')));
    (status.line, status.column) = place.unwrap_or((manifest.line, 1));
    status.message = refusal.message;
}

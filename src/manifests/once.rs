//! A source that is applied, or compared with the cluster, once.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use tokio::sync::watch;

use crate::applier::Applier;
use crate::applyset::ApplySet;
use crate::documents::{self, Source};
use crate::folder::Control;
use crate::keeper::{Keeper, RETRY};
use crate::status::{DocumentState, FolderStatus};

/// How often what may help itself is tried: definitions of kinds are established within moments.
const TRIES: u32 = 20;

/// How a source is applied.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// Where objects go that do not say it.
    pub namespace: String,
    /// Fields that others own are taken from them.
    pub force: bool,
    /// What the source made before and names no more is deleted.
    pub prune: bool,
    /// It is meant that the source has no documents.
    pub nothing_is_meant: bool,
}

/// Applies a source once and says what became of its documents.
pub async fn apply(client: kube::Client, source: Source, options: &ApplyOptions) -> FolderStatus {
    let set = options.prune.then(|| ApplySet::new(client.clone(), source.path(), &options.namespace));
    let id = set.as_ref().map(|set| set.id().to_owned());
    let applier = Applier::new(client, options.namespace.clone(), id).forcing(options.force);
    let (sender, status) = watch::channel(FolderStatus { dir: source.path().to_owned(), ..FolderStatus::default() });
    let control = Control::default();
    let mut keeper = Keeper::new(applier, set, source, sender, control.clone());
    for _ in 0..TRIES {
        if options.nothing_is_meant {
            control.confirm_nothing();
        }
        if keeper.round().await || status.borrow().files.iter().any(|file| file.error.is_some()) {
            break;
        }
        tokio::time::sleep(RETRY).await;
    }
    status.borrow().clone()
}

/// The objects that a source made when it was applied before and that it does not name, as `ConfigMap default/a`.
pub async fn left_over(client: kube::Client, source: &Source, namespace: &str) -> Result<Vec<String>, kube::Error> {
    let left = ApplySet::new(client, source.path(), namespace).left(&BTreeSet::new()).await?;
    let shown = |member: crate::applyset::Member| match member.namespace.as_str() {
        "" => format!("{} {}", member.kind, member.name),
        namespace => format!("{} {namespace}/{}", member.kind, member.name),
    };
    Ok(left.into_iter().map(|left| shown(left.member)).collect())
}

/// A document beside what the cluster has of it.
#[derive(Debug, Clone)]
pub struct Compared {
    /// The file below its source.
    pub path: PathBuf,
    /// `apps.v1.Deployment.default.web`, as kubectl names the files it compares.
    pub name: String,
    /// The object as it is; `None` where it is not there.
    pub live: Option<Value>,
    /// As it would be if the document were applied, or why it would not be.
    pub merged: Result<Value, String>,
}

/// Compares the documents of a source with the cluster; nothing is changed there.
pub async fn compare(client: kube::Client, source: &Source, options: &ApplyOptions) -> std::io::Result<Vec<Compared>> {
    let mut applier = Applier::new(client, options.namespace.clone(), None).forcing(options.force);
    let mut out = Vec::new();
    for file in source.read()? {
        let failed = |message: String| Compared { path: file.path.clone(), name: String::new(), live: None, merged: Err(message) };
        let parsed = match &file.text {
            Ok(text) => documents::parse(text).map_err(|error| error.to_string()),
            Err(message) => Err(message.clone()),
        };
        let manifests = match parsed {
            Ok(manifests) => manifests,
            Err(message) => {
                out.push(failed(message));
                continue;
            }
        };
        for manifest in manifests {
            let text = |pointer: &str| manifest.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let namespace = applier.namespace_of(&manifest.object).await.unwrap_or_default();
            let name = format!("{}.{}.{namespace}.{}", text("/apiVersion").replace('/', "."), text("/kind"), text("/metadata/name"));
            let compared = match applier.compare(&manifest.object).await {
                Ok((live, merged)) => Compared { path: file.path.clone(), name, live, merged: Ok(merged) },
                Err(refusal) => Compared { name, ..failed(refusal.message) },
            };
            out.push(compared);
        }
    }
    Ok(out)
}

impl FolderStatus {
    /// Whether everything could be read and was taken.
    pub fn is_well(&self) -> bool {
        let refused = |state| matches!(state, DocumentState::Pending | DocumentState::Conflict | DocumentState::Failed);
        self.files.iter().all(|file| file.error.is_none() && !file.documents.iter().any(|document| refused(document.state)))
    }
}

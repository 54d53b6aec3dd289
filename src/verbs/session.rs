//! What every verb has in its hands: a cluster, the namespace that is meant, and the kinds that the cluster knows.

use std::io::Write;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::OnceCell;

use crate::call::Call;
use crate::discover::discover;
use crate::error::VerbError;
use crate::kinds::{Kind, Kinds, Target};

/// Where verbs do what they do.
pub struct Session {
    /// The cluster.
    pub client: kube::Client,
    /// The namespace that is meant where none is named.
    pub namespace: String,
    kinds: OnceCell<Kinds>,
}

/// Where what a verb says goes.
pub struct Out<'a> {
    /// Its output.
    pub text: &'a mut (dyn Write + Send),
    /// What is said beside it.
    pub beside: &'a mut (dyn Write + Send),
}

impl Out<'_> {
    /// A line of output. Whoever reads no more is told nothing.
    pub fn line(&mut self, line: impl AsRef<str>) {
        let _ = writeln!(self.text, "{}", line.as_ref());
    }

    /// Output as it is.
    pub fn put(&mut self, text: impl AsRef<[u8]>) {
        let _ = self.text.write_all(text.as_ref());
        let _ = self.text.flush();
    }

    /// A line beside the output.
    pub fn aside(&mut self, line: impl AsRef<str>) {
        let _ = writeln!(self.beside, "{}", line.as_ref());
    }
}

impl Session {
    /// A session on a cluster.
    pub fn new(client: kube::Client, namespace: String) -> Self {
        Self { client, namespace, kinds: OnceCell::new() }
    }

    /// Asks the server.
    pub async fn ask(&self, call: &Call) -> Result<Value, VerbError> {
        let request = call.request().map_err(|fault| VerbError::wrong(fault.message))?;
        Ok(self.client.request::<Value>(request).await?)
    }

    /// Asks for something by its path.
    pub async fn read(&self, path: impl Into<String>) -> Result<Value, VerbError> {
        self.ask(&Call::get(path)).await
    }

    /// The kinds that the server knows.
    pub async fn kinds(&self) -> Result<&Kinds, VerbError> {
        self.kinds
            .get_or_try_init(|| async {
                let found = discover(&self.client).await.map_err(|fault| VerbError::Unreachable(fault.message))?;
                Ok(Kinds::discovered(found))
            })
            .await
    }

    /// The kind that a word names.
    pub async fn kind(&self, word: &str) -> Result<Arc<Kind>, VerbError> {
        let unknown = || VerbError::wrong(format!("the server doesn't have a resource type {word:?}"));
        self.kinds().await?.find(word).ok_or_else(unknown)
    }

    /// The kinds that a word names: `pods`, `pods,services`, `all`.
    pub async fn kinds_of(&self, words: &str) -> Result<Vec<Arc<Kind>>, VerbError> {
        let mut found = Vec::new();
        for word in words.split(',').filter(|word| !word.is_empty()) {
            let known = self.kinds().await?;
            let mut category: Vec<_> =
                known.all().iter().filter(|kind| kind.categories.iter().any(|category| category == word)).cloned().collect();
            if category.is_empty() {
                category.push(self.kind(word).await?);
            }
            found.extend(category);
        }
        Ok(found)
    }

    /// The object of a kind and name, in the session's namespace.
    pub fn target(&self, kind: Arc<Kind>, name: &str) -> Target {
        let namespace = if kind.namespaced { self.namespace.clone() } else { String::new() };
        Target { kind, namespace, name: name.to_owned() }
    }

    /// Where an object is that a manifest has.
    pub async fn target_of(&self, object: &Value) -> Result<Target, VerbError> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
        let unknown = || VerbError::wrong(format!("no matches for kind {:?} in version {:?}", text("/kind"), text("/apiVersion")));
        let kind = self.kinds().await?.by_kind(group, text("/kind")).ok_or_else(unknown)?;
        // the version that is written, not the one that the group prefers
        let kind = Arc::new(Kind { version: version.to_owned(), ..(*kind).clone() });
        let namespace = match (kind.namespaced, text("/metadata/namespace")) {
            (false, _) => String::new(),
            (true, "") => self.namespace.clone(),
            (true, namespace) => namespace.to_owned(),
        };
        Ok(Target { kind, namespace, name: text("/metadata/name").to_owned() })
    }

    /// The objects that words name: `pods a b`, `pod/a service/b`, and every object of `pods` where no name follows.
    pub async fn targets(&self, words: &[String]) -> Result<Vec<Named>, VerbError> {
        let Some(first) = words.first() else {
            return Err(VerbError::wrong("You must specify the type of resource, as in `pods`, `pod NAME` or `pod/NAME`"));
        };
        let mut found = Vec::new();
        if words.iter().any(|word| word.contains('/')) {
            for word in words {
                let split = word.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty());
                let Some((kind, name)) = split else {
                    let message =
                        "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form";
                    return Err(VerbError::wrong(format!(
                        "{message} (e.g. 'get resource/<resource_name>' instead of 'get resource resource/<resource_name>'"
                    )));
                };
                found.push(Named::One(self.target(self.kind(kind).await?, name)));
            }
            return Ok(found);
        }
        let kinds = self.kinds_of(first).await?;
        for kind in &kinds {
            match &words[1..] {
                [] => found.push(Named::All(kind.clone())),
                // in a path, no name at all would mean all objects
                names if names.iter().any(String::is_empty) => return Err(VerbError::wrong("resource name may not be empty")),
                names => found.extend(names.iter().map(|name| Named::One(self.target(kind.clone(), name)))),
            }
        }
        Ok(found)
    }

    /// The one object that words name.
    pub async fn one(&self, words: &[String]) -> Result<Target, VerbError> {
        match self.targets(words).await?.as_slice() {
            [Named::One(target)] => Ok(target.clone()),
            [Named::All(_)] => Err(VerbError::wrong("resource name may not be empty")),
            _ => Err(VerbError::wrong("exactly one object is to be named, as in `deployment/web`")),
        }
    }
}

/// What words name.
#[derive(Debug, Clone)]
pub enum Named {
    /// An object.
    One(Target),
    /// Every object of a kind.
    All(Arc<Kind>),
}

impl Named {
    /// Its kind.
    pub fn kind(&self) -> &Arc<Kind> {
        match self {
            Self::One(target) => &target.kind,
            Self::All(kind) => kind,
        }
    }
}

/// `deployment.apps/web`, as kubectl names an object in what it says.
pub fn shown(kind: &Kind, name: &str) -> String {
    match kind.group.as_str() {
        "" => format!("{}/{name}", kind.singular),
        group => format!("{}.{group}/{name}", kind.singular),
    }
}

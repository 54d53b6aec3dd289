//! Which objects a folder made, kept in the cluster as an ApplySet (KEP-3659): a parent Secret, and a label on each member.
//! What no document names any more is deleted.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::discovery::{self, Scope};
use serde_json::json;
use sha2::{Digest, Sha256};

/// On each member: the set it belongs to.
pub(crate) const PART_OF: &str = "applyset.kubernetes.io/part-of";
const ID: &str = "applyset.kubernetes.io/id";
const TOOLING: &str = "applyset.kubernetes.io/tooling";
const KINDS: &str = "applyset.kubernetes.io/contains-group-kinds";
const NAMESPACES: &str = "applyset.kubernetes.io/additional-namespaces";
const MANAGER: &str = "coracle-applyset";

/// What identifies a member: group, kind, namespace (empty for kinds without one) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Member {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Member {
    /// `Deployment.apps`, `ConfigMap`.
    pub(crate) fn group_kind(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group) }
    }
}

/// An object of the set that is no member.
pub(crate) struct Left {
    pub(crate) member: Member,
    uid: Option<String>,
    resource: ApiResource,
}

/// The set of a folder.
pub(crate) struct ApplySet {
    client: kube::Client,
    /// Where the parent lives.
    namespace: String,
    name: String,
    id: String,
    /// What the parent says that the set contains; unknown before it was read.
    known: Option<Contents>,
    /// The members after the last prune: the same again need not be looked for.
    pruned: Option<BTreeSet<Member>>,
    missed: Missed,
}

/// Objects that no document named when the folder was read: while an editor saves, a file may be gone for a moment.
#[derive(Debug, Default)]
struct Missed(HashMap<Member, Instant>);

impl Missed {
    fn found(&mut self, members: &BTreeSet<Member>) {
        self.0.retain(|member, _| !members.contains(member));
    }

    /// Whether an object that is missed now was missed so long ago as well, and has not been found since.
    fn is_gone(&mut self, member: &Member, now: Instant, patience: Duration) -> bool {
        now.duration_since(*self.0.entry(member.clone()).or_insert(now)) >= patience
    }
}

/// What a prune did.
#[derive(Debug, Default)]
pub(crate) struct Pruned {
    /// What it deleted.
    pub(crate) gone: Vec<Member>,
    /// Whether something was spared that may be named again when the folder is read the next time.
    pub(crate) spared: bool,
}

/// Where members may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Contents {
    group_kinds: BTreeSet<String>,
    namespaces: BTreeSet<String>,
}

impl Contents {
    fn of(members: &BTreeSet<Member>) -> Self {
        let namespaces = members.iter().map(|member| member.namespace.clone()).filter(|namespace| !namespace.is_empty());
        Self { group_kinds: members.iter().map(Member::group_kind).collect(), namespaces: namespaces.collect() }
    }

    fn with(&self, more: &Self) -> Self {
        Self {
            group_kinds: self.group_kinds.union(&more.group_kinds).cloned().collect(),
            namespaces: self.namespaces.union(&more.namespaces).cloned().collect(),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A set's id, from its parent.
fn id_of(name: &str, namespace: &str) -> String {
    let text = URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{name}.{namespace}.Secret.")));
    format!("applyset-{text}-v1")
}

impl ApplySet {
    /// The set of `folder`, whose parent is in `namespace`.
    pub(crate) fn new(client: kube::Client, folder: &Path, namespace: &str) -> Self {
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
        let name = format!("coracle-{}", hexadecimal(&digest[..8]));
        Self {
            client,
            namespace: namespace.to_owned(),
            id: id_of(&name, namespace),
            name,
            known: None,
            pruned: None,
            missed: Missed::default(),
        }
    }

    /// What members are labelled with.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Says in the cluster where members will be, before there are any there.
    pub(crate) async fn announce(&mut self, members: &BTreeSet<Member>, folder: &Path) -> Result<(), kube::Error> {
        self.missed.found(members);
        let known = match self.known.clone() {
            Some(known) => known,
            None => self.read().await?,
        };
        let wanted = known.with(&Contents::of(members));
        let is_written = self.known.is_some() && wanted == known;
        self.known = Some(known);
        if members.is_empty() || is_written {
            return Ok(());
        }
        self.write(wanted, folder).await
    }

    /// Deletes what belongs to the set and is no member, and was none so long ago either. Everything that members come from
    /// has been read, and every member applied.
    pub(crate) async fn prune(&mut self, members: &BTreeSet<Member>, folder: &Path, patience: Duration) -> Result<Pruned, kube::Error> {
        let mut pruned = Pruned::default();
        if self.pruned.as_ref() == Some(members) {
            return Ok(pruned);
        }
        for Left { member, uid, resource } in self.left(members).await? {
            if !self.missed.is_gone(&member, Instant::now(), patience) {
                pruned.spared = true;
                continue;
            }
            let mut parameters = DeleteParams::background();
            parameters.preconditions = Some(Preconditions { uid, resource_version: None });
            match self.api(&resource, &member.namespace).delete(&member.name, &parameters).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(error),
                Ok(_) => pruned.gone.push(member),
            }
        }
        if pruned.spared {
            return Ok(pruned);
        }
        let contents = Contents::of(members);
        if self.known.as_ref() != Some(&contents) {
            self.write(contents, folder).await?;
        }
        self.pruned = Some(members.clone());
        self.missed.0.clear();
        Ok(pruned)
    }

    /// What belongs to the set and is no member.
    pub(crate) async fn left(&mut self, members: &BTreeSet<Member>) -> Result<Vec<Left>, kube::Error> {
        let known = match self.known.clone() {
            Some(known) => known,
            None => self.read().await?,
        };
        let mut left = Vec::new();
        for group_kind in &known.group_kinds {
            let Some((resource, scope)) = self.resource(group_kind).await? else { continue };
            let places: Vec<&str> = match scope {
                Scope::Cluster => vec![""],
                Scope::Namespaced => known.namespaces.iter().map(String::as_str).collect(),
            };
            for place in places {
                self.left_of(&resource, place, members, &mut left).await?;
            }
        }
        self.known = Some(known);
        Ok(left)
    }

    async fn left_of(
        &self,
        resource: &ApiResource,
        namespace: &str,
        members: &BTreeSet<Member>,
        left: &mut Vec<Left>,
    ) -> Result<(), kube::Error> {
        let selected = ListParams::default().labels(&format!("{PART_OF}={}", self.id));
        let found = match self.api(resource, namespace).list_metadata(&selected).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            found => found?,
        };
        for object in found {
            let member = Member {
                group: resource.group.clone(),
                kind: resource.kind.clone(),
                namespace: namespace.to_owned(),
                name: object.metadata.name.unwrap_or_default(),
            };
            if !members.contains(&member) && object.metadata.deletion_timestamp.is_none() {
                left.push(Left { member, uid: object.metadata.uid, resource: resource.clone() });
            }
        }
        Ok(())
    }

    /// Objects of a kind; `namespace` is empty for kinds without one.
    fn api(&self, resource: &ApiResource, namespace: &str) -> Api<DynamicObject> {
        match namespace {
            "" => Api::all_with(self.client.clone(), resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, resource),
        }
    }

    /// The version of a kind that its group prefers; `None` when the kind is gone.
    async fn resource(&self, group_kind: &str) -> Result<Option<(ApiResource, Scope)>, kube::Error> {
        let (kind, group) = group_kind.split_once('.').unwrap_or((group_kind, ""));
        match discovery::group(&self.client, group).await {
            Ok(found) => Ok(found.recommended_kind(kind).map(|(resource, capabilities)| (resource, capabilities.scope))),
            Err(kube::Error::Discovery(_)) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn read(&self) -> Result<Contents, kube::Error> {
        let Some(parent) = self.parents().get_metadata_opt(&self.name).await? else { return Ok(Contents::default()) };
        let annotations = parent.metadata.annotations.unwrap_or_default();
        let listed = |key: &str| {
            let text = annotations.get(key).map(String::as_str).unwrap_or_default();
            text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let mut namespaces = listed(NAMESPACES);
        namespaces.insert(self.namespace.clone());
        Ok(Contents { group_kinds: listed(KINDS), namespaces })
    }

    async fn write(&mut self, contents: Contents, folder: &Path) -> Result<(), kube::Error> {
        let joined = |all: &BTreeSet<String>, but: &str| all.iter().filter(|one| *one != but).cloned().collect::<Vec<_>>().join(",");
        let parent = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {
            "name": self.name, "labels": {ID: self.id},
            "annotations": {
                TOOLING: concat!("coracle/v", env!("CARGO_PKG_VERSION")),
                KINDS: joined(&contents.group_kinds, ""),
                NAMESPACES: joined(&contents.namespaces, &self.namespace),
                "coracle.local/folder": folder.to_string_lossy(),
            },
        }});
        let parameters = PatchParams::apply(MANAGER).force();
        self.parents().patch(&self.name, &parameters, &Patch::Apply(&parent)).await?;
        self.known = Some(contents);
        Ok(())
    }

    fn parents(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(group: &str, kind: &str, namespace: &str) -> Member {
        Member { group: group.to_owned(), kind: kind.to_owned(), namespace: namespace.to_owned(), name: "x".to_owned() }
    }

    #[test]
    fn ids_are_made_as_the_proposal_says() {
        let id = id_of("parent", "default");
        assert!(id.starts_with("applyset-") && id.ends_with("-v1") && id.len() == "applyset--v1".len() + 43, "{id}");
        assert_eq!(id, id_of("parent", "default"));
        assert_ne!(id, id_of("parent", "other"));
    }

    #[test]
    fn what_is_missed_for_a_moment_is_not_gone() {
        let (mut missed, patience, now) = (Missed::default(), Duration::from_secs(1), Instant::now());
        let (one, other) = (member("", "ConfigMap", "a"), member("", "ConfigMap", "b"));
        assert!(missed.is_gone(&one, now, Duration::ZERO), "whoever has no patience has been told");
        assert!(!missed.is_gone(&one, now, patience) && !missed.is_gone(&other, now, patience));
        missed.found(&BTreeSet::from([other.clone()]));
        assert!(missed.is_gone(&one, now + patience, patience));
        assert!(!missed.is_gone(&other, now + patience, patience), "it was there meanwhile");
        assert!(missed.is_gone(&other, now + patience * 2, patience));
    }

    #[test]
    fn contents_say_where_members_may_be() {
        let members = BTreeSet::from([member("apps", "Deployment", "a"), member("", "ConfigMap", "b"), member("", "Namespace", "")]);
        let contents = Contents::of(&members);
        assert_eq!(contents.group_kinds.iter().map(String::as_str).collect::<Vec<_>>(), ["ConfigMap", "Deployment.apps", "Namespace"]);
        assert_eq!(contents.namespaces.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b"]);
        let more = Contents::of(&BTreeSet::from([member("batch", "Job", "c")]));
        assert_eq!(contents.with(&more).group_kinds.len(), 4);
    }
}

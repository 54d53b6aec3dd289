//! The contexts of a kubeconfig, and the way to each.

use std::path::PathBuf;

use futures::future::BoxFuture;
use kube::config::Kubeconfig as File;

use crate::boot::Connection;

/// A context.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// Name of its cluster.
    pub cluster: String,
    /// Name of its user.
    pub user: String,
    /// Its namespace; empty is `default`.
    pub namespace: String,
    /// Address of its server.
    pub server: String,
}

/// The contexts there are.
pub trait Contexts: Send + Sync {
    /// All contexts.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn list(&self) -> Result<Vec<Context>, String>;

    /// The way to a context.
    fn connect(&self, name: String) -> BoxFuture<'static, Result<Connection, String>>;

    /// Changes a context's name.
    ///
    /// # Errors
    /// Why it cannot be changed.
    fn rename(&self, name: &str, new: &str) -> Result<(), String>;

    /// Takes a context out.
    ///
    /// # Errors
    /// Why it cannot be taken out.
    fn remove(&self, name: &str) -> Result<(), String>;
}

/// A kubeconfig file; `None` is `$KUBECONFIG` or `~/.kube/config`.
#[derive(Debug, Clone, Default)]
pub struct Kubeconfig {
    /// The file.
    pub path: Option<PathBuf>,
}

impl Kubeconfig {
    fn read(&self) -> Result<File, String> {
        match &self.path {
            Some(path) => File::read_from(path),
            None => File::read(),
        }
        .map_err(|error| error.to_string())
    }

    /// Changes the one file; of several in `$KUBECONFIG` it is not known which to change.
    fn change(&self, change: impl FnOnce(&mut File) -> Result<(), String>) -> Result<(), String> {
        let listed =
            || std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()).map(|list| std::env::split_paths(&list).collect::<Vec<_>>());
        let path = match (&self.path, listed()) {
            (Some(path), _) => path.clone(),
            (None, Some(paths)) if paths.len() == 1 => paths.into_iter().next().unwrap_or_default(),
            (None, Some(_)) => return Err("KUBECONFIG names several files".to_owned()),
            (None, None) => std::env::home_dir().ok_or("there is no home directory")?.join(".kube/config"),
        };
        let said = |error: std::io::Error| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(&path).map_err(said)?;
        let mut file = File::from_yaml(&text).map_err(|error| error.to_string())?;
        change(&mut file)?;
        let text = serde_yaml::to_string(&file).map_err(|error| error.to_string())?;
        // whole or not at all, with the permissions it had
        let fresh = path.with_extension("coracle-new");
        std::fs::write(&fresh, text).map_err(said)?;
        std::fs::set_permissions(&fresh, std::fs::metadata(&path).map_err(said)?.permissions()).map_err(said)?;
        std::fs::rename(&fresh, &path).map_err(said)
    }
}

impl Contexts for Kubeconfig {
    fn list(&self) -> Result<Vec<Context>, String> {
        let file = self.read()?;
        let server = |cluster: &str| {
            let named = file.clusters.iter().find(|named| named.name == cluster);
            named.and_then(|named| named.cluster.as_ref()?.server.clone()).unwrap_or_default()
        };
        let context = |named: &kube::config::NamedContext| {
            let context = named.context.clone().unwrap_or_default();
            Context {
                name: named.name.clone(),
                server: server(&context.cluster),
                cluster: context.cluster,
                user: context.user.unwrap_or_default(),
                namespace: context.namespace.unwrap_or_default(),
            }
        };
        Ok(file.contexts.iter().map(context).collect())
    }

    fn connect(&self, name: String) -> BoxFuture<'static, Result<Connection, String>> {
        let path = self.path.clone();
        Box::pin(async move {
            let remote = coracle_client::from_kubeconfig(path.as_deref(), Some(&name)).await.map_err(|error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                format!("{error}{cause}")
            })?;
            Ok(Connection {
                client: remote.client,
                context: remote.context,
                server: remote.server,
                namespace: Some(remote.namespace),
                embedded: false,
                folders: Vec::new(),
            })
        })
    }

    fn rename(&self, name: &str, new: &str) -> Result<(), String> {
        self.change(|file| {
            if file.contexts.iter().any(|context| context.name == new) {
                return Err(format!("there is a context {new} already"));
            }
            let named =
                file.contexts.iter_mut().find(|context| context.name == name).ok_or_else(|| format!("no context is called {name}"))?;
            new.clone_into(&mut named.name);
            if file.current_context.as_deref() == Some(name) {
                file.current_context = Some(new.to_owned());
            }
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        self.change(|file| {
            file.contexts.retain(|context| context.name != name);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn contexts_are_listed_renamed_and_taken_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(
            &path,
            "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters:\n- name: one\n  cluster:\n    server: https://one:6443\ncontexts:\n- name: a\n  context: {cluster: one, user: me, namespace: shop}\n- name: b\n  context: {cluster: two, user: me}\nusers: []\n",
        )
        .unwrap();
        let contexts = Kubeconfig { path: Some(path.clone()) };
        let first = contexts.list().unwrap().remove(0);
        assert_eq!((first.server.as_str(), first.namespace.as_str()), ("https://one:6443", "shop"));
        assert!(contexts.rename("a", "b").is_err());
        contexts.rename("a", "first").unwrap();
        contexts.remove("b").unwrap();
        let names: Vec<String> = contexts.list().unwrap().into_iter().map(|context| context.name).collect();
        assert_eq!(names, ["first"]);
        assert_eq!(File::read_from(&path).unwrap().current_context.as_deref(), Some("first"));
    }
}

//! A client of another cluster, from a kubeconfig file.

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};

/// A cluster reached through a kubeconfig.
#[derive(Clone)]
pub struct Remote {
    /// The client, with the context's user and default namespace.
    pub client: kube::Client,
    /// Name of the context in use.
    pub context: String,
    /// Default namespace of the context.
    pub namespace: String,
    /// Address of the API server.
    pub server: String,
}

/// Why no client came of a kubeconfig.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The file does not exist or cannot be parsed.
    #[error("cannot read kubeconfig")]
    Read(#[source] kube::config::KubeconfigError),
    /// The context is missing, or names a missing cluster or user.
    #[error("kubeconfig context {context:?} cannot be used")]
    Context {
        /// The context asked for; empty for the file's own.
        context: String,
        /// What is wrong with it.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// Its certificates, keys or proxies cannot be used.
    #[error("cannot connect with kubeconfig context {context:?}")]
    Client {
        /// The context.
        context: String,
        /// What is wrong.
        #[source]
        source: Box<kube::Error>,
    },
}

/// A client for `context` (else the file's current context) of the kubeconfig at `path` (else `$KUBECONFIG`, else
/// `~/.kube/config`). Does not contact the server.
pub async fn from_kubeconfig(path: Option<&Path>, context: Option<&str>) -> Result<Remote, KubeconfigError> {
    let file = read(path)?;
    let name = context.map(str::to_owned).or_else(|| file.current_context.clone()).unwrap_or_default();
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = kube::Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(|source| KubeconfigError::Context { context: name.clone(), source })?;
    let server = config.cluster_url.to_string();
    let client =
        kube::Client::try_from(config).map_err(|source| KubeconfigError::Client { context: name.clone(), source: Box::new(source) })?;
    Ok(Remote { namespace: client.default_namespace().to_owned(), client, context: name, server })
}

/// Names of the contexts of a kubeconfig, the current one first.
pub fn contexts(path: Option<&Path>) -> Result<Vec<String>, KubeconfigError> {
    let file = read(path)?;
    let mut names: Vec<String> = file.contexts.into_iter().map(|context| context.name).collect();
    if let Some(at) = names.iter().position(|name| Some(name) == file.current_context.as_ref()) {
        names[..=at].rotate_right(1);
    }
    Ok(names)
}

fn read(path: Option<&Path>) -> Result<Kubeconfig, KubeconfigError> {
    match path {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    }
    .map_err(KubeconfigError::Read)
}

//! The cluster that a command talks to.

use coracle_verbs::Session;

use super::arguments::Global;
use super::failure::Failure;
use super::home;

/// A client of the context or kubeconfig that is named; else of the running embedded cluster; else of the user's own
/// kubeconfig.
pub(crate) async fn remote(global: &Global) -> Result<coracle_client::Remote, Failure> {
    let directory = home::data_directory(global)?;
    let named = global.kubeconfig.is_some() || global.context.is_some();
    let own = directory.kubeconfig();
    let (file, context) = match &global.kubeconfig {
        Some(file) => (Some(file.as_path()), global.context.as_deref()),
        None if !named && directory.holder().is_some() => (Some(own.as_path()), Some("coracle")),
        None => (None, global.context.as_deref()),
    };
    let remote = coracle_client::from_kubeconfig(file, context).await;
    remote.map_err(|error| Failure::of(error).hint("start a cluster with `coracle up`, or name one with --kubeconfig and --context"))
}

/// The same for verbs, in the namespace that is named, or the context's.
pub(crate) async fn session(global: &Global) -> Result<Session, Failure> {
    let remote = remote(global).await?;
    Ok(Session::new(remote.client, global.namespace.clone().unwrap_or(remote.namespace)))
}

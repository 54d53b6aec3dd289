//! `coracle apply` and `coracle diff`: manifests, on any cluster.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use coracle_manifests::Folder;
use coracle_manifests::documents::Source;
use coracle_verbs::apply::{self, Manifests};
use coracle_verbs::{Out, Session};
use tokio::signal::unix::{SignalKind, signal};

use super::arguments::{Apply, Global};
use super::failure::Failure;
use super::{ask, connection, watched};

pub(crate) async fn run(global: &Global, options: Apply) -> Result<ExitCode, Failure> {
    let session = connection::session(global).await?;
    if options.watch {
        return watch(&session, &options.manifests).await;
    }
    // once: standard input has an end
    let sources = options.manifests.sources()?;
    let nothing = options.prune && confirmed(&session, &sources, options.yes).await?;
    let mut out = Out { text: &mut io::stdout(), beside: &mut io::stderr() };
    apply::apply(&session, sources, &options.manifests, options.prune, nothing, &mut out).await?;
    Ok(ExitCode::SUCCESS)
}

/// Whether it is meant that sources have no documents any more.
async fn confirmed(session: &Session, sources: &[Source], yes: bool) -> Result<bool, Failure> {
    let left = apply::left_over(session, sources).await?;
    if left.is_empty() || yes {
        return Ok(yes);
    }
    eprintln!("there are no manifests any more; {} objects were made of what was there:", left.len());
    left.iter().for_each(|object| eprintln!("  {object}"));
    if !ask::confirmed("delete them? [y/N] ")? {
        return Err(Failure::plain("nothing was deleted"));
    }
    Ok(true)
}

/// Keeps folders applied until a signal comes.
async fn watch(session: &Session, manifests: &Manifests) -> Result<ExitCode, Failure> {
    let folder = |source: Source| match source {
        Source::Folder(path) => Ok(path),
        Source::Text(_) => Err(Failure::plain("standard input is not watched: name a file or a folder")),
    };
    let folders: Vec<PathBuf> = manifests.sources()?.into_iter().map(folder).collect::<Result<_, _>>()?;
    let watch = |path: &PathBuf| Folder::watch(session.client.clone(), path, &session.namespace).map_err(Failure::of);
    let folders: Vec<Folder> = folders.iter().map(watch).collect::<Result<_, _>>()?;
    let telling = watched::tell(&folders);
    let failed = |error| Failure::new("signals cannot be received", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    telling.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn diff(global: &Global, manifests: Manifests) -> Result<ExitCode, Failure> {
    // as diff and kubectl: 0 the same, 1 different, more than 1 trouble
    let compared = async {
        let session = connection::session(global).await?;
        let mut out = Out { text: &mut io::stdout(), beside: &mut io::stderr() };
        Ok::<bool, Failure>(apply::diff(&session, &manifests, &mut out).await?)
    };
    let differs = compared.await.map_err(|failure: Failure| failure.with_code(2))?;
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

//! `coracle` and `coracle tui`: the terminal UI, on the cluster in this process, the running one, or any other.

use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use coracle_api::identity::Identity;
use coracle_cluster::{Cluster, Step, StepState, Steps};
use coracle_manifests::Folder;
use coracle_tui::manifests::Watched;
use coracle_tui::source::contexts::Kubeconfig;
use coracle_tui::{Boot, BootStep, Connection, Exit, Options};
use tokio::sync::{mpsc, oneshot};

use super::arguments::{Global, Open, Tui, View};
use super::failure::Failure;
use super::{cluster_start, connection, home, log, up};

/// Opens the UI on the running cluster, or starts one in this process. Without a terminal it does what `up` does.
pub(crate) async fn open(global: &Global, arguments: Open) -> Result<ExitCode, Failure> {
    let directory = home::data_directory(global)?;
    if directory.holder().is_some() {
        let options = options(global, &arguments.view, None);
        return show_remote(&directory.kubeconfig(), Some("coracle"), arguments.start.watch, options, &arguments.view).await;
    }
    if arguments.view.snapshot.is_none() && !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        eprintln!("there is no terminal: running the cluster without its UI, as `coracle up` does");
        let _log = log::start(&directory, global.verbose)?;
        return up::run_until_stopped(global, &arguments.start, None, false).await;
    }
    let _log = log::start(&directory, false)?;
    let config = cluster_start::configuration(global, &arguments.start)?;
    let (steps, boot, connected) = boot();
    let options = options(global, &arguments.view, first_view(&arguments.start.watch));
    let (owned, global) = (arguments.start.clone(), global.clone());
    // the cluster comes up beside the UI, which shows its steps
    let starting = tokio::spawn(async move {
        let (cluster, _) = match cluster_start::start(&global, &owned, config, &steps).await {
            Ok(started) => started,
            Err(failure) => {
                let _ = connected.send(Err(failure.to_string()));
                return Err(failure);
            }
        };
        let client = cluster.client(Identity::admin());
        let folders = watch_folders(&client, &owned.watch).inspect_err(|failure| tracing::error!("{failure}"));
        let server = format!("https://{}", cluster.address());
        let connection = Connection {
            client,
            context: "coracle".into(),
            server,
            namespace: None,
            embedded: true,
            folders: shown_folders(folders.as_deref().unwrap_or_default()),
        };
        let _ = connected.send(Ok(connection));
        Ok((cluster, folders.unwrap_or_default()))
    });
    let shown = show(options, boot, &arguments.view).await;
    let started = starting.await.map_err(|error| Failure::new("the cluster's start was interrupted", error))?;
    let (cluster, folders) = match (started, &shown) {
        (Ok(started), _) => started,
        (Err(failure), Ok(_)) => return Err(failure),
        (Err(_), Err(_)) => return shown.map(|_| ExitCode::FAILURE),
    };
    drop(folders);
    end(cluster, shown?).await
}

/// Stops the cluster, or leaves it to a process in the background when the person says so.
async fn end(cluster: Cluster, exit: Option<Exit>) -> Result<ExitCode, Failure> {
    if exit == Some(Exit::Quit) && keep_running() {
        let directory = cluster.directory().path().to_owned();
        cluster.stop(true).await;
        let program = std::env::current_exe().map_err(|error| Failure::new("this program's own file cannot be found", error))?;
        // in place of this process: what it still has open, the store above all, must be free
        let error = std::process::Command::new(program).args(["up", "--detach", "--data-dir"]).arg(directory).exec();
        return Err(Failure::new("the cluster cannot be kept running", error));
    }
    cluster.stop(false).await;
    Ok(code(exit))
}

/// Asks whether the cluster is to go on without its UI.
fn keep_running() -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    eprint!("keep the cluster running in the background? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// `coracle tui`: on a context of a kubeconfig; without one named, on the running embedded cluster if there is one.
pub(crate) async fn connect(global: &Global, arguments: Tui) -> Result<ExitCode, Failure> {
    let mut options = options(global, &arguments.view, arguments.command.clone());
    if global.kubeconfig.is_some() {
        options.contexts = Arc::new(Kubeconfig { path: global.kubeconfig.clone() });
    }
    show_connected(connection::remote(global).await?, arguments.watch, options, &arguments.view).await
}

async fn show_remote(
    file: &std::path::Path,
    context: Option<&str>,
    watch: Vec<PathBuf>,
    options: Options,
    view: &View,
) -> Result<ExitCode, Failure> {
    let remote = coracle_client::from_kubeconfig(Some(file), context).await.map_err(Failure::of)?;
    show_connected(remote, watch, options, view).await
}

async fn show_connected(remote: coracle_client::Remote, watch: Vec<PathBuf>, options: Options, view: &View) -> Result<ExitCode, Failure> {
    let folders = watch_folders(&remote.client, &watch)?;
    let connection = Connection {
        client: remote.client,
        context: remote.context,
        server: remote.server,
        namespace: Some(remote.namespace),
        embedded: false,
        folders: shown_folders(&folders),
    };
    Ok(code(show(options, Boot::connected(connection), view).await?))
}

/// Folders as the UI shows them.
fn shown_folders(folders: &[Folder]) -> Vec<Watched> {
    folders.iter().map(Watched::of).collect()
}

/// Whoever ends us by a signal is told so, as the shell would be.
fn code(exit: Option<Exit>) -> ExitCode {
    match exit {
        Some(Exit::Terminated) => ExitCode::from(128 + 15),
        Some(Exit::Hangup) => ExitCode::from(128 + 1),
        Some(Exit::Quit) | None => ExitCode::SUCCESS,
    }
}

/// Watches folders, objects without a namespace going to the client's own.
pub(crate) fn watch_folders(client: &kube::Client, folders: &[PathBuf]) -> Result<Vec<Folder>, Failure> {
    let watch = |folder: &PathBuf| Folder::watch(client.clone(), folder, client.default_namespace());
    folders.iter().map(watch).collect::<Result<_, _>>().map_err(Failure::of)
}

/// Shows the UI until it is left, or prints one frame.
async fn show(options: Options, boot: Boot, view: &View) -> Result<Option<Exit>, Failure> {
    let Some(size) = &view.snapshot else {
        return coracle_tui::run(options, boot).await.map(Some).map_err(Failure::of);
    };
    let parsed = size.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let (width, height) = parsed.ok_or_else(|| Failure::plain(format!("{size:?} is not a size such as 160x45")))?;
    let frame = match view.svg {
        true => {
            // a picture has all colours, whatever the terminal it is asked for in has
            let options = Options { colors: Some(coracle_tui::theme::ColorDepth::True), ..options };
            coracle_tui::snapshot_svg(options, boot, width, height, &view.keys).await
        }
        false => coracle_tui::snapshot(options, boot, width, height, &view.keys).await,
    };
    print!("{}", frame.map_err(Failure::of)?);
    Ok(None)
}

fn first_view(watch: &[PathBuf]) -> Option<String> {
    (!watch.is_empty()).then(|| "pods".to_owned())
}

fn options(global: &Global, view: &View, command: Option<String>) -> Options {
    Options {
        namespace: global.namespace.clone(),
        all_namespaces: view.all_namespaces,
        command,
        theme: view.theme.clone(),
        readonly: view.readonly,
        state_dir: home::state_directory(),
        config_dir: home::config_directory(),
        k9s_dir: home::k9s_directory(),
        ..Options::default()
    }
}

type Connected = oneshot::Sender<Result<Connection, String>>;

/// A cluster's start, told to the UI.
fn boot() -> (Steps, Boot, Connected) {
    let (sender, mut steps) = mpsc::unbounded_channel::<Step>();
    let (told, shown) = mpsc::unbounded_channel();
    let (connected, connection) = oneshot::channel();
    tokio::spawn(async move {
        while let Some(Step { name, state }) = steps.recv().await {
            let state = match state {
                StepState::Started => coracle_tui::StepState::Started,
                StepState::Done(took) => coracle_tui::StepState::Done(took),
                StepState::Failed(why) => coracle_tui::StepState::Failed(why),
            };
            let _ = told.send(BootStep { name: name.to_owned(), state });
        }
    });
    (Steps::told_to(sender), Boot { steps: shown, connection }, connected)
}

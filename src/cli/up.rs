//! `coracle up`: the cluster without UI.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use coracle_cluster::{Cluster, Steps};
use tokio::signal::unix::{SignalKind, signal};

use super::arguments::{Global, Start, Up};
use super::failure::Failure;
use super::{cluster_start, home, log, watched};

pub(crate) async fn run(global: &Global, options: Up) -> Result<ExitCode, Failure> {
    if options.detach {
        return detach();
    }
    let _log = log::start(&home::data_directory(global)?, global.verbose)?;
    run_until_stopped(global, &options.start, options.from.as_deref(), options.leave_pods).await
}

/// Runs the cluster until a signal or `coracle down` ends it.
pub(crate) async fn run_until_stopped(global: &Global, start: &Start, from: Option<&Path>, leave_pods: bool) -> Result<ExitCode, Failure> {
    let failed = |error| Failure::new("signals cannot be received", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut config = cluster_start::configuration(global, start)?;
    if let Some(snapshot) = from {
        coracle_cluster::make_of_snapshot(&mut config, snapshot).await?;
    }
    let steps = Steps::default();
    let (mut cluster, kubeconfig) = tokio::select! {
        started = cluster_start::start(global, start, config, &steps) => started?,
        _ = interrupt.recv() => return Ok(ExitCode::FAILURE),
        _ = terminate.recv() => return Ok(ExitCode::FAILURE),
    };
    let folders = super::tui::watch_folders(&cluster.client(coracle_api::identity::Identity::admin()), &start.watch)?;
    println!("{}", ready_line(&cluster, &kubeconfig));
    let telling = watched::tell(&folders);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = cluster.request() => {}
    }
    telling.iter().for_each(tokio::task::JoinHandle::abort);
    drop(folders);
    cluster.stop(leave_pods).await;
    Ok(ExitCode::SUCCESS)
}

fn ready_line(cluster: &Cluster, kubeconfig: &std::path::Path) -> String {
    format!(
        "ready in {}ms  https://{}  kubeconfig: {}  runtime: {}  nodes: {}",
        cluster.took().as_millis(),
        cluster.address(),
        kubeconfig.display(),
        cluster.shown_runtime(),
        cluster.node_count(),
    )
}

/// Starts this command again without `--detach`, in a session of its own, and waits until it is ready or has failed.
fn detach() -> Result<ExitCode, Failure> {
    use std::os::unix::process::CommandExt;
    let program = std::env::current_exe().map_err(|error| Failure::new("this program's own file cannot be found", error))?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1).filter(|argument| argument != "--detach"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| Failure::new("the cluster cannot be started", error))?;
    let first_line = child.stdout.take().map(BufReader::new).and_then(|mut output| {
        let mut line = String::new();
        output.read_line(&mut line).ok().filter(|&read| read > 0).map(|_| line)
    });
    match first_line {
        Some(line) => {
            print!("{line}");
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let said = child.stderr.take().map(std::io::read_to_string).and_then(Result::ok).unwrap_or_default();
            let _ = child.wait();
            eprint!("{said}");
            Ok(ExitCode::FAILURE)
        }
    }
}

//! What may be typed.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use coracle_cluster::{Cidr, RuntimeChoice};
use coracle_verbs::Verb;
use coracle_verbs::apply::Manifests;
use coracle_verbs::edit::Edit;
use coracle_verbs::exec::{Attach, Exec};
use coracle_verbs::run::Run;

use super::failure::Failure;

/// A whole Kubernetes for one machine, with its cockpit.
///
/// Without a command: opens the terminal UI on the running cluster, or starts one.
#[derive(Debug, Parser)]
#[command(name = "coracle", version)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(flatten)]
    pub(crate) open: Open,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Arguments {
    /// What was typed. Options of `coracle` alone mean nothing to a command, and are refused beside one.
    pub(crate) fn typed() -> Self {
        let matches = Self::command().get_matches();
        if let Some((name, _)) = matches.subcommand() {
            let alone = Open::augment_args(clap::Command::new(""));
            let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
            if let Some(option) = alone.get_arguments().find(|option| given(option.get_id().as_str())) {
                let option = option.get_long().unwrap_or_default();
                let message = format!("the option --{option} belongs to `coracle` alone, or comes after `{name}`");
                Self::command().error(ErrorKind::ArgumentConflict, message).exit();
            }
        }
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Where the cluster's data is
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Kubeconfig file to use, or for `up` to write
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Namespace; the context's if not given
    #[arg(short, long, global = true, value_name = "NS")]
    pub(crate) namespace: Option<String>,
    /// Say more, and print the whole chain of an error
    #[arg(long, global = true)]
    pub(crate) verbose: bool,
}

/// How a cluster is started.
#[derive(Debug, Clone, Args)]
pub(crate) struct Start {
    /// Where the API listens; 127.0.0.1:6443 or the next free port if not given
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// auto, docker, native or simulated
    #[arg(long, value_name = "RUNTIME", default_value = "auto")]
    pub(crate) runtime: RuntimeChoice,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    pub(crate) nodes: u16,
    /// Range of pods' addresses
    #[arg(long, value_name = "CIDR")]
    pub(crate) pod_cidr: Option<Cidr>,
    /// Range of services' addresses
    #[arg(long, value_name = "CIDR")]
    pub(crate) service_cidr: Option<Cidr>,
    /// Longest wait, in seconds, before a container that keeps failing is started again
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u16).range(1..=300))]
    pub(crate) max_container_restart_period: u16,
    /// Folder of manifests to keep applied
    #[arg(long, value_name = "DIR")]
    pub(crate) watch: Vec<PathBuf>,
    /// Restart workloads whose image is made anew under the same name
    #[arg(long)]
    pub(crate) restart_on_image: bool,
    #[command(flatten)]
    pub(crate) lifecycle: Lifecycle,
    #[command(flatten)]
    pub(crate) autoscaling: Autoscaling,
}

/// How soon a node that falls silent counts as lost, and what becomes of its pods: flags of Kubernetes' own components,
/// with their defaults.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Lost nodes")]
pub(crate) struct Lifecycle {
    /// How often nodes are looked at
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5s")]
    pub(crate) node_monitor_period: Duration,
    /// How long a node may be silent before it counts as lost
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "50s")]
    pub(crate) node_monitor_grace_period: Duration,
    /// How many lost nodes are emptied per second
    #[arg(long, value_name = "RATE", default_value_t = 0.1)]
    pub(crate) node_eviction_rate: f64,
    /// How long a node's lease is good for; it is renewed after a quarter of it
    #[arg(long, value_name = "SECONDS", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) node_lease_duration_seconds: u32,
    /// How long pods that do not say it stay on a node that is not ready
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) default_not_ready_toleration_seconds: u32,
    /// How long pods that do not say it stay on a node that is lost
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) default_unreachable_toleration_seconds: u32,
}

/// How quickly horizontal pod autoscalers follow: flags of Kubernetes' controller manager, with their defaults.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Autoscaling")]
pub(crate) struct Autoscaling {
    /// How often autoscalers look at their targets
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15s")]
    pub(crate) horizontal_pod_autoscaler_sync_period: Duration,
    /// How long a target that needs less replicas keeps them
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    pub(crate) horizontal_pod_autoscaler_downscale_stabilization: Duration,
    /// How long what a new pod uses may be what its start uses
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    pub(crate) horizontal_pod_autoscaler_cpu_initialization_period: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    Duration::try_from(parsed).ok().filter(|duration| !duration.is_zero()).ok_or_else(|| "it must be longer than nothing".to_owned())
}

/// `coracle` alone.
#[derive(Debug, Args)]
pub(crate) struct Open {
    #[command(flatten)]
    pub(crate) start: Start,
    #[command(flatten)]
    pub(crate) view: View,
}

/// What the UI shows first.
#[derive(Debug, Clone, Args)]
pub(crate) struct View {
    /// Begin with all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Change nothing
    #[arg(long)]
    pub(crate) readonly: bool,
    /// Name of the theme
    #[arg(long, value_name = "NAME", default_value = "dark")]
    pub(crate) theme: String,
    /// Print one frame of this size instead of opening a terminal
    #[arg(long, value_name = "WxH")]
    pub(crate) snapshot: Option<String>,
    /// Print the snapshot as an SVG picture
    #[arg(long, requires = "snapshot")]
    pub(crate) svg: bool,
    /// Keys to press before the snapshot, as `:pods<enter>`
    #[arg(long, value_name = "MACRO", requires = "snapshot", default_value = "")]
    pub(crate) keys: String,
}

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Open the terminal UI on a cluster of a kubeconfig, or on the running embedded one
    Tui(Tui),
    /// Run the cluster without UI
    Up(Up),
    /// Stop the running cluster, its pods too
    Down,
    /// Is the cluster up, and what does it use
    Status,
    /// Delete the cluster's data
    Reset(Reset),
    /// What works on this machine, and what would make the rest work
    Doctor(Doctor),
    /// Print the administrator's kubeconfig, or add it to ~/.kube/config
    Kubeconfig(Kubeconfig),
    /// Images without a registry
    #[command(subcommand)]
    Image(Image),
    /// Nodes of the running cluster
    #[command(subcommand)]
    Node(Node),
    /// Print where a service is reached
    Service {
        /// Its name
        name: String,
    },
    /// Apply manifests by server-side apply, once or whenever they change
    Apply(Apply),
    /// Print what applying manifests would change; exits with 1 when anything would
    Diff(Manifests),
    #[command(flatten)]
    Verb(Verb),
    /// Run a program in a container
    Exec(Exec),
    /// Edit an object
    Edit(Edit),
    /// Join the program that a container runs
    Attach(Attach),
    /// Run a pod of one container
    Run(Run),
    /// Write clean manifests of what runs
    Export {
        /// The folder; standard output without one
        folder: Option<PathBuf>,
    },
    /// The whole cluster state in one file
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Print the complete configuration, every key as a comment with its default
    Config,
    /// Print the manual page
    Man {
        /// Write it and the pages of all commands into this folder
        folder: Option<PathBuf>,
    },
    /// Print completions for a shell
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Tui {
    /// First view, as `deployments`
    pub(crate) command: Option<String>,
    #[command(flatten)]
    pub(crate) view: View,
    /// Folder of manifests to keep applied
    #[arg(long, value_name = "DIR")]
    pub(crate) watch: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) start: Start,
    /// Go on in the background once the cluster is ready
    #[arg(long)]
    pub(crate) detach: bool,
    /// Make a new cluster of a snapshot
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// Leave pods running at the end
    #[arg(long)]
    pub(crate) leave_pods: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) manifests: Manifests,
    /// Delete what the same folder made before and names no more
    #[arg(long, conflicts_with = "watch")]
    pub(crate) prune: bool,
    /// Keep the folder applied, pruned too, until this is ended
    #[arg(long, conflicts_with = "force_conflicts")]
    pub(crate) watch: bool,
    /// Do not ask before everything is deleted that an emptied folder made
    #[arg(long, requires = "prune")]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Save the running cluster's state
    Save {
        /// The file
        file: PathBuf,
    },
    /// Put a saved state in the place of a stopped cluster's
    Restore {
        /// The file
        file: PathBuf,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Look at the store of the cluster, which must be down, and say whether it is whole
    #[arg(long)]
    pub(crate) store: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Kubeconfig {
    /// Add context `coracle` to ~/.kube/config (or --kubeconfig)
    #[arg(long)]
    pub(crate) merge: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Load a docker-archive or OCI-layout tar
    Load {
        /// The archive
        file: PathBuf,
    },
    /// List images
    List,
    /// Remove an image
    Rm {
        /// Its name
        name: String,
    },
    /// Make an image of programs of this machine, with the libraries they link
    Build {
        /// Its name
        name: String,
        /// The programs; the first is what the image runs
        #[arg(long = "from-host", value_name = "PATH", required = true, num_args = 1..)]
        programs: Vec<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Pull the plug of a node: it falls silent, and its pods end without a word
    Stop {
        /// Its name
        name: String,
    },
    /// Start a node whose plug was pulled
    Start {
        /// Its name
        name: String,
    },
}

/// Prints the completions of every command; a reader that has read enough may go.
pub(crate) fn print_completion(shell: clap_complete::Shell) {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "coracle", &mut text);
    let _ = std::io::stdout().write_all(&text);
}

/// Prints the manual page, or writes the pages of all commands into a folder.
pub(crate) fn print_manual(folder: Option<&Path>) -> Result<ExitCode, Failure> {
    let command = Arguments::command();
    let failed = |error| Failure::new("the manual cannot be written", error);
    match folder {
        None => clap_mangen::Man::new(command).render(&mut std::io::stdout()).map_err(failed)?,
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(failed)?;
            clap_mangen::generate_to(command, folder).map_err(failed)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }
}

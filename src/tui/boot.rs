//! How the UI is started: what it is given, and the steps of a cluster's start that it shows.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::{Clock, SystemClock};
use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot};

use crate::manifests::Watched;
use crate::source::contexts::{Contexts, Kubeconfig};
use crate::theme::ColorDepth;

/// How the UI should be.
#[derive(Clone)]
pub struct Options {
    /// Namespace to begin in; `None` is the connection's.
    pub namespace: Option<String>,
    /// Begin with all namespaces.
    pub all_namespaces: bool,
    /// First command, as typed after `:`.
    pub command: Option<String>,
    /// Name of the theme.
    pub theme: String,
    /// How many colours the terminal has; `None` asks the environment.
    pub colors: Option<ColorDepth>,
    /// No writing.
    pub readonly: bool,
    /// The mouse is used.
    pub mouse: bool,
    /// Where drafts are kept; `None` keeps none.
    pub state_dir: Option<PathBuf>,
    /// Where keys, aliases, plugins, themes and the like of this program are; `None` reads none.
    pub config_dir: Option<PathBuf>,
    /// Where those of k9s are.
    pub k9s_dir: Option<PathBuf>,
    /// The contexts there are, and the way to each.
    pub contexts: Arc<dyn Contexts>,
    /// Where the present moment comes from.
    pub clock: Arc<dyn Clock>,
    /// Times of day are shown in this zone.
    pub time_zone: TimeZone,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: None,
            all_namespaces: false,
            command: None,
            theme: "dark".to_owned(),
            colors: None,
            readonly: false,
            mouse: true,
            state_dir: None,
            config_dir: None,
            k9s_dir: None,
            contexts: Arc::new(Kubeconfig::default()),
            clock: Arc::new(SystemClock),
            time_zone: TimeZone::system(),
        }
    }
}

/// A cluster that is starting, or there already.
pub struct Boot {
    /// Steps as they begin and end; may be empty.
    pub steps: mpsc::UnboundedReceiver<BootStep>,
    /// Resolves when the API can be used, or with why it never will be.
    pub connection: oneshot::Receiver<Result<Connection, String>>,
}

impl Boot {
    /// A cluster that is there already.
    pub fn connected(connection: Connection) -> Self {
        let (_, steps) = mpsc::unbounded_channel();
        let (sender, receiver) = oneshot::channel();
        let _ = sender.send(Ok(connection));
        Self { steps, connection: receiver }
    }
}

/// A step of the cluster's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootStep {
    /// What is done, as `store` or `node agent`.
    pub name: String,
    /// How far it is.
    pub state: StepState,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepState {
    /// It has begun.
    Started,
    /// It took this long.
    Done(Duration),
    /// It failed, and why.
    Failed(String),
}

/// The way to a cluster.
#[derive(Clone)]
pub struct Connection {
    /// The client, in process or over the network.
    pub client: kube::Client,
    /// Name of the context, for the header.
    pub context: String,
    /// Address of the server, for messages.
    pub server: String,
    /// Namespace of the context; `None` is `default`.
    pub namespace: Option<String>,
    /// The cluster runs in this process.
    pub embedded: bool,
    /// Folders watched with `--watch`.
    pub folders: Vec<Watched>,
}

//! `cordon`, `uncordon`, `drain`: which nodes take pods.

use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use serde_json::json;

use crate::call::Call;
use crate::drain::{DrainOptions, drain};
use crate::error::VerbError;
use crate::session::{Out, Session};

/// Marks nodes as taking new pods, or not
#[derive(Debug, Clone, Args)]
pub struct Cordon {
    /// The nodes
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<String>,
}

impl Cordon {
    /// Marks them.
    pub async fn run(&self, session: &Session, takes_no_pods: bool, out: &mut Out<'_>) -> Result<(), VerbError> {
        for name in &self.nodes {
            cordon(session, name, takes_no_pods, out).await?;
        }
        Ok(())
    }
}

async fn cordon(session: &Session, name: &str, takes_no_pods: bool, out: &mut Out<'_>) -> Result<(), VerbError> {
    let target = session.target(session.kind("nodes").await?, name);
    let now = session.read(target.path()).await?["spec"]["unschedulable"].as_bool().unwrap_or_default();
    let word = if takes_no_pods { "cordoned" } else { "uncordoned" };
    if now == takes_no_pods {
        out.line(format!("node/{name} already {word}"));
        return Ok(());
    }
    let value = if takes_no_pods { json!(true) } else { json!(null) };
    session.ask(&Call::merge(&target, "", json!({"spec": {"unschedulable": value}}), false)).await?;
    out.line(format!("node/{name} {word}"));
    Ok(())
}

/// Cordons a node and evicts its pods
#[derive(Debug, Clone, Args)]
pub struct Drain {
    /// The node
    node: String,
    /// Pods of daemon sets stay
    #[arg(long)]
    ignore_daemonsets: bool,
    /// Pods with emptyDir volumes go too; what is in the volumes is lost
    #[arg(long)]
    delete_emptydir_data: bool,
    /// Pods without a controller go too
    #[arg(long)]
    force: bool,
    /// Delete pods instead of evicting them: disruption budgets do not count
    #[arg(long)]
    disable_eviction: bool,
    /// Seconds that pods have to end; -1 for their own
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// How long it may take; 0s for ever
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    timeout: SignedDuration,
}

impl Drain {
    /// Drains it.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        cordon(session, &self.node, true, out).await?;
        const LONG: Duration = Duration::from_secs(10 * 365 * 86_400);
        let options = DrainOptions {
            grace: u32::try_from(self.grace_period).ok(),
            timeout: Duration::try_from(self.timeout).ok().filter(|timeout| !timeout.is_zero()).unwrap_or(LONG),
            ignore_daemon_sets: self.ignore_daemonsets,
            delete_empty_dir: self.delete_emptydir_data,
            force: self.force,
            delete: self.disable_eviction,
        };
        let said = parking_lot::Mutex::new(Vec::new());
        let drained = drain(session.client.clone(), &self.node, &options, |line| said.lock().push(line)).await;
        said.into_inner().iter().for_each(|line| out.line(line));
        drained.map_err(|error| VerbError::wrong(format!("unable to drain node {:?}: {error}", self.node)))?;
        out.line(format!("node/{} drained", self.node));
        Ok(())
    }
}

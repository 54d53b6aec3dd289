//! Every verb, as it may be typed.

use clap::Subcommand;

use crate::copy::Copy;
use crate::cordon::{Cordon, Drain};
use crate::create::Create;
use crate::delete::Delete;
use crate::describe::Describe;
use crate::error::VerbError;
use crate::events::Events;
use crate::explain::Explain;
use crate::expose::Expose;
use crate::forward::PortForward;
use crate::get::Get;
use crate::logs::Logs;
use crate::resources::ApiResources;
use crate::rollout::Rollout;
use crate::scale::Scale;
use crate::session::{Out, Session};
use crate::top::Top;
use crate::wait::Wait;

/// A verb that needs nobody at a terminal.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Print objects
    Get(Get),
    /// Print objects with what belongs to them
    Describe(Describe),
    /// Create objects of manifests, or of a few words
    Create(Create),
    /// Delete objects
    Delete(Delete),
    /// Make a service for pods
    Expose(Expose),
    /// Print what containers wrote
    Logs(Logs),
    /// Lead ports of this machine into a pod
    PortForward(PortForward),
    /// Copy files into a container, or out of one
    Cp(Copy),
    /// Set how many replicas there are to be
    Scale(Scale),
    /// Watch and steer rollouts
    #[command(subcommand)]
    Rollout(Rollout),
    /// Print what happened
    Events(Events),
    /// Print what pods or nodes use
    #[command(subcommand)]
    Top(Top),
    /// Wait until objects are as they should be
    Wait(Wait),
    /// Explain the fields of a kind
    Explain(Explain),
    /// Print the kinds that the server knows
    ApiResources(ApiResources),
    /// Let nodes take no new pods
    Cordon(Cordon),
    /// Let nodes take pods again
    Uncordon(Cordon),
    /// Cordon a node and evict its pods
    Drain(Drain),
}

impl Verb {
    /// Does it.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        match self {
            Self::Get(verb) => verb.run(session, out).await,
            Self::Describe(verb) => verb.run(session, out).await,
            Self::Create(verb) => verb.run(session, out).await,
            Self::Delete(verb) => verb.run(session, out).await,
            Self::Expose(verb) => verb.run(session, out).await,
            Self::Logs(verb) => verb.run(session, out).await,
            Self::PortForward(verb) => verb.run(session, out).await,
            Self::Cp(verb) => verb.run(session, out).await,
            Self::Scale(verb) => verb.run(session, out).await,
            Self::Rollout(verb) => verb.run(session, out).await,
            Self::Events(verb) => verb.run(session, out).await,
            Self::Top(verb) => verb.run(session, out).await,
            Self::Wait(verb) => verb.run(session, out).await,
            Self::Explain(verb) => verb.run(session, out).await,
            Self::ApiResources(verb) => verb.run(session, out).await,
            Self::Cordon(verb) => verb.run(session, true, out).await,
            Self::Uncordon(verb) => verb.run(session, false, out).await,
            Self::Drain(verb) => verb.run(session, out).await,
        }
    }
}

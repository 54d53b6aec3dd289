//! `scale`: how many replicas there are to be.

use clap::Args;
use serde_json::json;

use crate::call::Call;
use crate::error::VerbError;
use crate::session::{Named, Out, Session, shown};

/// Sets how many replicas there are to be
#[derive(Debug, Clone, Args)]
pub struct Scale {
    /// As `deployment NAME` or `deployment/NAME`
    #[arg(value_name = "TYPE", required = true)]
    what: Vec<String>,
    /// So many
    #[arg(long, value_name = "COUNT")]
    replicas: u32,
    /// Only if there are so many now
    #[arg(long, value_name = "COUNT")]
    current_replicas: Option<u32>,
}

impl Scale {
    /// Scales them.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        for named in session.targets(&self.what).await? {
            let Named::One(target) = named else { return Err(VerbError::wrong("resource name may not be empty")) };
            if let Some(wanted) = self.current_replicas {
                let now = session.read(format!("{}/scale", target.path())).await?["spec"]["replicas"].as_u64().unwrap_or_default();
                if now != u64::from(wanted) {
                    return Err(VerbError::wrong(format!("Expected replicas to be {wanted}, was {now}")));
                }
            }
            let patch = json!({"spec": {"replicas": self.replicas}});
            session.ask(&Call::merge(&target, "/scale", patch, false)).await?;
            out.line(format!("{} scaled", shown(&target.kind, &target.name)));
        }
        Ok(())
    }
}

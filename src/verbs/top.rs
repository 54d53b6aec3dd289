//! `top`: what pods and nodes use.

use clap::{Args, Subcommand};
use coracle_api::quantity::Quantity;
use serde_json::Value;

use crate::error::VerbError;
use crate::get::Selection;
use crate::output::Table;
use crate::pods::text;
use crate::session::{Out, Session};

/// Prints what pods or nodes use
#[derive(Debug, Clone, Subcommand)]
pub enum Top {
    /// What pods use
    #[command(visible_aliases = ["pods", "po"])]
    Pod {
        #[command(flatten)]
        of: Of,
        /// Each container by itself
        #[arg(long)]
        containers: bool,
    },
    /// What nodes use
    #[command(visible_aliases = ["nodes", "no"])]
    Node(Of),
}

/// Whose use.
#[derive(Debug, Clone, Args)]
pub struct Of {
    /// Only this one
    name: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// No line of headings
    #[arg(long)]
    no_headers: bool,
}

impl Of {
    async fn items(&self, session: &Session, plural: &str) -> Result<Vec<Value>, VerbError> {
        let kinds = session.kinds().await?;
        let known = kinds.all().iter().find(|kind| kind.is("metrics.k8s.io", plural));
        let mut kind = known.map(|kind| (**kind).clone()).ok_or_else(|| VerbError::wrong("Metrics API not available"))?;
        kind.plural = plural.to_owned();
        match &self.name {
            Some(name) => Ok(vec![session.read(format!("{}/{name}", kind.path(Some(&session.namespace)))).await?]),
            None => self.selection.list(session, &kind).await,
        }
    }
}

impl Top {
    /// Prints it.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let (Self::Pod { of, .. } | Self::Node(of)) = self;
        let mut table = Table::default();
        match self {
            Self::Pod { containers, .. } => {
                let everywhere = of.selection.all_namespaces;
                let headings =
                    [("NAMESPACE", everywhere), ("POD", *containers), ("NAME", true), ("CPU(cores)", true), ("MEMORY(bytes)", true)];
                if !of.no_headers {
                    table.row(headings.into_iter().filter(|(_, shows)| *shows).map(|(heading, _)| heading));
                }
                let mut any = false;
                for pod in of.items(session, "pods").await? {
                    any = true;
                    let (namespace, name) = (text(&pod, "/metadata/namespace"), text(&pod, "/metadata/name"));
                    let used: Vec<Value> = pod["containers"].as_array().cloned().unwrap_or_default();
                    let rows: Vec<(String, Vec<Value>)> = match containers {
                        true => used.into_iter().map(|one| (text(&one, "/name"), vec![one])).collect(),
                        false => vec![(name.clone(), used)],
                    };
                    for (of, used) in rows {
                        let cells = [
                            (namespace.clone(), everywhere),
                            (name.clone(), *containers),
                            (of, true),
                            (cpu(&used), true),
                            (memory(&used), true),
                        ];
                        table.row(cells.into_iter().filter(|(_, shows)| *shows).map(|(cell, _)| cell));
                    }
                }
                if !any {
                    out.aside(if everywhere {
                        "No resources found".to_owned()
                    } else {
                        format!("No resources found in {} namespace.", session.namespace)
                    });
                    return Ok(());
                }
            }
            Self::Node(_) => {
                if !of.no_headers {
                    table.row(["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]);
                }
                for node in of.items(session, "nodes").await? {
                    let name = text(&node, "/metadata/name");
                    let has = session.read(format!("/api/v1/nodes/{name}")).await?;
                    let share = |resource: &str| {
                        let whole = amount(&has["status"]["allocatable"][resource]);
                        if whole > 0.0 {
                            format!("{}%", (100.0 * amount(&node["usage"][resource]) / whole) as i64)
                        } else {
                            "<unknown>".to_owned()
                        }
                    };
                    let used = [node.clone()];
                    table.row([name, cpu(&used), share("cpu"), memory(&used), share("memory")]);
                }
            }
        }
        table.print(out);
        Ok(())
    }
}

fn amount(quantity: &Value) -> f64 {
    quantity.as_str().and_then(|text| text.parse::<Quantity>().ok()).map_or(0.0, |quantity| quantity.as_f64())
}

fn total(used: &[Value], resource: &str) -> f64 {
    used.iter().map(|one| amount(&one["usage"][resource])).sum()
}

fn cpu(used: &[Value]) -> String {
    format!("{}m", (total(used, "cpu") * 1_000.0).ceil() as i64)
}

fn memory(used: &[Value]) -> String {
    format!("{}Mi", (total(used, "memory") / f64::from(1 << 20)) as i64)
}

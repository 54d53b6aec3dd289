//! `api-resources`: the kinds that the server knows.

use clap::Args;

use crate::discover::discover;
use crate::error::VerbError;
use crate::output::Table;
use crate::session::{Out, Session};

/// Prints the kinds that the server knows
#[derive(Debug, Clone, Args)]
pub struct ApiResources {
    /// Only those in namespaces, or only those outside
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    namespaced: Option<bool>,
    /// Only those of a group
    #[arg(long, value_name = "GROUP")]
    api_group: Option<String>,
    /// name or wide
    #[arg(short, long, value_name = "FORMAT", value_parser = ["name", "wide"])]
    output: Option<String>,
    /// No line of headings
    #[arg(long)]
    no_headers: bool,
}

impl ApiResources {
    /// Prints them.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let mut kinds = discover(&session.client).await.map_err(|fault| VerbError::Unreachable(fault.message))?;
        kinds.retain(|kind| {
            !kind.verbs.is_empty()
                && self.namespaced.is_none_or(|wanted| kind.namespaced == wanted)
                && self.api_group.as_ref().is_none_or(|group| kind.group == *group)
        });
        kinds.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural)));
        if self.output.as_deref() == Some("name") {
            for kind in kinds {
                out.line(if kind.group.is_empty() { kind.plural } else { format!("{}.{}", kind.plural, kind.group) });
            }
            return Ok(());
        }
        let wide = self.output.is_some();
        let count = if wide { 7 } else { 5 };
        let mut table = Table::default();
        if !self.no_headers {
            table.row(["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND", "VERBS", "CATEGORIES"].into_iter().take(count));
        }
        for kind in kinds {
            let (version, namespaced) = (kind.api_version(), kind.namespaced.to_string());
            let cells =
                [kind.plural, kind.short_names.join(","), version, namespaced, kind.kind, kind.verbs.join(","), kind.categories.join(",")];
            table.row(cells.into_iter().take(count));
        }
        table.print(out);
        Ok(())
    }
}

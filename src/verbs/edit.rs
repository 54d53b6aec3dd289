//! `edit`: an object as YAML, in an editor.

use clap::Args;
use coracle_api::yaml;
use serde_json::Value;

use crate::call::Call;
use crate::error::VerbError;
use crate::output::without_managed_fields;
use crate::session::{Out, Session, shown};

/// Edits an object
#[derive(Debug, Clone, Args)]
pub struct Edit {
    /// As `deployment NAME` or `deployment/NAME`
    #[arg(value_name = "TYPE", required = true)]
    what: Vec<String>,
}

const PREAMBLE: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
";

impl Edit {
    /// Hands the text to `editor` until it is taken or comes back as it was.
    pub async fn run(
        &self,
        session: &Session,
        mut editor: impl FnMut(&str) -> Result<String, String>,
        out: &mut Out<'_>,
    ) -> Result<(), VerbError> {
        let target = session.one(&self.what).await?;
        let text = yaml::to_string(&without_managed_fields(session.read(target.path()).await?));
        let mut shown_text = format!("{PREAMBLE}{text}");
        loop {
            let edited = editor(&shown_text).map_err(VerbError::wrong)?;
            let kept: String = edited.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
            if kept.trim().is_empty() || kept == text || edited == shown_text {
                out.line("Edit cancelled, no changes made.");
                return Ok(());
            }
            let refused = match read(&kept) {
                Ok(object) => match session.ask(&Call { method: "PUT", ..Call::post(target.path(), object) }).await {
                    Ok(_) => {
                        out.line(format!("{} edited", shown(&target.kind, &target.name)));
                        return Ok(());
                    }
                    Err(error @ VerbError::Refused(_)) => error.to_string(),
                    Err(error) => return Err(error),
                },
                Err(why) => why,
            };
            let why: String = refused.lines().map(|line| format!("# {line}\n")).collect();
            shown_text = format!("{PREAMBLE}{why}#\n{kept}");
        }
    }
}

fn read(text: &str) -> Result<Value, String> {
    match yaml::documents(text).into_iter().next() {
        Some(Ok(document)) if document.value.is_object() => Ok(document.value),
        Some(Err(error)) => Err(error.to_string()),
        _ => Err("this is no object".to_owned()),
    }
}

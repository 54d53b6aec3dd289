//! Objects made of a few words: whether they are made, and what is said of them.

use clap::Args;
use serde_json::{Value, json};

use crate::call::Call;
use crate::error::VerbError;
use crate::output::{self, Format};
use crate::session::{Out, Session, shown};

/// Whether an object is made, and how it is printed.
#[derive(Debug, Clone, Default, Args)]
pub struct Making {
    /// none, client (only print it) or server (let the server check it)
    #[arg(long, value_name = "HOW", default_value = "none", num_args = 0..=1, require_equals = true, default_missing_value = "client", value_parser = ["none", "client", "server"])]
    pub dry_run: String,
    /// name, yaml, json or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
}

impl Making {
    /// Makes an object and says so; `done` is the word for it.
    pub async fn make(&self, session: &Session, object: Value, done: &str, out: &mut Out<'_>) -> Result<(), VerbError> {
        let mut target = session.target_of(&object).await?;
        let (kind, name) = (target.kind.clone(), target.name.clone());
        target.name.clear();
        let made = match self.dry_run.as_str() {
            "client" => object,
            how => {
                let mut call = Call::post(target.path().trim_end_matches('/'), object);
                if how == "server" {
                    call.path.push_str("&dryRun=All");
                }
                session.ask(&call).await?
            }
        };
        let name = made["metadata"]["name"].as_str().unwrap_or(&name).to_owned();
        match &self.output {
            Some(format) => output::objects(format, vec![(&kind, made)], true, true, out),
            None => {
                let how = match self.dry_run.as_str() {
                    "client" => " (dry run)",
                    "server" => " (server dry run)",
                    _ => "",
                };
                out.line(format!("{} {done}{how}", shown(&kind, &name)));
                Ok(())
            }
        }
    }
}

/// An object of this name, with `more` beside its metadata.
pub(crate) fn object(api_version: &str, kind: &str, name: &str, more: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

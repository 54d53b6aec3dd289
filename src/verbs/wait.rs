//! `wait`: until objects are as they should be.

use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use serde_json::Value;

use crate::error::VerbError;
use crate::get::Selection;
use crate::jsonpath;
use crate::kinds::Target;
use crate::session::{Named, Out, Session, shown};

/// Waits until objects are as they should be
#[derive(Debug, Clone, Args)]
pub struct Wait {
    /// As `pod NAME`, `pod/NAME` or `pods -l app=web`
    #[arg(value_name = "TYPE", required = true)]
    what: Vec<String>,
    /// condition=NAME[=VALUE], jsonpath=PATH[=VALUE], delete or create
    #[arg(long = "for", value_name = "WHAT")]
    until: Until,
    #[command(flatten)]
    selection: Selection,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// How long for each object
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    timeout: SignedDuration,
}

#[derive(Debug, Clone, PartialEq)]
enum Until {
    Condition(String, String),
    Path(String, Option<String>),
    Gone,
    There,
}

impl std::str::FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, rest) = text.split_once('=').unwrap_or((text, ""));
        Ok(match what.to_lowercase().as_str() {
            "delete" => Self::Gone,
            "create" => Self::There,
            "condition" if !rest.is_empty() => {
                let (name, value) = rest.split_once('=').unwrap_or((rest, "true"));
                Self::Condition(name.to_owned(), value.to_owned())
            }
            "jsonpath" if !rest.is_empty() => {
                let rest = rest.trim_matches('\'');
                // the value comes after the path, not after a comparison in it
                let end = rest.find('}').map_or(0, |end| end + 1);
                let value = rest[end..].split_once('=').map(|(before, value)| (end + before.len(), value.to_owned()));
                let path = &rest[..value.as_ref().map_or(rest.len(), |(at, _)| *at)];
                Self::Path(path.to_owned(), value.map(|(_, value)| value))
            }
            _ => return Err(format!("unrecognized condition: {text:?}")),
        })
    }
}

impl Until {
    fn holds(&self, object: Option<&Value>) -> Result<bool, String> {
        let Some(object) = object else { return Ok(*self == Self::Gone) };
        Ok(match self {
            Self::Gone => false,
            Self::There => true,
            Self::Condition(name, value) => object["status"]["conditions"].as_array().into_iter().flatten().any(|condition| {
                let is = |field: &str, wanted: &str| condition[field].as_str().is_some_and(|text| text.eq_ignore_ascii_case(wanted));
                is("type", name) && is("status", value)
            }),
            Self::Path(path, value) => {
                let found = jsonpath::find(path, object)?;
                match value {
                    Some(value) => found.iter().any(|found| jsonpath::text(found) == *value),
                    None => !found.is_empty(),
                }
            }
        })
    }
}

impl Wait {
    /// Waits for each of them.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let mut targets = Vec::new();
        for named in session.targets(&self.what).await? {
            match named {
                Named::One(target) => targets.push(target),
                Named::All(kind) => {
                    if !self.all && self.selection.selector.is_none() {
                        return Err(VerbError::wrong("resource(s) were provided, but no name was specified"));
                    }
                    for object in self.selection.list(session, &kind).await? {
                        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
                        targets.push(Target { kind: kind.clone(), namespace: text("namespace"), name: text("name") });
                    }
                }
            }
        }
        if targets.is_empty() && self.until != Until::Gone {
            return Err(VerbError::wrong("no matching resources found"));
        }
        for target in &targets {
            self.one(session, target, out).await?;
        }
        Ok(())
    }

    async fn one(&self, session: &Session, target: &Target, out: &mut Out<'_>) -> Result<(), VerbError> {
        let deadline = tokio::time::Instant::now() + Duration::try_from(self.timeout).unwrap_or_default();
        let name = shown(&target.kind, &target.name);
        let mut was_there = false;
        loop {
            let object = match session.read(target.path()).await {
                Ok(object) => Some(object),
                Err(error) if error.is_not_found() && matches!(self.until, Until::Gone | Until::There) => None,
                Err(error) => return Err(error),
            };
            if self.until.holds(object.as_ref()).map_err(VerbError::wrong)? {
                match self.until {
                    // as kubectl has it: nothing is said of what was never there
                    Until::Gone if !was_there => {}
                    Until::Gone => out.line(format!("{name} deleted")),
                    _ => out.line(format!("{name} condition met")),
                }
                return Ok(());
            }
            was_there |= object.is_some();
            if tokio::time::Instant::now() >= deadline {
                return Err(VerbError::wrong(format!("timed out waiting for the condition on {}/{}", target.kind.plural, target.name)));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_waited_for_is_read() {
        let pod = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        for (text, holds) in [
            ("condition=Ready", true),
            ("condition=ready=false", false),
            ("jsonpath={.status.phase}=Running", true),
            ("jsonpath='{.status.phase}'=Pending", false),
            ("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True", true),
            ("jsonpath={.status.podIP}", false),
            ("create", true),
            ("delete", false),
        ] {
            assert_eq!(text.parse::<Until>().unwrap().holds(Some(&pod)), Ok(holds), "{text}");
        }
        assert_eq!(Until::Gone.holds(None), Ok(true));
        assert!("phase=Running".parse::<Until>().is_err());
    }
}

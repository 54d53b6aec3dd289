//! The options of a request, read from its query (or, for deletes, its body) and checked as upstream checks them.

use coracle_api::field::FieldError;
use coracle_api::status::Status;
use serde_json::{Value, json};

use crate::http::query::Query;
use crate::vocabulary::{FieldValidation, invalid_options};

/// How a write is to be done.
#[derive(Debug, Clone)]
pub(crate) struct WriteOptions {
    /// Do everything but store.
    pub(crate) dry_run: bool,
    /// Who writes, for `managedFields`.
    pub(crate) manager: String,
    /// What to do about unknown fields.
    pub(crate) validation: FieldValidation,
    /// Apply: take fields from other managers.
    pub(crate) force: Option<bool>,
}

fn dry_run(kind: &str, values: &[&str]) -> Result<bool, Status> {
    match values {
        [] => Ok(false),
        values if values.iter().all(|value| *value == "All") => Ok(true),
        values => Err(invalid_options(kind, FieldError::not_supported("dryRun", json!(values), &["All"]))),
    }
}

impl WriteOptions {
    /// Reads the options of `kind`: `CreateOptions`, `UpdateOptions`, `PatchOptions`. `agent` is who writes where the request does not say.
    pub(crate) fn parse(kind: &str, query: &Query, agent: &str) -> Result<Self, Status> {
        let dry_run = dry_run(kind, &query.all("dryRun").filter(|value| !value.is_empty()).collect::<Vec<_>>())?;
        let manager = query.text("fieldManager").unwrap_or(agent).to_owned();
        if manager.len() > 128 {
            return Err(invalid_options(kind, FieldError::too_long("fieldManager", 128)));
        }
        let validation = match query.text("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some(other) => {
                let error = FieldError::not_supported("fieldValidation", other, &["Ignore", "Strict", "Warn"]);
                return Err(invalid_options(kind, error));
            }
        };
        Ok(Self { dry_run, manager, validation, force: query.optional_flag("force") })
    }
}

/// `resourceVersionMatch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    Exact,
    NotOlderThan,
}

/// What a list or a watch asks for, selectors aside.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListOptions {
    pub(crate) limit: usize,
    pub(crate) token: Option<String>,
    /// `None` is unset; 0 is any.
    pub(crate) revision: Option<u64>,
    pub(crate) matching: Option<Match>,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) bookmarks: bool,
    /// Whether a watch begins with the state: `None` leaves it to the revision.
    pub(crate) initial_events: Option<bool>,
}

impl ListOptions {
    pub(crate) fn parse(query: &Query, watch: bool) -> Result<Self, Status> {
        let revision = query.text("resourceVersion").map(parse_revision).transpose()?;
        let token = query.text("continue").map(str::to_owned);
        let initial_events = query.optional_flag("sendInitialEvents");
        let given = query.text("resourceVersionMatch");
        let mut errors = Vec::new();
        let mut forbidden = |field: &str, text: &str| errors.push(FieldError::forbidden(field, text));
        const MATCH: &str = "resourceVersionMatch";
        match (watch, given, initial_events) {
            (true, match_, Some(_)) if match_ != Some("NotOlderThan") => {
                forbidden(MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
            }
            (true, Some(_), None) => forbidden(MATCH, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
            (false, Some(_), _) if revision.is_none() => {
                forbidden(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            _ => {}
        }
        if given.is_some() && token.is_some() {
            forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided");
        }
        if !watch && initial_events.is_some() {
            forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
        }
        if !watch && given == Some("Exact") && revision == Some(0) {
            forbidden(MATCH, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        let matching = match given {
            None => None,
            Some("Exact") if !watch => Some(Match::Exact),
            Some("NotOlderThan") => Some(Match::NotOlderThan),
            Some(other) => {
                let supported: &[&str] = if watch { &["NotOlderThan"] } else { &["Exact", "NotOlderThan", ""] };
                errors.push(FieldError::not_supported(MATCH, other, supported));
                None
            }
        };
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors));
        }
        if token.is_some() && revision.is_some_and(|revision| revision != 0) {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        Ok(Self {
            limit: query.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0),
            token,
            revision,
            matching,
            timeout_seconds: query.number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok()),
            bookmarks: query.flag("allowWatchBookmarks"),
            initial_events,
        })
    }
}

/// Reads a resource version.
pub(crate) fn parse_revision(text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| {
        Status::bad_request(format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"))
    })
}

/// What happens to the dependents of an object that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// How a delete is to be done.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) dry_run: bool,
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) orphan_dependents: Option<bool>,
    pub(crate) uid: Option<String>,
    pub(crate) revision: Option<u64>,
}

impl DeleteOptions {
    /// Reads the options from a body (null where there is none), or else from the query.
    pub(crate) fn parse(query: &Query, body: &Value) -> Result<Self, Status> {
        let kind = "DeleteOptions";
        let bad = |error| Err(invalid_options(kind, error));
        let from_body = body.as_object().is_some_and(|body| !body.is_empty());
        let (values, grace, policy, orphan): (Vec<&str>, _, _, _) = if from_body {
            let values = body["dryRun"].as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
            (values, body["gracePeriodSeconds"].as_i64(), body["propagationPolicy"].as_str(), body["orphanDependents"].as_bool())
        } else {
            let values = query.all("dryRun").filter(|value| !value.is_empty()).collect();
            (values, query.number("gracePeriodSeconds")?, query.text("propagationPolicy"), query.optional_flag("orphanDependents"))
        };
        let propagation = match policy {
            None => None,
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some(other) => {
                return bad(FieldError::not_supported("propagationPolicy", other, &["Foreground", "Background", "Orphan", "nil"]));
            }
        };
        if propagation.is_some() && orphan.is_some() {
            let text = "orphanDependents and deletionPropagation cannot be both set";
            return bad(FieldError::invalid("propagationPolicy", policy.unwrap_or_default(), text));
        }
        let precondition = |name: &str| body["preconditions"][name].as_str().filter(|text| !text.is_empty());
        Ok(Self {
            dry_run: dry_run(kind, &values)?,
            // A negative period means one second, as upstream reads it.
            grace_seconds: grace.map(|seconds| if seconds < 0 { 1 } else { seconds }),
            propagation,
            orphan_dependents: orphan,
            uid: precondition("uid").map(str::to_owned),
            revision: precondition("resourceVersion").map(parse_revision).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", false, None)]
    #[case("resourceVersion=0", false, None)]
    #[case("resourceVersion=5&resourceVersionMatch=Exact", false, None)]
    #[case("resourceVersionMatch=NotOlderThan&sendInitialEvents=true", true, None)]
    #[case("resourceVersionMatch=NotOlderThan&sendInitialEvents=false&resourceVersion=5", true, None)]
    #[case("resourceVersionMatch=NotOlderThan&resourceVersion=5", false, None)]
    #[case("resourceVersionMatch=NotOlderThan&resourceVersion=5", true, Some(422))]
    #[case("resourceVersionMatch=Exact&resourceVersion=5&sendInitialEvents=true", true, Some(422))]
    #[case("resourceVersionMatch=Exact&resourceVersion=5&continue=x", false, Some(422))]
    #[case("resourceVersionMatch=Exact", false, Some(422))]
    #[case("resourceVersionMatch=Exact&resourceVersion=0", false, Some(422))]
    #[case("resourceVersionMatch=Near&resourceVersion=1", false, Some(422))]
    #[case("sendInitialEvents=true", true, Some(422))]
    #[case("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", false, Some(422))]
    #[case("resourceVersion=x", false, Some(400))]
    #[case("limit=x", false, Some(400))]
    #[case("continue=x&resourceVersion=7", false, Some(400))]
    fn list_options(#[case] query: &str, #[case] watch: bool, #[case] refused: Option<u16>) {
        assert_eq!(ListOptions::parse(&Query::parse(query), watch).err().map(|status| status.code), refused);
    }

    #[test]
    fn dry_run_is_all_or_nothing() {
        let error = WriteOptions::parse("CreateOptions", &Query::parse("dryRun=Some"), "me").unwrap_err();
        assert_eq!(
            error.message,
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""
        );
        assert!(WriteOptions::parse("CreateOptions", &Query::parse("dryRun=All"), "me").unwrap().dry_run);
    }

    #[test]
    fn delete_options_come_from_the_body_or_the_query() {
        let query = Query::parse("gracePeriodSeconds=5&propagationPolicy=Foreground");
        let options = DeleteOptions::parse(&query, &Value::Null).unwrap();
        assert_eq!((options.grace_seconds, options.propagation), (Some(5), Some(Propagation::Foreground)));
        let options = DeleteOptions::parse(&query, &json!({"gracePeriodSeconds": -1, "preconditions": {"uid": "u"}})).unwrap();
        assert_eq!((options.grace_seconds, options.propagation, options.uid.as_deref()), (Some(1), None, Some("u")));
    }
}

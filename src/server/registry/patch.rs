//! Changing parts of an object: JSON patch, merge patch, strategic merge patch, server-side apply.

use coracle_api::field::FieldError;
use coracle_api::kinds::{Kind, convert};
use coracle_api::status::Status;
use http::Response;
use serde_json::Value;

use super::update::{Booking, CONFLICT_ATTEMPTS, replace, replace_known, revision_of};
use super::{Call, body, create};
use crate::codec;
use crate::http::body::Body;
use crate::options::WriteOptions;
use crate::vocabulary::{self, Manager, Parsed, invalid_options};

/// A patch as the client sent it.
pub(crate) enum Patch {
    Json(Parsed),
    Merge(Parsed),
    Strategic(Parsed),
    Apply(Parsed),
}

const TYPES: &str =
    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

/// How upstream begins when a JSON or merge patch is no JSON; of a strategic one it says only what is wrong.
const DECODING: &str = "error decoding patch: ";

impl Patch {
    /// Reads a patch by its content type.
    pub(crate) fn parse(content_type: &str, bytes: &[u8]) -> Result<Self, Status> {
        match content_type {
            "application/json-patch+json" => Ok(Self::Json(vocabulary::parse_patch(bytes, DECODING)?)),
            "application/merge-patch+json" => Ok(Self::Merge(vocabulary::parse_patch(bytes, DECODING)?)),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic(vocabulary::parse_patch(bytes, "")?)),
            "application/apply-patch+yaml" => vocabulary::parse_yaml(bytes).map(Self::Apply),
            _ => Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: {TYPES}"
            ))),
        }
    }

    /// The document with this patch applied; not for apply.
    pub(crate) fn apply(&self, schema: &str, mut document: Value) -> Result<Value, Status> {
        match self {
            Self::Json(patch) => return vocabulary::json_patch(&document, &patch.value),
            Self::Merge(patch) => vocabulary::merge_patch(&mut document, &patch.value),
            Self::Strategic(patch) => vocabulary::strategic_patch(schema, &mut document, &patch.value)?,
            Self::Apply(_) => {}
        }
        Ok(document)
    }

    /// What strict reading has to say of the patch itself.
    fn faults(&self) -> Vec<String> {
        match self {
            Self::Merge(patch) | Self::Strategic(patch) | Self::Apply(patch) => patch.findings.duplicates.clone(),
            Self::Json(patch) => {
                let operations = patch.value.as_array().into_iter().flatten().enumerate();
                let keys =
                    operations.flat_map(|(at, operation)| operation.as_object().into_iter().flatten().map(move |(key, _)| (at, key)));
                let unknown = keys.filter(|(_, key)| !matches!(key.as_str(), "op" | "path" | "from" | "value"));
                let unknown = unknown.map(|(at, key)| format!("unknown field \"[{at}].{key}\""));
                patch.findings.duplicates.iter().cloned().chain(unknown).map(|fault| format!("json patch {fault}")).collect()
            }
        }
    }

    /// Checks what the patch made of an object against its type.
    fn check(&self, call: &mut Call, object: &mut Value, options: &WriteOptions) -> Result<(), String> {
        let warnings = vocabulary::examine(&call.kind, object, &self.faults(), options.validation)?;
        call.warnings.extend(warnings);
        body::stored_form(call, object);
        Ok(())
    }

    /// What does not fit is the patch's fault.
    fn refused(&self, schema: &str, live: Value, why: String) -> Status {
        let shown = match self {
            Self::Strategic(patch) => coracle_api::patch::go(&patch.value),
            _ => self.apply(schema, live).unwrap_or_default().to_string(),
        };
        Status::invalid("", "", "", &[FieldError::invalid("patch", shown, why)])
    }
}

/// Kinds of patches of custom resources.
const CUSTOM_TYPES: &str = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// Answers a PATCH, of the object or of a subresource that is a part of it.
pub(crate) async fn answer(call: &mut Call) -> Result<Response<Body>, Status> {
    let options = WriteOptions::parse("PatchOptions", &call.query, &call.agent())?;
    if call.kind.custom.is_some() && call.content_type == "application/strategic-merge-patch+json" {
        return Err(Status::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: {CUSTOM_TYPES}"
        )));
    }
    let patch = Patch::parse(&call.content_type, &call.body)?;
    if let Patch::Apply(config) = patch {
        return apply(call, config, options).await;
    }
    if options.force.is_some() {
        return Err(invalid_options("PatchOptions", FieldError::forbidden("force", "may not be specified for non-apply patch")));
    }
    for _ in 0..CONFLICT_ATTEMPTS {
        let entry = call.find().await?;
        let old = codec::decode_stored(&call.kind, &entry)?;
        let mut live = old.clone();
        convert(call.kind.storage_kind(), &call.kind, &mut live);
        let mut new = patch.apply(&call.kind.schema, live)?;
        body::typed(&mut new, &call.kind.api_version(), &call.kind.kind)?;
        body::check_name(call, &mut new)?;
        if let Err(why) = patch.check(call, &mut new, &options) {
            let mut live = old;
            convert(call.kind.storage_kind(), &call.kind, &mut live);
            return Err(patch.refused(&call.kind.schema, live, why));
        }
        body::place(call, &mut new)?;
        if revision_of(&new)?.is_some_and(|wanted| wanted != entry.revision) {
            return Err(call.stale());
        }
        if let Some(shown) = replace_known(call, &entry, old, new, &options, Booking::Update).await? {
            return call.show(200, &shown);
        }
    }
    Err(call.stale())
}

/// Server-side apply: creates what is not there.
async fn apply(call: &mut Call, config: Parsed, options: WriteOptions) -> Result<Response<Body>, Status> {
    if call.query.text("fieldManager").is_none() {
        return Err(invalid_options("PatchOptions", FieldError::required("fieldManager", "is required for apply patch")));
    }
    let Parsed { value: mut config, findings } = config;
    let duplicates = findings.duplicates;
    body::typed(&mut config, &call.kind.api_version(), &call.kind.kind)?;
    vocabulary::check_declared(&call.kind, &config)?;
    match (options.validation, duplicates.first()) {
        (vocabulary::FieldValidation::Strict, Some(fault)) => {
            return Err(Status::bad_request(format!("error strict decoding YAML: {fault}")));
        }
        (vocabulary::FieldValidation::Warn, _) => call.warnings.extend(duplicates),
        _ => {}
    }
    // What the type adds is not applied: the manager owns the fields it sent, no more.
    body::checked(call, Parsed { value: config.clone(), findings: Default::default() }, &options)?;
    body::check_name(call, &mut config)?;
    body::place(call, &mut config)?;
    let force = options.force.unwrap_or(false);
    let subresource = call.info.subresource.clone();
    for _ in 0..CONFLICT_ATTEMPTS {
        let manager = Manager { name: &options.manager, subresource: &subresource, now: call.server.0.clock.now() };
        let Some(entry) = call.seek().await? else {
            if !subresource.is_empty() {
                return Err(call.not_found());
            }
            let uid = body::text(&config, "uid");
            if !uid.is_empty() {
                let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(call.conflict(&why));
            }
            let attributes = crate::authz::Attributes { verb: "create", ..call.info.attributes() };
            call.server.0.authorizer.authorize(&call.identity, &attributes)?;
            let kind = call.kind.clone();
            let kind = kind.storage_kind();
            let mut object = vocabulary::apply(&call.kind, None, config.clone(), &manager, force)?;
            settle(&call.kind, &mut object);
            convert(&call.kind, kind, &mut object);
            create::drop_status(kind, &mut object);
            coracle_api::rules::default(kind, &mut object);
            match create::store(call, object, &options).await {
                Err(status) if status.reason == "AlreadyExists" => continue,
                created => return call.show(201, &created?),
            }
        };
        if revision_of(&config)?.is_some_and(|wanted| wanted != entry.revision) {
            return Err(call.stale());
        }
        let live = codec::decode(&call.kind, &entry)?;
        let mut new = vocabulary::apply(&call.kind, Some(&live), config.clone(), &manager, force)?;
        settle(&call.kind, &mut new);
        convert(&call.kind, call.kind.storage_kind(), &mut new);
        if let Some(shown) = replace(call, &entry, new, &options, Booking::Done).await? {
            return call.show(200, &shown);
        }
    }
    Err(call.stale())
}

/// What is applied to a custom resource has the form of its schema, in lists that are applied as wholes, too.
fn settle(kind: &Kind, object: &mut Value) {
    if let Some(custom) = &kind.custom {
        custom.settle(object);
    }
}

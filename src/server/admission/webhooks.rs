//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: what the configured webhooks say of a write.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::cel::{Budget, RUNTIME_BUDGET};
use coracle_api::kinds::{Kind, convert};
use coracle_api::rules;
use coracle_api::status::Status;
use futures::future::join_all;
use serde_json::{Value, json};

use super::expressions::{self, Match, Seen};
use super::policies::Judge;
use super::{Operation, Request, matching, text};
use crate::custom::Customs;
use crate::vocabulary::{self, FieldValidation};
use crate::webhook::WebhookClient;

const GROUP: &str = "admissionregistration.k8s.io";

/// What asking a webhook needs.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) judge: Judge<'a>,
    pub(super) client: &'a WebhookClient,
}

/// What the mutating webhooks did, for those that want to be asked again.
#[derive(Default)]
pub(super) struct Rounds {
    again: bool,
    /// Those asked that want to see later changes.
    asked: HashSet<String>,
    /// Those of them after which something changed.
    outdated: HashSet<String>,
    /// The object as the last webhook left it.
    last: Value,
    /// Policies that had their turn.
    policies: HashSet<String>,
}

impl Rounds {
    fn changed(&mut self) {
        self.outdated.extend(self.asked.iter().cloned());
    }
}

/// A webhook that is to be asked, about the object as this kind.
struct Hook<'a> {
    webhook: Value,
    id: String,
    kind: &'a Kind,
}

/// How a call came out, where it did not allow the write.
enum Trouble {
    /// The webhook could not be asked; its failure policy decides.
    Failed(String),
    Refused(Box<Status>),
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// An object, and the one before it, in the version that somebody is told of.
pub(super) struct Versioned<'v> {
    pub(super) object: Option<Cow<'v, Value>>,
    pub(super) old: Option<Cow<'v, Value>>,
}

/// Who converts between the version asked for and another, where somebody has to.
fn converter<'a>(request: &Request<'a>, kind: &Kind) -> Option<&'a Customs> {
    let same = kind.custom.is_none() || kind.version == request.asked.version || request.own_type().is_some();
    request.customs.filter(|_| !same)
}

/// The objects of a request in the version of `kind`. Versions of custom kinds are converted as their definition says.
pub(super) async fn versioned<'v>(request: &Request<'v>, kind: &Kind, object: Option<&'v Value>) -> Result<Versioned<'v>, Status> {
    let Some(customs) = converter(request, kind) else {
        return Ok(Versioned { object: object.map(Cow::Borrowed), old: request.old.map(Cow::Borrowed) });
    };
    let mut converted = [None, None];
    for (place, object) in converted.iter_mut().zip([object, request.old]) {
        if let Some(object) = object {
            *place = Some(Cow::Owned(customs.in_version(kind, object).await?));
        }
    }
    let [object, old] = converted;
    Ok(Versioned { object, old })
}

/// An object that was changed in the version of `kind`, in the version asked for.
pub(super) async fn returned(request: &Request<'_>, kind: &Kind, object: Value) -> Result<Value, Status> {
    match converter(request, kind) {
        Some(customs) => customs.in_version(request.asked, &object).await,
        None => Ok(object),
    }
}

/// The webhooks of these configurations that are about the request.
async fn hooks<'a>(caller: &Caller<'_>, plural: &str, request: &Request<'a>, object: Option<&Value>) -> Result<Vec<Hook<'a>>, Status> {
    let configurations = caller.judge.lookup.list(GROUP, plural, "");
    let mut found = Vec::new();
    if configurations.is_empty() || matching::is_exempt(request) {
        return Ok(found);
    }
    for configuration in configurations {
        for webhook in configuration["webhooks"].as_array().into_iter().flatten() {
            let Some(kind) = matching::matched(&webhook["rules"], text(webhook, "/matchPolicy"), request) else { continue };
            if !matching::namespace_selected(caller.judge.lookup, &webhook["namespaceSelector"], request, object)?
                || !matching::object_selected(&webhook["objectSelector"], request, object)?
            {
                continue;
            }
            let ignores = text(webhook, "/failurePolicy") == "Ignore";
            match conditions(caller, webhook, request, kind, object).await? {
                Match::Yes => {}
                Match::No => continue,
                Match::Failed(_) if ignores => continue,
                Match::Failed(why) => return Err(request.forbidden(&why)),
            }
            let id = format!("{}/{}", text(&configuration, "/metadata/name"), text(webhook, "/name"));
            found.push(Hook { webhook: webhook.clone(), id, kind });
        }
    }
    Ok(found)
}

async fn conditions(
    caller: &Caller<'_>,
    webhook: &Value,
    request: &Request<'_>,
    kind: &Kind,
    object: Option<&Value>,
) -> Result<Match, Status> {
    let conditions = &webhook["matchConditions"];
    if conditions.as_array().is_none_or(Vec::is_empty) {
        return Ok(Match::Yes);
    }
    let Versioned { object, old } = versioned(request, kind, object).await?;
    let seen = Seen::of(request, kind, object.as_deref(), old.as_deref(), caller.judge.authorizer);
    Ok(match seen.scope(caller.judge.programs, &Value::Null) {
        Ok(scope) => expressions::matches(caller.judge.programs, conditions, &scope, &Budget::new(RUNTIME_BUDGET)),
        Err(why) => Match::Failed(why),
    })
}

/// Lets policies, then webhooks change the object, one after the other. True if one did: the plugins before them are to run again, and then this.
pub(super) async fn mutate(
    caller: Caller<'_>,
    request: &Request<'_>,
    object: &mut Value,
    rounds: &mut Rounds,
    warnings: &mut Vec<String>,
) -> Result<bool, Status> {
    if rounds.again && rounds.last != *object {
        rounds.changed();
    }
    let mut any = caller.judge.mutate(request, object, &mut rounds.policies, rounds.again).await?;
    if any {
        rounds.changed();
    }
    for hook in hooks(&caller, "mutatingwebhookconfigurations", request, Some(object)).await? {
        if rounds.again && !rounds.outdated.remove(&hook.id) {
            continue;
        }
        if change(caller, request, &hook, object, warnings).await? {
            any = true;
            rounds.changed();
        }
        if text(&hook.webhook, "/reinvocationPolicy") == "IfNeeded" {
            rounds.asked.insert(hook.id);
        }
    }
    let again = any && !rounds.again;
    if again {
        rounds.last = object.clone();
    }
    rounds.again = true;
    Ok(again)
}

async fn change(
    caller: Caller<'_>,
    request: &Request<'_>,
    hook: &Hook<'_>,
    object: &mut Value,
    warnings: &mut Vec<String>,
) -> Result<bool, Status> {
    let own_type = request.own_type();
    let seen = versioned(request, hook.kind, Some(object)).await?.object.map_or(Value::Null, Cow::into_owned);
    let versioned = typed(request, hook.kind, &seen);
    let response = match settle(hook, ask(caller, request, hook, Some(object), warnings).await)? {
        Some(response) if response["patch"].is_string() => response,
        _ => return Ok(false),
    };
    let failed = |why: String| Status::internal(failure(hook, &why));
    let kind_of_patch = text(&response, "/patchType");
    if kind_of_patch != "JSONPatch" {
        return Err(failed(format!("webhook returned invalid response.patchType of {kind_of_patch:?}")));
    }
    let patch = STANDARD.decode(text(&response, "/patch")).map_err(|error| failed(error.to_string()))?;
    let patch: Value = serde_json::from_slice(&patch).map_err(|error| failed(error.to_string()))?;
    let mut patched = vocabulary::json_patch(&versioned, &patch).map_err(|status| Status::internal(status.message))?;
    if patched == versioned {
        return Ok(false);
    }
    if own_type.is_none() {
        finish(hook.kind, &mut patched)?;
        patched = returned(request, hook.kind, patched).await?;
    }
    let changed = patched != *object;
    *object = patched;
    Ok(changed)
}

/// Brings an object that was changed from outside into its storage version: what its type does not know goes, what it
/// leaves open is defaulted.
pub(super) fn finish(kind: &Kind, object: &mut Value) -> Result<(), Status> {
    vocabulary::decode(kind, object, &Default::default(), FieldValidation::Ignore)?;
    let stored = kind.storage_kind();
    convert(kind, stored, object);
    rules::default(stored, object);
    Ok(())
}

/// Lets webhooks refuse the write; all are asked at once.
pub(super) async fn validate(
    caller: Caller<'_>,
    request: &Request<'_>,
    object: Option<&Value>,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let hooks = hooks(&caller, "validatingwebhookconfigurations", request, object).await?;
    let answers = join_all(hooks.iter().map(|hook| async move {
        let mut said = Vec::new();
        let answer = ask(caller, request, hook, object, &mut said).await;
        (settle(hook, answer), said)
    }));
    let mut outcome = Ok(());
    for (answer, said) in answers.await {
        warnings.extend(said);
        if outcome.is_ok() {
            outcome = answer.map(|_| ());
        }
    }
    outcome
}

fn failure(hook: &Hook<'_>, why: &str) -> String {
    format!("failed calling webhook {:?}: {why}", text(&hook.webhook, "/name"))
}

/// A failed call is a refusal or nothing, as the webhook's failure policy says.
fn settle(hook: &Hook<'_>, answer: Result<Value, Trouble>) -> Result<Option<Value>, Status> {
    match answer {
        Ok(response) => Ok(Some(response)),
        Err(Trouble::Refused(status)) => Err(*status),
        Err(Trouble::Failed(why)) if text(&hook.webhook, "/failurePolicy") == "Ignore" => {
            tracing::warn!(webhook = hook.id, why, "a webhook could not be called; its failure is ignored");
            Ok(None)
        }
        Err(Trouble::Failed(why)) => Err(Status::internal(failure(hook, &why))),
    }
}

/// Asks a webhook; its answer where it allows the write.
async fn ask(
    caller: Caller<'_>,
    request: &Request<'_>,
    hook: &Hook<'_>,
    object: Option<&Value>,
    warnings: &mut Vec<String>,
) -> Result<Value, Trouble> {
    let name = text(&hook.webhook, "/name");
    if request.dry_run && !matches!(text(&hook.webhook, "/sideEffects"), "None" | "NoneOnDryRun") {
        return Err(Status::bad_request(format!("admission webhook {name:?} does not support dry run")).into());
    }
    let uid = uuid::Uuid::new_v4().to_string();
    let Versioned { object, old } = versioned(request, hook.kind, object).await?;
    let review = review(&uid, request, hook.kind, object.as_deref(), old.as_deref());
    let timeout = Duration::from_secs(hook.webhook["timeoutSeconds"].as_u64().unwrap_or(10));
    let answer = caller.client.call(caller.judge.lookup, &hook.webhook["clientConfig"], &review, timeout).await;
    let answer = answer.map_err(|why| Trouble::Failed(format!("failed to call webhook: {why}")))?;
    let (version, kind) = (text(&answer, "/apiVersion"), text(&answer, "/kind"));
    if (version, kind) != ("admission.k8s.io/v1", "AdmissionReview") {
        let why = format!("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {version}, Kind={kind}");
        return Err(Trouble::Failed(why));
    }
    let response = &answer["response"];
    if !response.is_object() {
        return Err(Trouble::Failed("webhook response was absent".to_owned()));
    }
    if text(response, "/uid") != uid {
        return Err(Trouble::Failed(format!("expected response.uid={uid:?}, got {:?}", text(response, "/uid"))));
    }
    if response["patch"].is_string() && text(response, "/patchType").is_empty() {
        return Err(Trouble::Failed("webhook returned response.patch but not response.patchType".to_owned()));
    }
    warnings.extend(response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    if response["allowed"] == true { Ok(response.clone()) } else { Err(denial(name, &response["status"]).into()) }
}

/// The answer of a webhook that refuses (`ToStatusErr`).
fn denial(name: &str, status: &Value) -> Status {
    let said = [text(status, "/message"), text(status, "/reason")].into_iter().find(|text| !text.is_empty());
    let message = match said {
        Some(said) => format!("admission webhook {name:?} denied the request: {said}"),
        None => format!("admission webhook {name:?} denied the request without explanation"),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(0).clamp(400, 599);
    Status::new(code, text(status, "/reason"), message).with_details(status["details"].clone())
}

/// The object as webhooks see it: with its type, in the version they asked for.
pub(super) fn typed(request: &Request<'_>, kind: &Kind, object: &Value) -> Value {
    let mut object = object.clone();
    match request.own_type() {
        Some(own) => {
            object["apiVersion"] = json!(coracle_api::kinds::api_version(&own.group, &own.version));
            object["kind"] = json!(own.kind);
        }
        None => {
            convert(request.kind, kind, &mut object);
            object["apiVersion"] = json!(kind.api_version());
            object["kind"] = json!(kind.kind);
        }
    }
    object
}

/// What a review, and an expression's `request`, say of the request.
pub(super) fn attributes(request: &Request<'_>, kind: &Kind) -> Value {
    let kind_of = |kind: &Kind| match request.own_type() {
        Some(own) => json!({"group": own.group, "version": own.version, "kind": own.kind}),
        None => json!({"group": kind.group, "version": kind.version, "kind": kind.kind}),
    };
    let resource_of = |kind: &Kind| json!({"group": kind.group, "version": kind.version, "resource": kind.plural});
    let identity = request.identity;
    let mut user = json!({"username": identity.user, "groups": identity.groups});
    if !identity.uid.is_empty() {
        user["uid"] = json!(identity.uid);
    }
    if !identity.extra.is_empty() {
        user["extra"] = json!(identity.extra);
    }
    let mut attributes = json!({
        "kind": kind_of(kind),
        "resource": resource_of(kind),
        "requestKind": kind_of(request.asked),
        "requestResource": resource_of(request.asked),
        "operation": matching::operation(request.operation),
        "userInfo": user,
        "dryRun": request.dry_run,
        "options": request.options(),
    });
    for (field, value) in [("name", request.name), ("namespace", request.namespace), ("subResource", request.subresource)] {
        if !value.is_empty() {
            attributes[field] = json!(value);
        }
    }
    if !request.subresource.is_empty() {
        attributes["requestSubResource"] = json!(request.subresource);
    }
    attributes
}

fn review(uid: &str, request: &Request<'_>, kind: &Kind, object: Option<&Value>, old: Option<&Value>) -> Value {
    let mut asked = attributes(request, kind);
    asked["uid"] = json!(uid);
    let seen = |object: Option<&Value>| object.map_or(Value::Null, |object| typed(request, kind, object));
    asked["object"] = seen(object);
    // A stream has no object before it.
    asked["oldObject"] = if request.operation == Operation::Connect { Value::Null } else { seen(old) };
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked})
}

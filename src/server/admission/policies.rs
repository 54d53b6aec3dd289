//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: rules in expressions, bound to where they apply.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use coracle_api::cel::{Budget, RUNTIME_BUDGET, Value as CelValue};
use coracle_api::kinds::{self, Kind};
use coracle_api::selector::LabelSelector;
use coracle_api::status::Status;
use serde_json::{Value, json};

use super::expressions::{self, Match, Programs, Scope, Seen};
use super::{Request, matching, text, webhooks};
use crate::authz::Authorizer;
use crate::objects::Lookup;
use crate::vocabulary::{self, Manager};

const GROUP: &str = "admissionregistration.k8s.io";

/// What judging needs.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) lookup: &'a dyn Lookup,
    pub(super) programs: &'a Programs,
    pub(super) authorizer: &'a Arc<Authorizer>,
}

/// An object and the one before it, in the version that the policy is about.
type Told<'a> = (Option<&'a Value>, Option<&'a Value>);

/// A policy bound to a place that the request is in.
struct Bound<'a> {
    policy: Arc<Value>,
    binding: Arc<Value>,
    kind: &'a Kind,
}

impl Bound<'_> {
    fn fails_closed(&self) -> bool {
        text(&self.policy, "/spec/failurePolicy") != "Ignore"
    }

    fn names(&self) -> (&str, &str) {
        (text(&self.policy, "/metadata/name"), text(&self.binding, "/metadata/name"))
    }
}

/// The kind whose rules match, if the constraints (`MatchResources`) are about the request.
fn constrained<'a>(
    lookup: &dyn Lookup,
    constraints: &Value,
    request: &Request<'a>,
    object: Option<&Value>,
) -> Result<Option<&'a Kind>, Status> {
    let policy = text(constraints, "/matchPolicy");
    if matching::matched(&constraints["excludeResourceRules"], policy, request).is_some() {
        return Ok(None);
    }
    let rules = &constraints["resourceRules"];
    let kind = match rules.as_array().is_none_or(Vec::is_empty) {
        true => Some(request.asked),
        false => matching::matched(rules, policy, request),
    };
    let Some(kind) = kind else { return Ok(None) };
    let selected = matching::namespace_selected(lookup, &constraints["namespaceSelector"], request, object)?
        && matching::object_selected(&constraints["objectSelector"], request, object)?;
    Ok(selected.then_some(kind))
}

impl Judge<'_> {
    /// The policies that are about the request, with each of their bindings that is.
    fn bound<'a>(&self, policies: &str, bindings: &str, request: &Request<'a>, object: Option<&Value>) -> Result<Vec<Bound<'a>>, Status> {
        let mut found = Vec::new();
        let policies = self.lookup.list(GROUP, policies, "");
        if policies.is_empty() || matching::is_exempt(request) {
            return Ok(found);
        }
        let bindings = self.lookup.list(GROUP, bindings, "");
        for policy in policies {
            let own: Vec<_> =
                bindings.iter().filter(|binding| text(binding, "/spec/policyName") == text(&policy, "/metadata/name")).collect();
            if own.is_empty() {
                continue;
            }
            let Some(kind) = constrained(self.lookup, &policy["spec"]["matchConstraints"], request, object)? else { continue };
            for binding in own {
                if constrained(self.lookup, &binding["spec"]["matchResources"], request, object)?.is_some() {
                    found.push(Bound { policy: policy.clone(), binding: binding.clone(), kind });
                }
            }
        }
        Ok(found)
    }

    /// The objects a binding's `paramRef` names; one nothing for a policy without parameters.
    fn params(&self, bound: &Bound<'_>, request: &Request<'_>) -> Result<Vec<Option<Arc<Value>>>, String> {
        let (kind, reference) = (&bound.policy["spec"]["paramKind"], &bound.binding["spec"]["paramRef"]);
        if !kind.is_object() || !reference.is_object() {
            return Ok(vec![None]);
        }
        let (version, name) = (text(kind, "/apiVersion"), text(kind, "/kind"));
        let custom = request.customs.filter(|_| version.contains('/')).and_then(|customs| customs.named(version, name));
        let Some(kind) = kinds::by_api_version(version, name).or(custom.as_deref()) else {
            return Err(format!("failed to configure binding: paramKind kind `{version}, Kind={name}` not known"));
        };
        let namespace = match (kind.namespaced, text(reference, "/namespace")) {
            (true, "") if request.namespace.is_empty() => {
                return Err(
                    "failed to configure binding: cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                        .to_owned(),
                );
            }
            (true, "") => request.namespace,
            (true, own) => own,
            (false, _) => "",
        };
        let stored = kind.storage_kind();
        let found: Vec<Arc<Value>> = if reference["selector"].is_object() {
            let selector = LabelSelector::from_object(&reference["selector"]).map_err(|error| error.to_string())?;
            let selected = |object: &Arc<Value>| match object["metadata"]["labels"].as_object() {
                Some(labels) => selector.matches(labels),
                None => selector.matches(&serde_json::Map::new()),
            };
            self.lookup.list(&stored.group, &stored.plural, namespace).into_iter().filter(selected).collect()
        } else {
            self.lookup.get(&stored.group, &stored.plural, namespace, text(reference, "/name")).into_iter().collect()
        };
        if found.is_empty() && text(reference, "/parameterNotFoundAction") != "Allow" {
            return Err("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
        }
        let typed = |object: Arc<Value>| {
            let mut object = Value::clone(&object);
            object["apiVersion"] = json!(stored.api_version());
            object["kind"] = json!(stored.kind);
            if let Some(custom) = &stored.custom {
                custom.settle(&mut object);
            }
            Arc::new(object)
        };
        Ok(found.into_iter().map(typed).map(Some).collect())
    }

    fn seen(&self, bound: &Bound<'_>, request: &Request<'_>, (object, old): Told<'_>, params: Option<&Value>) -> Seen {
        let namespace = self.lookup.get("", "namespaces", "", request.namespace).filter(|_| !request.namespace.is_empty());
        let seen = Seen::of(request, bound.kind, object, old, self.authorizer);
        seen.with("namespaceObject", namespace.as_deref()).with("params", params)
    }

    /// The scope of a policy's expressions, if its conditions hold.
    fn enter(
        &self,
        bound: &Bound<'_>,
        request: &Request<'_>,
        told: Told<'_>,
        params: Option<&Value>,
        budget: &Budget,
    ) -> Result<Option<Arc<Scope>>, String> {
        let spec = &bound.policy["spec"];
        let scope = self.seen(bound, request, told, params).scope(self.programs, &spec["variables"])?;
        match expressions::matches(self.programs, &spec["matchConditions"], &scope, budget) {
            Match::Yes => Ok(Some(scope)),
            Match::No => Ok(None),
            Match::Failed(why) => Err(why),
        }
    }

    /// Lets policies refuse or warn.
    pub(super) async fn validate(&self, request: &Request<'_>, object: Option<&Value>, warnings: &mut Vec<String>) -> Result<(), Status> {
        let mut denied = None;
        for bound in self.bound("validatingadmissionpolicies", "validatingadmissionpolicybindings", request, object)? {
            let (policy, binding) = bound.names();
            let told = webhooks::versioned(request, bound.kind, object).await?;
            for (message, reason) in self.faults(&bound, request, (told.object.as_deref(), told.old.as_deref())) {
                for action in bound.binding["spec"]["validationActions"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    match action {
                        "Deny" if denied.is_none() => {
                            let text = format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {message}");
                            denied = Some(refusal(request, &text, &message, &reason));
                        }
                        "Warn" => {
                            warnings.push(format!(
                                "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {message}"
                            ));
                        }
                        _ => {}
                    }
                }
            }
        }
        denied.map_or(Ok(()), Err)
    }

    /// What a policy says against the request: message and reason.
    fn faults(&self, bound: &Bound<'_>, request: &Request<'_>, told: Told<'_>) -> Vec<(String, String)> {
        let failed = |why: String| if bound.fails_closed() { vec![(why, String::new())] } else { Vec::new() };
        let params = match self.params(bound, request) {
            Ok(params) => params,
            Err(why) => return failed(why),
        };
        let mut faults = Vec::new();
        for params in params {
            let budget = Budget::new(RUNTIME_BUDGET);
            let scope = match self.enter(bound, request, told, params.as_deref(), &budget) {
                Ok(Some(scope)) => scope,
                Ok(None) => continue,
                Err(why) => {
                    faults.extend(failed(why));
                    continue;
                }
            };
            for validation in bound.policy["spec"]["validations"].as_array().into_iter().flatten() {
                match self.fault(validation, &scope, &budget) {
                    Ok(None) => {}
                    Ok(Some(message)) => faults.push((message, text(validation, "/reason").to_owned())),
                    Err(why) => faults.extend(failed(why)),
                }
            }
        }
        faults
    }

    /// What one validation says against the request, if it does.
    fn fault(&self, validation: &Value, scope: &Scope, budget: &Budget) -> Result<Option<String>, String> {
        let source = text(validation, "/expression");
        let answer = self.programs.of(source)?.evaluate(scope, budget);
        if answer.map_err(|error| format!("expression '{source}' resulted in error: {error}"))? == CelValue::Bool(true) {
            return Ok(None);
        }
        let computed = Some(text(validation, "/messageExpression")).filter(|source| !source.is_empty()).and_then(|source| {
            let value = self.programs.of(source).ok()?.evaluate(scope, budget).ok()?;
            let message = value.as_str()?.trim().to_owned();
            (!message.is_empty() && !message.contains('\n') && message.len() <= 5 << 10).then_some(message)
        });
        let given = Some(text(validation, "/message").trim().to_owned()).filter(|message| !message.is_empty());
        Ok(Some(computed.or(given).unwrap_or_else(|| format!("failed expression: {}", source.trim()))))
    }

    /// Lets policies change the object; in a second round only those that want to see what others did. True if one did change it.
    pub(super) async fn mutate(
        &self,
        request: &Request<'_>,
        object: &mut Value,
        asked: &mut HashSet<String>,
        again: bool,
    ) -> Result<bool, Status> {
        let mut changed = false;
        for bound in self.bound("mutatingadmissionpolicies", "mutatingadmissionpolicybindings", request, Some(object))? {
            let (policy, binding) = bound.names();
            let id = format!("{policy}/{binding}");
            if again && (text(&bound.policy, "/spec/reinvocationPolicy") != "IfNeeded" || !asked.contains(&id)) {
                continue;
            }
            let told = webhooks::versioned(request, bound.kind, Some(object)).await?;
            let (mut new, old) = (told.object.map_or(Value::Null, Cow::into_owned), told.old.map(Cow::into_owned));
            match self.change(&bound, request, &mut new, old.as_ref()) {
                Ok(()) => {
                    let new = webhooks::returned(request, bound.kind, new).await?;
                    changed |= new != *object;
                    *object = new;
                }
                Err(_) if !bound.fails_closed() => {}
                Err(why) => {
                    return Err(request.forbidden(&format!("policy '{policy}' with binding '{binding}' denied request: {why}")));
                }
            }
            asked.insert(id);
        }
        Ok(changed)
    }

    fn change(&self, bound: &Bound<'_>, request: &Request<'_>, object: &mut Value, old: Option<&Value>) -> Result<(), String> {
        for params in self.params(bound, request)? {
            let budget = Budget::new(RUNTIME_BUDGET);
            for mutation in bound.policy["spec"]["mutations"].as_array().into_iter().flatten() {
                let Some(scope) = self.enter(bound, request, (Some(object), old), params.as_deref(), &budget)? else { break };
                let source = match text(mutation, "/patchType") {
                    "JSONPatch" => text(mutation, "/jsonPatch/expression"),
                    _ => text(mutation, "/applyConfiguration/expression"),
                };
                let value = self.programs.of(source)?.evaluate(&*scope, &budget);
                let value = value.map_err(|error| format!("expression '{source}' resulted in error: {error}"))?.to_json();
                let versioned = webhooks::typed(request, bound.kind, object);
                let mut patched = match text(mutation, "/patchType") {
                    "JSONPatch" => vocabulary::json_patch(&versioned, &value).map_err(|status| status.message)?,
                    _ => merged(bound.kind, &versioned, value)?,
                };
                if patched == versioned {
                    continue;
                }
                if request.own_type().is_none() {
                    webhooks::finish(bound.kind, &mut patched).map_err(|status| status.message)?;
                }
                *object = patched;
            }
        }
        Ok(())
    }
}

/// The object with a configuration applied: lists and maps are merged as their types say. Nobody comes to own anything.
fn merged(kind: &Kind, object: &Value, mut configuration: Value) -> Result<Value, String> {
    if !configuration.is_object() {
        return Err("type mismatch: applyConfiguration expression must evaluate to an Object".to_owned());
    }
    for forbidden in ["apiVersion", "kind", "metadata"] {
        if forbidden != "metadata" && !configuration[forbidden].is_null() {
            return Err(format!("invalid ApplyConfiguration: may not set {forbidden}"));
        }
    }
    let mut live = object.clone();
    let managers = live["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"));
    configuration["apiVersion"] = json!(kind.api_version());
    configuration["kind"] = json!(kind.kind);
    for field in ["name", "namespace"] {
        if let Some(own) = live["metadata"].get(field) {
            configuration["metadata"][field] = own.clone();
        }
    }
    let manager = Manager { name: "admission", subresource: "", now: jiff::Timestamp::UNIX_EPOCH };
    let mut merged = vocabulary::apply(kind, Some(&live), configuration, &manager, true).map_err(|status| status.message)?;
    if let Some(metadata) = merged["metadata"].as_object_mut() {
        match managers {
            Some(managers) => drop(metadata.insert("managedFields".to_owned(), managers)),
            None => drop(metadata.remove("managedFields")),
        }
    }
    Ok(merged)
}

/// The answer of a policy that refuses.
fn refusal(request: &Request<'_>, text: &str, message: &str, reason: &str) -> Status {
    let (code, reason) = match reason {
        "Unauthorized" => (401, reason),
        "Forbidden" => (403, reason),
        "RequestEntityTooLarge" => (413, reason),
        _ => (422, "Invalid"),
    };
    let mut refused = request.forbidden(text);
    refused.code = code;
    reason.clone_into(&mut refused.reason);
    refused.details["causes"] = json!([{"message": message}]);
    refused
}

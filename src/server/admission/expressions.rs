//! Expressions of webhooks and policies: what they see of a request, and where they are kept compiled.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use coracle_api::cel::{self, Budget, Environment, Error, Program, Value, Variables};
use coracle_api::identity::Identity;
use coracle_api::kinds::Kind;
use coracle_api::rules;
use parking_lot::Mutex;
use serde_json::Value as Json;

use super::{Operation, Request, text, webhooks};
use crate::authz::{Attributes, Authorizer};

/// Compiled expressions kept; more are compiled when they are needed.
const KEPT: usize = 4_096;

/// Expressions, each compiled once.
#[derive(Default)]
pub(super) struct Programs(Mutex<HashMap<String, Arc<Program>>>);

impl Programs {
    /// The program of an expression.
    ///
    /// # Errors
    /// It is none, in upstream's words.
    pub(super) fn of(&self, source: &str) -> Result<Arc<Program>, String> {
        if let Some(known) = self.0.lock().get(source) {
            return Ok(known.clone());
        }
        let program = Arc::new(environment().compile(source).map_err(|error| error.to_string())?);
        let mut kept = self.0.lock();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(source.to_owned(), program.clone());
        Ok(program)
    }
}

/// What any expression may use; that it uses no more than its place has was checked when it was written.
fn environment() -> Environment {
    rules::expression_variables(rules::Place::Mutation)
}

/// What expressions see: the request, and the variables that a policy makes of it, each computed when it is first used.
pub(super) struct Scope {
    values: BTreeMap<&'static str, Value>,
    composed: Vec<(String, Arc<Program>)>,
    known: Mutex<BTreeMap<String, Value>>,
    me: Weak<Self>,
}

/// What a scope is made of.
#[derive(Clone)]
pub(super) struct Seen {
    values: BTreeMap<&'static str, Value>,
}

impl Seen {
    /// What is seen of a request for objects of `kind`.
    pub(super) fn of(request: &Request<'_>, kind: &Kind, object: Option<&Json>, old: Option<&Json>, authorizer: &Arc<Authorizer>) -> Self {
        let value = |object: Option<&Json>| object.map_or(Value::Null, |object| Value::from_json(&webhooks::typed(request, kind, object)));
        let old = old.filter(|_| request.operation != Operation::Connect);
        let mut attributes = webhooks::attributes(request, kind);
        for field in ["name", "namespace", "subResource", "requestSubResource"] {
            if attributes[field].is_null() {
                attributes[field] = Json::String(String::new());
            }
        }
        let asker = Asker {
            authorizer: authorizer.clone(),
            identity: request.identity.clone(),
            asked: Asked {
                group: request.asked.group.to_string(),
                version: request.asked.version.to_string(),
                resource: request.asked.plural.to_string(),
                subresource: request.subresource.to_owned(),
                namespace: request.namespace.to_owned(),
                name: request.name.to_owned(),
                ..Asked::default()
            },
            ty: AUTHORIZER,
        };
        let values = BTreeMap::from([
            ("object", value(object)),
            ("oldObject", value(old)),
            ("request", Value::from_json(&attributes)),
            ("namespaceObject", Value::Null),
            ("params", Value::Null),
            ("authorizer", Value::Object(Arc::new(asker))),
        ]);
        Self { values }
    }

    /// The same with another value for a variable.
    pub(super) fn with(mut self, name: &'static str, value: Option<&Json>) -> Self {
        self.values.insert(name, value.map_or(Value::Null, Value::from_json));
        self
    }

    /// A scope with these composed variables.
    ///
    /// # Errors
    /// One is no expression.
    pub(super) fn scope(self, programs: &Programs, variables: &Json) -> Result<Arc<Scope>, String> {
        let variables = variables.as_array().into_iter().flatten();
        let composed = variables.map(|one| Ok((text(one, "/name").to_owned(), programs.of(text(one, "/expression"))?)));
        let composed = composed.collect::<Result<Vec<_>, String>>()?;
        Ok(Arc::new_cyclic(|me| Scope { values: self.values, composed, known: Mutex::default(), me: me.clone() }))
    }
}

impl Variables for Scope {
    fn get(&self, name: &str, _: &Budget) -> Result<Option<Value>, Error> {
        if name == "variables" {
            return Ok(self.me.upgrade().map(|me| Value::Object(me)));
        }
        Ok(self.values.get(name).cloned())
    }
}

impl cel::Object for Scope {
    fn type_name(&self) -> &'static str {
        "kubernetes.variables"
    }

    fn field(&self, name: &str, budget: &Budget) -> Result<Option<Value>, Error> {
        if let Some(known) = self.known.lock().get(name) {
            return Ok(Some(known.clone()));
        }
        let Some((_, program)) = self.composed.iter().find(|(own, _)| own == name) else { return Ok(None) };
        let value = program.evaluate(self, budget)?;
        self.known.lock().insert(name.to_owned(), value.clone());
        Ok(Some(value))
    }
}

/// Whether conditions hold.
pub(super) enum Match {
    /// All do.
    Yes,
    /// One does not.
    No,
    /// None says no, but one has no answer.
    Failed(String),
}

/// Checks `matchConditions`.
pub(super) fn matches(programs: &Programs, conditions: &Json, scope: &Scope, budget: &Budget) -> Match {
    let mut failed = None;
    for condition in conditions.as_array().into_iter().flatten() {
        let answer = programs.of(text(condition, "/expression")).and_then(|program| {
            program
                .evaluate(scope, budget)
                .map_err(|error| format!("expression '{}' resulted in error: {error}", text(condition, "/expression")))
        });
        match answer {
            Ok(Value::Bool(true)) => {}
            Ok(_) => return Match::No,
            Err(why) => failed = failed.or(Some(why)),
        }
    }
    failed.map_or(Match::Yes, Match::Failed)
}

const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
const RESOURCE: &str = "kubernetes.authorization.ResourceCheck";

#[derive(Clone, Default)]
struct Asked {
    path: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

/// `authorizer` and what its methods make of it.
#[derive(Clone)]
struct Asker {
    authorizer: Arc<Authorizer>,
    identity: Identity,
    asked: Asked,
    ty: &'static str,
}

impl Asker {
    fn step(&self, ty: &'static str, change: impl FnOnce(&mut Asked)) -> Value {
        let mut next = Self { ty, ..self.clone() };
        change(&mut next.asked);
        Value::Object(Arc::new(next))
    }

    fn decide(&self, verb: &str) -> Value {
        let asked = &self.asked;
        let attributes = if asked.path.is_empty() {
            Attributes {
                verb,
                group: &asked.group,
                version: if asked.version.is_empty() { "*" } else { &asked.version },
                resource: &asked.resource,
                subresource: &asked.subresource,
                namespace: &asked.namespace,
                name: &asked.name,
                path: "",
            }
        } else {
            Attributes::path(verb, &asked.path)
        };
        Value::Object(Arc::new(Decision(self.authorizer.decide(&self.identity, &attributes))))
    }
}

impl cel::Object for Asker {
    fn type_name(&self) -> &'static str {
        self.ty
    }

    fn field(&self, name: &str, _: &Budget) -> Result<Option<Value>, Error> {
        Ok((self.ty == AUTHORIZER && name == "requestResource").then(|| self.step(RESOURCE, |_| {})))
    }

    fn call(&self, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let argument = |index: usize| arguments.get(index).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(match method {
            "path" => self.step("kubernetes.authorization.PathCheck", |asked| asked.path = argument(0)),
            "group" => self.step("kubernetes.authorization.GroupCheck", |asked| *asked = Asked { group: argument(0), ..Asked::default() }),
            "serviceAccount" => {
                let (namespace, name) = (argument(0), argument(1));
                let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
                let identity = Identity::new(format!("system:serviceaccount:{namespace}:{name}"), &groups.each_ref().map(String::as_str));
                Value::Object(Arc::new(Self { identity, ..self.clone() }))
            }
            "resource" => self.step(RESOURCE, |asked| asked.resource = argument(0)),
            "subresource" => self.step(RESOURCE, |asked| asked.subresource = argument(0)),
            "namespace" => self.step(RESOURCE, |asked| asked.namespace = argument(0)),
            "name" => self.step(RESOURCE, |asked| asked.name = argument(0)),
            // Roles know no selectors: who may see all may see some.
            "fieldSelector" | "labelSelector" => self.step(RESOURCE, |_| {}),
            "check" => self.decide(&argument(0)),
            other => return Err(Error::Failed(format!("no such overload: {other}"))),
        })
    }
}

struct Decision(crate::authz::Decision);

impl cel::Object for Decision {
    fn type_name(&self) -> &'static str {
        "kubernetes.authorization.Decision"
    }

    fn call(&self, method: &str, _: &[Value]) -> Result<Value, Error> {
        Ok(match method {
            "allowed" => self.0.allowed.into(),
            "reason" => self.0.reason.clone().into(),
            "errored" => false.into(),
            "error" => String::new().into(),
            other => return Err(Error::Failed(format!("no such overload: {other}"))),
        })
    }
}

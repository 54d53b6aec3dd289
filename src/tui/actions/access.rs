//! Who may do what: rules of roles, of subjects, and who can do something; read from roles and bindings.

use serde_json::Value;

use super::object::target;
use crate::action::Scopes;
use crate::app::App;
use crate::kinds::Target;
use crate::shared::Level;
use crate::source::fault::Fault;
use crate::source::work::{Outside, work};
use crate::table::{Column, Health, Row};
use crate::views::table::{Made, TableView};

const VERBS: [&str; 8] = ["get", "list", "watch", "create", "patch", "update", "delete", "deletecollection"];

/// A user, a group or a service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

impl Subject {
    /// Reads `u:name`, `g:name`, `s:namespace:name`, as k9s does; without a letter it is a user.
    pub fn parse(text: &str) -> Self {
        let of = |kind: &str, name: &str, namespace: &str| Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        };
        match text.split_once(':') {
            Some(("u", name)) => of("User", name, ""),
            Some(("g", name)) => of("Group", name, ""),
            Some(("s", rest)) => {
                let (namespace, name) = rest.split_once([':', '/']).unwrap_or(("default", rest));
                of("ServiceAccount", name, namespace)
            }
            _ => of("User", text, ""),
        }
    }

    fn shown(&self) -> String {
        let place = if self.namespace.is_empty() { String::new() } else { format!("{}/", self.namespace) };
        format!("{} {place}{}", self.kind.to_lowercase(), self.name)
    }

    /// Whether a binding's subject means it, by name or by a group it is always in.
    fn is(&self, subject: &Value) -> bool {
        let text = |field: &str| subject.get(field).and_then(Value::as_str).unwrap_or_default();
        if text("kind") == self.kind && text("name") == self.name {
            return self.kind != "ServiceAccount" || text("namespace") == self.namespace;
        }
        let groups = match self.kind.as_str() {
            "ServiceAccount" => vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{}", self.namespace),
                "system:authenticated".to_owned(),
            ],
            "User" => vec!["system:authenticated".to_owned()],
            _ => Vec::new(),
        };
        text("kind") == "Group" && groups.iter().any(|group| group == text("name"))
    }
}

/// Roles and bindings of the whole cluster.
struct Rbac {
    /// Kind, namespace, name, rules.
    roles: Vec<(String, String, String, Vec<Value>)>,
    bindings: Vec<Value>,
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn strings(value: &Value, field: &str) -> Vec<String> {
    value.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

async fn read(outside: &Outside) -> Result<Rbac, Fault> {
    const BASE: &str = "/apis/rbac.authorization.k8s.io/v1";
    let list = async |plural: &str| outside.list(format!("{BASE}/{plural}")).await;
    let (cluster_roles, roles) = (list("clusterroles").await?, list("roles").await?);
    let mut bindings = list("clusterrolebindings").await?;
    bindings.extend(list("rolebindings").await?);
    let role = |kind: &str, role: &Value| {
        let rules = role.get("rules").and_then(Value::as_array).cloned().unwrap_or_default();
        (kind.to_owned(), text(role, "/metadata/namespace"), text(role, "/metadata/name"), rules)
    };
    let roles = cluster_roles.iter().map(|one| role("ClusterRole", one)).chain(roles.iter().map(|one| role("Role", one))).collect();
    Ok(Rbac { roles, bindings })
}

impl Rbac {
    fn rules(&self, binding: &Value) -> &[Value] {
        let (kind, name, namespace) =
            (text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"), text(binding, "/metadata/namespace"));
        let role = self.roles.iter().find(|role| role.0 == kind && role.2 == name && (kind == "ClusterRole" || role.1 == namespace));
        role.map_or(&[], |role| role.3.as_slice())
    }
}

fn columns(last: &str) -> Vec<Column> {
    ["Name", "API Group"].iter().chain(&VERBS).chain(&["Extras", last]).map(|name| Column::new(name, "string", false)).collect()
}

/// A row for each resource that rules name.
fn rule_rows(rules: &[Value], source: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for rule in rules {
        let verbs = strings(rule, "verbs");
        let has = |verb: &str| verbs.iter().any(|own| own == verb || own == "*");
        let named = strings(rule, "resourceNames");
        let groups = strings(rule, "apiGroups");
        let resources: Vec<String> = strings(rule, "resources");
        let targets = resources
            .iter()
            .flat_map(|resource| groups.iter().map(move |group| (resource.clone(), group.clone())))
            .chain(strings(rule, "nonResourceURLs").into_iter().map(|url| (url, String::new())));
        for (resource, group) in targets {
            let name = if named.is_empty() { resource } else { format!("{resource} ({})", named.join(",")) };
            let extras: Vec<&str> = verbs.iter().map(String::as_str).filter(|verb| *verb != "*" && !VERBS.contains(verb)).collect();
            let marks = VERBS.iter().map(|verb| if has(verb) { "✓" } else { "·" }.to_owned());
            let mut cells = vec![name.clone(), group.clone()];
            cells.extend(marks);
            cells.extend([extras.join(","), source.to_owned()]);
            let key = format!("{name} {group} {source} {}", rows.len()).replace('/', "∕");
            rows.push(Row::made(&cells, Health::Fine).keyed(&key));
        }
    }
    rows
}

/// Rules of the role, of the binding's role, or of the service account under the cursor.
pub fn rules(app: &mut App) {
    let Some(target) = target(app) else { return };
    if target.kind.plural == "serviceaccounts" {
        return may(app, Subject { kind: "ServiceAccount".to_owned(), name: target.name, namespace: target.namespace });
    }
    let of = target.shown();
    let made = Made {
        of,
        command: None,
        ..Made::new("rules", move |_| {
            let target = target.clone();
            work(move |outside| async move {
                let rows = rules_of(&outside, &target).await;
                outside.table_or_fault(&columns("Of"), rows);
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

async fn rules_of(outside: &Outside, target: &Target) -> Result<Vec<Row>, Fault> {
    let object = outside.ask(crate::source::call::Call::read(target)).await?;
    if let Some(rules) = object.get("rules").and_then(Value::as_array) {
        return Ok(rule_rows(rules, &target.name));
    }
    let rbac = read(outside).await?;
    Ok(rule_rows(rbac.rules(&object), &text(&object, "/roleRef/name")))
}

/// What a subject may do.
pub fn may(app: &mut App, subject: Subject) {
    let command = format!(
        "can {}:{}",
        subject.kind.to_lowercase().chars().next().unwrap_or('u'),
        if subject.namespace.is_empty() { subject.name.clone() } else { format!("{}:{}", subject.namespace, subject.name) }
    );
    let made = Made {
        of: subject.shown(),
        command: Some(command),
        ..Made::new("rules", move |_| {
            let subject = subject.clone();
            work(move |outside| async move {
                let rows = read(&outside).await.map(|rbac| {
                    let mine = |binding: &&Value| {
                        binding.get("subjects").and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| subject.is(one)))
                    };
                    let of = |binding: &Value| {
                        let place = text(binding, "/metadata/namespace");
                        let source = if place.is_empty() {
                            text(binding, "/metadata/name")
                        } else {
                            format!("{} in {place}", text(binding, "/metadata/name"))
                        };
                        rule_rows(rbac.rules(binding), &source)
                    };
                    rbac.bindings.iter().filter(mine).flat_map(of).collect()
                });
                outside.table_or_fault(&columns("Binding"), rows);
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

/// Who may do `verb` with `resource`.
pub fn who_can(app: &mut App, verb: &str, resource: &str) {
    let (group, plural) = app
        .shared
        .kinds
        .find(resource)
        .map_or_else(|| (String::new(), resource.to_owned()), |kind| (kind.group.clone(), kind.plural.clone()));
    let verb = verb.to_owned();
    let made = Made {
        of: format!("{verb} {plural}"),
        command: Some(format!("who-can {verb} {plural}")),
        ..Made::new("who can", move |_| {
            let (verb, group, plural) = (verb.clone(), group.clone(), plural.clone());
            work(move |outside| async move {
                let columns: Vec<Column> = ["Name", "Kind", "Namespace", "Where", "Role", "Binding"]
                    .iter()
                    .map(|name| Column::new(name, "string", false))
                    .collect();
                let rows = read(&outside).await.map(|rbac| who_rows(&rbac, &verb, &group, &plural));
                outside.table_or_fault(&columns, rows);
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

fn allows(rule: &Value, verb: &str, group: &str, plural: &str) -> bool {
    let has = |field: &str, wanted: &str| strings(rule, field).iter().any(|own| own == wanted || own == "*");
    has("verbs", verb) && has("apiGroups", group) && has("resources", plural) && strings(rule, "resourceNames").is_empty()
}

fn who_rows(rbac: &Rbac, verb: &str, group: &str, plural: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for binding in rbac.bindings.iter().filter(|binding| rbac.rules(binding).iter().any(|rule| allows(rule, verb, group, plural))) {
        let place = text(binding, "/metadata/namespace");
        for subject in binding.get("subjects").and_then(Value::as_array).into_iter().flatten() {
            let cells = [
                text(subject, "/name"),
                text(subject, "/kind"),
                text(subject, "/namespace"),
                if place.is_empty() { "everywhere".to_owned() } else { place.clone() },
                text(binding, "/roleRef/name"),
                text(binding, "/metadata/name"),
            ];
            let key = format!("{} {} {} {}", cells[0], cells[1], cells[5], place).replace('/', "∕");
            rows.push(Row::made(&cells, Health::Fine).keyed(&key));
        }
    }
    rows
}

/// Users or groups that bindings name.
pub fn subjects(app: &mut App, kind: &'static str) {
    let (name, command) = if kind == "User" { ("users", "users") } else { ("groups", "groups") };
    let made = Made {
        command: Some(command.to_owned()),
        scopes: Scopes::SUBJECTS,
        hints: &["help", "filter", "back", "subject-rules"],
        ..Made::new(name, move |_| {
            work(move |outside| async move {
                let columns: Vec<Column> = [("Name", "string"), ("Kind", "string"), ("Bindings", "integer")]
                    .iter()
                    .map(|(name, of)| Column::new(name, of, false))
                    .collect();
                let rows = read(&outside).await.map(|rbac| {
                    let subjects =
                        rbac.bindings.iter().flat_map(|binding| binding.get("subjects").and_then(Value::as_array).into_iter().flatten());
                    let mut counts: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
                    subjects
                        .filter(|subject| subject["kind"] == kind)
                        .for_each(|subject| *counts.entry(text(subject, "/name")).or_default() += 1);
                    counts.into_iter().map(|(name, count)| Row::made(&[name, kind.to_owned(), count.to_string()], Health::Fine)).collect()
                });
                outside.table_or_fault(&columns, rows);
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

/// What the subject under the cursor may do.
pub fn subject_rules(app: &mut App) {
    let mut found = None;
    app.with(|view: &mut TableView, _| found = view.row().map(|row| (row.cell(0).to_owned(), row.cell(1).to_owned())));
    if let Some((name, kind)) = found {
        may(app, Subject { kind, name, namespace: String::new() });
    }
}

/// `can SUBJECT`, or `who-can VERB RESOURCE`.
pub fn command(app: &mut App, word: &str, rest: &str) {
    let words: Vec<&str> = rest.split_whitespace().collect();
    match (word, words.as_slice()) {
        ("who-can", [verb, resource]) => who_can(app, verb, resource),
        ("can", [subject]) => may(app, Subject::parse(subject)),
        ("can", [verb, resource]) => who_can(app, verb, resource),
        ("can", _) => app.shared.say(Level::Info, "can u:USER, can g:GROUP or can s:NAMESPACE:ACCOUNT"),
        _ => app.shared.say(Level::Info, "who-can VERB RESOURCE, as `who-can delete pods`"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn subjects_are_meant_by_name_and_by_the_groups_they_are_always_in() {
        let account = Subject::parse("s:shop:till");
        assert!(account.is(&json!({"kind": "ServiceAccount", "name": "till", "namespace": "shop"})));
        assert!(account.is(&json!({"kind": "Group", "name": "system:serviceaccounts:shop"})));
        assert!(!account.is(&json!({"kind": "ServiceAccount", "name": "till", "namespace": "default"})));
        assert!(Subject::parse("ada").is(&json!({"kind": "User", "name": "ada"})));
    }

    #[test]
    fn who_can_follows_roles_through_bindings() {
        let rbac = Rbac {
            roles: vec![(
                "ClusterRole".into(),
                String::new(),
                "admin".into(),
                vec![json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})],
            )],
            bindings: vec![
                json!({"metadata": {"name": "b", "namespace": "shop"}, "roleRef": {"kind": "ClusterRole", "name": "admin"}, "subjects": [{"kind": "User", "name": "ada"}]}),
            ],
        };
        let rows = who_rows(&rbac, "delete", "", "pods");
        assert_eq!((rows[0].cell(0), rows[0].cell(3)), ("ada", "shop"));
    }
}

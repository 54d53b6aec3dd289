//! Actions on the object under the cursor, or on the marked ones.

use serde_json::{Value, json};

use crate::action::Action;
use crate::app::App;
use crate::config::Program;
use crate::keep::changes::write;
use crate::kinds::Target;
use crate::shared::{Level, Namespaces};
use crate::source::call::Call;
use crate::source::graph::{Object, dependents, gather, users};
use crate::source::logs::PodChoice;
use crate::views::containers::ContainersView;
use crate::views::editor::EditorView;
use crate::views::logs::LogsView;
use crate::views::table::TableView;
use crate::views::text::TextView;
use crate::widgets::dialog::{self, Dialog};

/// The object the cursor is on.
pub fn target(app: &App) -> Option<Target> {
    app.view().and_then(|view| view.target())
}

/// The marked objects, or the one under the cursor.
pub fn targets(app: &App) -> Vec<Target> {
    app.view().map(|view| view.targets()).unwrap_or_default()
}

/// Carries out an action on an object that is not on the screen.
pub fn on(app: &mut App, action: &'static Action, target: Target) {
    if action.writes && app.shared.options.readonly {
        return app.shared.say(Level::Warning, format!("{}: not with --readonly", action.name));
    }
    let denied = crate::action::needs(action.name).and_then(|(verb, part)| app.shared.access.denies(verb, part, &target));
    if let Some(reason) = denied {
        return app.shared.say(Level::Warning, format!("{}: {reason}", action.name));
    }
    let view: Box<dyn crate::view::View> = match action.name {
        "yaml" => Box::new(TextView::yaml(target)),
        "edit" => Box::new(EditorView::new(target)),
        "logs" => return open_logs(app, target, false),
        "previous-logs" => return open_logs(app, target, true),
        "delete" => {
            let dialog = dialog::delete(vec![target]).guarded(&app.shared);
            return app.lay(Box::new(dialog));
        }
        "scale" => return ask_scale(app, target),
        "restart" => return ask_restart(app, vec![target]),
        "describe" => Box::new(TextView::describe(target)),
        "why" | "xray" | "history" | "timeline" | "rollout" | "shell" | "attach" | "port-forward" | "used-by" => {
            // these work on a row: the object's own table is opened for them
            let mut table = TableView::of(target.kind.clone());
            table.begin_with(target);
            app.push(Box::new(table));
            return app.perform(action);
        }
        other => return app.shared.say(Level::Error, format!("{other} takes no object; go to it and press its key")),
    };
    app.push(view);
}

/// Reads an object and goes on with it.
pub fn on_object(app: &mut App, target: Target, work: impl FnOnce(&mut App, Target, Value) + Send + 'static) {
    let call = Call::read(&target);
    app.shared.call(
        call,
        Box::new(move |app, answer| match answer {
            Ok(object) => work(app, target, object),
            Err(fault) => app.shared.fail(&target.shown(), &fault),
        }),
    );
}

/// Drills in.
pub fn enter(app: &mut App) {
    let mut container = None;
    app.with(|view: &mut ContainersView, _| container = view.logs());
    if let Some(logs) = container {
        return app.push(Box::new(logs));
    }
    let Some(target) = target(app) else { return };
    let kind = target.kind.clone();
    if let Some(jump) = app.shared.config.jump(&kind).cloned() {
        return on_object(app, target, move |app, target, object| jump_from(app, &jump, &target, &object));
    }
    if kind.is("", "namespaces") {
        app.shared.set_namespaces(Namespaces::Some(vec![target.name]));
        return crate::command::run(app, "pods");
    }
    if kind.is("", "pods") {
        return app.push(Box::new(ContainersView::new(target)));
    }
    if kind.is("batch", "cronjobs") {
        return super::rollout::jobs_of(app, target);
    }
    let Some(pods) = app.shared.kinds.find("pods") else { return };
    if kind.is("", "nodes") {
        let fields = format!("spec.nodeName={}", target.name);
        return app.push(Box::new(TableView::fixed(pods, None, None, Some(fields), format!("node {}", target.name))));
    }
    if kind.is_workload() || kind.is("", "services") {
        return on_object(app, target, move |app, target, object| match selector(&object) {
            Some(labels) => {
                let title = target.shown();
                app.push(Box::new(TableView::fixed(pods, Some(target.namespace), Some(labels), None, title)));
            }
            None => app.push(Box::new(TextView::describe(target))),
        });
    }
    if kind.kind == "CustomResourceDefinition" {
        return crate::command::run(app, &target.name);
    }
    app.push(Box::new(TextView::describe(target)));
}

/// Goes where `jumps.yaml` says.
fn jump_from(app: &mut App, jump: &crate::config::Jump, target: &Target, object: &Value) {
    let Some(kind) = app.shared.kinds.find(&jump.target_gvr) else {
        return app.shared.say(Level::Error, format!("jumps.yaml: no kind is called {}", jump.target_gvr));
    };
    match jump.from(object) {
        Ok(to) => app.push(Box::new(TableView::fixed(kind, to.namespace, to.labels, to.fields, target.shown()))),
        Err(message) => app.shared.say(Level::Error, format!("jumps.yaml: {message}")),
    }
}

/// The selector of a workload or a service, as a query.
pub fn selector(object: &Value) -> Option<String> {
    let selector = object.pointer("/spec/selector")?.as_object()?;
    let plain = !(selector.contains_key("matchLabels") || selector.contains_key("matchExpressions"));
    let labels = if plain { Some(selector) } else { selector.get("matchLabels").and_then(Value::as_object) };
    let mut terms: Vec<String> =
        labels.into_iter().flatten().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let key = expression.get("key").and_then(Value::as_str).unwrap_or_default();
        let values: Vec<&str> =
            expression.get("values").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        terms.push(match expression.get("operator").and_then(Value::as_str) {
            Some("In") => format!("{key} in ({})", values.join(",")),
            Some("NotIn") => format!("{key} notin ({})", values.join(",")),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    (!terms.is_empty()).then(|| terms.join(","))
}

/// Describes.
pub fn describe(app: &mut App) {
    if let Some(target) = target(app) {
        app.push(Box::new(TextView::describe(target)));
    }
}

/// Shows the YAML.
pub fn yaml(app: &mut App) {
    if let Some(target) = target(app) {
        app.push(Box::new(TextView::yaml(target)));
    }
}

/// Edits in place.
pub fn edit(app: &mut App) {
    if let Some(target) = target(app) {
        app.push(Box::new(EditorView::new(target)));
    }
}

/// Events of this object.
pub fn events(app: &mut App) {
    let (Some(target), Some(events)) = (target(app), app.shared.kinds.find("ev")) else { return };
    let fields = format!("involvedObject.name={},involvedObject.kind={}", target.name, target.kind.kind);
    let namespace = Some(target.namespace.clone()).filter(|namespace| !namespace.is_empty());
    app.push(Box::new(TableView::fixed(events, namespace, None, Some(fields), target.shown())));
}

/// Logs.
pub fn logs(app: &mut App) {
    start_logs(app, false);
}

/// Logs of the previous instance.
pub fn previous_logs(app: &mut App) {
    start_logs(app, true);
}

fn start_logs(app: &mut App, previous: bool) {
    let marked = targets(app);
    if marked.len() > 1 {
        return logs_of_several(app, marked, previous);
    }
    let mut container = None;
    app.with(|view: &mut ContainersView, _| container = view.logs());
    if let Some(mut logs) = container {
        logs.set_previous(previous);
        return app.push(Box::new(logs));
    }
    if let Some(target) = target(app) {
        open_logs(app, target, previous);
    }
}

/// Logs of several pods at once: all of one namespace.
fn logs_of_several(app: &mut App, targets: Vec<Target>, previous: bool) {
    let Some(first) = targets.first().cloned() else { return };
    let names: Vec<String> =
        targets.iter().filter(|one| one.kind.is("", "pods") && one.namespace == first.namespace).map(|one| one.name.clone()).collect();
    if names.len() < targets.len() {
        app.shared.say(Level::Warning, "logs of several are those of pods in one namespace");
    }
    if names.is_empty() {
        return open_logs(app, first, previous);
    }
    let mut view = LogsView::new(first, PodChoice::Names(names), None);
    view.set_previous(previous);
    app.push(Box::new(view));
}

fn open_logs(app: &mut App, target: Target, previous: bool) {
    if target.kind.is("", "pods") {
        let mut view = LogsView::new(target.clone(), PodChoice::Name(target.name.clone()), None);
        view.set_previous(previous);
        return app.push(Box::new(view));
    }
    on_object(app, target, move |app, target, object| match selector(&object) {
        Some(labels) => {
            let mut view = LogsView::new(target, PodChoice::Labels(labels), None);
            view.set_previous(previous);
            app.push(Box::new(view));
        }
        None => app.shared.say(Level::Error, format!("{} selects no pods", target.shown())),
    });
}

/// Asks for a number of replicas.
pub fn scale(app: &mut App) {
    if let Some(target) = target(app) {
        ask_scale(app, target);
    }
}

fn ask_scale(app: &mut App, target: Target) {
    let call = Call::get(format!("{}/scale", target.path()));
    app.shared.call(
        call,
        Box::new(move |app, answer| match answer {
            Ok(scale) => {
                let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or_default();
                let dialog = dialog::scale(target, replicas).guarded(&app.shared);
                app.lay(Box::new(dialog));
            }
            Err(fault) => app.shared.fail(&target.shown(), &fault),
        }),
    );
}

/// Restarts rollouts.
pub fn restart(app: &mut App) {
    let targets = targets(app);
    ask_restart(app, targets);
}

fn ask_restart(app: &mut App, targets: Vec<Target>) {
    let targets: Vec<Target> =
        targets.into_iter().filter(|target| target.kind.plural != "replicasets" && target.kind.group == "apps").collect();
    if targets.is_empty() {
        return app.shared.say(Level::Warning, "only deployments, stateful sets and daemon sets can be restarted");
    }
    let names = targets.iter().map(Target::shown).collect::<Vec<_>>().join(", ");
    let dialog = Dialog::confirm("restart", vec![format!("Restart the rollout of {names}?")], move |app| {
        for target in &targets {
            restart_one(app, target);
        }
    });
    let dialog = dialog.guarded(&app.shared);
    app.lay(Box::new(dialog));
}

fn restart_one(app: &mut App, target: &Target) {
    let now = app.shared.now.round(jiff::Unit::Second).unwrap_or(app.shared.now).to_string();
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
    write(app, target, Call::merge(target, "", patch, false), format!("{} restarted", target.shown()));
}

/// Asks before deleting.
pub fn delete(app: &mut App) {
    let targets = targets(app);
    if !targets.is_empty() {
        let dialog = dialog::delete(targets.clone()).guarded(&app.shared);
        app.lay(Box::new(dialog));
        tell_what_goes_too(app, targets);
    }
}

/// Adds to the dialog that asks what else would go, and what would miss it.
fn tell_what_goes_too(app: &mut App, targets: Vec<Target>) {
    // a few at a time: who deletes a page of rows knows what they do
    if targets.len() > 8 || targets.iter().any(|target| target.namespace.is_empty()) {
        return;
    }
    let kinds = app.shared.kinds.clone();
    app.shared.work(move |outside| async move {
        let namespace = targets.first().map(|target| target.namespace.clone());
        let Ok(all) = gather(&outside, &kinds, namespace.as_deref()).await else { return };
        let named = |objects: &[&Object]| {
            let names: Vec<String> = objects.iter().take(4).map(|object| object.target.shown()).collect();
            let more = if objects.len() > 4 { format!(" and {} more", objects.len() - 4) } else { String::new() };
            format!("{}{more}", names.join(", "))
        };
        let owned = dependents(&targets, &all);
        let using: Vec<&Object> = targets
            .iter()
            .flat_map(|target| users(target, &all))
            .filter(|user| !targets.contains(&user.target) && !owned.iter().any(|other| other.target == user.target))
            .collect();
        let mut lines = Vec::new();
        if !owned.is_empty() {
            lines.push(format!("With it {}: {}.", if owned.len() == 1 { "goes" } else { "go" }, named(&owned)));
        }
        if !using.is_empty() {
            lines.push(format!("In use by {}.", named(&using)));
        }
        if !lines.is_empty() {
            outside.then(move |app| dialog::tell(app, lines));
        }
    });
}

/// Asks once, then deletes without grace.
pub fn kill(app: &mut App) {
    let targets = targets(app);
    if targets.is_empty() {
        return;
    }
    let names = targets.iter().map(Target::shown).collect::<Vec<_>>().join(", ");
    let dialog = Dialog::confirm("kill", vec![format!("Kill {names} now, without grace?")], move |app| {
        for target in &targets {
            write(app, target, Call::delete(target, "Background", Some(0)), format!("{} killed", target.shown()));
        }
    });
    let dialog = dialog.guarded(&app.shared);
    app.lay(Box::new(dialog));
}

/// Goes to the controller of the object.
pub fn owner(app: &mut App) {
    let Some(target) = target(app) else { return };
    on_object(app, target, |app, target, object| {
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).cloned().unwrap_or_default();
        let owner = owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true))).or(owners.first());
        let text = |field: &str| owner.and_then(|owner| owner.get(field)).and_then(Value::as_str).unwrap_or_default().to_owned();
        let version = text("apiVersion");
        let group = version.split_once('/').map_or("", |(group, _)| group);
        match app.shared.kinds.by_kind(group, &text("kind")) {
            Some(kind) => {
                let namespace = Some(target.namespace).filter(|_| kind.namespaced);
                let fields = format!("metadata.name={}", text("name"));
                let title = text("name");
                app.push(Box::new(TableView::fixed(kind, namespace, None, Some(fields), title)));
            }
            None => app.shared.say(Level::Info, format!("{} has no owner", target.shown())),
        }
    });
}

/// Goes to the node of the pod.
pub fn node(app: &mut App) {
    let (Some(target), Some(nodes)) = (target(app), app.shared.kinds.find("nodes")) else { return };
    on_object(app, target, |app, target, object| match object.pointer("/spec/nodeName").and_then(Value::as_str) {
        Some(node) => app.push(Box::new(TableView::fixed(nodes, None, None, Some(format!("metadata.name={node}")), target.name))),
        None => app.shared.say(Level::Info, format!("{} is on no node yet", target.shown())),
    });
}

/// Copies the name.
pub fn copy_name(app: &mut App) {
    let mut names: Vec<String> = targets(app).into_iter().map(|target| target.name).collect();
    if names.is_empty() {
        app.with(|view: &mut TableView, _| names = view.chosen().iter().map(|row| row.cell(0).to_owned()).collect());
    }
    copy(app, names.join("\n"));
}

/// Copies the namespace.
pub fn copy_namespace(app: &mut App) {
    if let Some(target) = target(app) {
        copy(app, target.namespace);
    }
}

fn copy(app: &mut App, text: String) {
    app.shared.say(Level::Info, format!("copied {}", text.replace('\n', ", ")));
    app.shared.clipboard = Some(text);
}

/// Shows the namespace of the row.
pub fn warp(app: &mut App) {
    if let Some(target) = target(app).filter(|target| !target.namespace.is_empty()) {
        app.shared.set_namespaces(Namespaces::Some(vec![target.namespace]));
    }
}

/// Shows a secret decoded.
pub fn decode(app: &mut App) {
    if let Some(target) = target(app) {
        app.push(Box::new(TextView::yaml(target)));
        app.with(TextView::toggle_decoded);
    }
}

/// Deletes every pod of the namespaces shown that has ended.
pub fn sanitize(app: &mut App) {
    let Some(pods) = app.shared.kinds.find("pods") else { return };
    let namespace = app.shared.namespaces.single().map(str::to_owned);
    let path = pods.path(namespace.as_deref());
    let shown = app.shared.namespaces.clone();
    app.shared.call(
        Call::get(path),
        Box::new(move |app, answer| {
            let items = match &answer {
                Ok(answer) => answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default(),
                Err(fault) => return app.shared.fail("pods", fault),
            };
            let ended = |pod: &&Value| matches!(pod.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"));
            let text = |pod: &Value, field: &str| pod.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            let target =
                |pod: &Value| Target { kind: pods.clone(), namespace: text(pod, "/metadata/namespace"), name: text(pod, "/metadata/name") };
            let targets: Vec<Target> = items.iter().filter(ended).map(target).filter(|target| shown.contain(&target.namespace)).collect();
            if targets.is_empty() {
                return app.shared.say(Level::Info, "no pod has ended");
            }
            let dialog = Dialog::confirm("sanitize", vec![format!("Delete {} pods that have ended?", targets.len())], move |app| {
                for target in &targets {
                    write(app, target, Call::delete(target, "Background", None), format!("{} deleted", target.shown()));
                }
            });
            let dialog = dialog.guarded(&app.shared);
            app.lay(Box::new(dialog));
        }),
    );
}

/// Edits in the person's own editor, in place of the UI.
pub fn edit_outside(app: &mut App) {
    let Some(target) = target(app) else { return };
    on_object(app, target, |app, target, object| {
        let text = crate::text::yaml::print(&crate::text::yaml::editable(&object));
        let path = match app.shared.kept("outside").map(|dir| dir.join(format!("{}.yaml", target.name))) {
            Ok(path) => path,
            Err(message) => return app.shared.say(Level::Error, message),
        };
        if let Err(error) = std::fs::write(&path, &text) {
            return app.shared.say(Level::Error, format!("{}: {error}", path.display()));
        }
        let editor = ["K9S_EDITOR", "KUBE_EDITOR", "EDITOR", "VISUAL"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let editor = editor.unwrap_or_else(|| "vi".to_owned());
        let mut words = editor.split_whitespace().map(str::to_owned);
        let command = words.next().unwrap_or_default();
        let arguments = words.chain([path.display().to_string()]).collect();
        app.shared.outside = Some(Program { title: format!("edit {}", target.shown()), command, arguments });
        // what was written is taken into our own editor, where it is checked, shown and applied
        app.shared.after_outside = Some(Box::new(move |app| match std::fs::read_to_string(&path) {
            Ok(edited) if edited != text => {
                app.push(Box::new(EditorView::with_text(target, edited)));
                app.shared.say(Level::Info, "ctrl-s shows the difference and applies it");
            }
            Ok(_) => app.shared.say(Level::Info, "nothing was changed"),
            Err(error) => app.shared.say(Level::Error, error.to_string()),
        }));
    });
}

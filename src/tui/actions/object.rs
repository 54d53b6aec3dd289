//! Actions on the object under the cursor, or on the marked ones.

use serde_json::{Value, json};

use crate::action::Action;
use crate::app::App;
use crate::kinds::Target;
use crate::shared::{Level, Namespaces};
use crate::source::call::Call;
use crate::source::logs::PodChoice;
use crate::views::containers::ContainersView;
use crate::views::editor::EditorView;
use crate::views::logs::LogsView;
use crate::views::table::TableView;
use crate::views::text::TextView;
use crate::widgets::dialog::{self, Dialog};

fn target(app: &App) -> Option<Target> {
    app.view().and_then(|view| view.target())
}

fn targets(app: &App) -> Vec<Target> {
    app.view().map(|view| view.targets()).unwrap_or_default()
}

/// Carries out an action on an object that is not on the screen.
pub fn on(app: &mut App, action: &'static Action, target: Target) {
    if action.writes && app.shared.options.readonly {
        return app.shared.say(Level::Warning, format!("{}: not with --readonly", action.name));
    }
    let view: Box<dyn crate::view::View> = match action.name {
        "yaml" => Box::new(TextView::yaml(target)),
        "edit" => Box::new(EditorView::new(target)),
        "logs" => return open_logs(app, target, false),
        "previous-logs" => return open_logs(app, target, true),
        "delete" => return app.lay(Box::new(dialog::delete(vec![target]))),
        "scale" => return ask_scale(app, target),
        "restart" => return restart_one(app, &target),
        "describe" => Box::new(TextView::describe(target)),
        other => return app.shared.say(Level::Error, format!("{other} takes no object; go to it and press its key")),
    };
    app.push(view);
}

/// Sends a write; what became of it is said.
pub fn write(app: &mut App, call: Call, done: String) {
    app.shared.jobs += 1;
    app.shared.call(
        call,
        Box::new(move |app, answer| {
            app.shared.jobs = app.shared.jobs.saturating_sub(1);
            match answer {
                Ok(_) => app.shared.say(Level::Done, done),
                Err(fault) => app.shared.fail(&format!("not {done}"), &fault),
            }
        }),
    );
}

/// Reads an object and goes on with it.
fn with_object(app: &mut App, target: Target, work: impl FnOnce(&mut App, Target, Value) + Send + 'static) {
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
    if kind.is("", "namespaces") {
        app.shared.set_namespaces(Namespaces::Some(vec![target.name]));
        return crate::command::run(app, "pods");
    }
    if kind.is("", "pods") {
        return app.push(Box::new(ContainersView::new(target)));
    }
    let Some(pods) = app.shared.kinds.find("pods") else { return };
    if kind.is("", "nodes") {
        let fields = format!("spec.nodeName={}", target.name);
        return app.push(Box::new(TableView::fixed(pods, None, None, Some(fields), format!("node {}", target.name))));
    }
    if kind.is_workload() || kind.is("", "services") {
        return with_object(app, target, move |app, target, object| match selector(&object) {
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

fn open_logs(app: &mut App, target: Target, previous: bool) {
    if target.kind.is("", "pods") {
        let mut view = LogsView::new(target.clone(), PodChoice::Name(target.name.clone()), None);
        view.set_previous(previous);
        return app.push(Box::new(view));
    }
    with_object(app, target, move |app, target, object| match selector(&object) {
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
                app.lay(Box::new(dialog::scale(target, replicas)));
            }
            Err(fault) => app.shared.fail(&target.shown(), &fault),
        }),
    );
}

/// Restarts rollouts.
pub fn restart(app: &mut App) {
    let targets: Vec<Target> =
        targets(app).into_iter().filter(|target| target.kind.plural != "replicasets" && target.kind.group == "apps").collect();
    if targets.is_empty() {
        return app.shared.say(Level::Warning, "only deployments, stateful sets and daemon sets can be restarted");
    }
    let names = targets.iter().map(Target::shown).collect::<Vec<_>>().join(", ");
    app.lay(Box::new(Dialog::confirm("restart", vec![format!("Restart the rollout of {names}?")], move |app| {
        for target in &targets {
            restart_one(app, target);
        }
    })));
}

fn restart_one(app: &mut App, target: &Target) {
    let now = app.shared.now.round(jiff::Unit::Second).unwrap_or(app.shared.now).to_string();
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
    write(app, Call::merge(target, "", patch, false), format!("{} restarted", target.shown()));
}

/// Asks for the images of a workload's containers.
pub fn set_image(app: &mut App) {
    let Some(target) = target(app) else { return };
    with_object(app, target, |app, target, object| {
        let containers = object.pointer("/spec/template/spec/containers").and_then(Value::as_array).cloned().unwrap_or_default();
        let images: Vec<(String, String)> = containers
            .iter()
            .map(|container| {
                let text = |field: &str| container.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
                (text("name"), text("image"))
            })
            .collect();
        app.lay(Box::new(dialog::set_image(target, images)));
    });
}

/// Asks before deleting.
pub fn delete(app: &mut App) {
    let targets = targets(app);
    if !targets.is_empty() {
        app.lay(Box::new(dialog::delete(targets)));
    }
}

/// Asks once, then deletes without grace.
pub fn kill(app: &mut App) {
    let targets = targets(app);
    if targets.is_empty() {
        return;
    }
    let names = targets.iter().map(Target::shown).collect::<Vec<_>>().join(", ");
    app.lay(Box::new(Dialog::confirm("kill", vec![format!("Kill {names} now, without grace?")], move |app| {
        for target in &targets {
            write(app, Call::delete(target, "Background", Some(0)), format!("{} killed", target.shown()));
        }
    })));
}

/// Goes to the controller of the object.
pub fn owner(app: &mut App) {
    let Some(target) = target(app) else { return };
    with_object(app, target, |app, target, object| {
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
    with_object(app, target, |app, target, object| match object.pointer("/spec/nodeName").and_then(Value::as_str) {
        Some(node) => app.push(Box::new(TableView::fixed(nodes, None, None, Some(format!("metadata.name={node}")), target.name))),
        None => app.shared.say(Level::Info, format!("{} is on no node yet", target.shown())),
    });
}

/// Copies the name.
pub fn copy_name(app: &mut App) {
    let names: Vec<String> = targets(app).into_iter().map(|target| target.name).collect();
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

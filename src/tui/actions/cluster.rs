//! Namespaces, nodes, events of the whole cluster.

use std::time::Duration;

use serde_json::json;

use crate::app::App;
use crate::command;
use crate::shared::{Level, Namespaces};
use crate::source::call::Call;
use crate::widgets::dialog::{Dialog, Field};
use crate::widgets::picker::Picker;

/// All namespaces.
pub fn all_namespaces(app: &mut App) {
    app.shared.set_namespaces(Namespaces::All);
}

/// Shows the namespace under the cursor from now on.
pub fn use_namespace(app: &mut App) {
    if let Some(target) = app.view().and_then(|view| view.target()) {
        app.shared.set_namespaces(Namespaces::Some(vec![target.name.clone()]));
        app.shared.say(Level::Info, format!("namespace {}", target.name));
    }
}

/// Lets namespaces be picked.
pub fn pick_namespaces(app: &mut App) {
    let Some(kind) = app.shared.kinds.find("namespaces") else { return };
    app.shared.call(
        Call::names(&kind, None),
        Box::new(|app, answer| match answer {
            Ok(_) => {
                app.learn_names("namespaces", &answer);
                let names = app.shared.names.get("namespaces").cloned().unwrap_or_default();
                let picker = Picker::namespaces(names, &app.shared.namespaces);
                app.lay(Box::new(picker));
            }
            Err(fault) => app.shared.fail("namespaces", &fault),
        }),
    );
}

/// Events.
pub fn events(app: &mut App) {
    command::run(app, "ev");
}

/// Cordons the nodes.
pub fn cordon(app: &mut App) {
    set_unschedulable(app, true);
}

/// Uncordons the nodes.
pub fn uncordon(app: &mut App) {
    set_unschedulable(app, false);
}

/// Drains nodes, as kubectl does: cordons them, then evicts their pods.
pub fn drain(app: &mut App) {
    let targets = super::object::targets(app);
    if targets.is_empty() {
        return;
    }
    let names = targets.iter().map(|target| target.name.clone()).collect::<Vec<_>>().join(", ");
    let fields = vec![
        Field::text("grace (seconds)", ""),
        Field::text("timeout (seconds)", "300"),
        Field::toggle("ignore daemon sets", true),
        Field::toggle("delete emptyDir data", false),
        Field::toggle("force", false),
        Field::toggle("delete, not evict", false),
    ];
    let lines = vec![format!("Drain {names}: no new pods, and those there are evicted.")];
    let dialog = Dialog::form("drain", lines, fields, move |app, answers| {
        let answer = |index: usize| answers.get(index).map_or("", String::as_str);
        let options = coracle_verbs::DrainOptions {
            grace: answer(0).parse().ok(),
            timeout: Duration::from_secs(answer(1).parse().unwrap_or(300)),
            ignore_daemon_sets: answer(2) == "true",
            delete_empty_dir: answer(3) == "true",
            force: answer(4) == "true",
            delete: answer(5) == "true",
        };
        for target in targets {
            drain_one(app, target.name, options.clone());
        }
    });
    let dialog = dialog.guarded(&app.shared);
    app.lay(Box::new(dialog));
}

fn drain_one(app: &mut App, node: String, options: coracle_verbs::DrainOptions) {
    app.shared.jobs += 1;
    app.shared.say(Level::Info, format!("draining node {node}"));
    app.shared.work(move |outside| async move {
        let outcome = match outside.client() {
            Ok(client) => {
                let told = outside.clone();
                let tell = move |line: String| {
                    told.then(move |app| app.shared.say(Level::Info, line));
                };
                coracle_verbs::drain(client, &node, &options, tell).await.map_err(|error| error.to_string())
            }
            Err(fault) => Err(fault.message),
        };
        outside.then(move |app| {
            app.shared.jobs = app.shared.jobs.saturating_sub(1);
            match outcome {
                Ok(pods) => app.shared.say(Level::Done, format!("node {node} drained: {pods} pods evicted")),
                Err(message) => app.shared.say(Level::Error, format!("node {node} was not drained: {message}")),
            }
        });
    });
}

fn set_unschedulable(app: &mut App, unschedulable: bool) {
    let done = if unschedulable { "cordoned" } else { "uncordoned" };
    for target in app.view().map(|view| view.targets()).unwrap_or_default() {
        // null takes the field away, as kubectl does
        let value = if unschedulable { json!(true) } else { json!(null) };
        let call = Call::merge(&target, "", json!({"spec": {"unschedulable": value}}), false);
        crate::keep::changes::write(app, &target, call, format!("node {} {done}", target.name));
    }
}

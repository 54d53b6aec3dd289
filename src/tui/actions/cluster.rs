//! Namespaces, nodes, events of the whole cluster.

use serde_json::json;

use crate::app::App;
use crate::command;
use crate::shared::{Level, Namespaces};
use crate::source::call::Call;
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

fn set_unschedulable(app: &mut App, unschedulable: bool) {
    let done = if unschedulable { "cordoned" } else { "uncordoned" };
    for target in app.view().map(|view| view.targets()).unwrap_or_default() {
        // null takes the field away, as kubectl does
        let value = if unschedulable { json!(true) } else { json!(null) };
        let call = Call::merge(&target, "", json!({"spec": {"unschedulable": value}}), false);
        super::object::write(app, call, format!("node {} {done}", target.name));
    }
}

//! Programs that are typed to: they have a pane of their own.

use coracle_verbs::exec::Exec;
use coracle_verbs::run::Run;

use crate::actions::change::in_production;
use crate::actions::exec::containers_of;
use crate::actions::object::on_object;
use crate::app::App;
use crate::kinds::Target;
use crate::shared::Level;
use crate::source::session::{Runs, Session};
use crate::views::shell::ShellView;

/// `exec POD -- COMMAND`: a program in a container.
pub(super) fn exec(app: &mut App, verb: Exec, namespace: String) {
    if app.shared.options.readonly {
        return app.shared.say(Level::Warning, "exec: not with --readonly");
    }
    let target = match crate::command::object_named(app, &[&verb.at.pod]) {
        Ok(target) if target.kind.is("", "pods") => Target { namespace, ..target },
        Ok(target) => return app.shared.say(Level::Error, format!("exec: {} is no pod", target.shown())),
        Err(message) => return app.shared.say(Level::Error, format!("exec: {message}")),
    };
    let line = format!("Run {} in {}?", verb.command.join(" "), target.shown());
    in_production(app, "exec", line, move |app| {
        on_object(app, target, move |app, pod, object| {
            let Some(container) = verb.at.container.or_else(|| containers_of(&object).into_iter().next()) else { return };
            let session = Session { pod, container, runs: Runs::Exec(verb.command), starting: false };
            app.push(Box::new(ShellView::new(session)));
        });
    });
}

/// Joins the pod that `run -i` made, as soon as it runs; it goes with the pane if that was asked for.
pub(super) fn join(app: &mut App, verb: &Run, namespace: String) {
    let Some(kind) = app.shared.kinds.find("pods") else { return };
    let pod = Target { kind, namespace, name: verb.name.clone() };
    let session = Session { pod, container: verb.name.clone(), runs: Runs::Attach, starting: true };
    let view = ShellView::new(session);
    app.push(Box::new(if verb.rm { view.with_own_pod() } else { view }));
}

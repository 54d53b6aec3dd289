//! Programs in containers: shell, attach, debug containers, shells on nodes; and files from and to them.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::object::{on_object, target};
use crate::app::App;
use crate::kinds::Target;
use crate::shared::Level;
use crate::source::call::Call;
use crate::source::session::{Runs, Session, shell as a_shell};
use crate::source::transfer::{download, upload};
use crate::views::containers::ContainersView;
use crate::views::shell::ShellView;
use crate::widgets::dialog::{Dialog, Field};
use crate::widgets::picker::Picker;

/// Names of a pod's containers, the one that is meant by default first.
pub fn containers_of(pod: &Value) -> Vec<String> {
    let list = |field: &str| pod.pointer(field).and_then(Value::as_array).into_iter().flatten().filter_map(|one| one.get("name")?.as_str());
    let mut names: Vec<String> = list("/spec/containers").chain(list("/spec/ephemeralContainers")).map(str::to_owned).collect();
    let default = pod.pointer("/metadata/annotations/kubectl.kubernetes.io~1default-container").and_then(Value::as_str);
    if let Some(at) = default.and_then(|default| names.iter().position(|name| name == default)) {
        names[..=at].rotate_right(1);
    }
    names
}

/// Goes on with the container under the cursor, the only one of the pod, or the one that is picked.
pub fn with_container(app: &mut App, title: &'static str, then: impl FnOnce(&mut App, Target, String) + Send + 'static) {
    let Some(pod) = target(app) else { return };
    let mut container = None;
    app.with(|view: &mut ContainersView, _| container = view.container());
    if let Some((container, _)) = container {
        return then(app, pod, container);
    }
    on_object(app, pod, move |app, pod, object| {
        let mut names = containers_of(&object);
        match names.len() {
            0 => app.shared.say(Level::Error, format!("{} has no containers", pod.shown())),
            1 => then(app, pod, names.remove(0)),
            _ => app.lay(Box::new(Picker::one(title, names, move |app, name| then(app, pod, name)))),
        }
    });
}

/// A shell in a container.
pub fn shell(app: &mut App) {
    with_container(app, "shell in", |app, pod, container| {
        app.push(Box::new(ShellView::new(Session { pod, container, runs: a_shell(), starting: false })));
    });
}

/// Attaches to a container.
pub fn attach(app: &mut App) {
    with_container(app, "attach to", |app, pod, container| {
        app.push(Box::new(ShellView::new(Session { pod, container, runs: Runs::Attach, starting: false })));
    });
}

/// Keys go to the program in the pane again.
pub fn type_again(app: &mut App) {
    app.with(|view: &mut ShellView, _| view.type_again());
}

/// A debug container beside a container, sharing its processes.
pub fn debug(app: &mut App) {
    let image = app.shared.config.shell_image().to_owned();
    with_container(app, "debug beside", move |app, pod, container| {
        let fields = vec![Field::text("image", &image), Field::text("command", "sh")];
        let lines = vec![format!("A debug container beside {container} of {}.", pod.shown())];
        app.lay(Box::new(Dialog::form("debug", lines, fields, move |app, answers| {
            let answer = |index: usize| answers.get(index).cloned().unwrap_or_default();
            let name = format!("debugger-{:05x}", app.shared.now.as_millisecond() & 0xf_ffff);
            let command: Vec<String> = answer(1).split_whitespace().map(str::to_owned).collect();
            let patch = json!({"spec": {"ephemeralContainers": [{
                "name": name, "image": answer(0), "command": command, "stdin": true, "tty": true,
                "targetContainerName": container, "terminationMessagePolicy": "File",
            }]}});
            let mut call = Call::strategic(&pod, patch);
            call.path = call.path.replacen('?', "/ephemeralcontainers?", 1);
            app.shared.call(
                call,
                Box::new(move |app, answer| match answer {
                    Ok(_) => app.push(Box::new(ShellView::new(Session { pod, container: name, runs: Runs::Attach, starting: true }))),
                    Err(fault) => app.shared.fail(&format!("no debug container beside {}", pod.shown()), &fault),
                }),
            );
        })));
    });
}

/// A shell on a node: in a pod of its own that has the node's processes, network and files.
pub fn node_shell(app: &mut App) {
    let Some(node) = target(app) else { return };
    let Some(pods) = app.shared.kinds.find("pods") else { return };
    let image = app.shared.config.shell_image().to_owned();
    let lines = vec![
        format!("A privileged pod on {}, deleted when its shell is closed.", node.shown()),
        "The node's files are below /host.".to_owned(),
    ];
    let dialog = Dialog::form("node shell", lines, vec![Field::text("image", &image)], move |app, answers| {
        let name = format!("coracle-shell-{}-{:05x}", node.name, app.shared.now.as_millisecond() & 0xf_ffff);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app.kubernetes.io/name": "coracle-shell"}},
            "spec": {
                "nodeName": node.name, "hostPID": true, "hostNetwork": true, "hostIPC": true, "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0, "tolerations": [{"operator": "Exists"}],
                "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
                "containers": [{
                    "name": "shell", "image": answers.first(), "stdin": true, "tty": true, "command": ["sh"],
                    "securityContext": {"privileged": true}, "volumeMounts": [{"name": "host", "mountPath": "/host"}],
                    "resources": {"limits": {"cpu": "100m", "memory": "100Mi"}},
                }],
            },
        });
        let target = Target { kind: pods.clone(), namespace: "default".to_owned(), name };
        app.shared.call(
            Call::post(pods.path(Some("default")), pod),
            Box::new(move |app, answer| match answer {
                Ok(_) => {
                    let session = Session { pod: target, container: "shell".to_owned(), runs: a_shell(), starting: true };
                    app.push(Box::new(ShellView::new(session).with_own_pod()));
                }
                Err(fault) => app.shared.fail("no shell on the node", &fault),
            }),
        );
    });
    let dialog = dialog.guarded(&app.shared);
    app.lay(Box::new(dialog));
}

/// Copies files from a container, or to it.
pub fn transfer(app: &mut App) {
    with_container(app, "copy files of", |app, pod, container| {
        let fields = vec![
            Field::choice("direction", vec!["from the container", "to the container"]),
            Field::text("there", "/tmp/"),
            Field::text("here", "."),
        ];
        let lines = vec![format!("Files and folders of {container} in {}; it needs tar.", pod.shown())];
        app.lay(Box::new(Dialog::form("copy files", lines, fields, move |app, answers| {
            let answer = |index: usize| answers.get(index).cloned().unwrap_or_default();
            let (there, here) = (answer(1), PathBuf::from(answer(2)));
            let fetches = answer(0).starts_with("from");
            app.shared.jobs += 1;
            app.shared.work(move |outside| async move {
                let copied = match outside.client() {
                    Ok(client) if fetches => download(&client, &pod, &container, &there, here.clone()).await,
                    Ok(client) => upload(&client, &pod, &container, &there, here.clone()).await,
                    Err(fault) => Err(fault),
                };
                outside.then(move |app| {
                    app.shared.jobs = app.shared.jobs.saturating_sub(1);
                    let (from, to) = if fetches { (there, here.display().to_string()) } else { (here.display().to_string(), there) };
                    match copied {
                        Ok(()) => app.shared.say(Level::Done, format!("{from} copied to {to}")),
                        Err(fault) => app.shared.fail(&format!("{from} was not copied to {to}"), &fault),
                    }
                });
            });
        })));
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_container_that_is_meant_comes_first() {
        let pod = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/default-container": "web"}},
            "spec": {"containers": [{"name": "proxy"}, {"name": "web"}], "ephemeralContainers": [{"name": "debugger"}]}});
        assert_eq!(containers_of(&pod), ["web", "proxy", "debugger"]);
    }
}

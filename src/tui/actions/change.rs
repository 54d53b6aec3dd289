//! Labels and images: asked for at a row, or typed.

use serde_json::{Value, json};

use super::object::{on_object, target, targets};
use crate::app::App;
use crate::keep::changes::{label_patch, write};
use crate::kinds::Target;
use crate::shared::Level;
use crate::source::call::Call;
use crate::widgets::dialog::{self, Dialog, Field};

/// Sets labels, or takes them away.
pub fn label(app: &mut App) {
    let targets = targets(app);
    let names = targets.iter().map(Target::shown).collect::<Vec<_>>().join(", ");
    if targets.is_empty() {
        return;
    }
    let lines = vec![format!("Labels of {names}: key=value sets one, key- takes it away.")];
    let dialog = Dialog::form("label", lines, vec![Field::text("labels", "")], move |app, answers| {
        match label_patch(answers.first().map_or("", String::as_str)) {
            Ok(patch) => write_labels(app, &targets, &patch),
            Err(message) => app.shared.say(Level::Error, message),
        }
    });
    let dialog = dialog.guarded(&app.shared);
    app.lay(Box::new(dialog));
}

fn write_labels(app: &mut App, targets: &[Target], patch: &Value) {
    for target in targets {
        write(app, target, Call::merge(target, "", patch.clone(), false), format!("{} labelled", target.shown()));
    }
}

/// `label [KIND NAME] key=value key-`, of the row or the marked ones if no object is named.
pub fn typed_label(app: &mut App, rest: &str) {
    let words: Vec<&str> = rest.split_whitespace().filter(|word| *word != "--overwrite").collect();
    let (labels, object): (Vec<&str>, Vec<&str>) = words.into_iter().partition(|word| word.contains('=') || word.ends_with('-'));
    let patch = match label_patch(&labels.join(" ")) {
        Ok(patch) if !labels.is_empty() => patch,
        Ok(_) => return app.shared.say(Level::Error, "label: which? key=value sets one, key- takes it away"),
        Err(message) => return app.shared.say(Level::Error, format!("label: {message}")),
    };
    let Some(targets) = meant(app, "label", &object) else { return };
    let names = targets.iter().map(Target::shown).collect::<Vec<_>>().join(", ");
    in_production(app, "label", format!("Labels of {names}: {}", labels.join(" ")), move |app| write_labels(app, &targets, &patch));
}

/// The objects that words name, or the chosen ones of the view; says why it is none, or why it may not be written.
fn meant(app: &mut App, verb: &str, words: &[&str]) -> Option<Vec<Target>> {
    if app.shared.options.readonly {
        app.shared.say(Level::Warning, format!("{verb}: not with --readonly"));
        return None;
    }
    let found = match words {
        [] => targets(app),
        words => match crate::command::object_named(app, words) {
            Ok(target) => vec![target],
            Err(message) => {
                app.shared.say(Level::Error, format!("{verb}: {message}"));
                return None;
            }
        },
    };
    let denied = found.iter().find_map(|target| app.shared.access.denies("patch", "", target));
    if let Some(reason) = denied.or_else(|| found.is_empty().then(|| "of what? Name a kind and a name".to_owned())) {
        app.shared.say(Level::Warning, format!("{verb}: {reason}"));
        return None;
    }
    Some(found)
}

/// Does it at once, or where a slip costs much, when the name of the context was typed.
pub fn in_production(app: &mut App, title: &str, line: String, done: impl FnOnce(&mut App) + 'static) {
    if !app.shared.is_production() {
        return done(app);
    }
    let dialog = Dialog::confirm(title, vec![line], done).guarded(&app.shared);
    app.lay(Box::new(dialog));
}

/// Name and image of each container of a pod or a template.
fn images(target: &Target, object: &Value) -> Vec<(String, String)> {
    let path = if target.kind.is("", "pods") { "/spec/containers" } else { "/spec/template/spec/containers" };
    let text = |container: &Value, field: &str| container.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let containers = object.pointer(path).and_then(Value::as_array).into_iter().flatten();
    containers.map(|container| (text(container, "name"), text(container, "image"))).collect()
}

/// Asks for the images of a workload's containers.
pub fn set_image(app: &mut App) {
    let Some(target) = target(app) else { return };
    on_object(app, target, |app, target, object| {
        let images = images(&target, &object);
        let dialog = dialog::set_image(target, images).guarded(&app.shared);
        app.lay(Box::new(dialog));
    });
}

/// `set image [KIND NAME] container=image`, of the row if no object is named.
pub fn typed_image(app: &mut App, rest: &str) {
    let Some(rest) = rest.strip_prefix("image").filter(|rest| rest.is_empty() || rest.starts_with(' ')) else {
        return app.shared.say(Level::Error, "set: what? `set image [KIND NAME] container=image`");
    };
    let (pairs, object): (Vec<&str>, Vec<&str>) = rest.split_whitespace().partition(|word| word.contains('='));
    let wanted: Vec<(String, String)> =
        pairs.iter().filter_map(|pair| pair.split_once('=')).map(|(name, image)| (name.to_owned(), image.to_owned())).collect();
    if wanted.is_empty() {
        return app.shared.say(Level::Error, "set image: which? `set image [KIND NAME] container=image`");
    }
    let Some(targets) = meant(app, "set image", &object) else { return };
    let Some(target) = targets.into_iter().next() else { return };
    on_object(app, target, move |app, target, object| {
        let images = images(&target, &object);
        let strange = wanted.iter().find(|(name, _)| name != "*" && !images.iter().any(|(known, _)| known == name));
        if let Some((name, _)) = strange {
            let known: Vec<&str> = images.iter().map(|(name, _)| name.as_str()).collect();
            return app.shared.say(Level::Error, format!("{} has no container called {name}; it has {}", target.shown(), known.join(", ")));
        }
        let image_of = |name: &str| wanted.iter().rev().find(|(wanted, _)| wanted == name || wanted == "*").map(|(_, image)| image.clone());
        let patches: Vec<Value> = images.iter().filter_map(|(name, _)| Some(json!({"name": name, "image": image_of(name)?}))).collect();
        let line =
            format!("Images of {}: {}", target.shown(), wanted.iter().map(|(_, image)| image.as_str()).collect::<Vec<_>>().join(", "));
        in_production(app, "set image", line, move |app| {
            write(app, &target, dialog::image_patch(&target, patches), format!("image of {} set", target.shown()));
        });
    });
}

//! Watched folders.

use std::path::PathBuf;

use serde_json::Value;

use crate::app::App;
use crate::keep::changes::write;
use crate::kinds::Target;
use crate::manifests::{Control, Watched};
use crate::shared::Level;
use crate::source::call::Call;
use crate::source::fault::{Fault, FaultKind};
use crate::source::observe::{Seen, observe, path_of};
use crate::source::work::Outside;
use crate::views::editor::EditorView;
use crate::views::manifests::ManifestsView;
use crate::views::text::TextView;
use crate::widgets::dialog::Dialog;

/// Shows every folder that is watched.
pub fn show(app: &mut App) {
    let given = app.shared.connection.iter().flat_map(|connection| connection.folders.clone());
    let folders: Vec<Watched> = given.chain(app.shared.folders.clone()).collect();
    if folders.is_empty() {
        return app.shared.say(Level::Info, "no folder is watched; `:watch DIR` watches one");
    }
    app.push(Box::new(ManifestsView::new("manifests".to_owned(), folders)));
}

/// Watches a folder from now on and shows it. `paused`: nothing is applied before a file is said to be, as in k9s.
pub fn watch(app: &mut App, dir: PathBuf, paused: bool) {
    let command = format!("{} {}", if paused { "dir" } else { "watch" }, dir.display());
    let known = |watched: &&Watched| std::path::absolute(&dir).is_ok_and(|dir| watched.status.borrow().dir == dir);
    let given = app.shared.connection.iter().flat_map(|connection| &connection.folders);
    if let Some(watched) = given.chain(&app.shared.folders).find(known).cloned() {
        return app.push(Box::new(ManifestsView::new(command, vec![watched])));
    }
    let namespace = app.shared.namespaces.single().unwrap_or("default").to_owned();
    app.shared.work(move |outside| async move {
        let Ok(client) = outside.client() else { return };
        let control = if paused { Control::paused() } else { Control::default() };
        // many folders take a while to be listened to
        let begun = tokio::task::spawn_blocking(move || Watched::begin(client, &dir, &namespace, control)).await;
        outside.then(move |app| match begun {
            Ok(Ok(watched)) => {
                app.shared.folders.push(watched.clone());
                app.push(Box::new(ManifestsView::new(command, vec![watched])));
            }
            Ok(Err(message)) => app.shared.say(Level::Error, message),
            Err(error) => app.shared.say(Level::Error, error.to_string()),
        });
    });
}

/// The object of the document under the cursor.
fn object(app: &mut App) -> Option<Target> {
    let mut found = None;
    app.with(|view: &mut ManifestsView, _| found = view.document());
    let ((group, kind), namespace, name) = found?;
    let kind = app.shared.kinds.by_kind(&group, &kind)?;
    Some(Target { kind, namespace, name })
}

/// Opens the object of a document, or the file.
pub fn open(app: &mut App) {
    match object(app) {
        Some(target) => app.push(Box::new(TextView::describe(target))),
        None => edit(app),
    }
}

/// Edits the file the cursor is in, where it is wrong if it is.
pub fn edit(app: &mut App) {
    let mut found = None;
    app.with(|view: &mut ManifestsView, _| found = view.file());
    let Some((path, line, column)) = found else { return };
    app.push(Box::new(EditorView::file(path)));
    if line > 0 {
        app.with(|editor: &mut EditorView, _| editor.jump(line, column));
    }
}

/// YAML of the object as it is.
pub fn yaml(app: &mut App) {
    if let Some(target) = object(app) {
        app.push(Box::new(TextView::yaml(target)));
    }
}

/// Applies the file again, paused or not.
pub fn apply(app: &mut App) {
    let mut told = None;
    app.with(|view: &mut ManifestsView, _| {
        told = view.tell(|control, file| {
            control.apply(file);
            file.display().to_string()
        });
    });
    if let Some(file) = told {
        app.shared.say(Level::Info, format!("{file} is applied again"));
    }
}

/// Pauses the file, or lets it go on.
pub fn pause(app: &mut App) {
    let mut told = None;
    app.with(|view: &mut ManifestsView, _| {
        told = view.tell(|control, file| {
            control.toggle(file);
            (file.display().to_string(), control.is_paused(file))
        });
    });
    match told {
        Some((file, true)) => app.shared.say(Level::Info, format!("{file} is paused: what is saved is not applied")),
        Some((file, false)) => app.shared.say(Level::Info, format!("{file} goes on: what is saved is applied")),
        None => {}
    }
}

/// Deletes what the document made.
pub fn delete(app: &mut App) {
    let Some(target) = object(app) else { return };
    let lines = vec![format!("Delete {}? Its file stays, and makes it again when it is saved.", target.shown())];
    let dialog = Dialog::confirm("delete", lines, move |app| {
        write(app, &target, Call::delete(&target, "Background", None), format!("{} deleted", target.shown()));
    });
    let dialog = dialog.guarded(&app.shared);
    app.lay(Box::new(dialog));
}

/// Deletes what the document made and makes it again: the way on where a field cannot be changed.
pub fn recreate(app: &mut App) {
    let Some(target) = object(app) else { return };
    let mut asked = None;
    app.with(|view: &mut ManifestsView, _| asked = view.tell(|control, file| (control.clone(), file.to_owned())));
    let Some((control, file)) = asked else { return };
    let lines = vec![format!("Delete {} and make it again from {}? What it owns goes with it.", target.shown(), file.display())];
    let dialog = Dialog::confirm("make it again", lines, move |app| {
        app.shared.jobs += 1;
        app.shared.work(move |outside| async move {
            let gone = delete_and_wait(&outside, &target).await;
            outside.then(move |app| {
                app.shared.jobs = app.shared.jobs.saturating_sub(1);
                match gone {
                    Ok(()) => {
                        control.apply(&file);
                        app.shared.say(Level::Done, format!("{} is deleted and made again", target.shown()));
                    }
                    Err(fault) => app.shared.fail(&format!("{} was not deleted", target.shown()), &fault),
                }
            });
        });
    });
    let dialog = dialog.guarded(&app.shared);
    app.lay(Box::new(dialog));
}

/// Deletes an object and waits until that one is gone; one of its name that somebody made meanwhile is another.
async fn delete_and_wait(outside: &Outside, target: &Target) -> Result<(), Fault> {
    let deleted = match outside.ask(Call::delete(target, "Background", None)).await {
        Err(fault) if fault.kind == FaultKind::NotFound => return Ok(()),
        answer => answer?,
    };
    // what is gone at once is told of in a Status, what waits for finalizers or its grace is answered as it is
    let uid = deleted.pointer("/details/uid").or_else(|| deleted.pointer("/metadata/uid")).cloned();
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let watching = observe(outside.client()?, path_of(target), move |seen| sender.send(seen).is_ok());
    let waiting = async {
        while let Some(seen) = seen.recv().await {
            let other = |object: &Value| uid.is_some() && object.pointer("/metadata/uid") != uid.as_ref();
            if matches!(seen, Seen::Now(objects) if objects.values().all(other)) {
                return;
            }
        }
    };
    tokio::select! {
        () = watching => {}
        () = waiting => {}
    }
    Ok(())
}

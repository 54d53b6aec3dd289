//! Watched folders.

use crate::app::App;
use crate::keep::changes::write;
use crate::kinds::Target;
use crate::shared::Level;
use crate::source::call::Call;
use crate::views::editor::EditorView;
use crate::views::manifests::ManifestsView;
use crate::views::text::TextView;
use crate::widgets::dialog::Dialog;

/// Shows the folder given with `--watch`.
pub fn show(app: &mut App) {
    let folder = app.shared.connection.as_ref().and_then(|connection| connection.folder.clone());
    match folder {
        Some(folder) => app.push(Box::new(ManifestsView::watched(folder))),
        None => app.shared.say(Level::Info, "no folder is watched; `:watch DIR` watches one"),
    }
}

/// The object of the document under the cursor.
fn object(app: &mut App) -> Option<Target> {
    let mut found = None;
    app.with(|view: &mut ManifestsView, _| found = view.document());
    let (kind, namespace, name) = found?;
    let kind = app.shared.kinds.all().iter().find(|known| known.kind == kind).cloned()?;
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

/// Applies the file again: who watches it takes it for changed.
pub fn apply(app: &mut App) {
    let mut found = None;
    app.with(|view: &mut ManifestsView, _| found = view.file());
    let Some((path, ..)) = found else { return };
    let touched = std::fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(std::time::SystemTime::now()));
    match touched {
        Ok(()) => app.shared.say(Level::Info, format!("{} is applied again", path.display())),
        Err(error) => app.shared.say(Level::Error, format!("{}: {error}", path.display())),
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

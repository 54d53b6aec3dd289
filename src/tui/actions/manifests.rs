//! Watched folders.

use crate::app::App;
use crate::kinds::Target;
use crate::shared::Level;
use crate::views::manifests::ManifestsView;
use crate::views::text::TextView;

/// Shows the folder given with `--watch`.
pub fn show(app: &mut App) {
    let folder = app.shared.connection.as_ref().and_then(|connection| connection.folder.clone());
    match folder {
        Some(folder) => app.push(Box::new(ManifestsView::watched(folder))),
        None => app.shared.say(Level::Info, "no folder is watched; `:watch DIR` watches one"),
    }
}

/// Opens the object of the document under the cursor.
pub fn open(app: &mut App) {
    let mut found = None;
    app.with(|view: &mut ManifestsView, _| found = view.document());
    let Some((kind, namespace, name)) = found else { return };
    let known = app.shared.kinds.all().iter().find(|known| known.kind == kind).cloned();
    if let Some(kind) = known {
        app.push(Box::new(TextView::describe(Target { kind, namespace, name })));
    }
}

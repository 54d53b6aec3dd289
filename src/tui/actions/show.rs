//! How a table is shown: sorting, marks, width.

use crate::app::App;
use crate::views::table::TableView;
use crate::widgets::picker::Picker;

fn table(app: &mut App, work: impl FnOnce(&mut TableView, &mut crate::shared::Shared)) {
    app.with(work);
}

/// Marks the row under the cursor, or takes its mark away.
pub fn mark(app: &mut App) {
    table(app, TableView::toggle_mark);
}

/// Marks from the last mark to the cursor.
pub fn mark_range(app: &mut App) {
    table(app, TableView::mark_range);
}

/// Takes all marks away.
pub fn clear_marks(app: &mut App) {
    table(app, |view, _| view.clear_marks());
}

/// Picks the column to the left.
pub fn pick_left(app: &mut App) {
    table(app, |view, shared| view.pick(-1, shared));
}

/// Picks the column to the right.
pub fn pick_right(app: &mut App) {
    table(app, |view, shared| view.pick(1, shared));
}

/// Sorts by the picked column.
pub fn sort(app: &mut App) {
    table(app, |view, _| view.sort_picked());
}

/// Sorts by name.
pub fn sort_name(app: &mut App) {
    table(app, |view, _| view.sort_by("NAME"));
}

/// Sorts by age.
pub fn sort_age(app: &mut App) {
    table(app, |view, _| view.sort_by("AGE"));
}

/// Sorts by status.
pub fn sort_status(app: &mut App) {
    table(app, |view, _| view.sort_by("STATUS"));
}

/// Only what is not well.
pub fn faults(app: &mut App) {
    table(app, TableView::toggle_faults);
}

/// Wide columns.
pub fn wide(app: &mut App) {
    app.shared.wide = !app.shared.wide;
}

/// Sorts by namespace, then by name.
pub fn sort_namespace(app: &mut App) {
    table(app, |view, _| view.sort_by_namespace());
}

/// Lets columns be chosen.
pub fn columns(app: &mut App) {
    let mut found = None;
    app.with(|view: &mut TableView, shared| found = Some((view.kind().plural.clone(), view.columns_shown(shared))));
    if let Some((kind, columns)) = found {
        app.lay(Box::new(Picker::columns(kind, columns)));
    }
}

/// Clears the filter.
pub fn clear_filter(app: &mut App) {
    app.shared.go.push(crate::view::Go::Filter(String::new()));
}

/// The header row, or a row more of what matters.
pub fn header(app: &mut App) {
    app.shared.header = !app.shared.header;
    app.place();
}

//! How a table is shown: sorting, marks, width.

use crate::app::App;
use crate::views::table::TableView;

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

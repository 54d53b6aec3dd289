//! Panes and the preview.

use crate::app::App;

/// A pane to the right.
pub fn split_right(app: &mut App) {
    app.split(true);
}

/// A pane below.
pub fn split_below(app: &mut App) {
    app.split(false);
}

/// To the next pane.
pub fn next(app: &mut App) {
    app.next_pane();
}

/// Closes the pane.
pub fn close(app: &mut App) {
    app.close_pane();
}

/// This pane alone, or all.
pub fn zoom(app: &mut App) {
    app.zoom();
}

/// The preview of the row.
pub fn preview(app: &mut App) {
    app.toggle_preview();
}

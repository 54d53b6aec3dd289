//! Text, logs and the editor.

use crate::app::App;
use crate::shared::Level;
use crate::source::logs::LogStart;
use crate::views::editor::EditorView;
use crate::views::logs::LogsView;
use crate::views::text::TextView;

/// The next match.
pub fn next_match(app: &mut App) {
    app.with(|view: &mut TextView, shared| view.next_match(1, shared));
    app.with(|view: &mut LogsView, shared| view.next_match(1, shared));
}

/// The match before.
pub fn previous_match(app: &mut App) {
    app.with(|view: &mut TextView, shared| view.next_match(-1, shared));
    app.with(|view: &mut LogsView, shared| view.next_match(-1, shared));
}

/// Shows managed fields, or hides them.
pub fn managed_fields(app: &mut App) {
    app.with(TextView::toggle_managed_fields);
}

/// Decodes secrets, or hides them.
pub fn decode(app: &mut App) {
    app.with(TextView::toggle_decoded);
}

/// Copies everything.
pub fn copy(app: &mut App) {
    app.with(|view: &mut TextView, shared| shared.clipboard = Some(view.text().to_owned()));
    app.with(|view: &mut LogsView, shared| shared.clipboard = Some(view.text()));
    app.shared.say(Level::Info, "copied");
}

/// Edits the object this text is about.
pub fn edit(app: &mut App) {
    super::object::edit(app);
}

/// Wraps long lines, or not.
pub fn wrap(app: &mut App) {
    app.with(|view: &mut TextView, _| view.toggle_wrap());
    app.with(|view: &mut LogsView, shared| view.toggle_wrap(shared));
}

/// Follows the log, or stands still.
pub fn follow(app: &mut App) {
    app.with(LogsView::toggle_follow);
}

/// Shows when lines were written, or not.
pub fn timestamps(app: &mut App) {
    app.with(|view: &mut LogsView, _| view.toggle_timestamps());
}

/// Draws a line.
pub fn mark(app: &mut App) {
    app.with(LogsView::mark);
}

/// Forgets the lines so far.
pub fn clear(app: &mut App) {
    app.with(|view: &mut LogsView, _| view.clear());
}

fn from(app: &mut App, start: LogStart) {
    app.with(|view: &mut LogsView, shared| view.restart(start, shared));
}

/// The last lines.
pub fn tail(app: &mut App) {
    from(app, LogStart::Tail(500));
}

/// From the beginning.
pub fn beginning(app: &mut App) {
    from(app, LogStart::Beginning);
}

/// The last minute.
pub fn one_minute(app: &mut App) {
    from(app, LogStart::Since(60));
}

/// The last 5 minutes.
pub fn five_minutes(app: &mut App) {
    from(app, LogStart::Since(300));
}

/// The last 15 minutes.
pub fn fifteen_minutes(app: &mut App) {
    from(app, LogStart::Since(900));
}

/// The last 30 minutes.
pub fn thirty_minutes(app: &mut App) {
    from(app, LogStart::Since(1_800));
}

/// All containers of the pods, or the one it began with.
pub fn all_containers(app: &mut App) {
    app.with(LogsView::toggle_containers);
}

/// The histogram of the lines, or none.
pub fn histogram(app: &mut App) {
    app.with(|view: &mut LogsView, _| view.toggle_histogram());
}

/// Sources stay while the text moves sideways, or move with it.
pub fn lock(app: &mut App) {
    app.with(|view: &mut LogsView, _| view.toggle_lock());
}

/// The instance before, or this one.
pub fn previous(app: &mut App) {
    app.with(LogsView::toggle_previous);
}

/// Folds what lies deep in YAML, deeper at each press.
pub fn fold_yaml(app: &mut App) {
    app.with(TextView::fold_deeper);
}

/// Folds stack traces, or shows them.
pub fn fold_traces(app: &mut App) {
    app.with(LogsView::toggle_folding);
}

/// Searches without hiding lines.
pub fn search(app: &mut App) {
    app.with(|view: &mut LogsView, _| view.begin_search());
    super::move_about::filter(app);
}

/// The last hour.
pub fn one_hour(app: &mut App) {
    from(app, LogStart::Since(3_600));
}

/// Shows the difference before applying it.
pub fn apply(app: &mut App) {
    app.with(EditorView::preview);
}

/// Offers what may stand at the cursor.
pub fn complete(app: &mut App) {
    app.with(|view: &mut EditorView, shared| view.complete(shared, true));
}

/// Folds the block the cursor is in, or unfolds it.
pub fn fold_block(app: &mut App) {
    app.with(EditorView::fold);
}

/// Moves lines to the right.
pub fn indent(app: &mut App) {
    app.with(|view: &mut EditorView, shared| view.indent(true, shared));
}

/// Moves lines to the left.
pub fn outdent(app: &mut App) {
    app.with(|view: &mut EditorView, shared| view.indent(false, shared));
}

/// Makes comments of lines, or lines of comments.
pub fn comment(app: &mut App) {
    app.with(EditorView::comment);
}

/// Takes back the last change of the text.
pub fn take_back(app: &mut App) {
    app.with(|view: &mut EditorView, shared| view.go_back(false, shared));
}

/// Makes the change of the text again.
pub fn make_again(app: &mut App) {
    app.with(|view: &mut EditorView, shared| view.go_back(true, shared));
}

/// Searches the text.
pub fn search_text(app: &mut App) {
    super::move_about::filter(app);
}

/// The next match in the text.
pub fn next_in_text(app: &mut App) {
    app.with(|view: &mut EditorView, _| view.next_match());
}

/// Leaves the editor and forgets the draft.
pub fn drop_edit(app: &mut App) {
    app.with(EditorView::forget);
    app.pop();
}

//! Moving between views and inside them.

use std::collections::HashMap;

use crate::action::ACTIONS;
use crate::app::App;
use crate::view::Motion;
use crate::widgets::activity::ActivityDrawer;
use crate::widgets::finder::Finder;
use crate::widgets::help::Help;
use crate::widgets::menu::Menu;
use crate::widgets::prompt::Prompt;

/// Actions that RBAC forbids here, and why.
fn denied(app: &App) -> HashMap<&'static str, String> {
    ACTIONS.iter().filter_map(|action| Some((action.name, app.forbidden(action)?))).collect()
}

/// Opens the command prompt.
pub fn command(app: &mut App) {
    let prompt = Prompt::command(app.scopes(), denied(app), &mut app.shared);
    app.lay(Box::new(prompt));
}

/// Opens the filter prompt.
pub fn filter(app: &mut App) {
    let text = app.view().map(|view| view.filter_text()).unwrap_or_default();
    app.lay(Box::new(Prompt::filter(text)));
}

/// Finds anything.
pub fn find(app: &mut App) {
    let finder = Finder::open(&mut app.shared);
    app.lay(Box::new(finder));
}

/// Shows what can be done here.
pub fn help(app: &mut App) {
    let help = Help::new(app.scopes(), app.view().map(|view| view.title()).unwrap_or_default(), denied(app));
    app.lay(Box::new(help));
}

/// Shows which keys there are for what is under the cursor.
pub fn menu(app: &mut App) {
    let menu = Menu::new(app.scopes(), app.shared.options.readonly, denied(app));
    app.lay(Box::new(menu));
}

/// Shows everything said in this session.
pub fn activity(app: &mut App) {
    app.lay(Box::new(ActivityDrawer::default()));
}

/// Clears the filter, else closes the view.
pub fn back(app: &mut App) {
    let Some(view) = app.stack.last_mut() else { return };
    if !view.escape(&mut app.shared) {
        app.pop();
    }
}

/// The view before this one.
pub fn last_view(app: &mut App) {
    app.last_view();
}

/// Back in the history of commands.
pub fn history_back(app: &mut App) {
    app.travel(-1);
}

/// Forward in the history of commands.
pub fn history_forward(app: &mut App) {
    app.travel(1);
}

/// Draws everything again.
pub fn redraw(app: &mut App) {
    app.shared.redraw = true;
    app.shared.dirty = true;
}

/// Leaves.
pub fn quit(app: &mut App) {
    app.quit = true;
}

fn motion(app: &mut App, motion: Motion) {
    if let Some(view) = app.stack.last_mut() {
        view.motion(motion, &mut app.shared);
    }
}

/// Up.
pub fn up(app: &mut App) {
    motion(app, Motion::Rows(-1));
}

/// Down.
pub fn down(app: &mut App) {
    motion(app, Motion::Rows(1));
}

/// Left.
pub fn left(app: &mut App) {
    motion(app, Motion::Columns(-8));
}

/// Right.
pub fn right(app: &mut App) {
    motion(app, Motion::Columns(8));
}

/// A page up.
pub fn page_up(app: &mut App) {
    motion(app, Motion::Pages(-1));
}

/// A page down.
pub fn page_down(app: &mut App) {
    motion(app, Motion::Pages(1));
}

/// To the beginning.
pub fn top(app: &mut App) {
    motion(app, Motion::Top);
}

/// To the end.
pub fn bottom(app: &mut App) {
    motion(app, Motion::Bottom);
}

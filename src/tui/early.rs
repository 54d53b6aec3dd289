//! Keys that come before the rows they are about: they wait until the rows are there, and then do what they do.

use std::time::Duration;

use crate::action::Scopes;
use crate::app::App;
use crate::input::{Key, KeyCode};
use crate::message::{Effect, News, Sub};
use crate::shared::{Level, Shared};
use crate::views::table::TableView;

/// How long keys wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many do.
const MOST: usize = 64;

/// Keys that wait, in their order.
#[derive(Default)]
pub struct Early {
    keys: Vec<Key>,
    /// The end of their patience.
    pause: Option<Sub>,
}

impl Early {
    fn take(&mut self, shared: &mut Shared) -> Vec<Key> {
        shared.cancel(&mut self.pause);
        std::mem::take(&mut self.keys)
    }
}

impl App {
    /// Whether the view shown is a table whose first rows have not come.
    fn rows_are_coming(&mut self) -> bool {
        self.layers.is_empty() && self.stack.last_mut().and_then(|view| view.downcast::<TableView>()).is_some_and(|table| table.is_coming())
    }

    /// Lets a key wait that is about rows which are not there yet, and whatever comes after it; true if it waits.
    pub(crate) fn waits(&mut self, key: Key) -> bool {
        if !self.rows_are_coming() {
            return false;
        }
        if key.code == KeyCode::Esc {
            // who wants to go back wants nothing done on the way
            self.early.take(&mut self.shared);
            return false;
        }
        let moves = ["up", "down", "page-up", "page-down", "top", "bottom"];
        let about_rows = match self.shared.keymap.action(key, self.scopes()) {
            Some(action) => !action.scopes.meet(Scopes::ANY) || moves.contains(&action.name),
            None => self.is_configured(key),
        };
        if self.early.keys.is_empty() && !about_rows {
            return false;
        }
        if self.early.keys.is_empty() {
            self.early.pause = Some(self.shared.subscribe(|sub| Effect::Pause(sub, 0, PATIENCE)));
        }
        if self.early.keys.len() < MOST {
            self.early.keys.push(key);
        }
        true
    }

    /// Does what waited, if the rows are there by now, or it is another view that is shown.
    pub(crate) fn act_on_rows(&mut self) {
        if self.early.keys.is_empty() || self.rows_are_coming() {
            return;
        }
        // one of them may open a table whose rows are still to come: the others wait again, for those
        for key in self.early.take(&mut self.shared) {
            self.press(key);
        }
    }

    /// The patience of keys that wait is at its end: they do nothing any more.
    pub(crate) fn out_of_patience(&mut self, sub: Sub, news: &mut Option<News>) {
        if self.early.pause == Some(sub) && news.take_if(|news| matches!(news, News::Paused(_))).is_some() {
            self.early.pause = None;
            let keys = std::mem::take(&mut self.early.keys);
            let keys = keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            self.shared.say(Level::Warning, format!("{keys}: nothing was done, as no rows have come"));
        }
    }
}

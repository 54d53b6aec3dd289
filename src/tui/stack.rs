//! The stack of views, and the history of the commands that opened them.

use crate::app::App;
use crate::command;
use crate::view::View;
use crate::views::NAMES;
use crate::views::boot::BootView;

/// Views that are kept, the one that is shown and those below it.
const MOST_VIEWS: usize = 16;

impl App {
    /// Opens a view over the current one.
    pub fn push(&mut self, mut view: Box<dyn View>) {
        debug_assert!(NAMES.contains(&view.name()), "{} is no name of a view", view.name());
        if let Some(command) = view.command() {
            self.remember(command);
        }
        view.open(&mut self.shared);
        // what is being built up while the cluster starts is replaced
        if self.stack.last_mut().is_some_and(|view| view.downcast::<BootView>().is_some()) {
            self.stack.clear();
        }
        self.stack.push(view);
        self.forget_oldest();
        self.shared.dirty = true;
    }

    /// Views below the one that is shown stay current, and each costs its watches: of those that a command opens again the
    /// oldest goes. The first stays.
    fn forget_oldest(&mut self) {
        let top = self.stack.len() - 1;
        if top >= MOST_VIEWS
            && let Some(at) = (1..top).find(|&at| self.stack[at].command().is_some())
        {
            self.stack.remove(at).close(&mut self.shared);
        }
    }

    /// A command has opened what is shown.
    pub(crate) fn remember(&mut self, command: String) {
        if self.history.get(self.position) == Some(&command) {
            return;
        }
        self.last = self.history.get(self.position).cloned();
        self.history.truncate(self.position + 1);
        self.history.push(command);
        self.position = self.history.len() - 1;
    }

    /// Closes the shown view, unless it is the last.
    pub fn pop(&mut self) {
        if self.stack.len() > 1
            && let Some(mut view) = self.stack.pop()
        {
            view.close(&mut self.shared);
        }
        self.shared.dirty = true;
    }

    /// Moves in the history of commands.
    pub fn travel(&mut self, by: isize) {
        if let Some(position) = self.position.checked_add_signed(by).filter(|&position| position < self.history.len()) {
            let command = self.history[position].clone();
            self.last = self.history.get(self.position).cloned();
            self.position = position;
            command::run(self, &command);
        }
    }

    /// Goes to the view before this one, and back again.
    pub fn last_view(&mut self) {
        if let Some(command) = self.last.clone() {
            command::run(self, &command);
        }
    }
}

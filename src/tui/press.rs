//! What the keys, the mouse and pastes do: to the uppermost layer, else to the view that is shown, else as actions.

use crate::action::Scopes;
use crate::app::App;
use crate::input::{Input, Key, KeyCode, MouseKind};
use crate::shared::Namespaces;
use crate::view::{Motion, Taken};

impl App {
    /// Takes in what the person did.
    pub(crate) fn input(&mut self, input: Input) {
        match input {
            Input::Resize(width, height) => {
                self.shared.size = (width, height);
                self.shared.dirty = true;
            }
            Input::Key(key) => {
                self.shared.dirty = true;
                self.key(key);
            }
            Input::Paste(text) => {
                self.shared.dirty = true;
                if let Some(layer) = self.layers.last_mut() {
                    layer.paste(&text, &mut self.shared);
                } else if let Some(view) = self.stack.last_mut() {
                    view.paste(&text, &mut self.shared);
                }
            }
            Input::Mouse(kind, column, row) => self.mouse(kind, column, row),
        }
    }

    /// A key that waited, as if it came now.
    pub(crate) fn press(&mut self, key: Key) {
        self.key(key);
        self.settle();
    }

    fn key(&mut self, key: Key) {
        // a program in a pane gets every key, ctrl-c too
        if self.layers.is_empty()
            && let Some(view) = self.stack.last_mut().filter(|view| view.takes_all_keys())
        {
            view.key(key, &mut self.shared);
            return;
        }
        if key == (Key { ctrl: true, ..Key::plain(KeyCode::Char('c')) }) && !self.shared.config.settings().no_exit_on_ctrl_c {
            self.quit = true;
            return;
        }
        for index in (0..self.layers.len()).rev() {
            match self.layers[index].key(key, &mut self.shared) {
                Taken::Yes => return,
                Taken::Close => {
                    // a layer that closes may have asked for another one, which is not there yet
                    self.layers.remove(index);
                    return;
                }
                Taken::No => {}
            }
        }
        if self.waits(key) {
            return;
        }
        let Some(view) = self.stack.last_mut() else { return };
        if view.key(key, &mut self.shared) {
            return;
        }
        if self.configured(key) {
            return;
        }
        if let Some(action) = self.shared.keymap.action(key, self.scopes()) {
            return self.perform(action);
        }
        if let Some(number) = key.typed().and_then(|c| c.to_digit(10)).filter(|_| self.scopes().meet(Scopes::LIST))
            && let Some(name) = (number as usize).checked_sub(1).and_then(|index| self.shared.favourites.get(index)).cloned()
        {
            self.shared.set_namespaces(Namespaces::Some(vec![name]));
        }
    }

    fn mouse(&mut self, kind: MouseKind, column: u16, row: u16) {
        if !self.layers.is_empty() {
            let key = match kind {
                MouseKind::ScrollUp => KeyCode::Up,
                MouseKind::ScrollDown => KeyCode::Down,
                MouseKind::Click | MouseKind::Drag => return,
            };
            return self.key(Key::plain(key));
        }
        if self.drag(kind, column, row) || !self.focus_at(column, row) {
            return;
        }
        let content = self.shared.content();
        let Some(view) = self.stack.last_mut() else { return };
        match kind {
            MouseKind::ScrollUp => view.motion(Motion::Rows(-3), &mut self.shared),
            MouseKind::ScrollDown => view.motion(Motion::Rows(3), &mut self.shared),
            MouseKind::Click if content.contains((column, row).into()) => {
                if view.mouse(kind, column - content.x, row - content.y, &mut self.shared)
                    && let Some(action) = self.shared.keymap.action(Key::plain(KeyCode::Enter), self.scopes())
                {
                    self.perform(action);
                }
            }
            MouseKind::Click | MouseKind::Drag => return,
        }
        self.shared.dirty = true;
    }
}

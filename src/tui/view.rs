//! What a view and a layer are. A view fills a pane; a layer lies over it and gets keys first.

use std::any::Any;

use ratatui::Frame;
use ratatui::layout::Rect;

use crate::action::{Action, Scopes};
use crate::app::App;
use crate::input::{Key, MouseKind};
use crate::kinds::Target;
use crate::message::{News, Sub};
use crate::shared::Shared;

/// A movement of the cursor or the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// So many rows down, or up.
    Rows(isize),
    /// So many pages down, or up.
    Pages(isize),
    /// To the beginning.
    Top,
    /// To the end.
    Bottom,
    /// So many columns right, or left.
    Columns(isize),
}

/// Where the cursor of a list is, and what of the list is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The line the cursor is on.
    pub position: usize,
    /// The first line shown.
    pub top: usize,
}

impl Cursor {
    /// Moves in a list of so many lines, of which `page` are shown.
    pub fn go(&mut self, motion: Motion, lines: usize, page: usize) {
        let (last, page) = (lines.saturating_sub(1), page.max(1));
        self.position = match motion {
            Motion::Rows(by) => self.position.saturating_add_signed(by),
            Motion::Pages(by) => self.position.saturating_add_signed(by * page.cast_signed()),
            Motion::Top => 0,
            Motion::Bottom => last,
            Motion::Columns(_) => self.position,
        }
        .min(last);
        self.top = self.top.clamp((self.position + 1).saturating_sub(page), self.position);
    }

    /// To a line of those that are shown; true if it was there already.
    pub fn click(&mut self, line: usize, lines: usize) -> bool {
        let position = self.top + line;
        position < lines && std::mem::replace(&mut self.position, position) == position
    }
}

/// What fills a pane.
pub trait View: Any {
    /// What it is called; one of [`crate::views::NAMES`].
    fn name(&self) -> &'static str;

    /// What it shows, for the header: `pods`.
    fn title(&self) -> String;

    /// How much of it, for the header: `14/2,310`.
    fn counts(&self) -> String {
        String::new()
    }

    /// Which actions make sense here.
    fn scopes(&self) -> Scopes;

    /// Names of the actions to hint at, the most useful first.
    fn hints(&self) -> &'static [&'static str];

    /// The command that opens it again.
    fn command(&self) -> Option<String> {
        None
    }

    /// The object the cursor is on.
    fn target(&self) -> Option<Target> {
        None
    }

    /// What a bulk action works on: the marked objects, or the one under the cursor.
    fn targets(&self) -> Vec<Target> {
        self.target().into_iter().collect()
    }

    /// It is drawn here from now on.
    fn placed(&mut self, _area: Rect) {}

    /// Starts what keeps it live.
    fn open(&mut self, shared: &mut Shared);

    /// Ends what keeps it live.
    fn close(&mut self, shared: &mut Shared);

    /// News of a subscription; ignores those of others.
    fn news(&mut self, sub: Sub, news: &mut Option<News>, shared: &mut Shared);

    /// A key no layer took; true if it was taken here.
    fn key(&mut self, _key: Key, _shared: &mut Shared) -> bool {
        false
    }

    /// Whether every key goes to it, whatever it means elsewhere.
    fn takes_all_keys(&self) -> bool {
        false
    }

    /// Pasted text; true if it was taken.
    fn paste(&mut self, _text: &str, _shared: &mut Shared) -> bool {
        false
    }

    /// Moves the cursor or the text.
    fn motion(&mut self, _motion: Motion, _shared: &mut Shared) {}

    /// The mouse, relative to the pane; true if it means `enter`.
    fn mouse(&mut self, _kind: MouseKind, _column: u16, _row: u16, _shared: &mut Shared) -> bool {
        false
    }

    /// The filter or search as typed.
    fn filter_text(&self) -> String {
        String::new()
    }

    /// Filters or searches.
    ///
    /// # Errors
    /// What cannot be understood.
    fn set_filter(&mut self, _text: &str, _shared: &mut Shared) -> Result<(), String> {
        Ok(())
    }

    /// The prompt that typed the filter is gone.
    fn prompt_closed(&mut self) {}

    /// Esc: true if there was something to clear before leaving.
    fn escape(&mut self, _shared: &mut Shared) -> bool {
        false
    }

    /// What is known of use has changed.
    fn usage_changed(&mut self, _shared: &mut Shared) {}

    /// The server has said what kinds there are.
    fn kinds_changed(&mut self, _shared: &mut Shared) {}

    /// The namespace has changed.
    fn namespace_changed(&mut self, _shared: &mut Shared) {}

    /// Names on the screen, for completion.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    /// How many of its rows are not well.
    fn faults(&self) -> usize {
        0
    }

    /// Why what it shows may be out of date.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Seconds until what is drawn changes by itself.
    fn next_change(&self, _shared: &Shared) -> Option<i64> {
        None
    }

    /// Draws itself.
    fn draw(&self, frame: &mut Frame, area: Rect, shared: &Shared);
}

impl dyn View {
    /// The view as what it is.
    pub fn downcast<T: View>(&mut self) -> Option<&mut T> {
        (self as &mut dyn Any).downcast_mut()
    }
}

/// What a layer did with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was for the layer.
    Yes,
    /// It was not.
    No,
    /// The layer is done.
    Close,
}

/// What lies over the views: prompt, dialog, help.
pub trait Layer: Any {
    /// What it is called; one of [`crate::views::NAMES`].
    fn name(&self) -> &'static str;

    /// A key; layers get keys before views.
    fn key(&mut self, key: Key, shared: &mut Shared) -> Taken;

    /// Pasted text.
    fn paste(&mut self, _text: &str, _shared: &mut Shared) {}

    /// News of a subscription of this layer.
    fn news(&mut self, _sub: Sub, _news: &mut Option<News>, _shared: &mut Shared) {}

    /// Names that were asked for have come.
    fn names(&mut self, _kind: &str, _names: &[String]) {}

    /// Draws itself over `screen`, the whole terminal.
    fn draw(&self, frame: &mut Frame, screen: Rect, shared: &Shared);
}

/// What a view or a layer wants of the application.
pub enum Go {
    /// Open a view over the current one.
    Push(Box<dyn View>),
    /// Close the current view.
    Pop,
    /// Lay something over the views.
    Layer(Box<dyn Layer>),
    /// Carry out a command as typed after `:`.
    Command(String),
    /// Carry out an action of the table.
    Run(&'static Action),
    /// Change the view's filter.
    Filter(String),
    /// The prompt that typed a filter is gone.
    PromptClosed,
    /// Do this.
    Do(Box<dyn FnOnce(&mut App)>),
    /// The namespace has changed.
    Namespaces,
    /// Leave.
    Quit,
}

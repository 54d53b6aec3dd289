//! Panes: the content is split again and again; each pane has a stack of views of its own. The focused pane's stack is
//! the application's; the others wait here.

mod layouts;
mod tree;

use std::collections::BTreeMap;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use self::tree::Tree;
use crate::app::App;
use crate::message::{News, Sub};
use crate::shared::Level;
use crate::theme::Role;
use crate::view::View;
use crate::views::preview::Preview;

/// A pane that is not focused.
#[derive(Default)]
pub struct Pane {
    stack: Vec<Box<dyn View>>,
    history: Vec<String>,
    position: usize,
    last: Option<String>,
}

/// All panes.
pub struct Panes {
    tree: Tree,
    others: BTreeMap<usize, Pane>,
    focus: usize,
    next: usize,
    zoomed: bool,
    preview: Option<Preview>,
    /// Percent of the width the preview has.
    preview_share: u16,
    dragged: Option<Dragged>,
}

/// The divider that follows the mouse.
enum Dragged {
    /// Of a split, by the way to it, and the area it divides.
    Split(Vec<bool>, Rect),
    Preview,
}

impl Default for Panes {
    fn default() -> Self {
        Self {
            tree: Tree::Leaf(0),
            others: BTreeMap::new(),
            focus: 0,
            next: 1,
            zoomed: false,
            preview: None,
            preview_share: 40,
            dragged: None,
        }
    }
}

/// Least size a pane may have.
const LEAST: (u16, u16) = (24, 5);

impl App {
    /// Where the panes are drawn, titles included; and the preview.
    fn areas(&self) -> (Vec<(usize, Rect)>, Option<Rect>) {
        let whole = self.shared.whole();
        let (panes, preview) = match (&self.panes.preview, whole.width >= 100) {
            (None, _) => (whole, None),
            (Some(_), true) => {
                let share = self.panes.preview_share;
                let parts = [Constraint::Fill(100 - share), Constraint::Fill(share)];
                let [panes, preview] = Layout::horizontal(parts).spacing(1).areas(whole);
                (panes, Some(preview))
            }
            (Some(_), false) => {
                let [panes, preview] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(whole);
                (panes, Some(preview))
            }
        };
        let mut found = Vec::new();
        if self.panes.zoomed {
            return (vec![(self.panes.focus, whole)], None);
        }
        self.panes.tree.areas(panes, &mut found);
        (found, preview)
    }

    /// The area of a pane's view: below its title, if there are several panes.
    fn inner(&self, area: Rect) -> Rect {
        if self.panes.others.is_empty() || self.panes.zoomed {
            return area;
        }
        Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area }
    }

    /// Tells the focused view where it is.
    pub(crate) fn place(&mut self) {
        let (areas, _) = self.areas();
        self.shared.pane = areas.iter().find(|(pane, _)| *pane == self.panes.focus).map(|(_, area)| self.inner(*area));
        if let (Some(area), Some(view)) = (self.shared.pane, self.stack.last_mut()) {
            view.placed(area);
        }
        for (number, area) in areas {
            let area = self.inner(area);
            if let Some(view) = self.panes.others.get_mut(&number).and_then(|pane| pane.stack.last_mut()) {
                view.placed(area);
            }
        }
    }

    fn swap(&mut self, pane: &mut Pane) {
        std::mem::swap(&mut self.stack, &mut pane.stack);
        std::mem::swap(&mut self.history, &mut pane.history);
        std::mem::swap(&mut self.position, &mut pane.position);
        std::mem::swap(&mut self.last, &mut pane.last);
    }

    fn focus(&mut self, pane: usize) {
        let Some(mut waiting) = self.panes.others.remove(&pane) else { return };
        self.swap(&mut waiting);
        self.panes.others.insert(self.panes.focus, waiting);
        self.panes.focus = pane;
        self.shared.dirty = true;
        self.place();
    }

    /// Takes hold of a divider, or moves the one that is held; false if the mouse means something else.
    pub(crate) fn drag(&mut self, kind: crate::input::MouseKind, column: u16, row: u16) -> bool {
        use crate::input::MouseKind;
        let whole = self.shared.whole();
        let percent = |part: u16, of: u16| u16::try_from(u32::from(part) * 100 / u32::from(of.max(1))).unwrap_or(50);
        match kind {
            MouseKind::Click => {
                let preview = self.areas().1.filter(|area| area.x > 0 && area.x == column + 1);
                let panes = Rect { width: preview.map_or(whole.width, |area| area.x.saturating_sub(whole.x + 1)), ..whole };
                self.panes.dragged = match preview {
                    Some(_) => Some(Dragged::Preview),
                    None if self.panes.zoomed => None,
                    None => self.panes.tree.divider(panes, column, row).map(|(path, area)| Dragged::Split(path, area)),
                };
                // the title of a pane is its divider too: a click on it goes there all the same
                match &self.panes.dragged {
                    Some(Dragged::Split(path, _)) => self.panes.tree.is_beside(path),
                    other => other.is_some(),
                }
            }
            MouseKind::Drag => {
                match &self.panes.dragged {
                    None => return false,
                    Some(Dragged::Preview) => {
                        self.panes.preview_share = percent(whole.right().saturating_sub(column), whole.width).clamp(10, 90);
                    }
                    Some(Dragged::Split(path, area)) => {
                        let share = match self.panes.tree.is_beside(path) {
                            true => percent(column.saturating_sub(area.x), area.width),
                            false => percent(row.saturating_sub(area.y), area.height),
                        };
                        self.panes.tree.set_share(path, share);
                    }
                }
                self.shared.dirty = true;
                self.place();
                true
            }
            MouseKind::ScrollUp | MouseKind::ScrollDown => false,
        }
    }

    /// Goes to the pane at a place of the screen; false if there is none.
    pub(crate) fn focus_at(&mut self, column: u16, row: u16) -> bool {
        let (areas, _) = self.areas();
        let Some((pane, _)) = areas.into_iter().find(|(_, area)| area.contains((column, row).into())) else { return false };
        self.focus(pane);
        self.place();
        true
    }

    /// Splits the focused pane; the new one shows the same and has the focus.
    pub fn split(&mut self, beside: bool) {
        let area = self.shared.content();
        let room = if beside { area.width / 2 >= LEAST.0 } else { area.height / 2 >= LEAST.1 };
        if !room {
            return self.shared.say(Level::Warning, "there is no room for another pane");
        }
        let command = self.view().and_then(View::command).unwrap_or_else(|| "pods".to_owned());
        self.open_pane(beside, 50, &command);
    }

    /// Opens a pane beside or below the focused one, on a command.
    fn open_pane(&mut self, beside: bool, share: u16, command: &str) {
        let (old, new) = (self.panes.focus, self.panes.next);
        self.panes.next += 1;
        self.panes.zoomed = false;
        let split = || Tree::Split { beside, share, first: Box::new(Tree::Leaf(old)), second: Box::new(Tree::Leaf(new)) };
        self.panes.tree.replace(old, split);
        let mut fresh = Pane { stack: vec![Box::new(crate::views::boot::BootView)], ..Pane::default() };
        self.swap(&mut fresh);
        self.panes.others.insert(old, fresh);
        self.panes.focus = new;
        self.place();
        crate::command::run(self, command);
    }

    /// Goes to the next pane.
    pub fn next_pane(&mut self) {
        let leaves = self.panes.tree.leaves();
        let at = leaves.iter().position(|pane| *pane == self.panes.focus).unwrap_or(0);
        if let Some(&next) = leaves.get((at + 1) % leaves.len().max(1)) {
            self.focus(next);
        }
    }

    /// Closes the focused pane, unless it is the only one.
    pub fn close_pane(&mut self) {
        let closing = self.panes.focus;
        if self.panes.others.is_empty() {
            return self.shared.say(Level::Info, "this is the only pane");
        }
        self.next_pane();
        if let Some(mut pane) = self.panes.others.remove(&closing) {
            pane.stack.iter_mut().for_each(|view| view.close(&mut self.shared));
        }
        self.panes.tree = std::mem::replace(&mut self.panes.tree, Tree::Leaf(0)).without(closing).unwrap_or(Tree::Leaf(self.panes.focus));
        self.panes.zoomed = false;
        self.place();
    }

    /// Closes all panes but the focused one.
    pub(crate) fn close_panes(&mut self) {
        for pane in std::mem::take(&mut self.panes.others).values_mut() {
            pane.stack.iter_mut().for_each(|view| view.close(&mut self.shared));
        }
        if let Some(mut preview) = self.panes.preview.take() {
            preview.close(&mut self.shared);
        }
        self.panes = Panes::default();
    }

    /// Shows the focused pane alone, or all again.
    pub fn zoom(&mut self) {
        self.panes.zoomed = !self.panes.zoomed && (!self.panes.others.is_empty() || self.panes.preview.is_some());
        self.place();
    }

    /// Shows the preview, or hides it.
    pub fn toggle_preview(&mut self) {
        match self.panes.preview.take() {
            Some(mut preview) => preview.close(&mut self.shared),
            None => self.panes.preview = Some(Preview::default()),
        }
        self.panes.zoomed = false;
        self.place();
    }

    /// The preview shows what the cursor is on.
    pub(crate) fn follow_preview(&mut self) {
        let target = self.view().and_then(View::target);
        if let Some(preview) = &mut self.panes.preview {
            preview.follow(target, &mut self.shared);
        }
    }

    pub(crate) fn preview_news(&mut self, sub: Sub, news: &mut Option<News>) {
        if let Some(preview) = &mut self.panes.preview {
            preview.news(sub, news, &mut self.shared);
        }
    }

    /// News for the views of panes that are not focused.
    pub(crate) fn other_news(&mut self, sub: Sub, news: &mut Option<News>) {
        let (areas, _) = self.areas();
        let own = self.shared.pane;
        for (number, pane) in &mut self.panes.others {
            if news.is_none() {
                break;
            }
            // hidden behind a zoomed pane it has no place: what it had does
            if let Some((_, area)) = areas.iter().find(|(pane, _)| pane == number) {
                self.shared.pane = Some(Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..*area });
            }
            for view in pane.stack.iter_mut().rev() {
                view.news(sub, news, &mut self.shared);
            }
        }
        self.shared.pane = own;
    }

    /// Does something with every view there is.
    pub(crate) fn every_view(&mut self, mut work: impl FnMut(&mut dyn View, &mut crate::shared::Shared)) {
        for view in self.stack.iter_mut().chain(self.panes.others.values_mut().flat_map(|pane| &mut pane.stack)) {
            work(view.as_mut(), &mut self.shared);
        }
    }

    /// Seconds until something in any pane changes by itself.
    pub(crate) fn panes_change(&self) -> Option<i64> {
        let shown = self.panes.others.values().filter(|_| !self.panes.zoomed).filter_map(|pane| pane.stack.last());
        let views = shown.filter_map(|view| view.next_change(&self.shared));
        views.chain(self.panes.preview.as_ref().and_then(|preview| preview.next_change(&self.shared))).min()
    }

    pub(crate) fn draw_panes(&self, frame: &mut Frame) {
        let (areas, preview) = self.areas();
        for (number, area) in areas {
            let focused = number == self.panes.focus;
            let view =
                if focused { self.view() } else { self.panes.others.get(&number).and_then(|pane| pane.stack.last()).map(AsRef::as_ref) };
            let Some(view) = view else { continue };
            let inner = self.inner(area);
            if inner != area {
                let style = self.shared.theme.style(if focused { Role::HeaderAccent } else { Role::Dim });
                let title = format!("{}{} {}", if focused { "▸" } else { " " }, view.title(), view.counts());
                let bar = Rect { height: 1, ..area };
                frame.buffer_mut().set_style(bar, if focused { self.shared.theme.style(Role::Header) } else { style });
                frame.render_widget(Paragraph::new(Line::styled(title, style)), bar);
            }
            view.draw(frame, inner, &self.shared);
            self.draw_divider(frame, area);
        }
        if let (Some(area), Some(preview)) = (preview, &self.panes.preview) {
            preview.draw(frame, area, &self.shared);
            if area.x > 0 {
                self.draw_divider(frame, Rect { x: 0, width: area.x - 1, ..area });
            }
        }
    }

    /// A line to the right of an area, if something is there.
    fn draw_divider(&self, frame: &mut Frame, area: Rect) {
        let x = area.right();
        if x >= self.shared.size.0 {
            return;
        }
        for y in area.top()..area.bottom() {
            frame.buffer_mut().set_string(x, y, "│", self.shared.theme.style(Role::Border));
        }
    }
}

//! The cursor, and the window of rows around it.

use super::TableView;
use crate::shared::Shared;
use crate::table::Row;
use crate::view::Motion;

impl TableView {
    /// How many rows there is room for.
    pub(super) fn page(&self, shared: &Shared) -> usize {
        usize::from(shared.content().height.saturating_sub(1)).max(1)
    }

    /// After rows have come or gone: the cursor stays on its object, else where it was.
    pub(super) fn settle(&mut self, shared: &mut Shared) {
        let before = (self.position, self.top);
        if let Some(position) = self.wanted.as_ref().and_then(|key| self.rows.position(key)) {
            self.wanted = None;
            self.position = position;
            self.selected = self.rows.at(position).map(|row| row.key.clone());
        }
        if let Some(position) = self.selected.as_ref().and_then(|key| self.rows.position(key)) {
            // what is under the cursor does not move on the screen, unless what comes before the first row would stay unseen
            if self.top > 0 {
                self.top = (self.top + position).saturating_sub(self.position);
            }
            self.position = position;
        }
        self.go(self.position, shared);
        if before != (self.position, self.top) {
            shared.dirty = true;
        }
    }

    /// Puts the cursor on a row; the window follows it.
    pub(super) fn go(&mut self, position: usize, shared: &Shared) {
        let page = self.page(shared);
        self.position = position.min(self.rows.visible().saturating_sub(1));
        self.selected = self.rows.at(self.position).map(|row| row.key.clone());
        if self.position < self.top {
            self.top = self.position;
        } else if self.position >= self.top + page {
            self.top = self.position + 1 - page;
        }
        self.top = self.top.min(self.rows.visible().saturating_sub(page));
    }

    pub(super) fn current(&self) -> Option<&Row> {
        self.rows.at(self.position)
    }

    /// Moves the cursor, or what is seen of wide rows.
    pub(super) fn go_by(&mut self, motion: Motion, shared: &Shared) {
        let page = self.page(shared).cast_signed();
        let by = match motion {
            Motion::Rows(by) => by,
            Motion::Pages(by) => by * page,
            Motion::Top => return self.go(0, shared),
            Motion::Bottom => return self.go(usize::MAX, shared),
            Motion::Columns(by) => {
                self.shift = self.shift.saturating_add_signed(by);
                return;
            }
        };
        self.go(self.position.saturating_add_signed(by), shared);
    }
}

//! Marks, and the order of the rows.

use std::sync::Arc;

use super::TableView;
use crate::shared::Shared;
use crate::table::Sort;

impl TableView {
    /// Marks the row under the cursor, or takes its mark away, and goes on to the next.
    pub fn toggle_mark(&mut self, shared: &mut Shared) {
        if let Some(key) = self.selected.clone() {
            self.rows.set_mark(&key, |marked| !marked);
            self.last_mark = Some(key);
            self.go(self.position + 1, shared);
        }
    }

    /// Marks from the last mark to the cursor.
    pub fn mark_range(&mut self, _shared: &mut Shared) {
        let from = self.last_mark.as_ref().and_then(|key| self.rows.position(key)).unwrap_or(self.position);
        let (first, last) = (from.min(self.position), from.max(self.position));
        let keys: Vec<Arc<str>> = (first..=last).filter_map(|at| self.rows.at(at)).map(|row| row.key.clone()).collect();
        for key in keys {
            self.rows.set_mark(&key, |_| true);
        }
    }

    /// Takes all marks away.
    pub fn clear_marks(&mut self) {
        self.rows.clear_marks();
    }

    /// Picks the next column to the left or right for sorting.
    pub fn pick(&mut self, by: isize, shared: &Shared) {
        let shown = self.layout(usize::from(shared.content().width), shared);
        let at = self.picked.or(self.rows.sort().column).and_then(|picked| shown.iter().position(|(index, _)| *index == picked));
        let next = at.map_or(0, |at| (at.cast_signed() + by).rem_euclid(shown.len().max(1).cast_signed()).cast_unsigned());
        self.picked = shown.get(next).map(|(index, _)| *index);
    }

    /// Sorts by the picked column; again: backwards.
    pub fn sort_picked(&mut self) {
        self.sort_column(self.picked.or(self.rows.sort().column));
    }

    /// Sorts by the column of this name; again: backwards.
    pub fn sort_by(&mut self, name: &str) {
        let column = self.rows.columns().iter().position(|column| column.name == name);
        if column.is_some() {
            self.sort_column(column);
        }
    }

    /// Sorts by namespace, then by name; again: backwards.
    pub fn sort_by_namespace(&mut self) {
        self.sort_column(None);
    }

    pub(super) fn sort_column(&mut self, column: Option<usize>) {
        let sort = self.rows.sort();
        let same = sort.column == column || (sort.column.is_none() && column == Some(0));
        self.rows.set_sort(Sort { column, descending: same && !sort.descending });
        if let Some(position) = self.selected.as_ref().and_then(|key| self.rows.position(key)) {
            self.position = position;
        }
        self.top = self.position.saturating_sub(self.position.min(10));
    }

    /// Shows only what is not well, or everything.
    pub fn toggle_faults(&mut self, shared: &mut Shared) {
        self.faults_only = !self.faults_only;
        let _ = self.refilter(shared);
    }
}

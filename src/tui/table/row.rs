//! A row: the little that is kept of an object for a table.

use std::sync::Arc;

use jiff::Timestamp;

use super::columns::{Column, ColumnKind};
use crate::age;
use crate::kinds::Target;

/// How many seconds a number that moved is marked.
const MOVED: i64 = 30;

/// How well the object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Health {
    /// Nothing to say.
    #[default]
    Fine,
    /// Ended as it should.
    Done,
    /// On its way.
    Pending,
    /// Going away.
    Leaving,
    /// Not as it should be.
    Faulty,
}

/// One row. Cells are parts of one text, so that a filter reads it as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `namespace/name`, or `/name`.
    pub key: Arc<str>,
    /// Cells, with a space between.
    text: Box<str>,
    /// Where each cell ends in `text`.
    ends: Box<[u32]>,
    /// Moments behind the time columns, seconds since 1970; the first is the creation.
    pub times: Box<[i64]>,
    /// How well it is.
    pub health: Health,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// The object it is about, where the table has objects of several kinds.
    pub target: Option<Arc<Target>>,
    /// What is not shown, for the actions of a made table.
    pub extra: Box<[String]>,
    /// Marked by the person at the terminal.
    pub marked: bool,
    /// Numbers that rose, one bit a column, and those that fell; and when, in seconds since 1970.
    pub(super) moved: (u32, u32, i64),
    /// Which listing it was last seen in.
    pub(super) seen: u32,
}

impl Row {
    /// A row of these cells.
    pub fn new(namespace: &str, name: &str, cells: &[String], times: Vec<i64>, health: Health, uid: &str) -> Self {
        let mut text = String::with_capacity(cells.iter().map(|cell| cell.len() + 1).sum());
        let mut ends = Vec::with_capacity(cells.len());
        for cell in cells {
            text.extend(cell.chars().map(|c| if c.is_control() { ' ' } else { c }));
            ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
            text.push(' ');
        }
        Self {
            key: format!("{namespace}/{name}").into(),
            text: text.into(),
            ends: ends.into(),
            times: times.into(),
            health,
            uid: uid.into(),
            target: None,
            extra: Box::default(),
            marked: false,
            moved: (0, 0, 0),
            seen: 0,
        }
    }

    /// A row of a table that is made: the first cell is its name.
    pub fn made(cells: &[String], health: Health) -> Self {
        Self::new("", cells.first().map_or("", String::as_str), cells, Vec::new(), health, "")
    }

    /// The row, about this object.
    pub fn about(mut self, target: Option<Target>) -> Self {
        self.target = target.map(Arc::new);
        self
    }

    /// The row, with what is not shown.
    pub fn with(mut self, extra: impl IntoIterator<Item = String>) -> Self {
        self.extra = extra.into_iter().collect();
        self
    }

    /// The row, known by this key; rows of one table have different ones.
    pub fn keyed(mut self, key: &str) -> Self {
        self.key = if key.contains('/') { key.into() } else { format!("/{key}").into() };
        self
    }

    /// The row with these moments behind its time columns.
    pub fn timed(mut self, times: Vec<i64>) -> Self {
        self.times = times.into();
        self
    }

    /// The row with other cells.
    pub fn with_cells(self, cells: &[String]) -> Self {
        let fresh = Self::new("", "", cells, Vec::new(), self.health, "");
        Self { text: fresh.text, ends: fresh.ends, ..self }
    }

    /// Its namespace; empty outside of namespaces.
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or("", |(_, name)| name)
    }

    /// All cells, for searching.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The n-th cell as it came.
    pub fn cell(&self, index: usize) -> &str {
        let Some(&end) = self.ends.get(index) else { return "" };
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize + 1);
        self.text.get(start..end as usize).unwrap_or("")
    }

    /// The n-th cell as shown at `now`.
    pub fn shown(&self, index: usize, column: &Column, now: Timestamp) -> String {
        match column.kind {
            ColumnKind::Time(at) => match self.times.get(at) {
                Some(&time) if time > 0 => age::human(now.as_second() - time),
                _ => "<unknown>".to_owned(),
            },
            ColumnKind::NumberSince(at) => match self.times.get(at) {
                Some(&time) if time > 0 => format!("{} ({} ago)", self.cell(index), age::human(now.as_second() - time)),
                _ => self.cell(index).to_owned(),
            },
            ColumnKind::Text | ColumnKind::Number => self.cell(index).to_owned(),
        }
    }

    /// Whether a number rose or fell a short while ago, and how many seconds that is still worth showing.
    pub fn moved(&self, index: usize, now: Timestamp) -> Option<(bool, i64)> {
        let left = self.moved.2 + MOVED - now.as_second();
        let has = |bits: u32| u32::try_from(index).ok().and_then(|index| bits.checked_shr(index)).is_some_and(|bits| bits & 1 == 1);
        match (has(self.moved.0), has(self.moved.1)) {
            _ if left <= 0 => None,
            (true, _) => Some((true, left)),
            (_, true) => Some((false, left)),
            _ => None,
        }
    }

    /// Notes which numbers differ from those before.
    pub(super) fn compare(&mut self, before: &Self, columns: &[Column], now: i64) {
        self.moved = before.moved;
        let (mut rose, mut fell) = (0, 0);
        for (index, column) in columns.iter().enumerate().take(32) {
            if !matches!(column.kind, ColumnKind::Number | ColumnKind::NumberSince(_)) || self.cell(index) == before.cell(index) {
                continue;
            }
            match (before.number(index), self.number(index)) {
                (Some(was), Some(is)) if is > was => rose |= 1 << index,
                (Some(was), Some(is)) if is < was => fell |= 1 << index,
                _ => {}
            }
        }
        if rose | fell != 0 {
            self.moved = (rose, fell, now);
        }
    }

    /// The number a cell starts with.
    pub fn number(&self, index: usize) -> Option<f64> {
        leading_number(self.cell(index))
    }
}

/// The number `text` starts with: `3 (5m ago)` is 3, `12%` is 12.
pub fn leading_number(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn cells_are_parts_of_one_text() {
        let row =
            Row::new("default", "web", &["web".into(), "1/1".into(), String::new(), "3 (5m ago)".into()], vec![100], Health::Fine, "u");
        assert_eq!((row.namespace(), row.name()), ("default", "web"));
        assert_eq!([row.cell(0), row.cell(1), row.cell(2), row.cell(3), row.cell(4)], ["web", "1/1", "", "3 (5m ago)", ""]);
        assert_eq!(row.number(3), Some(3.0));
        assert_eq!(row.text(), "web 1/1  3 (5m ago) ");
    }
}

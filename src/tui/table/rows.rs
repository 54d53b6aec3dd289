//! Rows and the index of those that are visible, in order.
//!
//! `slots` owns the rows and `by_key` finds them; `names` holds all slots by key, `order` those that pass the filter, sorted as
//! asked. A change moves one entry; a batch is sorted alone and merged, so that loading never sorts everything again. Another
//! sort or filter looks at rows in the order of their slots, and takes them from `names`, or from what is sorted already.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::columns::{Column, ColumnKind};
use super::filter::Filter;
use super::row::{Health, Row};
use super::sort::{Sort, Sorter, merged};

/// The rows of a table.
#[derive(Default)]
pub struct Rows {
    columns: Vec<Column>,
    slots: Vec<Option<Row>>,
    free: Vec<u32>,
    by_key: HashMap<Arc<str>, u32>,
    names: Vec<u32>,
    /// All slots as they are sorted, from when that was needed until a row changes.
    sorted: Option<Vec<u32>>,
    order: Vec<u32>,
    widths: Vec<usize>,
    namespace_width: usize,
    sort: Sort,
    filter: Filter,
    listing: u32,
    faults: usize,
}

/// From this many changes at once the index is merged instead of patched.
const BATCH: usize = 32;
impl Rows {
    /// The columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// New columns: rows of other columns are forgotten.
    pub fn set_columns(&mut self, columns: Vec<Column>) {
        if self.columns == columns {
            return;
        }
        let listing = self.listing;
        *self = Self {
            widths: vec![0; columns.len()],
            columns,
            sort: self.sort,
            filter: std::mem::take(&mut self.filter),
            listing,
            ..Self::default()
        };
    }

    /// How many rows pass the filter.
    pub fn visible(&self) -> usize {
        self.order.len()
    }

    /// How many rows there are.
    pub fn total(&self) -> usize {
        self.by_key.len()
    }

    /// How many rows are not well.
    pub fn faults(&self) -> usize {
        self.faults
    }

    /// Widest cell of each column, and of the namespaces.
    pub fn widths(&self) -> (&[usize], usize) {
        (&self.widths, self.namespace_width)
    }

    /// What it is sorted by.
    pub fn sort(&self) -> Sort {
        self.sort
    }

    /// The filter.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The n-th visible row.
    pub fn at(&self, position: usize) -> Option<&Row> {
        self.row(*self.order.get(position)?)
    }

    /// The row with this key, visible or not.
    pub fn get(&self, key: &str) -> Option<&Row> {
        self.row(*self.by_key.get(key)?)
    }

    /// Where the row with this key stands among the visible ones.
    pub fn position(&self, key: &str) -> Option<usize> {
        let slot = *self.by_key.get(key)?;
        let (row, sorter) = (self.row(slot)?, self.sorter());
        self.order.binary_search_by(|&other| sorter.compare_with(other, row)).ok()
    }

    /// Every visible row.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.order.iter().filter_map(|&slot| self.row(slot))
    }

    /// Every row, visible or not.
    pub fn all(&self) -> impl Iterator<Item = &Row> {
        self.slots.iter().flatten()
    }

    /// Every marked row, visible or not.
    pub fn marked(&self) -> impl Iterator<Item = &Row> {
        self.slots.iter().flatten().filter(|row| row.marked)
    }

    /// Marks a row or takes its mark away.
    pub fn set_mark(&mut self, key: &str, change: impl Fn(bool) -> bool) {
        if let Some(&slot) = self.by_key.get(key)
            && let Some(Some(row)) = self.slots.get_mut(slot as usize)
        {
            row.marked = change(row.marked);
        }
    }

    /// Takes all marks away.
    pub fn clear_marks(&mut self) {
        for row in self.slots.iter_mut().flatten() {
            row.marked = false;
        }
    }

    /// A new listing begins: rows it does not name are gone when it ends.
    pub fn begin_listing(&mut self) {
        self.listing = self.listing.wrapping_add(1);
    }

    /// The listing is complete.
    pub fn end_listing(&mut self) {
        let gone: Vec<Arc<str>> = self.slots.iter().flatten().filter(|row| row.seen != self.listing).map(|row| row.key.clone()).collect();
        self.apply(Vec::new(), &gone, Timestamp::UNIX_EPOCH);
    }

    /// Takes rows in and out.
    pub fn apply(&mut self, rows: Vec<Row>, gone: &[Arc<str>], now: Timestamp) {
        self.sorted = None;
        if rows.len() + gone.len() > BATCH {
            return self.apply_batch(rows, gone, now);
        }
        for key in gone {
            if let Some(position) = self.position(key) {
                self.order.remove(position);
            }
            if let Ok(position) = self.position_by_name(key) {
                self.names.remove(position);
            }
            self.forget(key);
        }
        for row in rows {
            if let Some(position) = self.position(&row.key) {
                self.order.remove(position);
            }
            let place = self.position_by_name(&row.key);
            let slot = self.store(row, now);
            if let Err(place) = place {
                self.names.insert(place, slot);
            }
            if self.passes(slot, now) {
                let position = self.place(slot);
                self.order.insert(position, slot);
            }
        }
    }

    fn apply_batch(&mut self, rows: Vec<Row>, gone: &[Arc<str>], now: Timestamp) {
        let slots =
            |keys: &mut dyn Iterator<Item = &Arc<str>>| -> HashSet<u32> { keys.filter_map(|key| self.by_key.get(key).copied()).collect() };
        let known = slots(&mut rows.iter().map(|row| &row.key));
        let leaving = slots(&mut gone.iter());
        if !(known.is_empty() && leaving.is_empty()) {
            self.order.retain(|slot| !known.contains(slot) && !leaving.contains(slot));
        }
        if !leaving.is_empty() {
            self.names.retain(|slot| !leaving.contains(slot));
        }
        for key in gone {
            self.forget(key);
        }
        let mut fresh: Vec<u32> = rows.into_iter().map(|row| self.store(row, now)).collect();
        fresh.sort_unstable();
        fresh.dedup();
        self.sorter().sort_by_name(&mut fresh);
        let unknown: Vec<u32> = fresh.iter().copied().filter(|slot| leaving.contains(slot) || !known.contains(slot)).collect();
        fresh.retain(|&slot| self.passes(slot, now));
        let sorter = self.sorter();
        sorter.sort(&mut fresh);
        let names = merged(&self.names, unknown, |a, b| sorter.compare_names(a, b));
        let order = merged(&self.order, fresh, |a, b| sorter.compare(a, b));
        (self.names, self.order) = (names, order);
    }

    /// Sorts by something else.
    pub fn set_sort(&mut self, sort: Sort) {
        self.sort = sort;
        self.sorted = None;
        let mut visible = vec![false; self.slots.len()];
        for &slot in &self.order {
            visible[slot as usize] = true;
        }
        self.order = self.picked(&visible);
    }

    /// Filters by something else.
    pub fn set_filter(&mut self, filter: Filter, now: Timestamp) {
        let narrows = filter.narrows(&self.filter);
        self.filter = filter;
        if narrows && self.sorter().are_few(&self.order) {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|&slot| self.passes(slot, now));
            self.order = order;
            return;
        }
        let visible: Vec<bool> = (0..).take(self.slots.len()).map(|slot| self.passes(slot, now)).collect();
        self.order = self.picked(&visible);
    }

    /// The slots that are visible, sorted.
    fn picked(&mut self, visible: &[bool]) -> Vec<u32> {
        let pick = |slots: &[u32]| -> Vec<u32> { slots.iter().copied().filter(|&slot| visible[slot as usize]).collect() };
        let mut order = pick(&self.names);
        if self.sorter().are_few(&order) {
            self.sorter().sort(&mut order);
            return order;
        }
        let sorted = self.sorted.take().unwrap_or_else(|| {
            let mut all = self.names.clone();
            self.sorter().sort(&mut all);
            all
        });
        let order = pick(&sorted);
        self.sorted = Some(sorted);
        order
    }

    fn passes(&self, slot: u32, now: Timestamp) -> bool {
        self.row(slot).is_some_and(|row| self.filter.is_empty() || self.filter.matches(row, now))
    }

    fn store(&mut self, mut row: Row, now: Timestamp) -> u32 {
        for (index, width) in self.widths.iter_mut().enumerate() {
            let cell = match self.columns[index].kind {
                ColumnKind::Time(_) => 6,
                ColumnKind::NumberSince(at) if row.times.get(at).is_some_and(|&time| time > 0) => cell_width(row.cell(index)) + 13,
                _ => cell_width(row.cell(index)),
            };
            *width = (*width).max(cell);
        }
        self.namespace_width = self.namespace_width.max(row.namespace().len());
        row.seen = self.listing;
        self.faults += usize::from(row.health == Health::Faulty);
        if let Some(&slot) = self.by_key.get(&row.key)
            && let Some(Some(known)) = self.slots.get_mut(slot as usize)
        {
            self.faults -= usize::from(known.health == Health::Faulty);
            row.marked = known.marked && known.uid == row.uid;
            if known.uid == row.uid {
                row.compare(known, &self.columns, now.as_second());
            }
            *known = row;
            return slot;
        }
        let key = row.key.clone();
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(row);
                slot
            }
            None => {
                self.slots.push(Some(row));
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.by_key.insert(key, slot);
        slot
    }

    fn forget(&mut self, key: &str) {
        if let Some(slot) = self.by_key.remove(key)
            && let Some(row) = self.slots.get_mut(slot as usize).and_then(Option::take)
        {
            self.faults -= usize::from(row.health == Health::Faulty);
            self.free.push(slot);
        }
    }

    fn place(&self, slot: u32) -> usize {
        let sorter = self.sorter();
        self.order.partition_point(|&other| sorter.compare(other, slot).is_lt())
    }

    fn row(&self, slot: u32) -> Option<&Row> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn position_by_name(&self, key: &str) -> Result<usize, usize> {
        self.names.binary_search_by(|&slot| self.row(slot).map(|row| &*row.key).cmp(&Some(key)))
    }

    fn sorter(&self) -> Sorter<'_> {
        let by = self.sort.column.and_then(|index| Some((index, self.columns.get(index)?.kind)));
        Sorter { slots: &self.slots, by, descending: self.sort.descending }
    }
}

/// Columns of the terminal a text takes.
pub fn cell_width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { unicode_width::UnicodeWidthStr::width(text) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn columns() -> Vec<Column> {
        vec![
            Column::new("Name", "string", false),
            Column::new("Status", "string", false),
            Column::new("Restarts", "string", false),
            Column { name: "AGE".into(), kind: ColumnKind::Time(0), wide: false },
        ]
    }

    fn row(name: &str, status: &str, restarts: u8, created: i64) -> Row {
        let health = if status == "Error" { Health::Faulty } else { Health::Fine };
        Row::new("ns", name, &[name.into(), status.into(), restarts.to_string(), String::new()], vec![created], health, "")
    }

    fn keys(rows: &Rows) -> Vec<String> {
        rows.iter().map(|row| row.name().to_owned()).collect()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_000).unwrap()
    }

    #[test]
    fn rows_stay_sorted_as_they_come_change_and_go() {
        let mut rows = Rows::default();
        rows.set_columns(columns());
        rows.apply(vec![row("b", "Running", 2, 5), row("a", "Error", 9, 7), row("c", "Running", 10, 6)], &[], now());
        assert_eq!(keys(&rows), ["a", "b", "c"]);
        rows.set_sort(Sort { column: Some(2), descending: true });
        assert_eq!(keys(&rows), ["c", "a", "b"]);
        rows.apply(vec![row("b", "Running", 11, 5)], &[], now());
        assert_eq!(keys(&rows), ["b", "c", "a"]);
        assert_eq!(rows.position("ns/a"), Some(2));
        assert_eq!(rows.faults(), 1);
        rows.apply(Vec::new(), &["ns/a".into()], now());
        assert_eq!((rows.total(), rows.faults()), (2, 0));
    }

    #[test]
    fn a_listing_forgets_what_it_does_not_name_and_keeps_marks() {
        let mut rows = Rows::default();
        rows.set_columns(columns());
        rows.begin_listing();
        rows.apply(vec![row("a", "Running", 0, 1), row("b", "Running", 0, 1)], &[], now());
        rows.end_listing();
        rows.set_mark("ns/b", |_| true);
        rows.begin_listing();
        rows.apply(vec![row("b", "Running", 1, 1)], &[], now());
        assert_eq!(rows.total(), 2, "the last rows stay until the listing is complete");
        rows.end_listing();
        assert_eq!(keys(&rows), ["b"]);
        assert_eq!(rows.marked().count(), 1);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(Vec<(u8, u8, u8, i64)>),
        Drop(Vec<u8>),
        Sort(Option<usize>, bool),
        Filter(&'static str),
    }

    fn step() -> impl Strategy<Value = Step> {
        let some = proptest::collection::vec((0u8..60, 0u8..4, 0u8..20, 0i64..50), 1..60);
        prop_oneof![
            some.prop_map(Step::Put),
            proptest::collection::vec(0u8..60, 1..50).prop_map(Step::Drop),
            (proptest::option::of(0usize..4), any::<bool>()).prop_map(|(column, descending)| Step::Sort(column, descending)),
            prop_oneof![Just(""), Just("1"), Just("status=Error"), Just("restarts>9"), Just("!2")].prop_map(Step::Filter),
        ]
    }

    proptest! {
        #[test]
        fn the_index_is_what_sorting_and_filtering_everything_gives(steps in proptest::collection::vec(step(), 1..20)) {
            let mut rows = Rows::default();
            rows.set_columns(columns());
            for step in steps {
                match step {
                    Step::Put(some) => {
                        let some = some.into_iter().map(|(n, s, r, t)| row(&format!("pod-{n}"), ["Running", "Error", "Error pulling the image of container b", "Error pulling the image of container a"][s as usize], r, t)).collect();
                        rows.apply(some, &[], now());
                    }
                    Step::Drop(some) => {
                        let gone: Vec<Arc<str>> = some.into_iter().map(|n| format!("ns/pod-{n}").into()).collect();
                        rows.apply(Vec::new(), &gone, now());
                    }
                    Step::Sort(column, descending) => rows.set_sort(Sort { column, descending }),
                    Step::Filter(source) => rows.set_filter(Filter::parse(source, &columns(), false).unwrap(), now()),
                }
                let mut expected: Vec<u32> = (0..rows.slots.len() as u32).filter(|&slot| rows.passes(slot, now())).collect();
                expected.sort_by(|&a, &b| rows.sorter().compare(a, b));
                prop_assert_eq!(&rows.order, &expected);
                prop_assert_eq!(rows.faults(), rows.slots.iter().flatten().filter(|row| row.health == Health::Faulty).count());
                for (position, slot) in expected.iter().enumerate() {
                    let key = rows.slots[*slot as usize].as_ref().unwrap().key.clone();
                    prop_assert_eq!(rows.position(&key), Some(position));
                }
            }
        }
    }
}

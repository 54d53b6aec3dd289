//! Rows and the index of those that are visible, in order.
//!
//! `slots` owns the rows and `by_key` finds them; `order` holds the slots that pass the filter, always sorted.
//! A change moves one entry; a batch is sorted alone and merged, so that loading never sorts everything again.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::columns::{Column, ColumnKind};
use super::filter::Filter;
use super::row::{Health, Row};

/// What rows are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sort {
    /// Column; `None` is namespace, then name.
    pub column: Option<usize>,
    /// Backwards.
    pub descending: bool,
}

/// The rows of a table.
#[derive(Default)]
pub struct Rows {
    columns: Vec<Column>,
    slots: Vec<Option<Row>>,
    free: Vec<u32>,
    by_key: HashMap<Arc<str>, u32>,
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
        self.slots.get(*self.order.get(position)? as usize)?.as_ref()
    }

    /// The row with this key, visible or not.
    pub fn get(&self, key: &str) -> Option<&Row> {
        self.slots.get(*self.by_key.get(key)? as usize)?.as_ref()
    }

    /// Where the row with this key stands among the visible ones.
    pub fn position(&self, key: &str) -> Option<usize> {
        let slot = *self.by_key.get(key)?;
        let row = self.slots.get(slot as usize)?.as_ref()?;
        self.order.binary_search_by(|&other| self.compare_slot(other, row)).ok()
    }

    /// Every visible row.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.order.iter().filter_map(|&slot| self.slots.get(slot as usize)?.as_ref())
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
        if rows.len() + gone.len() > BATCH {
            return self.apply_batch(rows, gone, now);
        }
        for key in gone {
            if let Some(position) = self.position(key) {
                self.order.remove(position);
            }
            self.forget(key);
        }
        for row in rows {
            if let Some(position) = self.position(&row.key) {
                self.order.remove(position);
            }
            let slot = self.store(row, now);
            if self.passes(slot, now) {
                let position = self.place(slot);
                self.order.insert(position, slot);
            }
        }
    }

    fn apply_batch(&mut self, rows: Vec<Row>, gone: &[Arc<str>], now: Timestamp) {
        let touched: HashSet<u32> =
            gone.iter().chain(rows.iter().map(|row| &row.key)).filter_map(|key| self.by_key.get(key).copied()).collect();
        if !touched.is_empty() {
            self.order.retain(|slot| !touched.contains(slot));
        }
        for key in gone {
            self.forget(key);
        }
        let mut fresh: Vec<u32> = rows.into_iter().map(|row| self.store(row, now)).collect();
        fresh.sort_unstable();
        fresh.dedup();
        fresh.retain(|&slot| self.passes(slot, now));
        self.sort_slots(&mut fresh);
        self.merge(fresh);
    }

    fn merge(&mut self, fresh: Vec<u32>) {
        if fresh.is_empty() {
            return;
        }
        let old = std::mem::take(&mut self.order);
        let mut merged = Vec::with_capacity(old.len() + fresh.len());
        let mut rest = old.as_slice();
        for slot in fresh {
            let before = rest.partition_point(|&other| self.compare(other, slot).is_lt());
            merged.extend_from_slice(&rest[..before]);
            merged.push(slot);
            rest = &rest[before..];
        }
        merged.extend_from_slice(rest);
        self.order = merged;
    }

    /// Sorts by something else.
    pub fn set_sort(&mut self, sort: Sort) {
        self.sort = sort;
        let mut order = std::mem::take(&mut self.order);
        self.sort_slots(&mut order);
        self.order = order;
    }

    /// Filters by something else.
    pub fn set_filter(&mut self, filter: Filter, now: Timestamp) {
        let narrows = filter.narrows(&self.filter);
        self.filter = filter;
        if narrows {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|&slot| self.passes(slot, now));
            self.order = order;
            return;
        }
        let mut order: Vec<u32> = (0..u32::try_from(self.slots.len()).unwrap_or(u32::MAX)).filter(|&slot| self.passes(slot, now)).collect();
        self.sort_slots(&mut order);
        self.order = order;
    }

    fn passes(&self, slot: u32, now: Timestamp) -> bool {
        self.slots.get(slot as usize).and_then(Option::as_ref).is_some_and(|row| self.filter.is_empty() || self.filter.matches(row, now))
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
        self.order.partition_point(|&other| self.compare(other, slot).is_lt())
    }

    fn compare(&self, a: u32, b: u32) -> Ordering {
        match self.slots.get(b as usize).and_then(Option::as_ref) {
            Some(row) => self.compare_slot(a, row),
            None => Ordering::Less,
        }
    }

    fn compare_slot(&self, a: u32, b: &Row) -> Ordering {
        let Some(a) = self.slots.get(a as usize).and_then(Option::as_ref) else { return Ordering::Greater };
        let by_column = match self.sort.column.and_then(|index| Some((index, self.columns.get(index)?.kind))) {
            None => return if self.sort.descending { b.key.cmp(&a.key) } else { a.key.cmp(&b.key) },
            // the youngest have the greatest time and the smallest age
            Some((_, ColumnKind::Time(at))) => b.times.get(at).cmp(&a.times.get(at)),
            Some((index, ColumnKind::Number | ColumnKind::NumberSince(_))) => {
                a.number(index).partial_cmp(&b.number(index)).unwrap_or(Ordering::Equal)
            }
            Some((index, ColumnKind::Text)) => a.cell(index).cmp(b.cell(index)),
        };
        let by_column = if self.sort.descending { by_column.reverse() } else { by_column };
        by_column.then_with(|| a.key.cmp(&b.key))
    }

    /// Sorts by a short key first: comparing whole rows touches too much memory when there are 100,000.
    fn sort_slots(&self, slots: &mut Vec<u32>) {
        let common = self.common_prefix(slots);
        let mut keyed: Vec<(u128, u32)> = slots.iter().map(|&slot| (self.short_key(slot, common), slot)).collect();
        keyed.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.compare(a.1, b.1)));
        slots.clear();
        slots.extend(keyed.into_iter().map(|(_, slot)| slot));
    }

    fn sort_text<'a>(&self, row: &'a Row) -> Option<&'a str> {
        match self.sort.column.and_then(|index| Some((index, self.columns.get(index)?.kind))) {
            None => Some(&row.key),
            Some((index, ColumnKind::Text)) => Some(row.cell(index)),
            Some(_) => None,
        }
    }

    fn common_prefix(&self, slots: &[u32]) -> usize {
        let rows = slots.iter().filter_map(|&slot| self.slots.get(slot as usize)?.as_ref());
        let mut texts = rows.map(|row| self.sort_text(row).unwrap_or(&row.key));
        let Some(first) = texts.next() else { return 0 };
        texts.fold(first.len(), |common, text| first.bytes().zip(text.bytes()).take(common).take_while(|(a, b)| a == b).count())
    }

    /// Orders as [`Self::compare_slot`] does wherever two of them differ: 16 bytes of text, or a number and 8 bytes of the key.
    fn short_key(&self, slot: u32, common: usize) -> u128 {
        let Some(row) = self.slots.get(slot as usize).and_then(Option::as_ref) else { return u128::MAX };
        let number = match self.sort.column.and_then(|index| Some((index, self.columns.get(index)?.kind))) {
            Some((_, ColumnKind::Time(at))) => u64::MAX - ordered_i64(row.times.get(at).copied().unwrap_or(i64::MIN)),
            Some((index, ColumnKind::Number | ColumnKind::NumberSince(_))) => row.number(index).map_or(0, ordered_f64),
            Some((_, ColumnKind::Text)) | None => {
                let key = u128::from_be_bytes(first_bytes(self.sort_text(row).unwrap_or(""), common));
                return if self.sort.descending { !key } else { key };
            }
        };
        // rows with the same number stand by their key, backwards or not
        let number = if self.sort.descending { !number } else { number };
        u128::from(number) << 64 | u128::from(u64::from_be_bytes(first_bytes(&row.key, common)))
    }
}

fn first_bytes<const N: usize>(text: &str, skip: usize) -> [u8; N] {
    let mut bytes = [0u8; N];
    for (to, from) in bytes.iter_mut().zip(text.as_bytes().iter().skip(skip)) {
        *to = *from;
    }
    bytes
}

fn ordered_i64(value: i64) -> u64 {
    value.cast_unsigned() ^ (1 << 63)
}

fn ordered_f64(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
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
        let some = proptest::collection::vec((0u8..60, 0u8..3, 0u8..20, 0i64..50), 1..60);
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
                        let some = some.into_iter().map(|(n, s, r, t)| row(&format!("pod-{n}"), ["Running", "Error", "Pending"][s as usize], r, t)).collect();
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
                expected.sort_by(|&a, &b| rows.compare(a, b));
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

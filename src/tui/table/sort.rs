//! The order of rows: by their key, or by a column and then their key.
//!
//! With 100,000 rows memory is what takes time: a short key of each row is read once, where rows are many in the order in which
//! they lie there, and whole rows are compared only where short keys are alike.

use std::cmp::Ordering;

use super::columns::ColumnKind;
use super::row::Row;

/// What rows are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sort {
    /// Column; `None` is namespace, then name.
    pub column: Option<usize>,
    /// Backwards.
    pub descending: bool,
}

/// Sorts slots of a table that have rows.
pub(super) struct Sorter<'a> {
    pub slots: &'a [Option<Row>],
    /// Column and its kind; `None` is the key.
    pub by: Option<(usize, ColumnKind)>,
    pub descending: bool,
}

/// Less than one of so many rows are read one by one, more of them all together as they lie in memory.
const FEW: usize = 8;

impl Sorter<'_> {
    fn row(&self, slot: u32) -> Option<&Row> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Whether they are so few that it is better to read these rows than all.
    pub fn are_few(&self, slots: &[u32]) -> bool {
        slots.len() < self.slots.len() / FEW
    }

    /// How two slots stand.
    pub fn compare(&self, a: u32, b: u32) -> Ordering {
        match self.row(b) {
            Some(row) => self.compare_with(a, row),
            None => Ordering::Less,
        }
    }

    /// How a slot stands to a row.
    pub fn compare_with(&self, a: u32, b: &Row) -> Ordering {
        let Some(a) = self.row(a) else { return Ordering::Greater };
        let by_column = match self.by {
            None => return if self.descending { b.key.cmp(&a.key) } else { a.key.cmp(&b.key) },
            // the youngest have the greatest time and the smallest age
            Some((_, ColumnKind::Time(at))) => b.times.get(at).cmp(&a.times.get(at)),
            Some((index, ColumnKind::Number | ColumnKind::NumberSince(_))) => {
                a.number(index).partial_cmp(&b.number(index)).unwrap_or(Ordering::Equal)
            }
            Some((index, ColumnKind::Text)) => a.cell(index).cmp(b.cell(index)),
        };
        let by_column = if self.descending { by_column.reverse() } else { by_column };
        by_column.then_with(|| a.key.cmp(&b.key))
    }

    /// How the keys of two slots stand.
    pub fn compare_names(&self, a: u32, b: u32) -> Ordering {
        self.row(a).map(|row| &row.key).cmp(&self.row(b).map(|row| &row.key))
    }

    /// Sorts what is sorted by key as the table is: those that are alike stay as they are.
    pub fn sort(&self, slots: &mut [u32]) {
        let way = |key: u64| if self.descending { !key } else { key };
        match self.by {
            None if self.descending => slots.reverse(),
            None => {}
            // the youngest have the greatest time and the smallest age
            Some((_, ColumnKind::Time(at))) => {
                self.sort_by_key(slots, |row| way(u64::MAX - row.times.get(at).map_or(0, |&time| ordered_i64(time))));
            }
            Some((index, ColumnKind::Number | ColumnKind::NumberSince(_))) => {
                self.sort_by_key(slots, |row| way(row.number(index).map_or(0, ordered_f64)));
            }
            Some((index, ColumnKind::Text)) => self.sort_by_text(slots, |row| row.cell(index), self.descending),
        }
    }

    /// Sorts by key.
    pub fn sort_by_name(&self, slots: &mut [u32]) {
        self.sort_by_text(slots, |row| &row.key, false);
    }

    /// Sorts by 16 bytes behind what all have in common, and by the whole text only those that are alike in them.
    fn sort_by_text(&self, slots: &mut [u32], text: impl Fn(&Row) -> &str, descending: bool) {
        let mut common: Option<(&str, usize)> = None;
        let mut longest = 0;
        let (some, all) = if self.are_few(slots) { (&*slots, &[][..]) } else { (&[][..], self.slots) };
        for text in some.iter().filter_map(|&slot| self.row(slot)).chain(all.iter().flatten()).map(&text) {
            let (first, length) = common.unwrap_or((text, text.len()));
            let length = first.bytes().zip(text.bytes()).take(length).take_while(|(a, b)| a == b).count();
            (common, longest) = (Some((first, length)), longest.max(text.len()));
        }
        let common = common.map_or(0, |(_, length)| length);
        let keyed = self.sort_by_key(slots, |row| {
            let mut key = [0; 16];
            for (to, from) in key.iter_mut().zip(text(row).bytes().skip(common)) {
                *to = from;
            }
            let key = u128::from_be_bytes(key);
            if descending { !key } else { key }
        });
        if longest > common + 16 {
            let text = |slot: u32| self.row(slot).map(&text);
            let mut rest = &mut slots[..];
            for alike in keyed.chunk_by(|a, b| a.0 == b.0) {
                let (these, behind) = rest.split_at_mut(alike.len());
                these.sort_by(|&a, &b| if descending { text(b).cmp(&text(a)) } else { text(a).cmp(&text(b)) });
                rest = behind;
            }
        }
    }

    /// Sorts by a key that is read once from each row, those that are alike as they stood, and returns the keys.
    fn sort_by_key<K: Ord + Copy + Default>(&self, slots: &mut [u32], key: impl Fn(&Row) -> K) -> Vec<(K, u32)> {
        let positions = 0u32..;
        let mut keyed: Vec<(K, u32)> = if self.are_few(slots) {
            slots.iter().map(|&slot| self.row(slot).map(&key).unwrap_or_default()).zip(positions).collect()
        } else {
            let keys: Vec<K> = self.slots.iter().map(|row| row.as_ref().map(&key).unwrap_or_default()).collect();
            slots.iter().map(|&slot| keys[slot as usize]).zip(positions).collect()
        };
        keyed.sort_unstable();
        let before = slots.to_vec();
        for (to, (_, position)) in slots.iter_mut().zip(&keyed) {
            *to = before[*position as usize];
        }
        keyed
    }
}

/// Puts sorted slots into sorted slots.
pub fn merged(old: &[u32], fresh: Vec<u32>, compare: impl Fn(u32, u32) -> Ordering) -> Vec<u32> {
    let mut merged = Vec::with_capacity(old.len() + fresh.len());
    let mut rest = old;
    for slot in fresh {
        let before = rest.partition_point(|&other| compare(other, slot).is_lt());
        merged.extend_from_slice(&rest[..before]);
        merged.push(slot);
        rest = &rest[before..];
    }
    merged.extend_from_slice(rest);
    merged
}

fn ordered_i64(value: i64) -> u64 {
    value.cast_unsigned() ^ (1 << 63)
}

fn ordered_f64(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

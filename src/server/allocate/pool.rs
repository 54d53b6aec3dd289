//! Numbers of a range, each free or taken.

use std::collections::HashSet;

use rand::RngExt;

/// Why a number cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Taken,
    Outside,
}

/// Numbers from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u32,
    pub(super) size: u32,
    /// Numbers below `first + band` are chosen freely only when all others are taken.
    pub(super) band: u32,
}

/// Spans with what is taken of them.
pub(super) struct Pool {
    spans: Vec<Span>,
    taken: HashSet<u32>,
}

impl Pool {
    pub(super) fn new(span: Span) -> Self {
        Self { spans: vec![span], taken: HashSet::new() }
    }

    /// More spans, in place of the earlier ones but for the first. What is taken of those that are gone stays taken.
    pub(super) fn extend(&mut self, more: &[Span]) {
        if self.spans[1..] != *more {
            self.spans.truncate(1);
            self.spans.extend_from_slice(more);
        }
    }

    pub(super) fn take(&mut self, number: u32) -> Result<(), Refusal> {
        if !self.spans.iter().any(|span| number >= span.first && number - span.first < span.size) {
            return Err(Refusal::Outside);
        }
        if self.taken.insert(number) { Ok(()) } else { Err(Refusal::Taken) }
    }

    /// Marks what somebody has, wherever it is.
    pub(super) fn occupy(&mut self, number: u32) {
        self.taken.insert(number);
    }

    pub(super) fn free(&mut self, number: u32) {
        self.taken.remove(&number);
    }

    /// Takes any number that nobody holds: from a random place on, the next free one.
    pub(super) fn take_any(&mut self, held: impl Fn(u32) -> bool) -> Option<u32> {
        let all = || self.spans.iter();
        let upper = all().find_map(|span| self.free_in(span, span.band, span.size, &held));
        let number = upper.or_else(|| all().find_map(|span| self.free_in(span, 0, span.band, &held)))?;
        self.taken.insert(number);
        Some(number)
    }

    fn free_in(&self, span: &Span, from: u32, to: u32, held: impl Fn(u32) -> bool) -> Option<u32> {
        let count = to.checked_sub(from).filter(|count| *count > 0)?;
        let start = rand::rng().random_range(0..count);
        let place = |step| span.first + from + (start + step) % count;
        (0..count).map(place).find(|number| !self.taken.contains(number) && !held(*number))
    }
}

//! Numbers of a range, each free or taken.

use std::collections::HashSet;

use rand::RngExt;

/// Why a number cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Taken,
    Outside,
}

/// A range with what is taken of it.
pub(super) struct Pool {
    first: u32,
    size: u32,
    /// Numbers below `first + band` are chosen freely only when all others are taken.
    band: u32,
    taken: HashSet<u32>,
}

impl Pool {
    pub(super) fn new(first: u32, size: u32, band: u32) -> Self {
        Self { first, size, band, taken: HashSet::new() }
    }

    pub(super) fn take(&mut self, number: u32) -> Result<(), Refusal> {
        if number < self.first || number - self.first >= self.size {
            return Err(Refusal::Outside);
        }
        if self.taken.insert(number) { Ok(()) } else { Err(Refusal::Taken) }
    }

    pub(super) fn free(&mut self, number: u32) {
        self.taken.remove(&number);
    }

    /// Takes any number: from a random place on, the next free one.
    pub(super) fn take_any(&mut self) -> Option<u32> {
        let number = self.free_in(self.band, self.size).or_else(|| self.free_in(0, self.band))?;
        self.taken.insert(number);
        Some(number)
    }

    fn free_in(&self, from: u32, to: u32) -> Option<u32> {
        let count = to.checked_sub(from).filter(|count| *count > 0)?;
        let start = rand::rng().random_range(0..count);
        (0..count).map(|step| self.first + from + (start + step) % count).find(|number| !self.taken.contains(number))
    }
}

//! How long a failed container or image pull has to wait: 0, 10, 20, 40 … 300 s, forgotten after 10 quiet minutes.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: Duration,
    updated: Timestamp,
}

/// Delays by key (a container's name, or an image's).
#[derive(Debug)]
pub(crate) struct Backoffs {
    longest: Duration,
    entries: HashMap<String, Entry>,
    /// Keys that may run at once, whatever their past: a probe's kill and the restart after it are one step.
    free: HashSet<String>,
}

impl Default for Backoffs {
    fn default() -> Self {
        Self::up_to(LONGEST)
    }
}

impl Backoffs {
    /// None longer than this.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self { longest, entries: HashMap::new(), free: HashSet::new() }
    }

    /// The delay in force for `key` after a failure at `since`, with the moment it ends; `None`: it may run now.
    pub(crate) fn waiting(&self, key: &str, since: Timestamp, now: Timestamp) -> Option<(Duration, Timestamp)> {
        if self.free.contains(key) {
            return None;
        }
        let entry = self.entries.get(key).filter(|entry| !is_expired(entry, since))?;
        let until = since + entry.delay;
        (now < until).then_some((entry.delay, until))
    }

    /// Notes that `key`, which failed at `since`, is tried again now: the next failure waits twice as long.
    pub(crate) fn tried(&mut self, key: &str, since: Timestamp, now: Timestamp) {
        if self.free.remove(key) {
            return;
        }
        let delay = match self.entries.get(key) {
            Some(entry) if !is_expired(entry, since) => (entry.delay * 2).min(self.longest),
            _ => FIRST.min(self.longest),
        };
        self.entries.insert(key.to_owned(), Entry { delay, updated: now });
    }

    /// Lets the next start of `key` pass without a delay and without counting, unless the failure before (at `before`)
    /// still makes it wait.
    pub(crate) fn allow(&mut self, key: &str, before: Option<Timestamp>, now: Timestamp) {
        if let Some(before) = before {
            if self.waiting(key, before, now).is_some() {
                return;
            }
            self.tried(key, before, now);
        }
        self.free.insert(key.to_owned());
    }
}

fn is_expired(entry: &Entry, since: Timestamp) -> bool {
    since.duration_since(entry.updated) > (LONGEST * 2).try_into().unwrap_or(jiff::SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        for (mut backoffs, expected) in
            [(Backoffs::default(), [0, 10, 20, 40, 80, 160, 300, 300]), (Backoffs::up_to(Duration::from_secs(3)), [0, 3, 3, 3, 3, 3, 3, 3])]
        {
            assert_eq!(delays(&mut backoffs), expected);
        }
    }

    fn delays(backoffs: &mut Backoffs) -> Vec<u64> {
        let mut now = at(0);
        let mut seen = Vec::new();
        for _ in 0..8 {
            seen.push(backoffs.waiting("c", now, now).map_or(0, |(delay, _)| delay.as_secs()));
            if let Some((_, until)) = backoffs.waiting("c", now, now) {
                assert!(backoffs.waiting("c", now, until).is_none());
                backoffs.tried("c", now, until);
                now = until;
            } else {
                backoffs.tried("c", now, now);
            }
        }
        seen
    }

    #[test]
    fn a_probe_restarts_twice_before_it_waits() {
        let mut backoffs = Backoffs::default();
        backoffs.allow("c", None, at(4));
        assert!(backoffs.waiting("c", at(4), at(4)).is_none());
        backoffs.tried("c", at(4), at(4));
        backoffs.allow("c", Some(at(4)), at(8));
        assert!(backoffs.waiting("c", at(8), at(8)).is_none());
        backoffs.tried("c", at(8), at(8));
        backoffs.allow("c", Some(at(8)), at(12));
        assert_eq!(backoffs.waiting("c", at(12), at(12)).unwrap().0.as_secs(), 10);
    }

    #[test]
    fn ten_quiet_minutes_are_forgiven() {
        let mut backoffs = Backoffs::default();
        backoffs.tried("c", at(0), at(0));
        backoffs.tried("c", at(10), at(10));
        assert_eq!(backoffs.waiting("c", at(600), at(600)).unwrap().0.as_secs(), 20);
        assert!(backoffs.waiting("c", at(611), at(611)).is_none());
        backoffs.tried("c", at(611), at(611));
        assert_eq!(backoffs.waiting("c", at(612), at(612)).unwrap().0.as_secs(), 10);
    }
}

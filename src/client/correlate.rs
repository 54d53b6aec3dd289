//! Which events are new, which repeat an earlier one, and which are too many: client-go's event correlator.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{SignedDuration, Timestamp};

/// Different messages of one object and reason before they are combined into one event.
const MAX_DIFFERENT: usize = 10;
const COMBINE_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// Events about one object that may come at once; then one more every five minutes.
const BURST: f64 = 25.0;
const SECONDS_PER_EVENT: f64 = 300.0;
/// Entries kept of each kind of memory; the oldest are forgotten first.
const REMEMBERED: usize = 4096;

/// What identifies an event, apart from its message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub api_version: String,
    pub field_path: String,
    pub event_type: &'static str,
    pub reason: String,
}

/// An event object that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub name: String,
    pub count: i32,
    pub first: Timestamp,
}

/// What to do with an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Too many events about this object.
    Drop,
    /// Write it with this message: as a new object, or as a higher count of `earlier`. Report back under `key`.
    Write { key: u64, message: String, earlier: Option<Written> },
}

/// A map that forgets its oldest entries.
struct Memory<V> {
    entries: HashMap<u64, V>,
    order: VecDeque<u64>,
}

impl<V> Default for Memory<V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<V> Memory<V> {
    fn entry(&mut self, key: u64, new: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(&key) {
            if self.order.len() >= REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
            self.order.push_back(key);
        }
        self.entries.entry(key).or_insert_with(new)
    }
}

struct Combined {
    messages: HashSet<u64>,
    last: Timestamp,
}

struct Bucket {
    tokens: f64,
    at: Timestamp,
}

#[derive(Default)]
pub(crate) struct Correlator {
    combined: Memory<Combined>,
    buckets: Memory<Bucket>,
    written: Memory<Written>,
}

fn hash(parts: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

impl Correlator {
    pub(crate) fn judge(&mut self, subject: &Subject, message: &str, now: Timestamp) -> Verdict {
        let (key, message) = self.combine(subject, message, now);
        let earlier = self.written.entries.get(&key).cloned();
        if !self.allows(subject, now) {
            return Verdict::Drop;
        }
        Verdict::Write { key, message, earlier }
    }

    /// Remembers what was written for a verdict's key.
    pub(crate) fn wrote(&mut self, key: u64, written: Written) {
        self.written.entry(key, || written.clone()).clone_from(&written);
    }

    fn combine(&mut self, subject: &Subject, message: &str, now: Timestamp) -> (u64, String) {
        let alike =
            (&subject.kind, &subject.namespace, &subject.name, &subject.uid, &subject.api_version, subject.event_type, &subject.reason);
        let group = hash((alike, "group"));
        let combined = self.combined.entry(group, || Combined { messages: HashSet::new(), last: now });
        if now.duration_since(combined.last) > COMBINE_WITHIN {
            combined.messages.clear();
        }
        combined.last = now;
        let local = hash(message);
        combined.messages.insert(local);
        if combined.messages.len() < MAX_DIFFERENT {
            return (hash((subject, message)), message.to_owned());
        }
        if let Some(&any) = combined.messages.iter().next() {
            combined.messages.remove(&any);
        }
        (group, format!("(combined from similar events): {message}"))
    }

    fn allows(&mut self, subject: &Subject, now: Timestamp) -> bool {
        let object = hash((&subject.kind, &subject.namespace, &subject.name, &subject.uid, &subject.api_version));
        let bucket = self.buckets.entry(object, || Bucket { tokens: BURST, at: now });
        let refill = now.duration_since(bucket.at).as_secs_f64().max(0.0) / SECONDS_PER_EVENT;
        bucket.tokens = (bucket.tokens + refill).min(BURST);
        bucket.at = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn subject(name: &str, reason: &str) -> Subject {
        Subject {
            kind: "Pod".into(),
            namespace: "default".into(),
            name: name.into(),
            uid: "1".into(),
            api_version: "v1".into(),
            field_path: String::new(),
            event_type: "Normal",
            reason: reason.into(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn record(correlator: &mut Correlator, reason: &str, message: &str, now: i64) -> Option<(String, i32)> {
        match correlator.judge(&subject("p", reason), message, at(now)) {
            Verdict::Drop => None,
            Verdict::Write { key, message, earlier } => {
                let written = match earlier {
                    Some(earlier) => Written { count: earlier.count + 1, ..earlier },
                    None => Written { name: format!("p.{now}"), count: 1, first: at(now) },
                };
                correlator.wrote(key, written.clone());
                Some((message, written.count))
            }
        }
    }

    #[test]
    fn identical_events_are_counted() {
        let mut correlator = Correlator::default();
        for count in 1..=5 {
            assert_eq!(record(&mut correlator, "Pulled", "same", 100), Some(("same".into(), count)));
        }
        assert_eq!(record(&mut correlator, "Pulled", "other", 100), Some(("other".into(), 1)));
    }

    #[test]
    fn the_tenth_different_message_is_combined() {
        let mut correlator = Correlator::default();
        let texts: Vec<_> = (1..=12).map(|n| record(&mut correlator, "Failed", &format!("try {n}"), 100).unwrap()).collect();
        assert_eq!(texts[8], ("try 9".into(), 1));
        assert_eq!(texts[9], ("(combined from similar events): try 10".into(), 1));
        assert_eq!(texts[11], ("(combined from similar events): try 12".into(), 3));
        assert_eq!(record(&mut correlator, "Failed", "later", 100 + 601), Some(("later".into(), 1)));
    }

    #[test]
    fn a_burst_about_one_object_is_cut_and_refills() {
        let mut correlator = Correlator::default();
        let written = (0..40).filter(|n| record(&mut correlator, &format!("reason{n}"), "m", 100).is_some()).count();
        assert_eq!(written, 25);
        assert_eq!(record(&mut correlator, "more", "m", 100 + 299), None);
        assert!(record(&mut correlator, "more", "m", 100 + 301).is_some());
        assert!(matches!(correlator.judge(&subject("another", "r"), "m", at(100)), Verdict::Write { .. }));
    }

    #[test]
    fn memory_is_bounded() {
        let mut correlator = Correlator::default();
        for n in 0..2 * REMEMBERED {
            let verdict = correlator.judge(&subject(&format!("p{n}"), "r"), "m", at(100));
            let Verdict::Write { key, .. } = verdict else { panic!("dropped") };
            correlator.wrote(key, Written { name: String::new(), count: 1, first: at(100) });
        }
        assert_eq!((correlator.written.entries.len(), correlator.buckets.entries.len()), (REMEMBERED, REMEMBERED));
    }
}

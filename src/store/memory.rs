//! The present state and the last events, as readers see them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::disk::{Disk, Loaded};
use crate::entry::{Entry, Event, EventKind, List, ListOptions};
use crate::error::{ReadError, StoreError};
use crate::record::Record;
use crate::watch::Subscriber;

type Map = BTreeMap<Arc<str>, Arc<Entry>>;

struct State {
    revision: u64,
    map: Map,
    /// The last events without a gap, oldest first.
    recent: VecDeque<Arc<Event>>,
    subscribers: Vec<Arc<Subscriber>>,
}

pub(crate) struct Memory {
    state: RwLock<State>,
    recent_events: usize,
}

impl Memory {
    pub(crate) fn new(loaded: Loaded) -> Self {
        let Loaded { revision, map, recent_events } = loaded;
        let state = State { revision, map, recent: VecDeque::new(), subscribers: Vec::new() };
        Self { state: RwLock::new(state), recent_events }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.state.read().revision
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.state.read().map.get(key).cloned()
    }

    /// The list of the present, and its revision.
    pub(crate) fn snapshot(&self, prefix: &str, options: &ListOptions) -> (u64, List) {
        let state = self.state.read();
        (state.revision, select(&state.map, prefix, options, state.revision))
    }

    /// The list as it was at an earlier revision: the present with every later event undone.
    pub(crate) fn rewound(&self, prefix: &str, options: &ListOptions, at: u64, disk: &Disk) -> Result<List, ReadError> {
        let state = self.state.read();
        let whole = ListOptions::default();
        let present = select(&state.map, prefix, &whole, state.revision);
        let (revision, recent) = (state.revision, state.recent.clone());
        drop(state);
        let mut map: Map = present.entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        let events = events_between(&recent, prefix, at, revision, disk)?;
        for event in events.iter().rev() {
            match &event.previous {
                Some(previous) => map.insert(event.entry.key.clone(), previous.clone()),
                None => map.remove(&event.entry.key),
            };
        }
        Ok(select(&map, prefix, options, at))
    }

    /// Makes a committed batch visible, in the order of its revisions. Returns whom to wake.
    #[must_use]
    pub(crate) fn publish(&self, batch: &[Record]) -> Vec<Arc<Subscriber>> {
        let mut state = self.state.write();
        let State { revision, map, recent, subscribers } = &mut *state;
        for record in batch {
            let key = &record.entry.key;
            let previous = match record.kind {
                EventKind::Put => map.insert(key.clone(), record.entry.clone()),
                EventKind::Delete => map.remove(key),
            };
            let event = Arc::new(Event::new(record.kind, record.entry.clone(), previous, record.time));
            for subscriber in subscribers.iter().filter(|subscriber| key.starts_with(&*subscriber.prefix)) {
                subscriber.push(&event);
            }
            *revision = record.entry.revision;
            recent.push_back(event);
        }
        while recent.len() > self.recent_events {
            recent.pop_front();
        }
        subscribers.iter().filter(|subscriber| subscriber.has_news()).cloned().collect()
    }

    /// How many events of a prefix came after a revision; `None` where memory does not reach back so far, or there is no such
    /// revision yet.
    pub(crate) fn count_recent(&self, prefix: &str, after: u64) -> Option<usize> {
        let state = self.state.read();
        let oldest = state.recent.front().map_or(state.revision + 1, |event| event.revision());
        if after > state.revision || after + 1 < oldest {
            return None;
        }
        let newer = state.recent.iter().rev().take_while(|event| event.revision() > after);
        Some(newer.filter(|event| event.entry.key.starts_with(prefix)).count())
    }

    /// Adds a subscriber, and returns the events between `after` and the moment from which it is told everything.
    pub(crate) fn subscribe(&self, subscriber: &Arc<Subscriber>, after: u64, disk: &Disk) -> Result<Vec<Arc<Event>>, ReadError> {
        let (revision, recent) = {
            let mut state = self.state.write();
            if after > state.revision {
                return Err(ReadError::Future { latest: state.revision });
            }
            let recent: VecDeque<_> = state.recent.iter().filter(|event| event.revision() > after).cloned().collect();
            state.subscribers.push(subscriber.clone());
            (state.revision, recent)
        };
        let events = events_between(&recent, &subscriber.prefix, after, revision, disk);
        if events.is_err() {
            self.unsubscribe(subscriber);
        }
        events
    }

    pub(crate) fn unsubscribe(&self, subscriber: &Arc<Subscriber>) {
        self.state.write().subscribers.retain(|other| !Arc::ptr_eq(other, subscriber));
    }

    /// The present revision, if the subscriber has nothing left to read.
    pub(crate) fn revision_if_idle(&self, subscriber: &Subscriber) -> Option<u64> {
        let state = self.state.read();
        subscriber.is_empty().then_some(state.revision)
    }

    /// Whether memory holds the state that a write would find, for the writer's checks.
    pub(crate) fn current(&self, key: &str) -> Option<Arc<Entry>> {
        self.get(key)
    }
}

/// The part of a map that a list asks for. What is only counted is not looked at: a page costs what is in it.
fn select(map: &Map, prefix: &str, options: &ListOptions, revision: u64) -> List {
    let from = match &options.after {
        Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
        _ => Bound::Included(prefix),
    };
    let end = behind(prefix);
    let until = match &end {
        Some(end) if options.after.as_deref().is_none_or(|after| after < end.as_str()) => Bound::Excluded(end.as_str()),
        Some(_) => return List { revision, ..List::default() },
        None => Bound::Unbounded,
    };
    let mut rest = map.range::<str, _>((from, until)).map(|(_, entry)| entry);
    let entries: Vec<_> = rest.by_ref().take(options.limit.unwrap_or(usize::MAX)).cloned().collect();
    let remaining = if options.limit.is_some() { rest.count() } else { 0 };
    List { revision, entries, remaining }
}

/// The first key behind all that begin with the prefix; `None` where there is none.
fn behind(prefix: &str) -> Option<String> {
    let mut key = prefix.to_owned();
    while let Some(last) = key.pop() {
        // over the gap that no character is in
        if let Some(next) = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32) {
            key.push(next);
            return Some(key);
        }
    }
    None
}

/// Events of a prefix after one revision, up to and with another; from memory where it reaches back far enough.
fn events_between(recent: &VecDeque<Arc<Event>>, prefix: &str, after: u64, until: u64, disk: &Disk) -> Result<Vec<Arc<Event>>, ReadError> {
    let wanted = |event: &&Arc<Event>| event.revision() > after && event.entry.key.starts_with(prefix);
    if after >= until {
        return Ok(Vec::new());
    }
    if recent.front().is_some_and(|oldest| oldest.revision() <= after + 1) {
        return Ok(recent.iter().filter(wanted).cloned().collect());
    }
    if after < disk.folded() {
        return Err(ReadError::TooOld { oldest: disk.folded() });
    }
    let disk_error = |error: StoreError| ReadError::Disk(Arc::new(error));
    let mut records = Vec::new();
    disk.log(after, until, |record| {
        if record.entry.key.starts_with(prefix) {
            records.push(record);
        }
    })
    .map_err(disk_error)?;
    let mut last: HashMap<Arc<str>, Arc<Entry>> = HashMap::new();
    let mut events = Vec::with_capacity(records.len());
    for record in records {
        let key = record.entry.key.clone();
        let previous = match (record.previous, last.get(&key)) {
            (0, _) => None,
            (_, Some(entry)) => Some(entry.clone()),
            (revision, None) => disk.entry(&key, revision).map_err(disk_error)?,
        };
        last.insert(key, record.entry.clone());
        events.push(Arc::new(Event::new(record.kind, record.entry, previous, record.time)));
    }
    // what was folded while we read is gone from the log: then the answer has a gap
    if after < disk.folded() {
        return Err(ReadError::TooOld { oldest: disk.folded() });
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_list_has_what_begins_with_its_prefix_and_counts_the_rest() {
        let keys = ["/a", "/a.b/x", "/a/", "/a/x", "/a/y", "/a/\u{10ffff}", "/a0", "/b/x", "\u{d7ff}", "\u{e000}", "\u{10ffff}z"];
        let map: Map =
            keys.iter().map(|&key| (Arc::from(key), Arc::new(Entry { key: key.into(), revision: 1, value: Default::default() }))).collect();
        for prefix in ["", "/", "/a", "/a/", "/a/x", "/b/", "/c/", "\u{d7ff}", "\u{10ffff}"] {
            let with: Vec<&str> = map.keys().map(|key| &**key).filter(|key| key.starts_with(prefix)).collect();
            for after in std::iter::once(None).chain(keys.map(Some)).chain([Some("/a/xx"), Some("/zzz")]) {
                let expected: Vec<&str> = with.iter().copied().filter(|key| after.is_none_or(|after| *key > after)).collect();
                for limit in [None, Some(0), Some(1), Some(2), Some(99)] {
                    let options = ListOptions { after: after.map(str::to_owned), limit, at: None };
                    let list = select(&map, prefix, &options, 7);
                    let found: Vec<&str> = list.entries.iter().map(|entry| &*entry.key).collect();
                    let page = limit.unwrap_or(usize::MAX).min(expected.len());
                    let remaining = if limit.is_some() { expected.len() - page } else { 0 };
                    assert_eq!((&found[..], list.remaining, list.revision), (&expected[..page], remaining, 7), "{prefix:?} {options:?}");
                }
            }
        }
    }
}

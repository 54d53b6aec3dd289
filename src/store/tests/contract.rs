//! What every user of the store may rely on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use coracle_store::{Change, EventKind, Expect, ListOptions, Options, ReadError, Store, Value, Write, WriteError};
use proptest::prelude::*;

fn value(text: &str) -> Value {
    Value { bytes: Bytes::copy_from_slice(text.as_bytes()), cut: text.len() / 2 }
}

fn put(key: &str, expect: Expect, text: &str) -> Write {
    Write { key: key.into(), expect, change: Change::Put(value(text)) }
}

fn delete(key: &str, expect: Expect) -> Write {
    Write { key: key.into(), expect, change: Change::Delete }
}

fn open(directory: &Path) -> Store {
    open_with(directory, Options::default())
}

fn open_with(directory: &Path, options: Options) -> Store {
    Store::open(&directory.join("store.redb"), options).unwrap()
}

fn texts(store: &Store, prefix: &str, options: &ListOptions) -> Vec<(String, String)> {
    let list = store.list(prefix, options).unwrap();
    list.entries.iter().map(|e| (e.key.to_string(), String::from_utf8(e.value.bytes.to_vec()).unwrap())).collect()
}

#[tokio::test]
async fn writes_are_numbered_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let first = store.write(put("/a/1", Expect::Absent, "one")).await.unwrap();
    assert_eq!(first.entry.revision, 1);
    assert!(matches!(store.write(put("/a/1", Expect::Absent, "again")).await, Err(WriteError::Exists(entry)) if entry.revision == 1));
    assert!(matches!(store.write(put("/a/1", Expect::Revision(7), "x")).await, Err(WriteError::Conflict(entry)) if entry.revision == 1));
    assert!(matches!(store.write(put("/a/2", Expect::Revision(1), "x")).await, Err(WriteError::Missing)));
    assert!(matches!(store.write(delete("/a/2", Expect::Any)).await, Err(WriteError::Missing)));
    let second = store.write(put("/a/1", Expect::Revision(1), "two")).await.unwrap();
    assert_eq!((second.entry.revision, second.previous.unwrap().revision), (2, 1));
    let gone = store.write(delete("/a/1", Expect::Revision(2))).await.unwrap();
    assert_eq!((gone.entry.revision, gone.entry.value.clone()), (3, value("two")));
    assert_eq!(store.get("/a/1"), None);
    assert_eq!(store.revision(), 3, "refused writes take no revision");
}

#[tokio::test]
async fn of_many_writers_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.write(put("/k", Expect::Absent, "0")).await.unwrap();
    let writers: Vec<_> = (0..64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.write(put("/k", Expect::Revision(1), &n.to_string())).await.is_ok() })
        })
        .collect();
    let mut won = 0;
    for writer in writers {
        won += usize::from(writer.await.unwrap());
    }
    assert_eq!((won, store.revision()), (1, 2));
}

#[tokio::test]
async fn lists_are_ordered_paged_and_of_one_revision() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for key in ["/a/3", "/a/1", "/b/1", "/a/2"] {
        store.write(put(key, Expect::Absent, key)).await.unwrap();
    }
    let page = store.list("/a/", &ListOptions { limit: Some(2), ..Default::default() }).unwrap();
    assert_eq!(page.entries.iter().map(|e| &*e.key).collect::<Vec<_>>(), ["/a/1", "/a/2"]);
    assert_eq!((page.revision, page.remaining), (4, 1));
    store.write(delete("/a/3", Expect::Any)).await.unwrap();
    store.write(put("/a/4", Expect::Absent, "late")).await.unwrap();
    store.write(put("/a/1", Expect::Any, "changed")).await.unwrap();
    let rest = ListOptions { after: Some("/a/2".into()), limit: Some(2), at: Some(page.revision) };
    assert_eq!(texts(&store, "/a/", &rest), [("/a/3".to_owned(), "/a/3".to_owned())]);
    let past = ListOptions { at: Some(4), ..Default::default() };
    assert_eq!(texts(&store, "/a/", &past)[0].1, "/a/1");
    assert!(matches!(store.list("/a/", &ListOptions { at: Some(99), ..Default::default() }), Err(ReadError::Future { latest: 7 })));
}

#[tokio::test]
async fn a_watch_tells_every_event_of_its_prefix_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.write(put("/a/1", Expect::Absent, "one")).await.unwrap();
    let mut watch = store.watch("/a/", 0).unwrap();
    store.write(put("/b/1", Expect::Absent, "other")).await.unwrap();
    store.write(put("/a/1", Expect::Any, "two")).await.unwrap();
    store.write(delete("/a/1", Expect::Any)).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let event = watch.next().await.unwrap();
        seen.push((event.kind, event.revision(), event.entry.value.clone(), event.previous.as_ref().map(|p| p.revision)));
    }
    let expected = [
        (EventKind::Put, 1, value("one"), None),
        (EventKind::Put, 3, value("two"), Some(1)),
        (EventKind::Delete, 4, value("two"), Some(3)),
    ];
    assert_eq!(seen, expected);
    assert_eq!(watch.progress(), Some(4));
    store.write(put("/c/1", Expect::Absent, "other")).await.unwrap();
    assert_eq!(watch.progress(), Some(5), "progress covers what other prefixes did");
    assert!(matches!(store.watch("/a/", 9), Err(ReadError::Future { latest: 5 })));
    assert!(matches!(store.count_events("/a/", 9), Err(ReadError::Future { latest: 5 })));
}

#[tokio::test]
async fn events_are_counted_from_memory_and_from_history() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), Options { recent_events: 10, ..Options::default() });
    assert_eq!(store.count_events("/a/", 0).unwrap(), 0);
    for n in 0..40 {
        store.write(put(&format!("/{}/x", if n % 4 == 0 { "a" } else { "b" }), Expect::Any, &n.to_string())).await.unwrap();
    }
    for (after, expected) in [(0, 10), (29, 2), (30, 2), (36, 1), (37, 0), (40, 0)] {
        assert_eq!(store.count_events("/a/", after).unwrap(), expected, "after {after}");
    }
    assert!(matches!(store.count_events("/a/", 41), Err(ReadError::Future { latest: 40 })));
}

#[tokio::test]
async fn a_slow_watch_misses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut watch = store.watch("/a/", 0).unwrap();
    let writes = (0..6_000).map(|n| store.write(put(&format!("/a/{}", n % 7), Expect::Any, &n.to_string())));
    for result in futures::future::join_all(writes).await {
        result.unwrap();
    }
    for revision in 1..=6_000 {
        assert_eq!(watch.next().await.unwrap().revision(), revision);
    }
    assert_eq!(watch.progress(), Some(6_000));
}

#[tokio::test]
async fn everything_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for n in 0..50 {
        store.write(put(&format!("/a/{n:02}"), Expect::Absent, &n.to_string())).await.unwrap();
    }
    store.write(delete("/a/07", Expect::Any)).await.unwrap();
    let (before, revision) = (texts(&store, "/", &ListOptions::default()), store.revision());
    assert!(Store::open(&directory.path().join("store.redb"), Options::default()).is_err(), "one process at a time");
    drop(store);
    let store = open(directory.path());
    assert_eq!((texts(&store, "/", &ListOptions::default()), store.revision()), (before, revision));
    assert_eq!(store.events("/", 40).unwrap().len(), 11, "history outlives the process");
    let past = ListOptions { at: Some(50), ..Default::default() };
    assert_eq!(texts(&store, "/a/07", &past), [("/a/07".to_owned(), "7".to_owned())]);
}

#[tokio::test]
async fn history_is_bounded_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Options { history_revisions: 100, recent_events: 10, ..Options::default() };
    let store = open_with(directory.path(), bounds);
    for n in 0..2_000 {
        store.write(put(&format!("/a/{}", n % 9), Expect::Any, &n.to_string())).await.unwrap();
    }
    drop(store);
    let store = open_with(directory.path(), bounds);
    for n in 0..40 {
        store.write(put("/b", Expect::Any, &n.to_string())).await.unwrap();
    }
    assert!(store.oldest() > 1_000, "{}", store.oldest());
    assert!(matches!(store.watch("/a/", 3), Err(ReadError::TooOld { .. })));
    assert!(matches!(store.list("/a/", &ListOptions { at: Some(3), ..Default::default() }), Err(ReadError::TooOld { .. })));
    assert_eq!(texts(&store, "/a/", &ListOptions::default()).len(), 9);
    let at = ListOptions { at: Some(store.oldest()), ..Default::default() };
    assert_eq!(texts(&store, "/a/", &at).len(), 9, "the oldest revision is whole");
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u16),
    Delete(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![3 => (0u8..6, any::<u16>()).prop_map(|(k, v)| Step::Put(k, v)), 1 => (0u8..6).prop_map(Step::Delete)];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// A watch from any revision, applied to the list at that revision, gives the present; from memory and from disk.
    #[test]
    fn a_watch_from_any_revision_replays_the_writes(steps in steps(), from in 0u64..60, recent in prop_oneof![Just(0usize), Just(1_024)], reopen: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let options = Options { recent_events: recent, ..Options::default() };
        let mut store = open_with(directory.path(), options);
        runtime.block_on(async {
            for step in &steps {
                match step {
                    Step::Put(key, text) => drop(store.write(put(&format!("/k/{key}"), Expect::Any, &text.to_string())).await.unwrap()),
                    Step::Delete(key) => drop(store.write(delete(&format!("/k/{key}"), Expect::Any)).await),
                }
            }
        });
        if reopen {
            drop(store);
            store = open_with(directory.path(), options);
        }
        let from = from.min(store.revision());
        let at = ListOptions { at: Some(from), ..Default::default() };
        let mut state: BTreeMap<_, _> = texts(&store, "/k/", &at).into_iter().collect();
        for event in store.events("/k/", from).unwrap() {
            let key = event.entry.key.to_string();
            let text = String::from_utf8(event.entry.value.bytes.to_vec()).unwrap();
            let before = event.previous.as_ref().map(|p| String::from_utf8(p.value.bytes.to_vec()).unwrap());
            prop_assert_eq!(state.get(&key), before.as_ref());
            match event.kind {
                EventKind::Put => drop(state.insert(key, text)),
                EventKind::Delete => drop(state.remove(&key)),
            }
        }
        let present: BTreeMap<_, _> = texts(&store, "/k/", &ListOptions::default()).into_iter().collect();
        prop_assert_eq!(state, present);
    }
}

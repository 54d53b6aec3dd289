//! A store that is not whole is refused, and says what is wrong; it is never opened with less than was acknowledged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use coracle_store::{Change, Entry, Expect, List, ListOptions, Options, Store, StoreError, Value, Write, WriteError, verify};

/// Small, so that every byte of it can be tried.
const OPTIONS: Options =
    Options { history_revisions: 8, history_milliseconds: 3_600_000, cache_bytes: 1 << 20, recent_events: 16, journal_bytes: 4_096 };

fn put(key: &str, text: &str) -> Write {
    let value = Value { bytes: Bytes::copy_from_slice(text.as_bytes()), cut: 0 };
    Write { key: key.into(), expect: Expect::Any, change: Change::Put(value) }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("store.redb")
}

fn journal(directory: &Path) -> PathBuf {
    directory.join("store.journal")
}

fn is_any(_: &Entry) -> Result<(), String> {
    Ok(())
}

fn list(store: &Store) -> List {
    store.list("", &ListOptions::default()).unwrap()
}

/// A store with records in all its places; closed, or as a process leaves it that is killed.
async fn made(directory: &Path, closed: bool) -> List {
    let store = Store::open(&path(directory), OPTIONS).unwrap();
    for n in 0..600 {
        store.write(put(&format!("/k/{}", n % 37), &format!("the text number {n}"))).await.unwrap();
    }
    let list = list(&store);
    if !closed {
        let killed = directory.join("killed");
        fs::create_dir(&killed).unwrap();
        fs::copy(path(directory), path(&killed)).unwrap();
        fs::copy(journal(directory), journal(&killed)).unwrap();
        drop(store);
        fs::rename(path(&killed), path(directory)).unwrap();
        fs::rename(journal(&killed), journal(directory)).unwrap();
    }
    list
}

/// What opening says, and what looking at it says; the look changes nothing.
fn refused(directory: &Path) -> (String, String) {
    let before = fs::read(path(directory)).ok();
    let checks = verify(&path(directory), is_any);
    assert!(fs::read(path(directory)).ok() == before, "a look changed the tables");
    let found = checks.into_iter().find_map(|check| check.found.err().map(|error| format!("{}: {error}", check.subject)));
    let error = Store::open(&path(directory), OPTIONS).err().expect("opened");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    (error.to_string(), found.expect("the look found nothing"))
}

/// Changes one byte of the first place where a file has this text.
fn flip(file: &Path, text: &str) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(text.len()).position(|part| part == text.as_bytes()).expect("the text is not there");
    bytes[at] ^= 0x20;
    fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_whole_store_is_said_to_be_one() {
    for closed in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let written = made(directory.path(), closed).await;
        let checks = verify(&path(directory.path()), is_any);
        let says: Vec<_> = checks.iter().map(|check| format!("{}: {}", check.subject, check.found.as_ref().unwrap())).collect();
        let [tables, journal, revisions, objects] = says.try_into().unwrap();
        assert_eq!(tables.ends_with("; closed"), closed, "{tables}");
        assert_eq!(journal == "journal: the tables have everything", closed, "{journal}");
        assert!(revisions.ends_with(" to 600, without a hole"), "{revisions}");
        assert_eq!(objects, "objects: 37 can be read");
        let none = verify(&path(directory.path()), |_| Err("no object".into()));
        assert!(none[3].found.is_err());
        assert_eq!(list(&Store::open(&path(directory.path()), OPTIONS).unwrap()), written);
    }
}

#[tokio::test]
async fn a_store_without_its_journal_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    made(directory.path(), false).await;
    let whole = fs::read(journal(directory.path())).unwrap();
    fs::remove_file(journal(directory.path())).unwrap();
    let (opening, look) = refused(directory.path());
    assert!(opening.contains("journal") && opening.contains("is gone"), "{opening}");
    assert!(look.starts_with("journal: "), "{look}");
    assert!(!journal(directory.path()).exists(), "no empty one is made in its place");
    fs::write(journal(directory.path()), &whole[..whole.len() / 2]).unwrap();
    let (opening, _) = refused(directory.path());
    assert!(opening.contains("the journal has 2048 of its 4096 bytes"), "{opening}");
    fs::write(journal(directory.path()), &whole).unwrap();
    fs::remove_file(path(directory.path())).unwrap();
    let (opening, _) = refused(directory.path());
    assert!(opening.contains("its tables") && opening.contains("are gone"), "{opening}");
}

#[tokio::test]
async fn a_flipped_byte_is_found() {
    let directory = tempfile::tempdir().unwrap();
    made(directory.path(), true).await;
    flip(&path(directory.path()), "the text number 599");
    let (opening, look) = refused(directory.path());
    assert!(opening.contains("record of revision "), "{opening}");
    assert!(look.starts_with("tables: "), "{look}");

    let directory = tempfile::tempdir().unwrap();
    made(directory.path(), false).await;
    // the last frame may be torn by the end of a process: one before it may not
    let bytes = fs::read(journal(directory.path())).unwrap();
    let text = (0..599).rev().map(|n| format!("the text number {n}")).find(|text| {
        let mut places = bytes.windows(text.len()).filter(|part| part == &text.as_bytes());
        places.next().is_some()
    });
    flip(&journal(directory.path()), &text.unwrap());
    let (opening, look) = refused(directory.path());
    assert!(opening.contains("the journal cannot be read from revision "), "{opening}");
    assert!(look.starts_with("journal: "), "{look}");
}

/// Whatever byte is not what was written: the store is refused, or it is all there.
#[tokio::test]
async fn no_flipped_byte_takes_anything_away() {
    let directory = tempfile::tempdir().unwrap();
    let written = made(directory.path(), true).await;
    let whole = fs::read(path(directory.path())).unwrap();
    let used: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] != 0).collect();
    let (mut told, mut harmless) = (0, 0);
    for &at in used.iter().step_by(used.len() / 24) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x11;
        fs::write(path(directory.path()), &damaged).unwrap();
        match Store::open(&path(directory.path()), OPTIONS) {
            Err(_) => told += 1,
            Ok(store) => {
                assert_eq!(list(&store), written, "byte {at}");
                harmless += 1;
            }
        }
    }
    assert!(told > 0, "{told} told, {harmless} harmless");
}

/// A disk in memory, which fails or panics when it is told to.
#[derive(Debug, Clone, Default)]
struct Faulty {
    disk: Arc<redb::backends::InMemoryBackend>,
    panics: Arc<AtomicBool>,
    /// Reads until one fails, counted from one; zero: none does.
    reads: Arc<AtomicUsize>,
    /// As `reads`, of syncs.
    syncs: Arc<AtomicUsize>,
}

fn fails(left: &AtomicUsize) -> std::io::Result<()> {
    match left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)) {
        Ok(1) => Err(std::io::Error::other("a fault")),
        _ => Ok(()),
    }
}

impl redb::StorageBackend for Faulty {
    fn len(&self) -> std::io::Result<u64> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        fails(&self.reads)?;
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.disk.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        fails(&self.syncs)?;
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        assert!(!self.panics.load(Ordering::Acquire), "as redb may panic");
        self.disk.write(offset, data)
    }
}

/// A store on two such disks.
fn on(tables: &Faulty, journal: &Faulty) -> Store {
    let (tables, journal) = (tables.clone(), journal.clone());
    Store::with_backends(move || tables.clone(), move || journal.clone(), Options { cache_bytes: 0, ..OPTIONS }).unwrap()
}

/// A write that is not stored, then one that is, while one read of one disk fails: how many writes that made fail. No revision
/// is given twice.
async fn with_a_fault(disk: usize, read: usize) -> usize {
    let disks = [Faulty::default(), Faulty::default()];
    let store = on(&disks[0], &disks[1]);
    for n in 0..20 {
        store.write(put(&format!("/k/{}", n % 7), &format!("{n}"))).await.unwrap();
    }
    disks[1].syncs.store(1, Ordering::Release);
    store.write(put("/k/unsure", "20")).await.unwrap_err();
    disks[disk].reads.store(read, Ordering::Release);
    let mut faults = 0;
    while store.write(put("/k/sure", "21")).await.is_err() {
        faults += 1;
    }
    disks[disk].reads.store(0, Ordering::Release);
    let events = store.events("/", 20).unwrap();
    let told: Vec<_> = events.iter().map(|event| (event.revision(), event.entry.key.to_string())).collect();
    assert_eq!(told, [(21, "/k/unsure".to_owned()), (22, "/k/sure".to_owned())], "disk {disk}, read {read}");
    let seen = list(&store);
    drop(store);
    assert_eq!(list(&on(&disks[0], &disks[1])), seen, "disk {disk}, read {read}");
    faults
}

/// After a write that was not stored the files are opened again, and any read of that may fail.
#[tokio::test]
async fn a_recovery_that_cannot_read_numbers_nothing_anew() {
    for disk in [0, 1] {
        let mut read = 1;
        while with_a_fault(disk, read).await > 0 {
            read += 2;
        }
        assert!(read > 1, "disk {disk} is not read");
    }
}

#[tokio::test]
async fn a_panic_in_the_tables_is_an_error_of_the_writes_that_meet_it() {
    let (tables, log) = (Faulty::default(), Faulty::default());
    let store = on(&tables, &log);
    store.write(put("/a", "before")).await.unwrap();
    tables.panics.store(true, Ordering::Release);
    let large = "x".repeat(OPTIONS.journal_bytes as usize);
    for _ in 0..2 {
        // as the leader, and as one who comes after it
        let (one, other) = tokio::join!(store.write(put("/a", &large)), store.write(put("/b", &large)));
        for refused in [one, other] {
            let WriteError::Disk(error) = refused.unwrap_err() else { panic!("another error") };
            assert!(error.to_string().contains("as redb may panic"), "{error}");
        }
    }
    assert_eq!(&*store.get("/a").unwrap().value.bytes, b"before");
    tables.panics.store(false, Ordering::Release);
    let written = store.write(put("/a", &large)).await.unwrap();
    assert_eq!(written.entry.revision, 2, "what was refused took no revision");
}

#[tokio::test]
async fn a_closed_store_takes_no_writes_and_needs_no_repair() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&path(directory.path()), OPTIONS).unwrap();
    let (other, watch) = (store.clone(), store.watch("/", 0).unwrap());
    let writes = futures::future::join_all((0..50).map(|n| other.write(put(&format!("/{n}"), "x")))).await;
    assert!(writes.iter().all(Result::is_ok));
    store.close();
    assert!(matches!(other.write(put("/late", "x")).await, Err(WriteError::Closed)));
    assert_eq!(list(&other).entries.len(), 50, "what is in memory is still read");
    let says = verify(&path(directory.path()), is_any).remove(0).found.unwrap();
    assert!(says.ends_with("; closed"), "{says}");
    assert_eq!(list(&Store::open(&path(directory.path()), OPTIONS).unwrap()), list(&other));
    drop(watch);
}

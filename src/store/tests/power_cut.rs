//! The store on a disk that forgets what was not synced: every acknowledged write survives a loss of power.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use coracle_store::{Change, Expect, ListOptions, Options, Store, Value, Write};
use proptest::test_runner::{RngAlgorithm, TestRng};
use redb::StorageBackend;

const ROUNDS: usize = 200;
/// Small enough for the journal to begin anew, and history to be folded, many times.
const OPTIONS: Options =
    Options { history_revisions: 40, history_milliseconds: 3_600_000, cache_bytes: 1 << 20, recent_events: 64, journal_bytes: 4_096 };

/// What is on the platter, and what the operating system has only promised.
#[derive(Debug, Default)]
struct Medium {
    durable: Vec<u8>,
    cached: Vec<u8>,
    /// Writes since the last sync, each of which a power cut may or may not let through.
    unsynced: Vec<(u64, Vec<u8>)>,
}

#[derive(Debug, Clone)]
struct ForgetfulDisk {
    medium: Arc<Mutex<Medium>>,
    honest_sync: bool,
    power: Arc<Power>,
}

/// Goes for all files at once.
#[derive(Debug)]
struct Power {
    gone: AtomicBool,
    /// Syncs until it goes; nothing is written or acknowledged after.
    syncs_left: AtomicUsize,
}

impl Power {
    fn new(syncs: usize) -> Arc<Self> {
        Arc::new(Self { gone: AtomicBool::new(false), syncs_left: AtomicUsize::new(syncs) })
    }
}

/// Tables and journal.
#[derive(Clone)]
struct Disks {
    media: [Arc<Mutex<Medium>>; 2],
    honest_sync: bool,
}

impl Disks {
    fn open(&self, syncs: usize, options: Options) -> Result<Store, coracle_store::StoreError> {
        let power = Power::new(syncs);
        let [tables, journal] = self.media.clone().map(|medium| {
            let disk = ForgetfulDisk { medium, honest_sync: self.honest_sync, power: power.clone() };
            move || disk.clone()
        });
        Store::with_backends(tables, journal, options)
    }
}

fn out_of_power() -> io::Error {
    io::Error::other("no power")
}

impl StorageBackend for ForgetfulDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.medium.lock().unwrap().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let medium = self.medium.lock().unwrap();
        let from = medium.cached.get(offset as usize..offset as usize + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut medium = self.medium.lock().unwrap();
        medium.cached.resize(len as usize, 0);
        medium.durable.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.power.gone.load(Ordering::Acquire) {
            return Err(out_of_power());
        }
        let mut medium = self.medium.lock().unwrap();
        if self.power.syncs_left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_err() {
            self.power.gone.store(true, Ordering::Release);
            return Err(out_of_power());
        }
        if self.honest_sync {
            medium.durable = medium.cached.clone();
            medium.unsynced.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.power.gone.load(Ordering::Acquire) {
            return Err(out_of_power());
        }
        let mut medium = self.medium.lock().unwrap();
        let end = offset as usize + data.len();
        if medium.cached.len() < end {
            medium.cached.resize(end, 0);
        }
        medium.cached[offset as usize..end].copy_from_slice(data);
        medium.unsynced.push((offset, data.to_vec()));
        Ok(())
    }
}

impl Medium {
    /// Cuts the power: of the unsynced writes, those survive that `survives` lets through.
    fn cut(&mut self, mut survives: impl FnMut() -> bool) {
        for (offset, data) in std::mem::take(&mut self.unsynced) {
            let end = offset as usize + data.len();
            if survives() {
                if self.durable.len() < end {
                    self.durable.resize(end, 0);
                }
                self.durable[offset as usize..end].copy_from_slice(&data);
            }
        }
        self.cached = self.durable.clone();
    }
}

type Acknowledged = BTreeMap<String, Option<String>>;

/// One life of the store, until the power goes; adds to `acknowledged` what it answered, to `attempted` what it did not.
async fn live(disks: &Disks, syncs: usize, round: usize, acknowledged: &mut Acknowledged, attempted: &mut Vec<(String, Option<String>)>) {
    let Ok(store) = disks.open(syncs, OPTIONS) else { return };
    for n in 0..200 {
        let writes = (0..4).map(|lane| {
            let key = format!("/k/{lane}/{}", n % 5);
            let text = (n % 11 != 3).then(|| format!("{round}-{n}"));
            let change = match &text {
                Some(text) => Change::Put(Value { bytes: Bytes::copy_from_slice(text.as_bytes()), cut: 0 }),
                None => Change::Delete,
            };
            let write = store.write(Write { key: key.clone(), expect: Expect::Any, change });
            async move { (key, text, write.await) }
        });
        for (key, text, result) in futures::future::join_all(writes).await {
            match result {
                Ok(_) => drop(acknowledged.insert(key, text)),
                Err(coracle_store::WriteError::Disk(_)) => attempted.push((key, text)),
                Err(_) => {}
            }
        }
        if !attempted.is_empty() {
            return;
        }
    }
}

/// Runs lives and power cuts; an error tells the first acknowledged write that is not there.
fn rounds(honest_sync: bool, rounds: usize) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let disks = Disks { media: Default::default(), honest_sync };
    drop(Disks { honest_sync: true, ..disks.clone() }.open(usize::MAX, OPTIONS));
    let mut acknowledged = Acknowledged::new();
    for round in 0..rounds {
        use proptest::prelude::Rng;
        let syncs = (random.next_u32() % 60) as usize;
        let mut attempted = Vec::new();
        runtime.block_on(live(&disks, syncs, round, &mut acknowledged, &mut attempted));
        for medium in &disks.media {
            medium.lock().unwrap().cut(|| random.next_u32().is_multiple_of(2));
        }
        let store = disks.open(usize::MAX, OPTIONS).map_err(|e| format!("round {round}: {e}"))?;
        let list = store.list("/k/", &ListOptions::default()).unwrap();
        let found: BTreeMap<_, _> =
            list.entries.iter().map(|e| (e.key.to_string(), String::from_utf8(e.value.bytes.to_vec()).unwrap())).collect();
        // what was tried but not acknowledged may or may not have happened
        for (key, text) in attempted {
            if found.get(&key) == text.as_ref() {
                acknowledged.insert(key, text);
            }
        }
        for (key, text) in &acknowledged {
            if found.get(key) != text.as_ref() {
                return Err(format!("round {round}: {key} should be {text:?}, is {:?}", found.get(key)));
            }
        }
    }
    Ok(())
}

#[test]
fn acknowledged_writes_survive_power_cuts() {
    rounds(true, ROUNDS).unwrap();
}

#[test]
fn the_test_notices_a_disk_that_does_not_sync() {
    assert!(rounds(false, ROUNDS).is_err(), "without sync, something must be lost");
}

//! The one writer: checks, numbers and commits writes in batches, then makes them visible and answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::disk::Disk;
use crate::entry::{Change, Entry, EventKind, Expect, Write, Written};
use crate::error::{StoreError, WriteError};
use crate::memory::Memory;
use crate::record::Record;

/// Writes that share one commit at most.
const BATCH: usize = 256;
/// Writes that wait for the writer at most; further callers wait to be let in.
const WAITING: usize = 1_024;
/// Commits between two looks at what history's bounds no longer keep.
const FOLD_EVERY: u32 = 256;

type Answer = oneshot::Sender<Result<Written, WriteError>>;

pub(crate) struct Writer {
    sender: Option<mpsc::Sender<(Write, Answer)>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(crate) fn start(memory: Arc<Memory>, disk: Arc<Disk>) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || run(&memory, &disk, receiver))
            .map_err(StoreError::Thread)?;
        Ok(Self { sender: Some(sender), thread: Mutex::new(Some(thread)) })
    }

    pub(crate) async fn write(&self, write: Write) -> Result<Written, WriteError> {
        let (answer, answered) = oneshot::channel();
        let sender = self.sender.as_ref().ok_or(WriteError::Closed)?;
        sender.send((write, answer)).await.map_err(|_| WriteError::Closed)?;
        answered.await.map_err(|_| WriteError::Closed)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.lock().take() {
            // an error means the thread panicked, which it has said itself
            let _ = thread.join();
        }
    }
}

fn run(memory: &Memory, disk: &Disk, mut receiver: mpsc::Receiver<(Write, Answer)>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut commits = FOLD_EVERY;
    while receiver.blocking_recv_many(&mut batch, BATCH) > 0 {
        apply(memory, disk, &mut batch);
        commits += 1;
        if commits >= FOLD_EVERY {
            match disk.fold(memory.revision(), now()) {
                Ok(more) => commits = if more { FOLD_EVERY - 8 } else { 0 },
                Err(error) => {
                    tracing::error!(%error, "history cannot be shortened");
                    commits = 0;
                }
            }
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn apply(memory: &Memory, disk: &Disk, batch: &mut Vec<(Write, Answer)>) {
    if let Err(error) = recover(memory, disk) {
        let error = Arc::new(error);
        for (_, answer) in batch.drain(..) {
            let _ = answer.send(Err(WriteError::Disk(error.clone())));
        }
        return;
    }
    let mut plan = Plan { memory, revision: memory.revision(), time: now(), pending: HashMap::new(), records: Vec::new() };
    let answers: Vec<_> = batch.drain(..).map(|(write, answer)| (answer, plan.decide(write))).collect();
    let committed = if plan.records.is_empty() { Ok(()) } else { disk.commit(&plan.records) };
    match committed {
        Ok(()) => {
            memory.publish(&plan.records);
            for (answer, result) in answers {
                let _ = answer.send(result);
            }
        }
        Err(error) => {
            tracing::error!(%error, "a batch of writes was not stored");
            disk.close();
            let error = Arc::new(error);
            for (answer, _) in answers {
                let _ = answer.send(Err(WriteError::Disk(error.clone())));
            }
        }
    }
}

/// Opens the file again after a failure. What the failed commit left there, if it did, becomes visible first.
fn recover(memory: &Memory, disk: &Disk) -> Result<(), StoreError> {
    if disk.is_open() {
        return Ok(());
    }
    disk.reopen()?;
    let mut missed = Vec::new();
    disk.log(memory.revision(), u64::MAX, |record| missed.push(record))?;
    memory.publish(&missed);
    Ok(())
}

/// A batch being put together: each write sees the ones before it.
struct Plan<'a> {
    memory: &'a Memory,
    revision: u64,
    time: u64,
    /// Keys this batch has written; `None`: removed.
    pending: HashMap<Arc<str>, Option<Arc<Entry>>>,
    records: Vec<Record>,
}

impl Plan<'_> {
    fn decide(&mut self, write: Write) -> Result<Written, WriteError> {
        let present = match self.pending.get(write.key.as_str()) {
            Some(entry) => entry.clone(),
            None => self.memory.current(&write.key),
        };
        match (write.expect, &present) {
            (Expect::Absent, Some(entry)) => return Err(WriteError::Exists(entry.clone())),
            (Expect::Revision(_), None) => return Err(WriteError::Missing),
            (Expect::Revision(revision), Some(entry)) if entry.revision != revision => return Err(WriteError::Conflict(entry.clone())),
            _ => {}
        }
        let (kind, value) = match (write.change, &present) {
            (Change::Put(value), _) => (EventKind::Put, value),
            (_, None) => return Err(WriteError::Missing),
            (Change::Delete, Some(entry)) => (EventKind::Delete, entry.value.clone()),
            (Change::DeleteAs(value), Some(_)) => (EventKind::Delete, value),
        };
        self.revision += 1;
        let key = present.as_ref().map_or_else(|| write.key.as_str().into(), |entry| entry.key.clone());
        let entry = Arc::new(Entry { key: Arc::clone(&key), revision: self.revision, value });
        let previous = present.as_ref().map_or(0, |entry| entry.revision);
        self.records.push(Record { kind, time: self.time, previous, entry: entry.clone() });
        self.pending.insert(key, (kind == EventKind::Put).then(|| entry.clone()));
        Ok(Written { entry, previous: present })
    }
}

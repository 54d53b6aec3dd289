//! The writer: checks, numbers and commits writes in batches, then makes them visible and answers.
//!
//! Somebody leads at any time, or nobody has anything to write. A write that finds nobody leading, and is short, is committed by
//! its own caller, which saves two changes of thread; what gathers meanwhile, and all work of some length, the thread does.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::disk::Disk;
use crate::entry::{Change, Entry, EventKind, Expect, Write, Written};
use crate::error::{StoreError, WriteError};
use crate::memory::Memory;
use crate::record::Record;
use crate::watch::Subscriber;

/// Writes that share one commit at most.
const BATCH: usize = 256;
/// Writes that wait at most; further callers wait to be let in.
const WAITING: usize = 1_024;
/// Commits between two looks at what history's bounds no longer keep.
const FOLD_EVERY: u32 = 256;

type Outcome = Result<Written, WriteError>;
type Answer = oneshot::Sender<Outcome>;
type Waiting = (Write, Answer);

pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    memory: Arc<Memory>,
    disk: Arc<Disk>,
    room: Semaphore,
    queue: Mutex<Queue>,
    /// There is something for the thread.
    work: Condvar,
    /// Where writers and readers are told what the thread did; `None`: by the thread itself.
    runtime: Option<Handle>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leader {
    Nobody,
    Caller,
    Thread,
}

struct Queue {
    waiting: Vec<Waiting>,
    leader: Leader,
    commits: u32,
    closed: bool,
}

impl Writer {
    pub(crate) fn start(memory: Arc<Memory>, disk: Arc<Disk>) -> Result<Self, StoreError> {
        let queue = Queue { waiting: Vec::new(), leader: Leader::Nobody, commits: FOLD_EVERY, closed: false };
        let (room, work, runtime) = (Semaphore::new(WAITING), Condvar::new(), Handle::try_current().ok());
        let shared = Arc::new(Shared { memory, disk, room, queue: Mutex::new(queue), work, runtime });
        let own = shared.clone();
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || own.run()).map_err(StoreError::Thread)?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) async fn write(&self, write: Write) -> Result<Written, WriteError> {
        let _room = self.shared.room.acquire().await.map_err(|_| WriteError::Closed)?;
        let (answer, answered) = oneshot::channel();
        self.shared.enter((write, answer));
        answered.await.map_err(|_| WriteError::Closed)?
    }
}

impl Writer {
    /// Takes no more writes, ends those under way and closes the files.
    pub(crate) fn close(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // an error means the thread panicked, which it has said itself
            let _ = thread.join();
            self.shared.disk.finish();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn enter(&self, write: Waiting) {
        let bytes = write.0.bytes();
        let mut queue = self.queue.lock();
        if queue.closed {
            return;
        }
        queue.waiting.push(write);
        if queue.leader != Leader::Nobody {
            return;
        }
        if !self.disk.is_quick(bytes) {
            queue.leader = Leader::Thread;
            self.work.notify_one();
            return;
        }
        queue.leader = Leader::Caller;
        let batch = std::mem::take(&mut queue.waiting);
        drop(queue);
        apply(&self.memory, &self.disk, batch).tell();
        let mut queue = self.queue.lock();
        queue.commits += 1;
        queue.leader = if queue.waiting.is_empty() && queue.commits < FOLD_EVERY { Leader::Nobody } else { Leader::Thread };
        if queue.leader == Leader::Thread || queue.closed {
            self.work.notify_one();
        }
    }

    fn run(&self) {
        let mut queue = self.queue.lock();
        loop {
            while queue.leader != Leader::Thread {
                if queue.closed && queue.leader == Leader::Nobody {
                    return;
                }
                self.work.wait(&mut queue);
            }
            while !queue.waiting.is_empty() {
                let batch =
                    if queue.waiting.len() > BATCH { queue.waiting.drain(..BATCH).collect() } else { std::mem::take(&mut queue.waiting) };
                queue.commits += 1;
                let due = queue.commits >= FOLD_EVERY;
                drop(queue);
                let news = apply(&self.memory, &self.disk, batch);
                match &self.runtime {
                    // told from here, each of them would wake a worker and take the processor from this thread
                    Some(runtime) => drop(runtime.spawn(async move { news.tell() })),
                    None => news.tell(),
                }
                let commits = due.then(|| self.fold());
                queue = self.queue.lock();
                queue.commits = commits.unwrap_or(queue.commits);
            }
            if queue.commits >= FOLD_EVERY {
                drop(queue);
                let commits = self.fold();
                queue = self.queue.lock();
                queue.commits = commits;
            }
            if queue.waiting.is_empty() {
                queue.leader = Leader::Nobody;
            }
        }
    }

    /// One step of folding; returns where to count commits from.
    fn fold(&self) -> u32 {
        match self.disk.fold(self.memory.revision(), now()) {
            Ok(true) => FOLD_EVERY - 8,
            Ok(false) => 0,
            Err(error) => {
                tracing::error!(%error, "history cannot be shortened");
                0
            }
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// What came of a batch, for those who wait for it.
#[must_use]
struct News {
    readers: Vec<Arc<Subscriber>>,
    answers: Vec<(Answer, Outcome)>,
}

impl News {
    fn tell(self) {
        self.readers.iter().for_each(|reader| reader.wake());
        for (answer, result) in self.answers {
            // who no longer waits need not know
            let _ = answer.send(result);
        }
    }
}

fn apply(memory: &Memory, disk: &Disk, batch: Vec<Waiting>) -> News {
    let mut readers = match recover(memory, disk) {
        Ok(readers) => readers,
        Err(error) => {
            let error = Arc::new(error);
            let answers = batch.into_iter().map(|(_, answer)| (answer, Err(WriteError::Disk(error.clone())))).collect();
            return News { readers: Vec::new(), answers };
        }
    };
    let mut plan = Plan { memory, revision: memory.revision(), time: now(), pending: HashMap::new(), records: Vec::new() };
    let mut answers: Vec<_> = batch.into_iter().map(|(write, answer)| (answer, plan.decide(write))).collect();
    let committed = if plan.records.is_empty() { Ok(()) } else { disk.commit(&plan.records) };
    match committed {
        Ok(()) => readers.extend(memory.publish(&plan.records)),
        Err(error) => {
            tracing::error!(%error, "a batch of writes was not stored");
            disk.close();
            let error = Arc::new(error);
            answers.iter_mut().for_each(|(_, result)| *result = Err(WriteError::Disk(error.clone())));
        }
    }
    News { readers, answers }
}

/// Opens the files again after a failure. What the failed commit left there, if it did, becomes visible first: its revisions
/// are given, and until they are known nothing can be numbered. Returns whom to wake.
fn recover(memory: &Memory, disk: &Disk) -> Result<Vec<Arc<Subscriber>>, StoreError> {
    if disk.is_open() {
        return Ok(Vec::new());
    }
    let seen = memory.revision();
    let missed = disk.reopen().and_then(|last| {
        if last < seen {
            return Err(StoreError::Damaged { what: format!("it ends at revision {last}, and {seen} was written") });
        }
        let mut missed = Vec::new();
        disk.log(seen, u64::MAX, |record| missed.push(record))?;
        Ok(missed)
    });
    Ok(memory.publish(&missed.inspect_err(|_| disk.close())?))
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

//! One reader of events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::disk::Disk;
use crate::entry::Event;
use crate::error::ReadError;
use crate::memory::Memory;

/// A reader that is further behind than this is cut off from the queue and reads history instead.
const QUEUE: usize = 4_096;

/// The writer's end of a watch.
pub(crate) struct Subscriber {
    pub(crate) prefix: Box<str>,
    queue: Mutex<VecDeque<Arc<Event>>>,
    pushed: AtomicBool,
    overflown: AtomicBool,
    ready: Notify,
}

impl Subscriber {
    fn new(prefix: &str) -> Arc<Self> {
        Arc::new(Self {
            prefix: prefix.into(),
            queue: Mutex::default(),
            pushed: AtomicBool::new(false),
            overflown: AtomicBool::new(false),
            ready: Notify::new(),
        })
    }

    pub(crate) fn push(&self, event: &Arc<Event>) {
        if self.overflown.load(Ordering::Acquire) {
            return;
        }
        let mut queue = self.queue.lock();
        if queue.len() >= QUEUE {
            queue.clear();
            self.overflown.store(true, Ordering::Release);
        } else {
            queue.push_back(event.clone());
        }
        self.pushed.store(true, Ordering::Release);
    }

    /// Whether something was pushed since this was asked last: then the reader is to be woken.
    pub(crate) fn has_news(&self) -> bool {
        self.pushed.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn wake(&self) {
        self.ready.notify_one();
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.overflown.load(Ordering::Acquire) && self.queue.lock().is_empty()
    }
}

/// Events of a prefix in the order of their revisions, each once. A slow reader costs no memory: beyond a bound it is
/// served from history, and only when that is gone too does the watch end.
pub struct Watch {
    memory: Arc<Memory>,
    disk: Arc<Disk>,
    subscriber: Arc<Subscriber>,
    /// Read before the queue.
    backlog: VecDeque<Arc<Event>>,
    /// Revision of the last event given.
    given: u64,
    ended: bool,
}

impl Watch {
    pub(crate) fn start(memory: Arc<Memory>, disk: Arc<Disk>, prefix: &str, after: u64) -> Result<Self, ReadError> {
        let subscriber = Subscriber::new(prefix);
        let backlog = memory.subscribe(&subscriber, after, &disk)?.into();
        Ok(Self { memory, disk, subscriber, backlog, given: after, ended: false })
    }

    /// The next event; `None` when the reader fell so far behind that history no longer has what it missed.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            let subscriber = self.subscriber.clone();
            subscriber.ready.notified().await;
        }
    }

    /// The next event, if there is one now.
    pub fn try_next(&mut self) -> Option<Arc<Event>> {
        if self.ended {
            return None;
        }
        let event = self.backlog.pop_front().or_else(|| {
            if self.subscriber.overflown.load(Ordering::Acquire) {
                self.catch_up();
                self.backlog.pop_front()
            } else {
                self.backlog = std::mem::take(&mut *self.subscriber.queue.lock());
                self.backlog.pop_front()
            }
        })?;
        self.given = event.revision();
        Some(event)
    }

    /// Up to which revision everything has been given, when nothing is waiting to be read.
    pub fn progress(&self) -> Option<u64> {
        if !self.backlog.is_empty() {
            return None;
        }
        self.memory.revision_if_idle(&self.subscriber)
    }

    fn catch_up(&mut self) {
        self.memory.unsubscribe(&self.subscriber);
        self.subscriber = Subscriber::new(&self.subscriber.prefix);
        match self.memory.subscribe(&self.subscriber, self.given, &self.disk) {
            Ok(events) => self.backlog = events.into(),
            Err(_) => self.ended = true,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.memory.unsubscribe(&self.subscriber);
    }
}

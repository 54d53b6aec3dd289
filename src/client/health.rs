//! How the actors of this process are: which run, which failed and why, and what waits in their queues.
//!
//! [`supervise`](crate::supervise) enters actors; a [`Queue`](crate::Queue) made while an actor is being made is that actor's.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

tokio::task_local! {
    /// The actor that the running task is.
    pub(crate) static ACTOR: Arc<str>;
}

static ACTORS: Mutex<BTreeMap<Arc<str>, Life>> = Mutex::new(BTreeMap::new());
static QUEUES: Mutex<Vec<Known>> = Mutex::new(Vec::new());

/// A queue, and the actor that made it.
type Known = (Arc<str>, Weak<dyn Counted>);

#[derive(Debug, Clone, Default)]
struct Life {
    running: u32,
    waiting: u32,
    restarts: u64,
    failure: Option<String>,
}

/// What a queue tells of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Keys that wait for a worker now.
    pub ready: u64,
    /// Keys that wait for their time.
    pub delayed: u64,
    /// Keys that workers have.
    pub in_work: u64,
    /// Keys that were asked for since the queue was made.
    pub adds: u64,
    /// Of these, how many because work failed.
    pub retries: u64,
}

/// A queue, whatever its keys are.
pub(crate) trait Counted: Send + Sync {
    fn counts(&self) -> QueueCounts;
}

/// How an actor is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// Its name.
    pub name: String,
    /// How many of this name run: each node has a set of its own.
    pub running: u32,
    /// How many failed and wait to be started again.
    pub waiting: u32,
    /// How often it was started again since the process began.
    pub restarts: u64,
    /// Why it failed the last time.
    pub failure: Option<String>,
    /// All its queues together; `None`: it has none.
    pub queue: Option<QueueCounts>,
}

/// Every supervised actor of the process that runs, waits, or ever failed, by name.
pub fn actors() -> Vec<Actor> {
    let mut queues: BTreeMap<Arc<str>, QueueCounts> = BTreeMap::new();
    for (name, queue) in QUEUES.lock().iter().filter_map(|(name, queue)| Some((name.clone(), queue.upgrade()?))) {
        let (more, sum) = (queue.counts(), queues.entry(name).or_default());
        sum.ready += more.ready;
        sum.delayed += more.delayed;
        sum.in_work += more.in_work;
        sum.adds += more.adds;
        sum.retries += more.retries;
    }
    let lives = ACTORS.lock().clone();
    let actor = |(name, life): (Arc<str>, Life)| Actor {
        queue: queues.get(&name).copied(),
        name: name.as_ref().to_owned(),
        running: life.running,
        waiting: life.waiting,
        restarts: life.restarts,
        failure: life.failure,
    };
    lives.into_iter().map(actor).collect()
}

/// Enters a queue under the actor that makes it, if one does.
pub(crate) fn enter(queue: Weak<dyn Counted>) {
    if let Ok(name) = ACTOR.try_with(Clone::clone) {
        let mut queues = QUEUES.lock();
        queues.retain(|(_, queue)| queue.strong_count() > 0);
        queues.push((name, queue));
    }
}

/// An actor's place among the others, until it ends or is aborted.
pub(crate) struct Entered {
    name: Arc<str>,
    failed: bool,
}

impl Entered {
    pub(crate) fn new(name: &Arc<str>) -> Self {
        ACTORS.lock().entry(name.clone()).or_default().running += 1;
        Self { name: name.clone(), failed: false }
    }

    fn turn(&mut self, failed: bool, change: impl FnOnce(&mut Life)) {
        let mut actors = ACTORS.lock();
        let life = actors.entry(self.name.clone()).or_default();
        if failed != self.failed {
            self.failed = failed;
            let (from, to) = if failed { (&mut life.running, &mut life.waiting) } else { (&mut life.waiting, &mut life.running) };
            *from = from.saturating_sub(1);
            *to += 1;
        }
        change(life);
    }

    /// It failed and waits.
    pub(crate) fn failed(&mut self, why: &str) {
        self.turn(true, |life| {
            life.restarts += 1;
            life.failure = Some(why.to_owned());
        });
    }

    /// It runs again.
    pub(crate) fn again(&mut self) {
        self.turn(false, |_| ());
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut actors = ACTORS.lock();
        let Some(life) = actors.get_mut(&self.name) else { return };
        let count = if self.failed { &mut life.waiting } else { &mut life.running };
        *count = count.saturating_sub(1);
        if life.running + life.waiting == 0 && life.restarts == 0 {
            actors.remove(&self.name);
        }
    }
}

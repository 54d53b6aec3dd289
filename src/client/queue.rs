//! The work queue: keys to reconcile, each handed to one worker at a time.
//!
//! ```text
//!            add                next                 drop of Item
//!   (absent) ----> ready/dirty -----> processing ------------------> (absent)
//!                      ^                   | add meanwhile: dirty        |
//!                      +-------------------+----- on drop, ready again --+
//!   add_after, retry: delayed ----(due)----> add
//! ```

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::health::{self, Counted, QueueCounts};

/// Delays of [`Queue::retry`]: `base` doubled with each failure of a key, at most `max`.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Delay after the first failure.
    pub base: Duration,
    /// Longest delay.
    pub max: Duration,
}

impl Default for Backoff {
    /// client-go's first delay, and a longest delay that suits a person who waits.
    fn default() -> Self {
        Self { base: Duration::from_millis(5), max: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// Delay after `failures` failures (1 for the first).
    pub fn delay(&self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.max)
    }
}

struct State<T> {
    /// Keys to hand out, oldest first.
    ready: VecDeque<T>,
    /// Keys that need work: all of `ready`, and those of `processing` that were added again.
    dirty: HashSet<T>,
    processing: HashSet<T>,
    /// Canonical: when a delayed key is due. `timers` may hold stale entries.
    delayed: HashMap<T, Instant>,
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    timer_keys: HashMap<u64, T>,
    next_timer: u64,
    failures: HashMap<T, u32>,
    adds: u64,
    retries: u64,
    closed: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Notify,
    backoff: Backoff,
}

/// A keyed work queue with de-duplication, delayed adds and exponential back-off. Clones are one queue.
pub struct Queue<T>(Arc<Shared<T>>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone + Eq + Hash + Send> Counted for Shared<T> {
    fn counts(&self) -> QueueCounts {
        let state = self.state.lock();
        QueueCounts {
            ready: state.ready.len() as u64,
            delayed: state.delayed.len() as u64,
            in_work: state.processing.len() as u64,
            adds: state.adds,
            retries: state.retries,
        }
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> Queue<T> {
    /// An empty queue with the usual back-off.
    pub fn new() -> Self {
        Self::with_backoff(Backoff::default())
    }

    /// An empty queue whose retries wait as `backoff` says.
    pub fn with_backoff(backoff: Backoff) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            delayed: HashMap::new(),
            timers: BinaryHeap::new(),
            timer_keys: HashMap::new(),
            next_timer: 0,
            failures: HashMap::new(),
            adds: 0,
            retries: 0,
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Notify::new(), backoff });
        let counted: Arc<dyn Counted> = shared.clone();
        health::enter(Arc::downgrade(&counted));
        Self(shared)
    }
}

impl<T: Clone + Eq + Hash> Queue<T> {
    /// Asks for work on `key`: once, however often it is added before a worker takes it; once more if it is added while
    /// a worker has it.
    pub fn add(&self, key: T) {
        self.0.state.lock().add(key);
        self.0.wake.notify_one();
    }

    /// Adds `key` after `delay`; of several delays of one key the soonest counts.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.0.state.lock().delay(key, Instant::now() + delay);
        self.0.wake.notify_one();
    }

    /// Adds `key` after its back-off, which grows with each call until [`Queue::forget`].
    pub fn retry(&self, key: T) {
        let mut state = self.0.state.lock();
        let failures = state.failures.entry(key.clone()).or_default();
        *failures = failures.saturating_add(1);
        let delay = self.0.backoff.delay(*failures);
        state.retries += 1;
        state.delay(key, Instant::now() + delay);
        drop(state);
        self.0.wake.notify_one();
    }

    /// Resets the back-off of `key`, after a success.
    pub fn forget(&self, key: &T) {
        self.0.state.lock().failures.remove(key);
    }

    /// How often `key` was retried since it was last forgotten.
    pub fn retries(&self, key: &T) -> u32 {
        self.0.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// Keys that wait for a worker now.
    pub fn len(&self) -> usize {
        self.0.state.lock().ready.len()
    }

    /// No key waits for a worker now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the queue: `next` answers `None` from now on.
    pub fn close(&self) {
        self.0.state.lock().closed = true;
        self.0.wake.notify_waiters();
        self.0.wake.notify_one();
    }

    /// The next key, when there is one; nobody else gets it until the item is dropped. `None` when the queue is closed.
    pub async fn next(&self) -> Option<Item<T>> {
        loop {
            let woken = self.0.wake.notified();
            let due = {
                let mut state = self.0.state.lock();
                if state.closed {
                    self.0.wake.notify_one();
                    return None;
                }
                state.release_due(Instant::now());
                if let Some(key) = state.take() {
                    if !state.ready.is_empty() {
                        self.0.wake.notify_one();
                    }
                    return Some(Item { key, queue: self.clone() });
                }
                state.timers.peek().map(|Reverse((due, _))| *due)
            };
            match due {
                Some(due) => tokio::select! {
                    () = woken => {}
                    () = tokio::time::sleep_until(due) => {}
                },
                None => woken.await,
            }
        }
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, key: T) {
        self.adds += 1;
        if self.dirty.insert(key.clone()) && !self.processing.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn delay(&mut self, key: T, due: Instant) {
        if self.delayed.get(&key).is_some_and(|&known| known <= due) {
            return;
        }
        self.delayed.insert(key.clone(), due);
        self.adds += 1;
        let timer = self.next_timer;
        self.next_timer += 1;
        self.timers.push(Reverse((due, timer)));
        self.timer_keys.insert(timer, key);
    }

    fn release_due(&mut self, now: Instant) {
        while let Some(Reverse((due, timer))) = self.timers.peek().copied() {
            if due > now {
                return;
            }
            self.timers.pop();
            let Some(key) = self.timer_keys.remove(&timer) else { continue };
            if self.delayed.get(&key) == Some(&due) {
                self.delayed.remove(&key);
                self.adds -= 1;
                self.add(key);
            }
        }
    }

    fn take(&mut self) -> Option<T> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.processing.insert(key.clone());
        Some(key)
    }

    /// True when the key was added meanwhile and waits again.
    fn done(&mut self, key: &T) -> bool {
        self.processing.remove(key);
        let again = self.dirty.contains(key);
        if again {
            self.ready.push_back(key.clone());
        }
        again
    }
}

/// A key in work. Dropping it ends the work: if the key was added meanwhile, it is handed out again.
pub struct Item<T: Clone + Eq + Hash> {
    key: T,
    queue: Queue<T>,
}

impl<T: Clone + Eq + Hash> Deref for Item<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.key
    }
}

impl<T: Clone + Eq + Hash> Drop for Item<T> {
    fn drop(&mut self) {
        if self.queue.0.state.lock().done(&self.key) {
            self.queue.0.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    async fn idle(queue: &Queue<&'static str>) -> bool {
        tokio::time::timeout(Duration::from_millis(1), queue.next()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn adds_are_handed_out_once_and_in_order() {
        let queue = Queue::new();
        for key in ["a", "b", "a"] {
            queue.add(key);
        }
        let a = queue.next().await.unwrap();
        let b = queue.next().await.unwrap();
        assert_eq!((*a, *b), ("a", "b"));
        assert!(idle(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_in_work_waits_for_its_worker() {
        let queue = Queue::new();
        queue.add("a");
        let item = queue.next().await.unwrap();
        queue.add("a");
        assert!(idle(&queue).await);
        drop(item);
        assert_eq!(*queue.next().await.unwrap(), "a");
        assert!(idle(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_soonest_delay_counts() {
        let queue = Queue::new();
        queue.add_after("a", Duration::from_secs(9));
        queue.add_after("a", Duration::from_secs(3));
        queue.add_after("a", Duration::from_secs(6));
        let start = Instant::now();
        drop(queue.next().await.unwrap());
        assert_eq!(start.elapsed().as_secs(), 3);
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_worker_learns_of_a_sooner_key() {
        let queue = Queue::new();
        queue.add_after("late", Duration::from_secs(100));
        let other = queue.clone();
        let worker = tokio::spawn(async move { *other.next().await.unwrap() });
        tokio::task::yield_now().await;
        queue.add_after("soon", Duration::from_secs(1));
        let start = Instant::now();
        assert_eq!(worker.await.unwrap(), "soon");
        assert_eq!(start.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_back_off_until_forgotten() {
        let queue = Queue::with_backoff(Backoff { base: Duration::from_secs(1), max: Duration::from_secs(5) });
        let mut delays = Vec::new();
        for _ in 0..5 {
            queue.retry("a");
            let start = Instant::now();
            drop(queue.next().await.unwrap());
            delays.push(start.elapsed().as_secs());
        }
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        queue.forget(&"a");
        queue.retry("a");
        let start = Instant::now();
        drop(queue.next().await.unwrap());
        assert_eq!(start.elapsed().as_secs(), 1);
    }

    #[tokio::test]
    async fn several_workers_share_and_close_ends_them_all() {
        let queue: Queue<u32> = Queue::new();
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    while let Some(item) = queue.next().await {
                        seen.push(*item);
                        if *item == 99 {
                            queue.close();
                        }
                        tokio::task::yield_now().await;
                    }
                    seen
                })
            })
            .collect();
        (0..100).for_each(|key| queue.add(key));
        let mut seen = Vec::new();
        for worker in workers {
            seen.extend(worker.await.unwrap());
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }
}

//! Pods that wait for a node.
//!
//! ```text
//!  add --> ready --pop--> (being scheduled) --bound--> done
//!            ^                |        |
//!            |         no node|        |bind failed
//!            |                v        v
//!            +--due-- backing off <-- unschedulable
//!                                 cluster event
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::pod::PodInfo;

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// An unschedulable pod is tried again after this, whatever happened.
const FLUSH_AFTER: Duration = Duration::from_secs(5 * 60);

/// Higher priority first, then the older.
type Rank = (Reverse<i32>, Option<Timestamp>, u64, String);

#[derive(Debug)]
enum Place {
    Ready(Rank),
    BackingOff(Instant),
    Unschedulable(Instant),
    /// Popped; it comes back or is done.
    Busy,
}

#[derive(Debug)]
struct Entry {
    info: PodInfo,
    attempts: u32,
    place: Place,
}

/// Canonical: `entries`; the two sets order those that are ready or due.
#[derive(Debug, Default)]
pub(crate) struct SchedulingQueue {
    entries: HashMap<String, Entry>,
    ready: BTreeSet<Rank>,
    due: BTreeSet<(Instant, String)>,
    sequence: u64,
}

impl SchedulingQueue {
    /// A pending pod is new or changed. A change of what it asks for gives an unschedulable pod another try.
    pub(crate) fn add(&mut self, info: PodInfo, now: Instant) {
        let uid = info.uid().to_owned();
        match self.entries.get_mut(&uid) {
            None => {
                self.entries.insert(uid.clone(), Entry { info, attempts: 0, place: Place::Busy });
                self.make_ready(&uid);
            }
            Some(entry) => {
                let (old, new) = (&entry.info.pod, &info.pod);
                let changed = old.spec != new.spec || old.metadata.labels != new.metadata.labels;
                entry.info = info;
                if changed && matches!(entry.place, Place::Unschedulable(_)) {
                    self.back_off(&uid, now);
                }
            }
        }
    }

    /// The pod needs no node (any more).
    pub(crate) fn remove(&mut self, uid: &str) {
        self.leave(uid);
        self.entries.remove(uid);
    }

    /// Forgets the pods that are not among these.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self.entries.keys().filter(|uid| !keep(uid)).cloned().collect();
        gone.iter().for_each(|uid| self.remove(uid));
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next pod to schedule. It stays known until [`Self::remove`].
    pub(crate) fn pop(&mut self) -> Option<PodInfo> {
        let rank = self.ready.pop_first()?;
        let entry = self.entries.get_mut(&rank.3)?;
        entry.place = Place::Busy;
        entry.attempts = entry.attempts.saturating_add(1);
        Some(entry.info.clone())
    }

    /// No node would do: it waits for the cluster to change.
    pub(crate) fn unschedulable(&mut self, uid: &str, now: Instant) {
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.place = Place::Unschedulable(now);
        }
    }

    /// Its bind failed: it is tried again after its back-off.
    pub(crate) fn retry(&mut self, uid: &str, now: Instant) {
        if self.entries.contains_key(uid) {
            self.leave(uid);
            self.back_off(uid, now);
        }
    }

    /// The cluster changed in a way that may help: unschedulable pods get another try when their back-off is over.
    pub(crate) fn cluster_changed(&mut self, now: Instant) {
        self.move_unschedulable(now, |_, _| true);
    }

    /// The same, for those that wait for this kind of change.
    pub(crate) fn wake(&mut self, now: Instant, which: impl Fn(&PodInfo) -> bool) {
        self.move_unschedulable(now, |info, _| which(info));
    }

    /// Makes ready what is due; gives pods that waited very long another try.
    pub(crate) fn release(&mut self, now: Instant) {
        self.move_unschedulable(now, |_, since| now.duration_since(since) >= FLUSH_AFTER);
        while let Some((due, uid)) = self.due.first().cloned().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, uid.clone()));
            self.make_ready(&uid);
        }
    }

    /// When [`Self::release`] has something to do.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    fn move_unschedulable(&mut self, now: Instant, which: impl Fn(&PodInfo, Instant) -> bool) {
        let waits = |entry: &Entry| matches!(entry.place, Place::Unschedulable(since) if which(&entry.info, since));
        let moved: Vec<String> = self.entries.iter().filter(|(_, entry)| waits(entry)).map(|(uid, _)| uid.clone()).collect();
        moved.iter().for_each(|uid| self.back_off(uid, now));
    }

    fn make_ready(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        self.sequence += 1;
        let rank = (Reverse(entry.info.priority), entry.info.created, self.sequence, uid.to_owned());
        entry.place = Place::Ready(rank.clone());
        self.ready.insert(rank);
    }

    /// Back-off counts from the last attempt; one that is over already makes the pod ready.
    fn back_off(&mut self, uid: &str, now: Instant) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let factor = 1u32.checked_shl(entry.attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        let since = if let Place::Unschedulable(since) = entry.place { since } else { now };
        let due = since + FIRST_BACKOFF.saturating_mul(factor).min(LONGEST_BACKOFF);
        if due <= now {
            return self.make_ready(uid);
        }
        entry.place = Place::BackingOff(due);
        self.due.insert((due, uid.to_owned()));
    }

    fn leave(&mut self, uid: &str) {
        match self.entries.get(uid).map(|entry| &entry.place) {
            Some(Place::Ready(rank)) => drop(self.ready.remove(&rank.clone())),
            Some(Place::BackingOff(due)) => drop(self.due.remove(&(*due, uid.to_owned()))),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::pod::tests::pod;
    use serde_json::json;

    fn pending(name: &str, priority: i32) -> PodInfo {
        pod(name, json!({"priority": priority}))
    }

    fn pop(queue: &mut SchedulingQueue) -> Option<String> {
        queue.pop().map(|info| info.uid().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn higher_priority_goes_first_then_the_older() {
        let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
        for info in [pending("a", 0), pending("b", 10), pending("c", 0)] {
            queue.add(info, now);
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue)).collect();
        assert_eq!(order, ["b", "a", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn unschedulable_pods_wait_for_an_event_and_for_their_back_off() {
        let (mut queue, start) = (SchedulingQueue::default(), Instant::now());
        queue.add(pending("a", 0), start);
        pop(&mut queue);
        queue.unschedulable("a", start);
        queue.release(start + Duration::from_secs(100));
        assert!(!queue.has_ready());
        queue.cluster_changed(start + Duration::from_millis(300));
        assert_eq!(queue.next_due(), Some(start + Duration::from_secs(1)));
        queue.release(start + Duration::from_secs(1));
        assert_eq!(pop(&mut queue).as_deref(), Some("a"));
        queue.unschedulable("a", start + Duration::from_secs(1));
        queue.cluster_changed(start + Duration::from_secs(50));
        assert!(queue.has_ready(), "its second back-off of two seconds is over");
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_pod_and_a_long_wait_give_another_try() {
        let (mut queue, start) = (SchedulingQueue::default(), Instant::now());
        for name in ["a", "b"] {
            queue.add(pending(name, 0), start);
            pop(&mut queue);
            queue.unschedulable(name, start);
        }
        let later = start + Duration::from_secs(20);
        queue.add(pending("a", 0), later);
        assert!(!queue.has_ready(), "nothing changed");
        queue.add(pod("a", json!({"nodeSelector": {"x": "y"}})), later);
        assert_eq!(pop(&mut queue).as_deref(), Some("a"));
        queue.remove("a");
        queue.release(start + FLUSH_AFTER);
        assert_eq!(pop(&mut queue).as_deref(), Some("b"));
        queue.retry("b", start + FLUSH_AFTER);
        queue.remove("b");
        assert_eq!((queue.next_due(), queue.entries.len()), (None, 0));
    }
}

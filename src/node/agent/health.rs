//! Whether the runtime answers: a node whose runtime has been away for a while is not ready, though its pods run on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Agent;

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A runtime that has not answered for so long is down.
const DOWN_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// Whether the runtime is down.
#[derive(Debug, Default)]
pub(crate) struct Health(AtomicBool);

impl Health {
    pub(crate) fn is_down(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Since when the runtime is silent.
struct Silence(Timestamp);

impl Silence {
    /// Takes note of an answer or of none; says whether the runtime is down.
    fn after(&mut self, answers: bool, now: Timestamp) -> bool {
        if answers {
            self.0 = now;
        }
        now.duration_since(self.0) >= DOWN_AFTER
    }
}

/// Asks until stopped; a runtime that is part of this process is not asked again.
pub(crate) async fn run(agent: Arc<Agent>) {
    let mut silence = Silence(agent.clock.now());
    while let Some(answers) = agent.runtime.answers().await {
        let down = silence.after(answers, agent.clock.now());
        if agent.health.0.swap(down, Ordering::AcqRel) != down {
            agent.status_changed.notify_one();
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn silence_of_half_a_minute_is_an_end() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut silence = Silence(at(1_000));
        let looks = [(false, 1_029, false), (false, 1_030, true), (true, 1_040, false), (false, 1_069, false), (true, 2_000, false)];
        for (answers, second, down) in looks {
            assert_eq!(silence.after(answers, at(second)), down, "{second}");
        }
    }
}

//! Restarts actors that fail: a panic in one of them never takes the process down.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::health::{ACTOR, Entered};

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// An actor that ran this long before it failed starts again with the first delay.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// Runs the actor that `factory` makes until it ends well; after a panic or an error it is logged, counted, and made
/// again after a growing delay. Aborting the handle stops the actor. [`actors`](crate::actors) tells how it is.
pub fn supervise<F, Fut, E>(name: impl Into<String>, mut factory: F) -> JoinHandle<()>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), E>> + Send,
    E: Display + Send,
{
    let name: Arc<str> = name.into().into();
    let mut place = Entered::new(&name);
    tokio::spawn(async move {
        let mut delay = FIRST_DELAY;
        loop {
            let started = Instant::now();
            let attempt = AssertUnwindSafe(ACTOR.scope(name.clone(), async { factory().await })).catch_unwind().await;
            let why = match attempt {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("panic: {}", panic_text(panic.as_ref())),
            };
            if started.elapsed() >= HEALTHY_AFTER {
                delay = FIRST_DELAY;
            }
            place.failed(&why);
            tracing::error!(actor = %name, delay_ms = delay.as_millis() as u64, "actor failed and will be restarted: {why}");
            tokio::time::sleep(delay).await;
            place.again();
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else {
        panic.downcast_ref::<String>().map_or("without a message", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::health::{QueueCounts, actors};
    use crate::queue::Queue;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn panics_and_errors_are_restarted_and_success_ends() {
        let runs = Arc::new(AtomicU32::new(0));
        let counter = runs.clone();
        supervise("restarted-in-test", move || {
            let run = counter.fetch_add(1, Ordering::SeqCst);
            async move {
                match run {
                    0 => panic!("first"),
                    1 => Err("second"),
                    _ => Ok(()),
                }
            }
        })
        .await
        .unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        let actor = actors().into_iter().find(|actor| actor.name == "restarted-in-test").unwrap();
        assert_eq!((actor.running, actor.waiting, actor.restarts, actor.failure.as_deref()), (0, 0, 2, Some("second")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_actor_is_known_by_its_state_and_its_queues() {
        let own = || actors().into_iter().find(|actor| actor.name == "told-in-test");
        let made = Queue::<u8>::new();
        let runs = Arc::new(AtomicU32::new(0));
        let actor = supervise("told-in-test", move || {
            let run = runs.fetch_add(1, Ordering::SeqCst);
            async move {
                let queue = Queue::<u8>::new();
                (0..3).for_each(|key| queue.add(key));
                queue.add_after(9, Duration::from_secs(900));
                let item = queue.next().await.unwrap();
                queue.retry(*item);
                if run == 0 {
                    return Err("no luck");
                }
                std::future::pending::<Result<(), &str>>().await
            }
        });
        tokio::time::sleep(FIRST_DELAY / 2).await;
        let seen = own().unwrap();
        assert_eq!((seen.running, seen.waiting, seen.restarts, seen.failure.as_deref()), (0, 1, 1, Some("no luck")));
        assert_eq!(seen.queue, None, "the queue of the failed run is gone");
        tokio::time::sleep(FIRST_DELAY).await;
        let seen = own().unwrap();
        assert_eq!((seen.running, seen.waiting), (1, 0));
        assert_eq!(seen.queue, Some(QueueCounts { ready: 2, delayed: 2, in_work: 1, adds: 5, retries: 1 }));
        actor.abort();
        let _ = actor.await;
        assert_eq!(own().unwrap().running, 0);
        drop(made);
    }
}

//! Restarts actors that fail: a panic in one of them never takes the process down.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// An actor that ran this long before it failed starts again with the first delay.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

static RESTARTS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// How often each supervised actor was restarted since the process started; actors that never failed are not listed.
pub fn restarts() -> BTreeMap<String, u64> {
    RESTARTS.lock().clone()
}

/// Runs the actor that `factory` makes until it ends well; after a panic or an error it is logged, counted, and made
/// again after a growing delay. Aborting the handle stops the actor.
pub fn supervise<F, Fut, E>(name: impl Into<String>, mut factory: F) -> JoinHandle<()>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), E>> + Send,
    E: Display + Send,
{
    let name = name.into();
    tokio::spawn(async move {
        let mut delay = FIRST_DELAY;
        loop {
            let started = Instant::now();
            let attempt = AssertUnwindSafe(async { factory().await }).catch_unwind().await;
            let why = match attempt {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("panic: {}", panic_text(panic.as_ref())),
            };
            if started.elapsed() >= HEALTHY_AFTER {
                delay = FIRST_DELAY;
            }
            *RESTARTS.lock().entry(name.clone()).or_default() += 1;
            tracing::error!(actor = %name, delay_ms = delay.as_millis() as u64, "actor failed and will be restarted: {why}");
            tokio::time::sleep(delay).await;
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
    use std::sync::Arc;
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
        assert_eq!(restarts().get("restarted-in-test"), Some(&2));
    }
}

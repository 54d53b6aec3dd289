//! Waiting for a condition.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Waits until `look` gives a value; fails with what it saw last when `patience` has passed.
pub fn until<T, E: Debug>(what: &str, patience: Duration, mut look: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(10);
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if Instant::now() > deadline => {
                let seen = format!("{seen:?}").replace("\\n", "\n").replace("\\\"", "\"");
                panic!("waited {patience:?} in vain for: {what}\nlast seen:\n{seen}");
            }
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 3 / 2).min(Duration::from_millis(250));
    }
}

/// `Ok(())` if so, else what was seen.
pub fn so<E>(holds: bool, seen: E) -> Result<(), E> {
    if holds { Ok(()) } else { Err(seen) }
}

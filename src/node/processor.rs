//! How the kernel gives processors to this program's threads.

/// From now on the calling thread, and what it starts, does not take the processor from another thread when it wakes up, but
/// waits until one is free or its turn comes (`SCHED_BATCH`). For workers that wake each other: the one that wakes has an answer
/// half sent.
pub fn wake_politely() {
    choose(libc::SCHED_BATCH);
}

/// From now on the calling thread is a usual one, whatever the one that started it was.
pub fn wake_as_usual() {
    choose(libc::SCHED_OTHER);
}

/// Where the kernel refuses, everything is as it was.
fn choose(policy: libc::c_int) {
    // SAFETY: reads a value that lives as long as the call
    unsafe { libc::sched_setscheduler(0, policy, &libc::sched_param { sched_priority: 0 }) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_polite_until_it_is_usual_again() {
        // SAFETY: asks about the calling thread
        let policy = || unsafe { libc::sched_getscheduler(0) };
        wake_politely();
        let inherited = std::thread::spawn(move || {
            let before = policy();
            wake_as_usual();
            (before, policy())
        });
        assert_eq!(policy(), libc::SCHED_BATCH);
        assert_eq!(inherited.join().ok(), Some((libc::SCHED_BATCH, libc::SCHED_OTHER)));
    }
}

//! What a plain user's containers have instead of control groups.

use std::time::{Duration, Instant};

use coracle_node::runtime::{Limits, RuntimeError};

use super::sh;
use crate::subject::Subject;

pub async fn what_is_used_without_control_groups(subject: &Subject) {
    let runtime = subject.runtime();
    let mut config = subject.script("c", "while :; do :; done");
    config.limits = Limits { memory: 24 << 20, cpu_shares: 100, cpu_quota: 50_000, pids: 50, oom_score_adj: 900 };
    let (sandbox, id) = subject.started("used", &config).await;
    // limits are no reason not to run, and may be changed
    runtime.update_container(&id, &Limits { cpu_quota: 20_000, ..config.limits }).await.unwrap();
    runtime.update_sandbox(&sandbox, &config.limits).await.unwrap();
    assert_eq!(sh(subject, &id, "cat /proc/1/oom_score_adj").await, "900\n");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let usage = runtime.usage(&id).await.unwrap();
        assert!(usage.memory_bytes < 24 << 20, "{usage:?}");
        if usage.cpu_nanoseconds > 100_000_000 && usage.memory_bytes > 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{usage:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(runtime.restriction().is_some());
    runtime.stop_container(&id, None, Duration::ZERO).await.unwrap();
    assert!(matches!(runtime.usage(&id).await, Err(RuntimeError::NotRunning { .. })));
}

//! DefaultTolerationSeconds: a pod stays five minutes on a node that is lost, unless it says otherwise.

use serde_json::{Value, json};

use super::{list, text};

/// How long pods stay that do not say it themselves: the API server's flags `default-not-ready-toleration-seconds` and
/// `default-unreachable-toleration-seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TolerationSeconds {
    /// On a node that says it is not ready.
    pub not_ready: u32,
    /// On a node that says nothing.
    pub unreachable: u32,
}

impl Default for TolerationSeconds {
    /// Five minutes each.
    fn default() -> Self {
        Self { not_ready: 300, unreachable: 300 }
    }
}

pub(super) fn fill(pod: &mut Value, seconds: TolerationSeconds) {
    let Some(tolerations) = list(&mut pod["spec"], "tolerations") else { return };
    for (taint, seconds) in [("node.kubernetes.io/not-ready", seconds.not_ready), ("node.kubernetes.io/unreachable", seconds.unreachable)] {
        let tolerated = tolerations.iter().any(|toleration| {
            let (key, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            tolerations.push(json!({"effect": "NoExecute", "key": taint, "operator": "Exists", "tolerationSeconds": seconds}));
        }
    }
}

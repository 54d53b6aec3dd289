//! DefaultTolerationSeconds: a pod stays five minutes on a node that is lost, unless it says otherwise.

use serde_json::{Value, json};

use super::{list, text};

const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const SECONDS: u32 = 300;

pub(super) fn fill(pod: &mut Value) {
    let Some(tolerations) = list(&mut pod["spec"], "tolerations") else { return };
    for taint in TAINTS {
        let tolerated = tolerations.iter().any(|toleration| {
            let (key, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            tolerations.push(json!({"effect": "NoExecute", "key": taint, "operator": "Exists", "tolerationSeconds": SECONDS}));
        }
    }
}

//! Why a pod could not be scheduled, in upstream's words.

use std::collections::BTreeMap;

use crate::plugins::Reject;

pub(crate) const NO_NODES: &str = "no nodes available to schedule pods";

/// The message of the `FailedScheduling` event and the `PodScheduled` condition: nodes counted by reason, and what
/// preemption could do. `rejects` holds every node's reasons; `may_preempt` is false for `preemptionPolicy: Never`.
pub(crate) fn unschedulable(rejects: &[Vec<Reject>], may_preempt: bool) -> String {
    let total = rejects.len();
    let reasons = histogram(rejects.iter().flatten().map(|reject| reject.reason.as_ref()));
    let preemption = if may_preempt {
        let helps = |node: &Vec<Reject>| node.iter().all(|reject| reject.preemption_helps);
        let outcome = rejects.iter().map(|node| {
            if helps(node) { "No preemption victims found for incoming pod" } else { "Preemption is not helpful for scheduling" }
        });
        format!("0/{total} nodes are available: {}.", histogram(outcome))
    } else {
        "not eligible due to preemptionPolicy=Never.".to_owned()
    };
    format!("0/{total} nodes are available: {reasons}. no new claims to deallocate, preemption: {preemption}")
}

/// `2 Insufficient cpu, 1 …`, sorted as text.
fn histogram<'a>(reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut parts: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_counted_by_reason() {
        let taint = || vec![Reject::unresolvable("node(s) had untolerated taint(s)")];
        let cpu = || vec![Reject::occupied("Insufficient cpu"), Reject::occupied("Insufficient memory")];
        assert_eq!(
            unschedulable(&[taint()], true),
            "0/1 nodes are available: 1 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/1 nodes are available: \
             1 Preemption is not helpful for scheduling."
        );
        assert_eq!(
            unschedulable(&[taint(), cpu(), taint()], true),
            "0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 2 node(s) had untolerated taint(s). no new claims to \
             deallocate, preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, \
             2 Preemption is not helpful for scheduling."
        );
        assert!(unschedulable(&[cpu()], false).ends_with("preemption: not eligible due to preemptionPolicy=Never."));
    }
}

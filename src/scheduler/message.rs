//! Why a pod could not be scheduled, in upstream's words.

use std::collections::BTreeMap;

use crate::cycle::Misfit;
use crate::plugins::Reject;

pub(crate) const NO_NODES: &str = "no nodes available to schedule pods";

/// The message of the `FailedScheduling` event and the `PodScheduled` condition: nodes counted by reason, and what
/// preemption came to, unless it made room.
pub(crate) fn unschedulable<'a>(rejects: impl Iterator<Item = &'a [Reject]>, total: usize, preemption: &str) -> String {
    nowhere(total, &histogram(rejects.flatten().map(|reject| reject.reason.as_ref())), preemption)
}

/// The same, for one reason that holds everywhere.
pub(crate) fn nowhere(total: usize, why: &str, preemption: &str) -> String {
    let about = format!("0/{total} nodes are available: {why}.");
    if preemption.is_empty() { about } else { format!("{about} no new claims to deallocate, preemption: {preemption}") }
}

/// What preemption says when it finds nobody to remove.
pub(crate) fn no_victims(misfit: &Misfit, total: usize) -> String {
    let helpable = misfit.helpable().len();
    let outcomes = std::iter::repeat_n("No preemption victims found for incoming pod", helpable)
        .chain(std::iter::repeat_n("Preemption is not helpful for scheduling", total - helpable));
    format!("0/{total} nodes are available: {}.", histogram(outcomes))
}

pub(crate) const NEVER: &str = "not eligible due to preemptionPolicy=Never.";
pub(crate) const TERMINATING: &str = "not eligible due to a terminating pod on the nominated node.";

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
        let told = |rejects: Vec<Vec<Reject>>| {
            let total = rejects.len();
            let rejects = rejects.into_iter().map(|rejects| (String::new(), "", rejects)).collect();
            let misfit = Misfit { everywhere: None, rejects };
            misfit.message(total, &no_victims(&misfit, total))
        };
        assert_eq!(
            told(vec![taint()]),
            "0/1 nodes are available: 1 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/1 nodes are available: \
             1 Preemption is not helpful for scheduling."
        );
        assert_eq!(
            told(vec![taint(), cpu(), taint()]),
            "0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 2 node(s) had untolerated taint(s). no new claims to \
             deallocate, preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, \
             2 Preemption is not helpful for scheduling."
        );
    }
}

//! What decides where a pod may and should run: one file per plugin, each a filter, a score, or both.

mod affinity;
mod fit;
mod images;
pub(crate) mod pod_affinity;
mod ports;
pub(crate) mod spread;
mod taints;
mod unschedulable;
pub(crate) mod volumes;

use std::borrow::Cow;

use crate::cycle::Cycle;
use crate::snapshot::NodeInfo;

/// Why a node will not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reject {
    /// As upstream words it; nodes are counted by it.
    pub reason: Cow<'static, str>,
    /// Removing pods from the node could help.
    pub preemption_helps: bool,
}

impl Reject {
    /// No pod's going could change this.
    pub(crate) fn unresolvable(reason: &'static str) -> Self {
        Self { reason: Cow::Borrowed(reason), preemption_helps: false }
    }

    /// Something on the node is in the way.
    pub(crate) fn occupied(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), preemption_helps: true }
    }
}

/// Says whether a pod may run on a node.
pub(crate) trait Filter: Sync {
    /// As upstream calls the plugin.
    fn name(&self) -> &'static str;
    /// Empty when it may; otherwise every reason why not.
    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Vec<Reject>;
}

/// Says how well a pod would run on each of the nodes where it may.
pub(crate) trait Score: Sync {
    /// As upstream calls the plugin.
    fn name(&self) -> &'static str;
    /// How much this score counts.
    fn weight(&self) -> i64;
    /// From 0 (worst) to 100, for each node.
    fn score(&self, cycle: &Cycle, nodes: &[&NodeInfo]) -> Vec<i64>;
}

/// In upstream's order: the first filter that rejects a node says why.
pub(crate) const FILTERS: [&dyn Filter; 10] = [
    &unschedulable::NodeUnschedulable,
    &affinity::NodeName,
    &taints::TaintToleration,
    &affinity::NodeAffinity,
    &ports::NodePorts,
    &fit::Fit,
    &volumes::VolumeBinding,
    &volumes::VolumeZone,
    &spread::PodTopologySpread,
    &pod_affinity::InterPodAffinity,
];

pub(crate) const SCORES: [&dyn Score; 8] = [
    &taints::TaintToleration,
    &affinity::NodeAffinity,
    &fit::LeastAllocated,
    &fit::BalancedAllocation,
    &spread::OwnerSpread,
    &spread::PodTopologySpread,
    &pod_affinity::InterPodAffinity,
    &images::ImageLocality,
];

/// Highest score of one plugin.
pub(crate) const BEST: i64 = 100;

/// Scales so that the highest becomes [`BEST`]; `reverse` turns many into few.
fn normalized(raw: Vec<i64>, reverse: bool) -> Vec<i64> {
    let most = raw.iter().copied().max().unwrap_or(0);
    let scaled = raw.into_iter().map(|value| if most == 0 { 0 } else { value * BEST / most });
    scaled.map(|value| if reverse { BEST - value } else { value }).collect()
}

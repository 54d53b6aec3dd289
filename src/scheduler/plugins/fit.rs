//! A pod needs room for what it asks for; emptier and more evenly used nodes are better.

use std::borrow::Cow;

use super::{BEST, Filter, Reject, Score};
use crate::cycle::Cycle;
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(crate) struct Fit;

/// More than the node has could not be had by removing pods.
fn lack(name: Cow<'static, str>, wanted: i64, used: i64, total: i64) -> Option<Reject> {
    (wanted > 0 && wanted > total - used).then_some(Reject { reason: name, preemption_helps: wanted <= total })
}

impl Filter for Fit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Vec<Reject> {
        let pod = cycle.pod;
        let (wanted, used, total) = (&pod.requests, &node.requested, &node.allocatable);
        let mut rejects = Vec::new();
        if node.pods + 1 > node.max_pods {
            rejects.push(Reject::occupied("Too many pods"));
        }
        rejects.extend(lack("Insufficient cpu".into(), wanted.milli_cpu, used.milli_cpu, total.milli_cpu));
        rejects.extend(lack("Insufficient memory".into(), wanted.memory, used.memory, total.memory));
        let storage = (wanted.ephemeral_storage, used.ephemeral_storage, total.ephemeral_storage);
        rejects.extend(lack("Insufficient ephemeral-storage".into(), storage.0, storage.1, storage.2));
        for (name, &amount) in &wanted.extended {
            let of = |resources: &crate::pod::Resources| resources.extended.get(name).copied().unwrap_or(0);
            rejects.extend(lack(format!("Insufficient {name}").into(), amount, of(used), of(total)));
        }
        rejects
    }
}

/// Used parts of CPU and memory with the pod on the node, from 0 to 1.
fn fractions(pod: &PodInfo, node: &NodeInfo) -> [f64; 2] {
    let part = |used: i64, total: i64| if total <= 0 { 1.0 } else { (used as f64 / total as f64).min(1.0) };
    [part(node.weight.0 + pod.weight.0, node.allocatable.milli_cpu), part(node.weight.1 + pod.weight.1, node.allocatable.memory)]
}

pub(crate) struct LeastAllocated;

impl Score for LeastAllocated {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn weight(&self) -> i64 {
        1
    }

    fn score(&self, cycle: &Cycle, nodes: &[&NodeInfo]) -> Vec<i64> {
        let pod = cycle.pod;
        let free = |node: &&NodeInfo| {
            let [cpu, memory] = fractions(pod, node);
            (((1.0 - cpu) + (1.0 - memory)) / 2.0 * BEST as f64) as i64
        };
        nodes.iter().map(free).collect()
    }
}

pub(crate) struct BalancedAllocation;

impl Score for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn weight(&self) -> i64 {
        1
    }

    /// One less the standard deviation of the used parts.
    fn score(&self, cycle: &Cycle, nodes: &[&NodeInfo]) -> Vec<i64> {
        let pod = cycle.pod;
        let balance = |node: &&NodeInfo| {
            let [cpu, memory] = fractions(pod, node);
            ((1.0 - (cpu - memory).abs() / 2.0) * BEST as f64) as i64
        };
        nodes.iter().map(balance).collect()
    }
}

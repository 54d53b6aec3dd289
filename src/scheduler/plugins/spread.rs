//! Replicas of one controller go to different nodes where they can.

use super::{Score, normalized};
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(crate) struct OwnerSpread;

impl Score for OwnerSpread {
    fn weight(&self) -> i64 {
        2
    }

    /// The fewer pods of its controller a node has, the better.
    fn score(&self, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
        let Some(owner) = &pod.owner else { return vec![0; nodes.len()] };
        normalized(nodes.iter().map(|node| node.owners.get(owner).copied().unwrap_or(0)).collect(), true)
    }
}

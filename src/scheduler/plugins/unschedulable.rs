//! Cordoned nodes take no new pods, except those that tolerate it.

use super::taints::{self, tolerations};
use super::{Filter, Reject};
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(crate) struct NodeUnschedulable;

impl Filter for NodeUnschedulable {
    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Vec<Reject> {
        let cordoned = node.node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
        if cordoned
            && !tolerations(pod).any(|toleration| taints::tolerates(toleration, "node.kubernetes.io/unschedulable", "", "NoSchedule"))
        {
            return vec![Reject::unresolvable("node(s) were unschedulable")];
        }
        Vec::new()
    }
}

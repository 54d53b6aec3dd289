//! Cordoned nodes take no new pods, except those that tolerate it.

use coracle_api::placement::tolerates;
use k8s_openapi::api::core::v1::Taint;

use super::taints::tolerations;
use super::{Filter, Reject};
use crate::cycle::Cycle;
use crate::snapshot::NodeInfo;

pub(crate) struct NodeUnschedulable;

impl Filter for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Vec<Reject> {
        let pod = cycle.pod;
        let cordoned = node.node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
        let (key, effect) = ("node.kubernetes.io/unschedulable".to_owned(), "NoSchedule".to_owned());
        let taint = Taint { key, effect, ..Taint::default() };
        if cordoned && !tolerations(pod).any(|toleration| tolerates(toleration, &taint)) {
            return vec![Reject::unresolvable("node(s) were unschedulable")];
        }
        Vec::new()
    }
}

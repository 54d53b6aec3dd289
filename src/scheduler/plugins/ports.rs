//! Two pods cannot have the same port of one node.

use super::{Filter, Reject};
use crate::cycle::Cycle;
use crate::snapshot::NodeInfo;

pub(crate) struct NodePorts;

impl Filter for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Vec<Reject> {
        let pod = cycle.pod;
        if pod.ports.iter().any(|port| node.ports.iter().any(|taken| port.collides(taken))) {
            return vec![Reject::occupied("node(s) didn't have free ports for the requested pod ports")];
        }
        Vec::new()
    }
}

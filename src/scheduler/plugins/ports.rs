//! Two pods cannot have the same port of one node.

use super::{Filter, Reject};
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(crate) struct NodePorts;

impl Filter for NodePorts {
    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Vec<Reject> {
        if pod.ports.iter().any(|port| node.ports.iter().any(|taken| port.collides(taken))) {
            return vec![Reject::occupied("node(s) didn't have free ports for the requested pod ports")];
        }
        Vec::new()
    }
}

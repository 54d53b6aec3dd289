//! Nodes that have the images already start pods sooner.

use super::{BEST, Score};
use crate::cycle::Cycle;
use crate::snapshot::NodeInfo;

pub(crate) struct ImageLocality;

const MEGABYTE: i64 = 1024 * 1024;
/// Less than this is pulled at once; more than this per container is not told apart.
const LEAST: i64 = 23 * MEGABYTE;
const MOST_PER_CONTAINER: i64 = 1000 * MEGABYTE;

impl Score for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn weight(&self) -> i64 {
        1
    }

    /// Sizes of the images the node has, each by how many of the nodes have it, so that not all pods go to one.
    fn score(&self, cycle: &Cycle, nodes: &[&NodeInfo]) -> Vec<i64> {
        let images = &cycle.pod.images;
        let spread = |image: &String| nodes.iter().filter(|node| node.images.contains_key(image)).count() as i64;
        let spreads: Vec<i64> = images.iter().map(spread).collect();
        if spreads.iter().all(|spread| *spread == 0) {
            return vec![0; nodes.len()];
        }
        let total = nodes.len() as i64;
        let most = MOST_PER_CONTAINER * images.len() as i64;
        let score = |node: &&NodeInfo| {
            let here = images.iter().zip(&spreads).filter_map(|(image, spread)| Some(node.images.get(image)? * spread / total));
            BEST * (here.sum::<i64>().clamp(LEAST, most) - LEAST) / (most - LEAST)
        };
        nodes.iter().map(score).collect()
    }
}

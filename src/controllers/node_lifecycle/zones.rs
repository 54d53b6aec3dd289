//! How fast nodes are emptied: by the state of their zone. When no node of any zone is well, it is more likely that this
//! process hears nothing than that all are lost: then none is emptied.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;

use super::NodeLifecycle;

/// A zone is not judged by fewer lost nodes than this.
const FEW: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Normal,
    /// So many nodes are lost that emptying them would overload the others.
    Partial,
    /// No node is ready.
    Full,
}

#[derive(Debug)]
struct Zone {
    state: State,
    nodes: usize,
    /// When a node of it was last emptied.
    last: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(super) struct Zones {
    zones: HashMap<String, Zone>,
    /// Every zone is in state [`State::Full`].
    all_lost: bool,
}

/// Region and zone of a node; nodes without are one zone.
pub(super) fn zone_of(node: &Node) -> String {
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map_or("", String::as_str);
    format!("{}:{}", label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

fn state(ready: usize, lost: usize, threshold: f64) -> State {
    match () {
        () if ready == 0 && lost > 0 => State::Full,
        () if lost > FEW && lost as f64 / (lost + ready) as f64 >= threshold => State::Partial,
        () => State::Normal,
    }
}

impl Zones {
    /// Takes in which nodes are ready. True when the cluster comes back from a state in which all were lost.
    pub(super) fn look<'a>(&mut self, nodes: impl Iterator<Item = (&'a str, bool)>, options: &NodeLifecycle) -> bool {
        let mut counts: HashMap<&str, (usize, usize)> = HashMap::new();
        for (zone, ready) in nodes {
            let (well, lost) = counts.entry(zone).or_default();
            *if ready { well } else { lost } += 1;
        }
        self.zones.retain(|zone, _| counts.contains_key(zone.as_str()));
        for (&name, &(ready, lost)) in &counts {
            let state = state(ready, lost, options.unhealthy_zone_threshold);
            let zone = self.zones.entry(name.to_owned()).or_insert(Zone { state, nodes: 0, last: None });
            (zone.state, zone.nodes) = (state, ready + lost);
        }
        let before = self.all_lost;
        self.all_lost = !self.zones.is_empty() && self.zones.values().all(|zone| zone.state == State::Full);
        before && !self.all_lost
    }

    /// No node is to be emptied, and those that are being emptied keep their pods.
    pub(super) fn all_lost(&self) -> bool {
        self.all_lost
    }

    /// Grants that a node of the zone is emptied now; else says how long to wait, if waiting helps.
    pub(super) fn grant(&mut self, zone: &str, options: &NodeLifecycle, now: Timestamp) -> Result<(), Option<SignedDuration>> {
        if self.all_lost {
            return Err(None);
        }
        let Some(zone) = self.zones.get_mut(zone) else { return Err(None) };
        let rate = match zone.state {
            State::Normal | State::Full => options.node_eviction_rate,
            State::Partial if zone.nodes > options.large_cluster_size_threshold => options.secondary_node_eviction_rate,
            State::Partial => 0.0,
        };
        if rate <= 0.0 {
            return Err(None);
        }
        let pause = SignedDuration::try_from_secs_f64(1.0 / rate).unwrap_or(SignedDuration::MAX);
        let wait = zone.last.map_or(SignedDuration::ZERO, |last| pause.saturating_sub(now.duration_since(last)));
        if wait > SignedDuration::ZERO {
            return Err(Some(wait));
        }
        zone.last = Some(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn zones(ready: usize, lost: usize) -> Zones {
        let mut zones = Zones::default();
        zones.look((0..ready + lost).map(|number| ("z", number < ready)), &NodeLifecycle::default());
        zones
    }

    #[rstest]
    #[case::one_of_three(2, 1, Ok(()))]
    #[case::both(0, 2, Err(None))]
    #[case::most_of_a_small_zone(2, 3, Err(None))]
    #[case::most_of_a_large_zone(20, 40, Ok(()))]
    #[case::two_are_few(1, 2, Ok(()))]
    fn grants(#[case] ready: usize, #[case] lost: usize, #[case] expected: Result<(), Option<SignedDuration>>) {
        assert_eq!(zones(ready, lost).grant("z", &NodeLifecycle::default(), at(0)), expected);
    }

    #[test]
    fn one_node_every_ten_seconds() {
        let (mut zones, options) = (zones(5, 2), NodeLifecycle::default());
        assert_eq!(zones.grant("z", &options, at(100)), Ok(()));
        assert_eq!(zones.grant("z", &options, at(104)), Err(Some(SignedDuration::from_secs(6))));
        assert_eq!(zones.grant("z", &options, at(110)), Ok(()));
    }

    #[test]
    fn a_lost_zone_is_emptied_while_another_is_well() {
        let (mut zones, options) = (Zones::default(), NodeLifecycle::default());
        assert!(!zones.look([("a", true), ("b", false), ("b", false)].into_iter(), &options));
        assert_eq!((zones.grant("b", &options, at(0)), zones.all_lost()), (Ok(()), false));
        assert!(!zones.look([("a", false), ("b", false)].into_iter(), &options));
        assert_eq!((zones.grant("b", &options, at(99)), zones.all_lost()), (Err(None), true));
        assert!(zones.look([("a", true)].into_iter(), &options), "it is back");
        assert_eq!(zones.zones.keys().collect::<Vec<_>>(), ["a"]);
    }
}

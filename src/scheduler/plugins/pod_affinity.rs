//! Which pods a pod wants near it, and which it does not; and which of those that run do not want it.

use std::collections::{HashMap, HashSet};

use super::{BEST, Filter, Reject, Score};
use crate::cycle::Cycle;
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use crate::terms::Term;
use crate::world::World;

/// A topology: label and value.
type Place = (String, String);

/// What the pods that run mean for the pod, worked out once per decision.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Where the pods are that the required terms mean.
    near: HashMap<Place, i64>,
    /// Where they are that required anti-affinity means.
    far: HashSet<Place>,
    /// Where someone does not want this pod.
    unwelcome: HashSet<Place>,
    /// Weights of preferences, the pod's own and those of others.
    liked: HashMap<Place, i64>,
    /// The pod fits its own terms: it may be the first of its kind.
    own_kind: bool,
}

fn place(term: &Term, node: &NodeInfo) -> Option<Place> {
    Some((term.topology_key.clone(), node.label(&term.topology_key)?.to_owned()))
}

impl State {
    pub(crate) fn new(pod: &PodInfo, snapshot: &Snapshot, world: &World) -> Self {
        let mut state = Self::default();
        match &pod.terms {
            Some(terms) => {
                state.own_kind = terms.affinity.iter().all(|term| term.matches(&pod.pod, world));
                for (node, other) in snapshot.placed() {
                    state.own_view(terms, node, other, world);
                    state.their_view(pod, node, other, world);
                }
            }
            None => {
                for (node, other) in snapshot.placed_with_terms() {
                    state.their_view(pod, node, other, world);
                }
            }
        }
        state
    }

    fn own_view(&mut self, terms: &crate::terms::Terms, node: &NodeInfo, other: &PodInfo, world: &World) {
        if !terms.affinity.is_empty() && terms.affinity.iter().all(|term| term.matches(&other.pod, world)) {
            terms.affinity.iter().filter_map(|term| place(term, node)).for_each(|place| *self.near.entry(place).or_default() += 1);
        }
        let meant = |term: &&Term| term.matches(&other.pod, world);
        self.far.extend(terms.anti_affinity.iter().filter(meant).filter_map(|term| place(term, node)));
        for (terms, sign) in [(&terms.preferred, 1), (&terms.preferred_anti, -1)] {
            for term in terms.iter().filter(meant) {
                place(term, node).into_iter().for_each(|place| *self.liked.entry(place).or_default() += sign * term.weight);
            }
        }
    }

    fn their_view(&mut self, pod: &PodInfo, node: &NodeInfo, other: &PodInfo, world: &World) {
        let Some(terms) = &other.terms else { return };
        let meant = |term: &&Term| term.matches(&pod.pod, world);
        self.unwelcome.extend(terms.anti_affinity.iter().filter(meant).filter_map(|term| place(term, node)));
        // Who requires a pod like this one is glad of it.
        for (terms, sign) in [(&terms.affinity, 1), (&terms.preferred, 1), (&terms.preferred_anti, -1)] {
            for term in terms.iter().filter(meant) {
                place(term, node).into_iter().for_each(|place| *self.liked.entry(place).or_default() += sign * term.weight);
            }
        }
    }
}

fn is_in(places: &HashSet<Place>, node: &NodeInfo) -> bool {
    places.iter().any(|(key, value)| node.label(key) == Some(value))
}

pub(crate) struct InterPodAffinity;

impl Filter for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Vec<Reject> {
        let state = &cycle.affinity;
        let required = cycle.pod.terms.as_ref().map_or(&[][..], |terms| &terms.affinity);
        let places: Option<Vec<Place>> = required.iter().map(|term| place(term, node)).collect();
        let near = match places {
            None => false,
            Some(places) => places.iter().all(|place| state.near.contains_key(place)) || state.near.is_empty() && state.own_kind,
        };
        if !near {
            return vec![Reject::unresolvable("node(s) didn't match pod affinity rules")];
        }
        if is_in(&state.far, node) {
            return vec![Reject::occupied("node(s) didn't match pod anti-affinity rules")];
        }
        if is_in(&state.unwelcome, node) {
            return vec![Reject::occupied("node(s) didn't satisfy existing pods anti-affinity rules")];
        }
        Vec::new()
    }
}

impl Score for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn score(&self, cycle: &Cycle, nodes: &[&NodeInfo]) -> Vec<i64> {
        let liked = &cycle.affinity.liked;
        if liked.is_empty() {
            return vec![0; nodes.len()];
        }
        let sum =
            |node: &&NodeInfo| liked.iter().filter(|((key, value), _)| node.label(key) == Some(value)).map(|(_, weight)| weight).sum();
        let raw: Vec<i64> = nodes.iter().map(sum).collect();
        let (least, most) = (raw.iter().copied().min().unwrap_or(0), raw.iter().copied().max().unwrap_or(0));
        raw.into_iter().map(|value| if most == least { 0 } else { BEST * (value - least) / (most - least) }).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use crate::cycle::tests::{chosen, cluster};
    use crate::pod::tests::{labelled, pod};
    use crate::world::tests::plain;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn term(app: &str, extra: Value) -> Value {
        let mut term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}});
        term.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        term
    }

    fn required(kind: &str, term: Value) -> Value {
        json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
    }

    #[rstest]
    #[case::near(required("podAffinity", term("web", json!({}))), Ok(&["a1", "a2"][..]))]
    #[case::far(required("podAntiAffinity", term("web", json!({}))), Ok(&["b1"][..]))]
    #[case::nobody_there(required("podAffinity", term("db", json!({}))), Err("3 node(s) didn't match pod affinity rules"))]
    #[case::first_of_its_kind(required("podAffinity", term("new", json!({}))), Ok(&["a1", "a2", "b1"][..]))]
    #[case::other_namespace(required("podAffinity", term("web", json!({"namespaces": ["m"]}))), Err("3 node(s) didn't match pod affinity rules"))]
    #[case::by_label_of_namespace(required("podAffinity", term("web", json!({"namespaceSelector": {"matchLabels": {"team": "red"}}}))), Ok(&["a1", "a2"][..]))]
    #[case::preferred(json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
        [{"weight": 100, "podAffinityTerm": term("web", json!({}))}]}}}), Ok(&["a1", "a2"][..]))]
    #[case::unwelcome(json!({"nodeSelector": {"zone": "b"}}), Err("1 node(s) didn't satisfy existing pods anti-affinity rules, 2 node(s) didn't match Pod's node affinity/selector"))]
    fn neighbours(#[case] spec: Value, #[case] expected: Result<&[&str], &str>) {
        let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
        let mut snapshot = cluster(&[("a1", zone("a")), ("a2", zone("a")), ("b1", zone("b"))]);
        snapshot.place(labelled(pod("w", json!({})), "web"), "a1");
        if expected.is_err_and(|why| why.contains("existing")) {
            snapshot.place(labelled(pod("x", required("podAntiAffinity", term("new", json!({})))), "loner"), "b1");
        }
        match (chosen(&labelled(pod("p", spec), "new"), &snapshot, &plain()), expected) {
            (Ok(node), Ok(nodes)) => assert!(nodes.contains(&node.as_str()), "{node}"),
            (Err(message), Err(why)) => assert!(message.contains(why), "{message}"),
            (got, expected) => panic!("{got:?}, not {expected:?}"),
        }
    }
}

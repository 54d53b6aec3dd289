//! The last decisions, to be read by people: which filter said no to which node, and how the others were rated.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::cycle::{Choice, Misfit, Rating};
use crate::plugins::Reject;
use crate::pod::PodInfo;

/// Decisions that are remembered.
const KEPT: usize = 256;
/// Nodes of one decision that are shown.
const NODES: usize = 256;

#[derive(Debug)]
enum Outcome {
    Chose(Choice),
    FoundNone(Misfit, String),
}

#[derive(Debug, Default)]
struct Kept {
    /// By namespace and name.
    last: HashMap<(String, String), (String, Timestamp, Outcome)>,
    order: VecDeque<(String, String)>,
}

/// The last decision about each pod, as far as it is remembered. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Decisions(Arc<Mutex<Kept>>);

fn verdicts(rejects: &[(String, &'static str, Vec<Reject>)]) -> Vec<Value> {
    let verdict = |(node, filter, reasons): &(String, &'static str, Vec<Reject>)| {
        let reasons: Vec<_> = reasons.iter().map(|reject| reject.reason.as_ref()).collect();
        json!({"node": node, "fits": false, "filter": filter, "reasons": reasons})
    };
    rejects.iter().take(NODES).map(verdict).collect()
}

fn ratings(choice: &Choice) -> Vec<Value> {
    let rated = |(at, node): (usize, &String)| {
        let score = |rating: &Rating| rating.scores.get(at).copied().unwrap_or(0);
        let total: i64 = choice.ratings.iter().map(|rating| rating.weight * score(rating)).sum();
        let each = choice.ratings.iter().map(|rating| json!({"plugin": rating.plugin, "weight": rating.weight, "score": score(rating)}));
        json!({"node": node, "fits": true, "score": total, "scores": each.collect::<Vec<_>>()})
    };
    choice.fitting.iter().enumerate().take(NODES).map(rated).collect()
}

impl Decisions {
    /// The last decision about the pod: `{uid, at, node?, message?, nodes: [{node, fits, filter?, reasons?, score?, scores?}]}`.
    pub fn of(&self, namespace: &str, name: &str) -> Option<Value> {
        let kept = self.0.lock();
        let (uid, at, outcome) = kept.last.get(&(namespace.to_owned(), name.to_owned()))?;
        Some(match outcome {
            Outcome::Chose(choice) => {
                let nodes = [ratings(choice), verdicts(&choice.rejects)].concat();
                json!({"uid": uid, "at": at, "node": choice.node, "nodes": nodes})
            }
            Outcome::FoundNone(misfit, message) => json!({"uid": uid, "at": at, "message": message, "nodes": verdicts(&misfit.rejects)}),
        })
    }

    pub(crate) fn chose(&self, pod: &PodInfo, choice: Choice, now: Timestamp) {
        self.keep(pod, Outcome::Chose(choice), now);
    }

    pub(crate) fn found_none(&self, pod: &PodInfo, misfit: Misfit, message: String, now: Timestamp) {
        self.keep(pod, Outcome::FoundNone(misfit, message), now);
    }

    fn keep(&self, pod: &PodInfo, outcome: Outcome, now: Timestamp) {
        let key = (pod.namespace().to_owned(), pod.name().to_owned());
        let mut kept = self.0.lock();
        if kept.last.insert(key.clone(), (pod.uid().to_owned(), now, outcome)).is_none() {
            kept.order.push_back(key);
        }
        while kept.order.len() > KEPT {
            let oldest = kept.order.pop_front().unwrap_or_default();
            kept.last.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::cycle::choose;
    use crate::cycle::tests::cluster;
    use crate::pod::tests::pod;
    use crate::world::tests::plain;

    #[test]
    fn a_decision_tells_of_every_node() {
        let snapshot = cluster(&[("n1", json!({})), ("n2", json!({})), ("n3", json!({"spec": {"unschedulable": true}}))]);
        let (decisions, wanted) = (Decisions::default(), pod("p", json!({})));
        let choice = choose(&wanted, &snapshot, &plain(), &mut rand::rng()).unwrap_or_else(|misfit| panic!("{misfit:?}"));
        decisions.chose(&wanted, choice, Timestamp::UNIX_EPOCH);
        let told = decisions.of("n", "p").unwrap();
        let nodes = told["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 3);
        let out = nodes.iter().find(|node| node["node"] == "n3").unwrap();
        assert_eq!((&out["filter"], &out["reasons"][0]), (&json!("NodeUnschedulable"), &json!("node(s) were unschedulable")));
        assert!(nodes.iter().any(|node| node["fits"] == true && node["scores"].as_array().unwrap().len() > 5));
        assert_eq!(decisions.of("n", "other"), None);
    }
}

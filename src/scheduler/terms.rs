//! What a pod asks of other pods: affinity terms and spread constraints, ready to match.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::{Selector, SelectorExt};

use crate::world::World;

/// One term of pod affinity or anti-affinity.
#[derive(Debug)]
pub(crate) struct Term {
    pub topology_key: String,
    selector: Option<Selector>,
    namespaces: Vec<String>,
    namespace_selector: Option<Selector>,
    pub weight: i64,
}

/// All terms of a pod.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    pub affinity: Vec<Term>,
    pub anti_affinity: Vec<Term>,
    pub preferred: Vec<Term>,
    pub preferred_anti: Vec<Term>,
}

/// One spread constraint.
#[derive(Debug)]
pub(crate) struct Spread {
    pub topology_key: String,
    pub max_skew: i64,
    pub min_domains: i64,
    pub hard: bool,
    pub honors_affinity: bool,
    pub honors_taints: bool,
    selector: Option<Selector>,
}

fn labels(pod: &Pod) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    pod.metadata.labels.as_ref().unwrap_or(&NONE)
}

/// The selector, narrowed to pods that agree (or disagree) with this pod in the given labels.
fn narrowed(selector: Option<&LabelSelector>, pod: &Pod, same: Option<&Vec<String>>, other: Option<&Vec<String>>) -> Option<Selector> {
    let mut selector = selector?.clone();
    let keys = same.into_iter().flatten().map(|key| (key, "In")).chain(other.into_iter().flatten().map(|key| (key, "NotIn")));
    for (key, operator) in keys {
        if let Some(value) = labels(pod).get(key) {
            let (key, operator, values) = (key.clone(), operator.to_owned(), Some(vec![value.clone()]));
            selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement { key, operator, values });
        }
    }
    Selector::try_from(selector).ok()
}

impl Term {
    fn new(pod: &Pod, term: &PodAffinityTerm, weight: i64) -> Self {
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(pod.metadata.namespace.clone().unwrap_or_default());
        }
        Self {
            topology_key: term.topology_key.clone(),
            selector: narrowed(term.label_selector.as_ref(), pod, term.match_label_keys.as_ref(), term.mismatch_label_keys.as_ref()),
            namespaces,
            namespace_selector: term.namespace_selector.clone().and_then(|selector| Selector::try_from(selector).ok()),
            weight,
        }
    }

    /// Does the term mean this pod.
    pub(crate) fn matches(&self, pod: &Pod, world: &World) -> bool {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let here = self.namespaces.iter().any(|one| one == namespace)
            || self.namespace_selector.as_ref().is_some_and(|selector| selector.matches(&world.namespace_labels(namespace)));
        here && self.selector.as_ref().is_some_and(|selector| selector.matches(labels(pod)))
    }
}

impl Terms {
    /// `None` for a pod without any.
    pub(crate) fn of(pod: &Pod) -> Option<Arc<Self>> {
        let affinity = pod.spec.as_ref()?.affinity.as_ref()?;
        let mut terms = Self::default();
        if let Some(own) = &affinity.pod_affinity {
            let required = own.required_during_scheduling_ignored_during_execution.iter().flatten();
            let preferred = own.preferred_during_scheduling_ignored_during_execution.iter().flatten();
            terms.affinity = required.map(|term| Term::new(pod, term, 1)).collect();
            terms.preferred = preferred.map(|term| Term::new(pod, &term.pod_affinity_term, term.weight.into())).collect();
        }
        if let Some(own) = &affinity.pod_anti_affinity {
            let required = own.required_during_scheduling_ignored_during_execution.iter().flatten();
            let preferred = own.preferred_during_scheduling_ignored_during_execution.iter().flatten();
            terms.anti_affinity = required.map(|term| Term::new(pod, term, 1)).collect();
            terms.preferred_anti = preferred.map(|term| Term::new(pod, &term.pod_affinity_term, term.weight.into())).collect();
        }
        let empty = [&terms.affinity, &terms.anti_affinity, &terms.preferred, &terms.preferred_anti].iter().all(|list| list.is_empty());
        (!empty).then(|| Arc::new(terms))
    }
}

impl Spread {
    pub(crate) fn of(pod: &Pod) -> Vec<Arc<Self>> {
        let constraints = pod.spec.iter().flat_map(|spec| spec.topology_spread_constraints.iter().flatten());
        constraints.map(|constraint| Arc::new(Self::new(pod, constraint))).collect()
    }

    fn new(pod: &Pod, constraint: &TopologySpreadConstraint) -> Self {
        Self {
            topology_key: constraint.topology_key.clone(),
            max_skew: constraint.max_skew.into(),
            min_domains: constraint.min_domains.unwrap_or(1).into(),
            hard: constraint.when_unsatisfiable == "DoNotSchedule",
            honors_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honors_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
            selector: narrowed(constraint.label_selector.as_ref(), pod, constraint.match_label_keys.as_ref(), None),
        }
    }

    /// Does `other` count, for a constraint of a pod in `namespace`.
    pub(crate) fn counts(&self, namespace: &str, other: &Pod) -> bool {
        other.metadata.namespace.as_deref() == Some(namespace)
            && other.metadata.deletion_timestamp.is_none()
            && self.selector.as_ref().is_some_and(|selector| selector.matches(labels(other)))
    }
}

//! The two strategies, and scaling while a rollout is under way. Each function does one phase and says whether it scaled
//! anything; the next phase follows when the effects of this one are visible.

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::plan::Rollout;
use super::replicas::{available, desired, existing, is_rolling, max_surge, max_unavailable};
use super::revision;

/// One step of a rolling update: more of the new, else fewer of the old.
pub(crate) fn roll(rollout: &mut Rollout) -> bool {
    rollout.ensure_new(|rollout, _| room_for_new(rollout, 0));
    let Some(new) = rollout.new else { return false };
    if scale_new(rollout, new) {
        return true;
    }
    shrink_old(rollout, new)
}

/// Replicas the new set may have when it has `told` now: never more in total than desired plus surge.
fn room_for_new(rollout: &Rollout, told: i32) -> i32 {
    let desired = desired(rollout.deployment);
    let room = desired + max_surge(rollout.deployment) - rollout.told_total();
    if room <= 0 { told } else { told + room.min(desired - told) }
}

fn scale_new(rollout: &mut Rollout, new: usize) -> bool {
    let (told, desired) = (rollout.sets[new].told(), desired(rollout.deployment));
    let target = match told.cmp(&desired) {
        std::cmp::Ordering::Equal => return false,
        std::cmp::Ordering::Greater => desired,
        std::cmp::Ordering::Less => room_for_new(rollout, told),
    };
    scale(rollout, new, target)
}

fn scale(rollout: &mut Rollout, at: usize, replicas: i32) -> bool {
    if rollout.sets[at].told() == replicas {
        return false;
    }
    rollout.sets[at].scale(rollout.deployment, replicas);
    true
}

/// Takes replicas from the old sets: first those that are not available anyway, then as many as availability allows.
fn shrink_old(rollout: &mut Rollout, new: usize) -> bool {
    let old = rollout.active_old();
    if old.is_empty() {
        return false;
    }
    let least = desired(rollout.deployment) - max_unavailable(rollout.deployment);
    let new_unavailable = rollout.sets[new].told() - available(&rollout.sets[new].set);
    let budget = rollout.told_total() - least - new_unavailable;
    if budget <= 0 {
        return false;
    }
    let unhealthy = drop_unhealthy(rollout, &old, budget);
    let healthy = drop_available(rollout, &old, least);
    unhealthy || healthy
}

fn drop_unhealthy(rollout: &mut Rollout, old: &[usize], mut budget: i32) -> bool {
    let mut scaled = false;
    for &at in old {
        let told = rollout.sets[at].told();
        let drop = (told - available(&rollout.sets[at].set)).min(budget);
        if drop > 0 {
            scaled |= scale(rollout, at, told - drop);
            budget -= drop;
        }
    }
    scaled
}

fn drop_available(rollout: &mut Rollout, old: &[usize], least: i32) -> bool {
    // A set that was just told to shrink still shows pods that are about to go. Upstream counts them; a rollout that
    // changes its mind in that moment would then fall below its minimum.
    let there: i32 = rollout.sets.iter().map(|working| available(&working.set).min(working.told())).sum();
    let mut spare = there - least;
    let mut scaled = false;
    for &at in old {
        let told = rollout.sets[at].told();
        let drop = told.min(spare);
        if drop > 0 {
            scaled |= scale(rollout, at, told - drop);
            spare -= drop;
        }
    }
    scaled
}

/// One step of Recreate: everything old goes, then the new comes.
pub(crate) fn recreate(rollout: &mut Rollout, runs_old_pods: impl FnOnce(Option<&ReplicaSet>) -> bool) -> bool {
    rollout.refresh_new();
    let old = rollout.active_old();
    for &at in &old {
        scale(rollout, at, 0);
    }
    if !old.is_empty() {
        return true;
    }
    let left = rollout.old().any(|at| existing(&rollout.sets[at].set) > 0);
    if left || runs_old_pods(rollout.new.map(|at| &rollout.sets[at].set)) {
        // Not done: nothing may be cleaned up.
        return true;
    }
    let desired = desired(rollout.deployment);
    rollout.ensure_new(|_, _| desired);
    rollout.new.is_some_and(|new| scale(rollout, new, desired))
}

/// Scales to a new size of the deployment: the only active set, or all of them in proportion to their sizes.
pub(crate) fn scale_in_proportion(rollout: &mut Rollout) {
    let deployment = rollout.deployment;
    let desired = desired(deployment);
    let active: Vec<usize> = (0..rollout.sets.len()).filter(|&at| rollout.sets[at].told() > 0).collect();
    let only = match active[..] {
        [] => rollout.new.or_else(|| rollout.old().max_by_key(|&at| revision::by_age(&rollout.sets[at].set))),
        [only] => Some(only),
        _ => None,
    };
    if let Some(only) = only {
        scale_and_note(rollout, only, desired);
        return;
    }
    if active.is_empty() {
        return;
    }
    if rollout.new.is_some_and(|new| is_saturated(rollout, new)) {
        for at in rollout.active_old() {
            scale(rollout, at, 0);
        }
        return;
    }
    if is_rolling(deployment) {
        spread(rollout, active);
    }
}

fn scale_and_note(rollout: &mut Rollout, at: usize, replicas: i32) {
    rollout.sets[at].scale(rollout.deployment, replicas);
}

/// The new set carries the deployment alone.
fn is_saturated(rollout: &Rollout, new: usize) -> bool {
    let (set, desired) = (&rollout.sets[new].set, desired(rollout.deployment));
    let told = rollout.sets[new].told();
    told == desired && revision::noted_desired(set) == Some(desired) && available(set) == desired
}

fn spread(rollout: &mut Rollout, mut active: Vec<usize>) {
    let desired = desired(rollout.deployment);
    let allowed = if desired > 0 { desired + max_surge(rollout.deployment) } else { 0 };
    let change = allowed - active.iter().map(|&at| rollout.sets[at].told()).sum::<i32>();
    // The biggest first; of equal ones the newest gains first and the oldest loses first.
    active.sort_by_key(|&at| revision::by_age(&rollout.sets[at].set));
    if change > 0 {
        active.reverse();
    }
    active.sort_by_key(|&at| -rollout.sets[at].told());
    let mut added = 0;
    let mut sizes = Vec::with_capacity(active.len());
    for &at in &active {
        let share = share(rollout, at, change, added);
        sizes.push(rollout.sets[at].told() + share);
        added += share;
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + change - added).max(0);
    }
    for (at, size) in active.into_iter().zip(sizes) {
        scale_and_note(rollout, at, size);
    }
}

/// The part of `change` that a set takes, `added` being given out already.
fn share(rollout: &Rollout, at: usize, change: i32, added: i32) -> i32 {
    let told = rollout.sets[at].told();
    if told == 0 || change == 0 || change == added {
        return 0;
    }
    let fraction = fraction(rollout, at);
    if change > 0 { fraction.min(change - added) } else { fraction.max(change - added) }
}

/// How much a set would grow (or shrink, negative) if it kept its part of the deployment.
fn fraction(rollout: &Rollout, at: usize) -> i32 {
    let (told, desired) = (rollout.sets[at].told(), desired(rollout.deployment));
    if desired == 0 {
        return -told;
    }
    let most = desired + max_surge(rollout.deployment);
    let recorded = revision::noted_max(&rollout.sets[at].set).filter(|&most| most != 0);
    let before = recorded.or_else(|| rollout.deployment.status.as_ref()?.replicas).unwrap_or(0);
    if before == 0 {
        return 0;
    }
    let size = f64::from(told) * f64::from(most) / f64::from(before);
    // Sizes are far within the range of an i32.
    #[allow(clippy::cast_possible_truncation)]
    let size = size.round() as i32;
    size - told
}

//! What the node and its pods use, as the resource metrics API tells it: rates between two looks, taken when somebody asks.

use std::collections::HashMap;
use std::time::Duration;

use coracle_api::seams::{ContainerUsage, NodeUsage, PodUsage, Used};
use futures::StreamExt;
use jiff::Timestamp;

use crate::agent::{Agent, machine};
use crate::pod::is_terminal;
use crate::runtime::{Container, ContainerState, Usage};

/// An answer is given again for so long.
const FRESH: Duration = Duration::from_secs(5);
/// A look before that is older than this says little about now.
const STALE: Duration = Duration::from_secs(120);
/// Between two looks where there is none to compare with.
const FIRST: Duration = Duration::from_secs(1);
/// Containers looked at together.
const TOGETHER: usize = 16;

/// The last look and what was answered.
#[derive(Default)]
pub(crate) struct Usages(tokio::sync::Mutex<Option<(Look, Option<NodeUsage>)>>);

/// What had been used by a moment.
struct Look {
    at: Timestamp,
    machine: Option<Usage>,
    /// By pod.
    pods: Vec<(String, Vec<(Container, Usage)>)>,
}

fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    later.duration_since(earlier).try_into().unwrap_or_default()
}

impl Usages {
    /// What is used now.
    pub(crate) async fn now(&self, agent: &Agent) -> NodeUsage {
        let mut state = self.0.lock().await;
        let now = agent.clock.now();
        if let Some((_, Some(answer))) = state.as_ref().filter(|(look, _)| since(look.at, now) < FRESH) {
            return answer.clone();
        }
        let before = match state.take() {
            Some((look, _)) if since(look.at, now) < STALE => look,
            _ => {
                let look = look(agent).await;
                tokio::time::sleep(FIRST).await;
                look
            }
        };
        let after = look(agent).await;
        let answer = between(&before, &after);
        *state = Some((after, Some(answer.clone())));
        answer
    }
}

async fn look(agent: &Agent) -> Look {
    let workers: Vec<_> = agent.workers.lock().values().cloned().collect();
    let pods = workers.into_iter().filter(|worker| !is_terminal(&worker.pod())).map(|worker| worker.uid.clone());
    let looks = pods.map(|uid| async move {
        let (_, containers) = agent.runtime.pod(&uid).await.unwrap_or_default();
        let mut used = Vec::new();
        for container in containers.into_iter().filter(crate::pod::plan::is_running) {
            if let Ok(usage) = agent.runtime.usage(&container.id).await {
                used.push((container, usage));
            }
        }
        (uid, used)
    });
    let pods = futures::stream::iter(looks).buffer_unordered(TOGETHER).filter(|(_, used)| std::future::ready(!used.is_empty()));
    let pods = pods.collect().await;
    Look { at: agent.clock.now(), machine: agent.runtime.has_files().then(machine::used), pods }
}

/// Rates over a time.
fn rate(before: Option<Usage>, after: Usage, window: Duration) -> Used {
    let spent = after.cpu_nanoseconds.saturating_sub(before.unwrap_or_default().cpu_nanoseconds);
    let nanos = window.as_nanos().max(1);
    let cpu_nanocores = u64::try_from(u128::from(spent) * 1_000_000_000 / nanos).unwrap_or(u64::MAX);
    Used { cpu_nanocores, memory_bytes: after.memory_bytes }
}

fn between(before: &Look, after: &Look) -> NodeUsage {
    let window = since(before.at, after.at);
    let known: HashMap<&str, Usage> = before
        .pods
        .iter()
        .flat_map(|(_, containers)| containers.iter().map(|(container, usage)| (container.id.as_str(), *usage)))
        .collect();
    let of_container = |(container, usage): &(Container, Usage)| {
        let earlier = known.get(container.id.as_str()).copied();
        let window = match (earlier, &container.state) {
            // It was not there at the look before.
            (None, ContainerState::Running { started }) => since(*started, after.at),
            _ => window,
        };
        ContainerUsage { name: container.name.clone(), used: rate(earlier, *usage, window) }
    };
    let mut pods: Vec<PodUsage> = after
        .pods
        .iter()
        .map(|(uid, containers)| PodUsage { uid: uid.clone(), containers: containers.iter().map(of_container).collect() })
        .collect();
    pods.iter_mut().for_each(|pod| pod.containers.sort_by(|a, b| a.name.cmp(&b.name)));
    let sum = || {
        pods.iter().flat_map(|pod| &pod.containers).fold(Used::default(), |sum, container| Used {
            cpu_nanocores: sum.cpu_nanocores + container.used.cpu_nanocores,
            memory_bytes: sum.memory_bytes + container.used.memory_bytes,
        })
    };
    let used = after.machine.map_or_else(sum, |machine| rate(before.machine, machine, window));
    NodeUsage { at: after.at, window, used, pods }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn container(id: &str, started: i64) -> Container {
        Container {
            id: id.to_owned(),
            sandbox_id: String::new(),
            pod_uid: "u".to_owned(),
            name: id.to_owned(),
            attempt: 0,
            image: String::new(),
            image_id: String::new(),
            created: at(started),
            state: ContainerState::Running { started: at(started) },
            pid: None,
            labels: Default::default(),
            log_path: Default::default(),
        }
    }

    #[test]
    fn rates_are_of_the_time_between_looks_or_since_the_start() {
        let seconds = |cpu: u64| Usage { cpu_nanoseconds: cpu * 1_000_000_000, memory_bytes: cpu };
        let look = |second: i64, containers: Vec<(Container, Usage)>| Look {
            at: at(second),
            machine: None,
            pods: vec![("u".to_owned(), containers)],
        };
        let before = look(100, vec![(container("old", 0), seconds(50))]);
        let after = look(110, vec![(container("old", 0), seconds(55)), (container("new", 106), seconds(1))]);
        let told = between(&before, &after);
        let cores: Vec<_> = told.pods[0].containers.iter().map(|one| (one.name.as_str(), one.used.cpu_nanocores)).collect();
        assert_eq!(cores, [("new", 250_000_000), ("old", 500_000_000)]);
        assert_eq!((told.window, told.used.cpu_nanocores, told.used.memory_bytes), (Duration::from_secs(10), 750_000_000, 56));
    }
}

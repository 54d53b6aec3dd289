//! Startup, liveness and readiness probes: one task per probe and pod, whose clock goes on through restarts.

mod exec;
mod grpc;
pub(crate) mod http;
mod tcp;
mod tls;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::EventType;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Probe};
use parking_lot::Mutex;

use crate::agent::Agent;
use crate::pod::plan::{Observed, Probed};
use crate::pod::worker::PodWorker;
use crate::pod::{Member, Role, host_network, member, members};
use crate::runtime::{Container, ContainerState};
use crate::status::Health;

/// Which of a container's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    fn word(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    fn of(self, member: &Member<'_>) -> Option<Probe> {
        match self {
            Self::Startup => member.spec.startup_probe.clone(),
            Self::Liveness => member.spec.liveness_probe.clone(),
            Self::Readiness => member.spec.readiness_probe.clone(),
        }
    }
}

/// What one attempt found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    Success,
    /// Succeeded, with something to say.
    Warning(String),
    Failure(String),
    /// Could not be found out.
    Unknown(String),
}

/// What is known of one probe of the current instance.
#[derive(Debug, Clone, Default)]
struct Track {
    container_id: String,
    /// The result in force; `None`: no answer yet.
    result: Option<bool>,
    last: Option<bool>,
    run: i32,
    /// The instance is to be replaced: nothing is asked until it is.
    hold: bool,
}

impl Track {
    /// Takes an answer in; says whether the result in force changed.
    fn take(&mut self, probe: &Probe, kind: Kind, ok: bool) -> bool {
        self.run = if self.last == Some(ok) { self.run + 1 } else { 1 };
        self.last = Some(ok);
        let needed = if ok { probe.success_threshold.unwrap_or(1) } else { probe.failure_threshold.unwrap_or(3) };
        if self.run < needed.max(1) {
            return false;
        }
        let changed = self.result != Some(ok);
        self.result = Some(ok);
        if !ok && kind != Kind::Readiness {
            self.hold = true;
            self.run = 0;
        }
        changed
    }
}

#[derive(Default)]
struct State {
    /// Running instances: container name, id and start.
    running: Vec<(String, String, Timestamp)>,
    tracks: BTreeMap<(String, Kind), Track>,
    tasks: BTreeMap<(String, Kind), tokio::task::JoinHandle<()>>,
}

/// The probes of one pod.
#[derive(Default)]
pub(crate) struct Probes(Mutex<State>);

impl Drop for Probes {
    fn drop(&mut self) {
        self.0.get_mut().tasks.values().for_each(tokio::task::JoinHandle::abort);
    }
}

fn has_probe(member: &Member<'_>) -> bool {
    Kind::ALL.iter().any(|kind| kind.of(member).is_some())
}

impl Probes {
    /// Takes in which instances run; a new one begins without results.
    pub(crate) fn observe(&self, pod: &Pod, observed: &Observed) {
        let mut state = self.0.lock();
        state.running = observed
            .running()
            .filter_map(|container| match container.state {
                ContainerState::Running { started } => Some((container.name.clone(), container.id.clone(), started)),
                _ => None,
            })
            .collect();
        let State { running, tracks, .. } = &mut *state;
        for member in members(pod).filter(has_probe) {
            let Some((_, id, _)) = running.iter().find(|(name, ..)| *name == member.spec.name) else { continue };
            for kind in Kind::ALL.into_iter().filter(|kind| kind.of(&member).is_some()) {
                let track = tracks.entry((member.spec.name.clone(), kind)).or_default();
                if track.container_id != *id {
                    *track = Track { container_id: id.clone(), ..Track::default() };
                }
            }
        }
    }

    /// Whether the instances that run are not those last seen.
    pub(crate) fn is_outdated<'a>(&self, containers: impl Iterator<Item = &'a Container>) -> bool {
        let state = self.0.lock();
        let mut seen = 0;
        for container in containers.filter(|container| matches!(container.state, ContainerState::Running { .. })) {
            if !state.running.iter().any(|(_, id, _)| *id == container.id) {
                return true;
            }
            seen += 1;
        }
        seen != state.running.len()
    }

    /// Starts a task for each probe of a running container that has none.
    pub(crate) fn start(&self, agent: &Arc<Agent>, worker: &Arc<PodWorker>, observed: &Observed) {
        let pod = worker.pod();
        for container in observed.running() {
            let Some(member) = member(&pod, &container.name).filter(|member| matches!(member.role, Role::Main | Role::Sidecar)) else {
                continue;
            };
            for kind in Kind::ALL {
                let Some(probe) = kind.of(&member) else { continue };
                let key = (container.name.clone(), kind);
                let mut state = self.0.lock();
                if state.tasks.contains_key(&key) {
                    continue;
                }
                let task = Task { agent: agent.clone(), worker: Arc::downgrade(worker), name: container.name.clone(), kind, probe };
                state.tasks.insert(key, tokio::spawn(task.run()));
            }
        }
    }

    /// Ends all tasks.
    pub(crate) fn stop(&self) {
        let tasks = std::mem::take(&mut self.0.lock().tasks);
        tasks.values().for_each(tokio::task::JoinHandle::abort);
    }

    /// What the plan has to know.
    pub(crate) fn probed(&self, observed: &Observed) -> Probed {
        let state = self.0.lock();
        let mut out = Probed::default();
        for container in observed.running() {
            let result = |kind| {
                let track = state.tracks.get(&(container.name.clone(), kind))?;
                (track.container_id == container.id).then_some(track.result)
            };
            if result(Kind::Startup).is_some_and(|result| result != Some(true)) {
                out.unstarted.insert(container.id.clone());
            }
            for kind in [Kind::Startup, Kind::Liveness] {
                if result(kind) == Some(Some(false)) {
                    out.failed.insert(container.id.clone(), kind.word());
                }
            }
        }
        out
    }

    /// What the status shows of running instances that have probes.
    pub(crate) fn health(&self, observed: &Observed) -> BTreeMap<String, Health> {
        let state = self.0.lock();
        let mut out = BTreeMap::new();
        for container in observed.running() {
            let result = |kind| state.tracks.get(&(container.name.clone(), kind)).map(|track| track.result == Some(true));
            let (startup, readiness) = (result(Kind::Startup), result(Kind::Readiness));
            if startup.is_some() || readiness.is_some() {
                out.insert(container.id.clone(), Health { started: startup.unwrap_or(true), ready: readiness.unwrap_or(true) });
            }
        }
        out
    }

    /// The instance to ask now, if the probe's time has come.
    fn due(&self, name: &str, kind: Kind, probe: &Probe, now: Timestamp) -> Option<String> {
        let state = self.0.lock();
        let (_, id, started) = state.running.iter().find(|(running, ..)| running == name)?;
        let track = state.tracks.get(&(name.to_owned(), kind))?;
        let delay = Duration::from_secs(u64::try_from(probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0));
        if track.container_id != *id || track.hold || now < *started + delay {
            return None;
        }
        let startup = state.tracks.get(&(name.to_owned(), Kind::Startup)).map(|track| track.result == Some(true));
        let in_turn = match kind {
            Kind::Startup => startup != Some(true),
            Kind::Liveness | Kind::Readiness => startup != Some(false),
        };
        in_turn.then(|| id.clone())
    }

    fn take(&self, name: &str, kind: Kind, probe: &Probe, id: &str, ok: bool) -> bool {
        let mut state = self.0.lock();
        let Some(track) = state.tracks.get_mut(&(name.to_owned(), kind)) else { return false };
        track.container_id == id && track.take(probe, kind, ok)
    }
}

/// One probe of one container.
struct Task {
    agent: Arc<Agent>,
    worker: std::sync::Weak<PodWorker>,
    name: String,
    kind: Kind,
    probe: Probe,
}

impl Task {
    async fn run(self) {
        let period = Duration::from_secs(u64::try_from(self.probe.period_seconds.unwrap_or(10)).unwrap_or(10).max(1));
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let Some(worker) = self.worker.upgrade() else { return };
            let Some(id) = worker.probes.due(&self.name, self.kind, &self.probe, self.agent.clock.now()) else { continue };
            let pod = worker.pod();
            let finding = self.ask(&pod, &id).await;
            self.tell(&pod, &finding);
            let ok = match finding {
                Finding::Success | Finding::Warning(_) => true,
                Finding::Failure(_) => false,
                Finding::Unknown(_) => continue,
            };
            if worker.probes.take(&self.name, self.kind, &self.probe, &id, ok) {
                worker.poke();
            }
        }
    }

    fn tell(&self, pod: &Pod, finding: &Finding) {
        let title = self.kind.title();
        let (reason, message) = match finding {
            Finding::Success => return,
            Finding::Warning(text) => ("ProbeWarning", format!("{title} probe warning: {text}")),
            Finding::Failure(text) => ("Unhealthy", format!("{title} probe failed: {text}")),
            Finding::Unknown(text) => ("Unhealthy", format!("{title} probe errored and resulted in unknown state: {text}")),
        };
        let path = member(pod, &self.name).map(|member| member.field_path());
        self.agent.event(pod, path, EventType::Warning, reason, message);
    }

    async fn ask(&self, pod: &Pod, id: &str) -> Finding {
        if let Some(scripted) = self.agent.runtime.scripted_probe(id, self.kind.word()).await {
            return scripted.map_or_else(Finding::Failure, |()| Finding::Success);
        }
        let timeout = Duration::from_secs(u64::try_from(self.probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1));
        let status = pod.status.clone().unwrap_or_default();
        let ips: Vec<IpAddr> = if host_network(pod) {
            self.agent.host_ips()
        } else {
            status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect()
        };
        let member = member(pod, &self.name);
        let spec = member.as_ref().map(|member| member.spec.as_ref());
        let hosted = host_network(pod);
        if let Some(action) = &self.probe.exec {
            return exec::probe(&self.agent, id, action.command.as_deref().unwrap_or_default(), timeout).await;
        }
        if let Some(get) = &self.probe.http_get {
            return match http::Request::of(get, spec, &ips) {
                Ok(request) => http::probe(&self.agent, hosted, &request, timeout).await,
                Err(text) => Finding::Unknown(text),
            };
        }
        if let Some(action) = &self.probe.tcp_socket {
            return tcp::probe(&self.agent, hosted, action, spec, &ips, timeout).await;
        }
        if let Some(action) = &self.probe.grpc {
            return grpc::probe(&self.agent, hosted, action, &ips, timeout).await;
        }
        Finding::Unknown("missing probe handler".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;

    use super::*;

    /// Answers as `+` and `-`; results in force after each as `+`, `-` and `.` (none yet).
    #[rstest]
    #[case::readiness(Kind::Readiness, 1, 2, "-+--+", ".++-+")]
    #[case::needs_two(Kind::Readiness, 2, 1, "+++-+", ".++--")]
    #[case::liveness(Kind::Liveness, 1, 3, "--+--- ", "..+++-")]
    fn thresholds(#[case] kind: Kind, #[case] success: i32, #[case] failure: i32, #[case] answers: &str, #[case] expected: &str) {
        let probe = Probe { success_threshold: Some(success), failure_threshold: Some(failure), ..Probe::default() };
        let mut track = Track::default();
        let mut seen = String::new();
        for answer in answers.trim().chars() {
            track.take(&probe, kind, answer == '+');
            seen.push(match track.result {
                None => '.',
                Some(true) => '+',
                Some(false) => '-',
            });
        }
        assert_eq!(seen, expected);
        assert_eq!(track.hold, kind == Kind::Liveness);
    }
}

//! The copy in memory: made of what the engine lists, renewed at every event, and from the start when the engine was away.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::Docker as Client;
use bollard::models::{EventMessage, EventMessageTypeEnum as Kind};
use bollard::query_parameters::{EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder};
use futures::StreamExt;
use jiff::Timestamp;

use super::record::{CLUSTER, NODE, Record};
use super::{Docker, failed, is_missing};
use crate::runtime::{ContainerState, RuntimeError, RuntimeEvent};

/// Between two attempts to reach an engine that is away.
const PAUSE: Duration = Duration::from_secs(1);
/// Changes of a container that matter.
const ACTIONS: [&str; 5] = ["start", "die", "oom", "destroy", "rename"];
/// Changes of images that matter.
const IMAGE_ACTIONS: [&str; 6] = ["pull", "load", "import", "tag", "untag", "delete"];
/// How many containers are looked at at once.
const AT_ONCE: usize = 16;

/// Ids of containers with these labels.
pub(super) async fn labelled(client: &Client, labels: &[String]) -> Result<Vec<String>, RuntimeError> {
    let filters = HashMap::from([("label", labels.to_vec())]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let found = client.list_containers(Some(options)).await.map_err(failed)?;
    Ok(found.into_iter().filter_map(|container| container.id).collect())
}

impl Docker {
    fn labels(&self) -> [String; 2] {
        [format!("{CLUSTER}={}", self.0.config.cluster), format!("{NODE}={}", self.0.config.node)]
    }

    /// Compares with everything the engine has.
    async fn relist(&self) -> Result<(), RuntimeError> {
        let ids = labelled(self.client(), &self.labels()).await?;
        let known: Vec<String> = {
            let state = self.0.state.lock();
            state.sandboxes.keys().chain(state.containers.keys()).cloned().collect()
        };
        for gone in known.iter().filter(|id| !ids.contains(id)) {
            self.is_gone(gone);
        }
        let looks = futures::stream::iter(ids).map(|id| async move { self.look(&id).await });
        for result in looks.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
            result?;
        }
        Ok(())
    }

    /// Takes over what is there; what a crash left half made is removed.
    pub(super) async fn adopt(&self) -> Result<(), RuntimeError> {
        self.relist().await?;
        let (rubbish, sandboxes) = {
            let state = self.0.state.lock();
            let alone = state.containers.iter().filter(|(_, c)| !state.sandboxes.contains_key(&c.container.borrow().sandbox_id));
            let empty = state.sandboxes.iter().filter(|(id, entry)| !entry.sandbox.ready && state.members(id).is_empty());
            (alone.map(|(id, _)| id.clone()).collect::<Vec<_>>(), empty.map(|(id, _)| id.clone()).collect::<Vec<_>>())
        };
        for id in rubbish {
            self.forget_container(&id).await?;
        }
        for id in sandboxes {
            self.forget_sandbox(&id).await?;
        }
        Ok(())
    }

    /// Looks at one container and takes note.
    pub(super) async fn look(&self, id: &str) -> Result<(), RuntimeError> {
        let mut look = self.0.looks.fetch_add(1, Ordering::Relaxed);
        let broke_off = self.kept_is_over(id);
        let found = match self.client().inspect_container(id, None::<InspectContainerOptions>).await {
            Ok(found) => found,
            Err(error) if is_missing(&error) => {
                self.is_gone(id);
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        };
        match Record::of(&found) {
            Some(Record::Sandbox(record)) => {
                let uid = record.uid.clone();
                if self.note_sandbox(id, &found, record, look) {
                    self.publish(RuntimeEvent::Sandbox { pod_uid: uid });
                }
            }
            Some(Record::Container(record)) => {
                let container = super::record::container(&found, &record);
                if broke_off && matches!(container.state, ContainerState::Running { .. }) {
                    drop(self.take_kept(id));
                }
                let is_new = self.process(id).is_err();
                if is_new {
                    // Known as running first, so that its end comes after its log.
                    let mut begun = found.clone();
                    if matches!(container.state, ContainerState::Exited { started: Some(_), .. })
                        && let Some(state) = &mut begun.state
                    {
                        state.status = Some(bollard::models::ContainerStateStatusEnum::RUNNING);
                    }
                    self.note_container(id, &begun, &record, look);
                }
                self.follow(id, &container);
                if matches!(container.state, ContainerState::Exited { .. }) {
                    self.log_written(id).await;
                    look = self.0.looks.fetch_add(1, Ordering::Relaxed);
                }
                if self.note_container(id, &found, &record, look) || is_new {
                    self.publish(RuntimeEvent::Container { pod_uid: record.uid });
                }
            }
            None => {}
        }
        Ok(())
    }

    fn is_gone(&self, id: &str) {
        let mut state = self.0.state.lock();
        if let Some(entry) = state.sandboxes.remove(id) {
            entry.ready.send_replace(false);
            drop(state);
            self.publish(RuntimeEvent::Sandbox { pod_uid: entry.sandbox.pod_uid });
        } else if let Some(entry) = state.containers.remove(id) {
            drop(state);
            if let Some(follower) = entry.follower {
                follower.stop();
            }
            self.publish(RuntimeEvent::Container { pod_uid: entry.container.borrow().pod_uid.clone() });
        }
    }

    /// Follows the engine's events for as long as the runtime is there.
    pub(super) fn watch(&self) {
        let (weak, stop) = (std::sync::Arc::downgrade(&self.0), self.0.stop.clone());
        let client = self.client().clone();
        let [cluster, node] = self.labels();
        tokio::spawn(async move {
            let follow = async {
                loop {
                    // The engine remembers its last events: none falls between the list and the stream.
                    let since = Timestamp::now().as_second() - 1;
                    if let Some(docker) = weak.upgrade().map(Docker)
                        && let Err(error) = docker.relist().await
                    {
                        tracing::warn!(%error, "the engine does not answer");
                        drop(docker);
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    let actions: Vec<&str> = ACTIONS.into_iter().chain(IMAGE_ACTIONS).collect();
                    let filters = HashMap::from([("type", vec!["container", "image"]), ("event", actions)]);
                    let options = EventsOptionsBuilder::new().since(&since.to_string()).filters(&filters).build();
                    let mut events = Box::pin(client.events(Some(options)));
                    while let Some(Ok(event)) = events.next().await {
                        let Some(docker) = weak.upgrade().map(Docker) else { return };
                        docker.on_event(&event, [&cluster, &node]);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = follow => {}
            }
        });
    }

    fn on_event(&self, event: &EventMessage, labels: [&str; 2]) {
        if event.typ == Some(Kind::IMAGE) {
            self.publish(RuntimeEvent::Images);
            return;
        }
        let Some(actor) = &event.actor else { return };
        let has = |label: &str| {
            let (name, value) = label.split_once('=').unwrap_or_default();
            actor.attributes.as_ref().is_some_and(|all| all.get(name).is_some_and(|own| own == value))
        };
        if let Some(id) = actor.id.clone().filter(|_| labels.into_iter().all(has)) {
            // In a task of its own: the end of one container waits for its log, others do not.
            let docker = self.clone();
            tokio::spawn(async move {
                if let Err(error) = docker.look(&id).await {
                    tracing::debug!(id, %error, "a container could not be looked at");
                }
            });
        }
    }
}

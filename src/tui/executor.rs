//! Carries out effects: everything that waits runs as a task and answers with messages.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use coracle_api::clock::Clock;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::message::{Effect, Message, News, Sub};
use crate::source::call::Call;
use crate::source::describe::{self, Described};
use crate::source::discover;
use crate::source::fault::Fault;
use crate::source::logs::{self, LogEvent};
use crate::source::observe::{self, Seen};
use crate::source::watch::{self, RowEvent};
use crate::source::work::Outside;
use crate::text::highlight;

/// How often the server is asked whether it is there.
const PROBE: Duration = Duration::from_secs(5);
/// How long an answer may take before the server counts as silent.
const PROBE_PATIENCE: u64 = 2;

/// Carries out effects.
pub struct Executor {
    client: Option<kube::Client>,
    clock: Arc<dyn Clock>,
    messages: UnboundedSender<Message>,
    running: HashMap<Sub, JoinHandle<()>>,
    probe: Option<JoinHandle<()>>,
    drafts: UnboundedSender<(PathBuf, Option<String>)>,
    pending: Pending,
}

/// How many answers are still to come.
#[derive(Clone, Default)]
pub struct Pending(Arc<AtomicUsize>);

impl Pending {
    /// Nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    fn begin(&self) -> Promise {
        self.0.fetch_add(1, Ordering::AcqRel);
        Promise(self.0.clone())
    }
}

/// An answer that is still to come.
pub(crate) struct Promise(Arc<AtomicUsize>);

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A promise that is kept with the first complete answer of a stream.
#[derive(Clone)]
pub(crate) struct FirstAnswer(Arc<parking_lot::Mutex<Option<Promise>>>);

impl FirstAnswer {
    fn new(promise: Promise) -> Self {
        Self(Arc::new(parking_lot::Mutex::new(Some(promise))))
    }

    pub(crate) fn kept(&self) {
        self.0.lock().take();
    }
}

impl Executor {
    /// An executor that answers to `messages`.
    pub fn new(clock: Arc<dyn Clock>, messages: UnboundedSender<Message>) -> Self {
        let (drafts, mut waiting) = unbounded_channel::<(PathBuf, Option<String>)>();
        let teller = messages.clone();
        tokio::spawn(async move {
            while let Some(first) = waiting.recv().await {
                // only the last text of each draft is worth writing
                let mut latest = HashMap::from([first]);
                while let Ok((path, text)) = waiting.try_recv() {
                    latest.insert(path, text);
                }
                for (path, text) in latest {
                    if let Err(error) = write_draft(path, text).await {
                        let _ = teller.send(Message::DraftFailed(error.to_string()));
                    }
                }
            }
        });
        Self { client: None, clock, messages, running: HashMap::new(), probe: None, drafts, pending: Pending::default() }
    }

    /// Uses this client from now on; what runs with the one before ends when its view does.
    pub fn connect(&mut self, client: kube::Client) {
        self.client = Some(client);
    }

    /// How many answers are still to come.
    pub fn pending(&self) -> Pending {
        self.pending.clone()
    }

    /// Carries out effects, in order.
    pub fn execute(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.one(effect);
        }
    }

    fn one(&mut self, effect: Effect) {
        match effect {
            Effect::Draft(path, text) => drop(self.drafts.send((path, text))),
            Effect::Cancel(sub) => {
                if let Some(task) = self.running.remove(&sub) {
                    task.abort();
                }
            }
            Effect::Highlight(sub, version, text) => {
                let (messages, promise) = (self.messages.clone(), self.pending.begin());
                tokio::task::spawn_blocking(move || {
                    let colors = highlight::yaml(&text);
                    let _ = messages.send(Message::News(sub, News::Highlighted(version, colors)));
                    drop(promise);
                });
            }
            Effect::Pause(sub, version, time) => {
                let (messages, promise) = (self.messages.clone(), self.pending.begin());
                self.keep(sub, async move {
                    tokio::time::sleep(time).await;
                    let _ = messages.send(Message::News(sub, News::Paused(version)));
                    drop(promise);
                });
            }
            Effect::FolderStatus(sub, mut status) => {
                let messages = self.messages.clone();
                self.keep(sub, async move {
                    while status.changed().await.is_ok() {
                        let now = status.borrow_and_update().clone();
                        if messages.send(Message::News(sub, News::Folder(now))).is_err() {
                            return;
                        }
                    }
                });
            }
            Effect::Call(call, then) => self.call(call, then),
            Effect::Work(sub, work) => {
                let first = FirstAnswer::new(self.pending.begin());
                let outside = Outside::new(self.client.clone(), self.clock.clone(), self.messages.clone(), sub, first);
                self.keep(sub, work(outside));
            }
            effect => match self.client.clone() {
                Some(client) => self.stream(effect, client),
                None => tracing::warn!("an effect needs a connection and there is none"),
            },
        }
    }

    fn call(&self, call: Call, then: crate::message::Then) {
        let (messages, promise, client) = (self.messages.clone(), self.pending.begin(), self.client.clone());
        tokio::spawn(async move {
            let answer = match client {
                Some(client) => call.send(&client).await,
                None => Err(Fault::new(crate::source::fault::FaultKind::Unreachable, "not connected yet")),
            };
            let _ = messages.send(Message::Answer(then, answer));
            drop(promise);
        });
    }

    fn stream(&mut self, effect: Effect, client: kube::Client) {
        let messages = self.messages.clone();
        let clock = self.clock.clone();
        let now = move || clock.now();
        let first = FirstAnswer::new(self.pending.begin());
        match effect {
            Effect::Watch(sub, query) => {
                let tell = move |event: RowEvent| {
                    let complete = matches!(event, RowEvent::Listed | RowEvent::Lost(_));
                    let heard = messages.send(Message::News(sub, News::Rows(event))).is_ok();
                    if complete {
                        first.kept();
                    }
                    heard
                };
                self.keep(sub, watch::follow(client, query, now, tell));
            }
            Effect::Observe(sub, path) => {
                let tell = move |seen: Seen| {
                    let heard = messages.send(Message::News(sub, News::Seen(seen))).is_ok();
                    first.kept();
                    heard
                };
                self.keep(sub, observe::observe(client, path, tell));
            }
            Effect::Describe(sub, target) => {
                let tell = move |described: Described| {
                    let heard = messages.send(Message::News(sub, News::Described(described))).is_ok();
                    first.kept();
                    heard
                };
                self.keep(sub, describe::describe(client, target, now, tell));
            }
            Effect::Logs(sub, query) => {
                let tell = move |event: LogEvent| {
                    let complete = !matches!(event, LogEvent::Source(..) | LogEvent::Lines(..));
                    let heard = messages.send(Message::News(sub, News::Log(event))).is_ok();
                    if complete {
                        first.kept();
                    }
                    heard
                };
                self.keep(sub, logs::follow(client, query, tell));
            }
            Effect::Discover => {
                tokio::spawn(async move {
                    let mut pause = Duration::from_millis(200);
                    loop {
                        let found = discover::discover(&client).await;
                        let done = found.is_ok();
                        let heard = messages.send(Message::Discovered(found)).is_ok();
                        first.kept();
                        if done || !heard {
                            return;
                        }
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(Duration::from_secs(5));
                    }
                });
            }
            Effect::Probe => {
                let task = tokio::spawn(probe(client, self.clock.clone(), messages, first));
                if let Some(before) = self.probe.replace(task) {
                    before.abort();
                }
            }
            Effect::Draft(..)
            | Effect::Cancel(_)
            | Effect::Highlight(..)
            | Effect::Pause(..)
            | Effect::Work(..)
            | Effect::FolderStatus(..)
            | Effect::Call(..) => {}
        }
    }

    fn keep(&mut self, sub: Sub, work: impl Future<Output = ()> + Send + 'static) {
        self.running.retain(|_, task| !task.is_finished());
        self.running.insert(sub, tokio::spawn(work));
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        for task in self.running.values().chain(&self.probe) {
            task.abort();
        }
    }
}

async fn probe(client: kube::Client, clock: Arc<dyn Clock>, messages: UnboundedSender<Message>, first: FirstAnswer) {
    loop {
        let asked = clock.now();
        let call = Call::get("/version");
        let answer = match tokio::time::timeout(Duration::from_secs(PROBE_PATIENCE), call.send(&client)).await {
            Ok(Ok(_)) => Ok(Duration::try_from(clock.now().duration_since(asked)).unwrap_or_default()),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(Fault::silent(PROBE_PATIENCE)),
        };
        // an answer that took long is looked at again soon: it may have been the exception
        let well = answer.as_ref().is_ok_and(|took| *took < Duration::from_millis(100));
        let heard = messages.send(Message::Probed(answer)).is_ok();
        first.kept();
        if !heard {
            return;
        }
        tokio::time::sleep(if well { PROBE } else { Duration::from_secs(1) }).await;
    }
}

async fn write_draft(path: PathBuf, text: Option<String>) -> std::io::Result<()> {
    let Some(text) = text else {
        return match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
    };
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await?;
    }
    // whole or not at all: a crash in between leaves the draft before
    let fresh = path.with_extension("yaml.new");
    tokio::fs::write(&fresh, text).await?;
    tokio::fs::rename(&fresh, &path).await
}

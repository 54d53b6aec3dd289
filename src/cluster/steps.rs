//! Named, timed steps, told to whoever wants to show them.

use std::fmt::Display;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepState {
    /// It has begun.
    Started,
    /// It is done, after this time.
    Done(Duration),
    /// It failed, and why.
    Failed(String),
}

/// One step of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done, as `store`.
    pub name: &'static str,
    /// How far it is.
    pub state: StepState,
}

/// Takes steps and tells of them.
#[derive(Debug, Clone, Default)]
pub struct Steps(Option<mpsc::UnboundedSender<Step>>);

impl Steps {
    /// Steps that are told to `listener`.
    pub fn told_to(listener: mpsc::UnboundedSender<Step>) -> Self {
        Self(Some(listener))
    }

    fn tell(&self, name: &'static str, state: StepState) {
        if let Some(listener) = &self.0 {
            // nobody listening is no reason not to go on
            let _ = listener.send(Step { name, state });
        }
    }

    /// Takes a step.
    pub(crate) async fn take<T, E: Display>(&self, name: &'static str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.tell(name, StepState::Started);
        let begun = Instant::now();
        let result = work.await;
        let took = begun.elapsed();
        match &result {
            Ok(_) => self.tell(name, StepState::Done(took)),
            Err(error) => self.tell(name, StepState::Failed(error.to_string())),
        }
        tracing::info!(step = name, took_us = took.as_micros() as u64, ok = result.is_ok(), "start");
        result
    }
}

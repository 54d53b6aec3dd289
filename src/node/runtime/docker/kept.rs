//! What a container that is one session's writes before that session joins it: kept for it, the end if it is long.

use std::collections::VecDeque;
use std::fmt;

use bollard::container::LogOutput;
use bollard::query_parameters::AttachContainerOptionsBuilder;
use futures::StreamExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Docker;
use super::streams::Output;

/// How much is kept.
const MOST: usize = 256 << 10;
/// What a frame takes besides what is in it.
const FRAME: usize = 64;

/// The output of a container from its first byte, until a session takes it.
pub(super) struct Kept {
    reader: JoinHandle<(VecDeque<LogOutput>, Output)>,
    _stop_when_dropped: oneshot::Sender<()>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

/// Reads until the output ends, or until nobody wants it to be read.
async fn read(mut output: Output, mut stop: oneshot::Receiver<()>) -> (VecDeque<LogOutput>, Output) {
    let (mut frames, mut size) = (VecDeque::new(), 0);
    loop {
        let frame = tokio::select! {
            _ = &mut stop => return (frames, output),
            frame = output.next() => frame,
        };
        let Some(Ok(frame)) = frame else { return (frames, futures::stream::empty().boxed()) };
        size += frame.as_ref().len() + FRAME;
        frames.push_back(frame);
        while size > MOST
            && let Some(first) = frames.pop_front()
        {
            size -= first.as_ref().len() + FRAME;
        }
    }
}

impl Kept {
    fn begin(output: Output) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { reader: tokio::spawn(read(output, stopped)), _stop_when_dropped: stop }
    }

    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        self.reader.is_finished()
    }

    /// What was kept, and what comes behind it.
    pub(super) async fn take(self) -> (VecDeque<LogOutput>, Output) {
        drop(self._stop_when_dropped);
        self.reader.await.unwrap_or_else(|_| (VecDeque::new(), futures::stream::empty().boxed()))
    }
}

impl Docker {
    /// Begins to keep what a container will write, if it is to be started for one session. Without, the log still has it.
    pub(super) async fn keep_output(&self, id: &str) {
        if !self.0.state.lock().containers.get(id).is_some_and(|entry| entry.once && entry.kept.is_none()) {
            return;
        }
        let options = AttachContainerOptionsBuilder::new().stream(true).stdout(true).stderr(true).build();
        match self.client().attach_container(id, Some(options)).await {
            Ok(attached) => {
                if let Some(entry) = self.0.state.lock().containers.get_mut(id) {
                    entry.kept = Some(Kept::begin(attached.output));
                }
            }
            Err(error) => tracing::warn!(id, %error, "what a container writes before it is joined is only in its log"),
        }
    }

    /// Whether there is something for the first session.
    pub(super) fn has_kept(&self, id: &str) -> bool {
        self.0.state.lock().containers.get(id).is_some_and(|entry| entry.kept.is_some())
    }

    /// What is for the first session: only one gets it.
    pub(super) fn take_kept(&self, id: &str) -> Option<Kept> {
        self.0.state.lock().containers.get_mut(id)?.kept.take()
    }

    /// Whether the way to the container's output broke off, if the container runs.
    pub(super) fn kept_is_over(&self, id: &str) -> bool {
        self.0.state.lock().containers.get(id).is_some_and(|entry| entry.kept.as_ref().is_some_and(Kept::is_over))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn said(text: &str) -> LogOutput {
        LogOutput::StdOut { message: text.to_owned().into() }
    }

    #[tokio::test]
    async fn the_end_is_kept_and_the_rest_follows() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let frames = futures::stream::unfold(receiver, |mut receiver| async { Some((Ok(receiver.recv().await?), receiver)) });
        let kept = Kept::begin(frames.boxed());
        let long = "x".repeat(100 << 10);
        for text in ["first", &long, &long, &long, "last"] {
            sender.send(said(text)).await.unwrap();
        }
        while sender.capacity() == 0 {
            tokio::task::yield_now().await;
        }
        let (frames, mut rest) = kept.take().await;
        sender.send(said("more")).await.unwrap();
        drop(sender);
        let mut all: Vec<LogOutput> = frames.into();
        while let Some(Ok(frame)) = rest.next().await {
            all.push(frame);
        }
        let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(texts, [&*long, &*long, "last", "more"]);
    }
}

//! What connections of every protocol have in common: two tasks and an end.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::channel::Outgoing;

/// How long a client may take to close its side after the last word.
pub(super) const LINGER: Duration = Duration::from_secs(10);

/// A connection that is being served. Dropping it cuts it.
pub(super) struct Connection {
    /// What to send.
    pub(super) queue: mpsc::Sender<Outgoing>,
    /// The client is gone, or cannot be understood.
    pub(super) gone: CancellationToken,
    tasks: JoinSet<()>,
}

impl Connection {
    /// Serves with a reader and a writer; the client is gone when either ends.
    pub(super) fn serve(
        queue: mpsc::Sender<Outgoing>,
        reader: impl Future<Output = ()> + Send + 'static,
        writer: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let gone = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let guard = gone.clone().drop_guard();
        tasks.spawn(async move {
            reader.await;
            drop(guard);
        });
        let guard = gone.clone().drop_guard();
        tasks.spawn(async move {
            writer.await;
            drop(guard);
        });
        Self { queue, gone, tasks }
    }

    /// Says the last word and lets the client close first: an end of the connection right behind the last data can
    /// overtake that data inside Go's SPDY client.
    pub(super) async fn close(mut self) {
        let last = async {
            let _ = self.queue.send(Outgoing::Close).await;
            self.gone.cancelled().await;
        };
        let _ = tokio::time::timeout(LINGER, last).await;
        self.tasks.shutdown().await;
    }
}

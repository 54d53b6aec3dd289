//! One direction of one stream of a connection that carries several, bounded: who does not read holds up who writes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Bytes from the client that may wait for the process, per stream.
const INWARD_ROOM: usize = 512 << 10;
/// Messages to the client that may wait for its connection.
const OUTWARD_ROOM: usize = 16;
/// Bytes read from a process at once.
const PIECE: usize = 32 << 10;

/// The other end does not listen any more.
#[derive(Debug)]
pub(super) struct Gone;

/// Where a connection puts what the client sent on a stream. Dropping it is the stream's end.
pub(super) struct Feed {
    queue: mpsc::UnboundedSender<(Bytes, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

/// What the client sent on a stream.
pub(super) struct Inlet(mpsc::UnboundedReceiver<(Bytes, OwnedSemaphorePermit)>);

/// A stream from the client.
pub(super) fn inward() -> (Feed, Inlet) {
    let (queue, receiver) = mpsc::unbounded_channel();
    (Feed { queue, room: Arc::new(Semaphore::new(INWARD_ROOM)) }, Inlet(receiver))
}

impl Feed {
    /// Hands bytes on, once there is room.
    pub(super) async fn push(&self, data: Bytes) -> Result<(), Gone> {
        let size = u32::try_from(data.len().min(INWARD_ROOM)).unwrap_or(1);
        let permit = self.room.clone().acquire_many_owned(size).await.map_err(|_| Gone)?;
        self.queue.send((data, permit)).map_err(|_| Gone)
    }
}

impl Inlet {
    /// The next bytes; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.0.recv().await.map(|(data, _)| data)
    }

    /// Copies to a process until either ends; what comes later is thrown away, lest the connection stands still.
    pub(super) async fn copy_to<W: AsyncWrite + Unpin>(&mut self, mut writer: W) -> std::io::Result<()> {
        let mut result = Ok(());
        while let Some(data) = self.next().await {
            result = async {
                writer.write_all(&data).await?;
                writer.flush().await
            }
            .await;
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() {
            result = writer.shutdown().await;
        }
        drop(writer);
        while self.next().await.is_some() {}
        result
    }
}

/// What a connection is told to send.
pub(super) enum Outgoing {
    /// Accept a stream.
    Reply(u32),
    /// Refuse a stream.
    Refuse(u32, bool),
    /// Answer a ping.
    Ping(u32),
    /// Bytes on a stream.
    Data(u32, Bytes),
    /// The end of a stream.
    End(u32),
    /// No more will be sent.
    Close,
}

/// The queue of a connection's writer.
pub(super) fn outward() -> (mpsc::Sender<Outgoing>, mpsc::Receiver<Outgoing>) {
    mpsc::channel(OUTWARD_ROOM)
}

/// A stream to the client.
pub(super) struct Outlet {
    pub(super) stream: u32,
    pub(super) queue: mpsc::Sender<Outgoing>,
    /// The client gave the stream up.
    pub(super) reset: CancellationToken,
    /// Dropped with the outlet.
    pub(super) _place: Option<Box<dyn Send + Sync>>,
}

impl Outlet {
    async fn put(&self, message: Outgoing) -> Result<(), Gone> {
        tokio::select! {
            biased;
            () = self.reset.cancelled() => Err(Gone),
            sent = self.queue.send(message) => sent.map_err(|_| Gone),
        }
    }

    /// Sends bytes, once there is room.
    pub(super) async fn send(&self, data: impl Into<Bytes>) -> Result<(), Gone> {
        self.put(Outgoing::Data(self.stream, data.into())).await
    }

    /// Sends all a process writes.
    pub(super) async fn copy_from<R: AsyncRead + Unpin>(&self, mut reader: R) -> Result<(), Gone> {
        let mut buffer = BytesMut::new();
        loop {
            if buffer.capacity() < PIECE / 8 {
                buffer.reserve(PIECE);
            }
            // A failed read is the end: the process is gone, its exit says more.
            match reader.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return Ok(()),
                Ok(_) => self.send(buffer.split().freeze()).await?,
            }
        }
    }

    /// Ends the stream.
    pub(super) async fn end(self) -> Result<(), Gone> {
        self.put(Outgoing::End(self.stream)).await
    }
}

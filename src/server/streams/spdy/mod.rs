//! A SPDY/3.1 connection as moby/spdystream speaks it: streams are opened by the client, windows are not used.

mod dictionary;
mod frame;
mod headers;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::channel::{Feed, Inlet, Outgoing, Outlet, inward, outward};
use super::connection::Connection;
use frame::{Frame, FrameError, Reader, Reset, Writer};
use headers::Headers;

/// Streams that may be open at once.
const STREAM_LIMIT: usize = 4_096;
/// Bytes gathered before they are written.
const GATHER: usize = 64 << 10;

/// A stream the client opened.
pub(super) struct Accepted {
    pub(super) stream: u32,
    pub(super) headers: Headers,
    pub(super) inlet: Inlet,
    pub(super) outlet: Outlet,
    /// The client gave it up.
    pub(super) reset: CancellationToken,
}

impl Accepted {
    /// A header, empty where there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }
}

/// A stream as the reader knows it; it is forgotten when both sides have ended it.
struct Open {
    feed: Option<Arc<Feed>>,
    reset: CancellationToken,
    ours_ended: bool,
}

type Table = Arc<Mutex<HashMap<u32, Open>>>;

/// Marks our side as ended when the outlet is dropped.
struct Place(Table, u32);

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.0.lock();
        if let Some(open) = table.get_mut(&self.1) {
            open.ours_ended = true;
            if open.feed.is_none() {
                table.remove(&self.1);
            }
        }
    }
}

/// Serves SPDY on a byte stream; the receiver gets the streams that the client opens.
pub(super) fn serve<R, W>(read: R, write: W) -> (Connection, mpsc::Receiver<Accepted>)
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let (queue, outgoing) = outward();
    let (accepted, streams) = mpsc::channel(1);
    let session = Session { queue: queue.clone(), accepted, table: Table::default(), last: 0 };
    let reader = async move {
        if let Err(error) = session.read(Reader::new(read)).await {
            tracing::debug!(%error, "SPDY connection ended");
        }
    };
    let writer = async move {
        if let Err(error) = send(outgoing, write).await {
            tracing::debug!(%error, "SPDY connection ended");
        }
    };
    (Connection::serve(queue, reader, writer), streams)
}

struct Session {
    queue: mpsc::Sender<Outgoing>,
    accepted: mpsc::Sender<Accepted>,
    table: Table,
    last: u32,
}

impl Session {
    async fn read<R: AsyncRead + Unpin>(mut self, mut reader: Reader<R>) -> Result<(), FrameError> {
        while let Some(frame) = reader.next().await? {
            match frame {
                Frame::Open { stream, fin, headers } => self.open(stream, fin, headers).await,
                Frame::Data { stream, data, fin } => {
                    let feed = self.table.lock().get(&stream).and_then(|open| open.feed.clone());
                    if let Some(feed) = feed.filter(|_| !data.is_empty()) {
                        // Where nobody reads any more, what comes is thrown away until the client ends it.
                        let _ = feed.push(data).await;
                    }
                    if fin {
                        self.ended(stream);
                    }
                }
                Frame::Reset(stream) => {
                    if let Some(open) = self.table.lock().remove(&stream) {
                        open.reset.cancel();
                    }
                }
                // Even ones would be answers to ours.
                Frame::Ping(id) if !id.is_multiple_of(2) => drop(self.queue.send(Outgoing::Ping(id)).await),
                Frame::Ping(_) | Frame::GoAway | Frame::Other => {}
            }
        }
        Ok(())
    }

    fn ended(&self, stream: u32) {
        let mut table = self.table.lock();
        if let Some(open) = table.get_mut(&stream) {
            open.feed = None;
            if open.ours_ended {
                table.remove(&stream);
            }
        }
    }

    async fn open(&mut self, stream: u32, fin: bool, headers: Headers) {
        if stream.is_multiple_of(2) || stream <= self.last {
            let _ = self.queue.send(Outgoing::Refuse(stream, true)).await;
            return;
        }
        self.last = stream;
        if self.table.lock().len() >= STREAM_LIMIT || self.accepted.is_closed() {
            let _ = self.queue.send(Outgoing::Refuse(stream, false)).await;
            return;
        }
        let (feed, inlet) = inward();
        let reset = CancellationToken::new();
        let feed = (!fin).then(|| Arc::new(feed));
        self.table.lock().insert(stream, Open { feed, reset: reset.clone(), ours_ended: false });
        let place: Box<dyn Send + Sync> = Box::new(Place(self.table.clone(), stream));
        let outlet = Outlet { stream, queue: self.queue.clone(), reset: reset.clone(), _place: Some(place) };
        // Before the stream is handed on: Go's client throws away data that comes before the reply.
        let _ = self.queue.send(Outgoing::Reply(stream)).await;
        let _ = self.accepted.send(Accepted { stream, headers, inlet, outlet, reset }).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for (_, open) in self.table.lock().drain() {
            open.reset.cancel();
        }
    }
}

async fn send<W: AsyncWrite + Unpin>(mut queue: mpsc::Receiver<Outgoing>, mut io: W) -> Result<(), FrameError> {
    let mut writer = Writer::new()?;
    let mut buffer = BytesMut::with_capacity(4 << 10);
    let mut last = 0;
    while let Some(message) = queue.recv().await {
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Outgoing::Reply(stream) => {
                    last = stream;
                    writer.reply(&mut buffer, stream)?;
                }
                Outgoing::Refuse(stream, misfit) => {
                    Writer::reset(&mut buffer, stream, if misfit { Reset::ProtocolError } else { Reset::Refused });
                }
                Outgoing::Ping(id) => Writer::ping(&mut buffer, id),
                Outgoing::Data(stream, data) => Writer::data(&mut buffer, stream, &data, false),
                Outgoing::End(stream) => Writer::data(&mut buffer, stream, &[], true),
                Outgoing::Close => Writer::go_away(&mut buffer, last),
            }
            next = if buffer.len() < GATHER { queue.try_recv().ok() } else { None };
        }
        io.write_all_buf(&mut buffer).await?;
        io.flush().await?;
    }
    Ok(())
}

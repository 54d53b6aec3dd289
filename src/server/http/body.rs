//! Bodies of answers and of requests.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use coracle_api::status::Status;
use futures::Stream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

/// Bytes a request's body may have.
pub const BODY_LIMIT: usize = 3 << 20;
/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The body of an answer.
pub struct Body(Inner);

enum Inner {
    Chunks(VecDeque<Bytes>),
    Made { next: Box<dyn FnMut() -> Option<Bytes> + Send>, left: u64 },
    Stream(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self(Inner::Chunks(VecDeque::new()))
    }

    /// Bytes that are known now.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(Inner::Chunks(if bytes.is_empty() { VecDeque::new() } else { VecDeque::from([bytes]) }))
    }

    /// `size` bytes, a part made whenever the connection has room for it, so that making and sending overlap and the
    /// whole is never in memory.
    pub fn made(size: u64, next: impl FnMut() -> Option<Bytes> + Send + 'static) -> Self {
        Self(Inner::Made { next: Box::new(next), left: size })
    }

    /// Bytes that come when they come.
    pub fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self(Inner::Stream(Box::pin(stream)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Inner::Chunks(chunks) => Poll::Ready(chunks.pop_front().map(|chunk| Ok(Frame::data(chunk)))),
            Inner::Made { next, left } => {
                let part = next();
                *left = left.saturating_sub(part.as_ref().map_or(*left, |part| part.len() as u64));
                Poll::Ready(part.map(|part| Ok(Frame::data(part))))
            }
            Inner::Stream(stream) => stream.as_mut().poll_next(context).map(|next| next.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Chunks(chunks) => chunks.is_empty(),
            Inner::Made { left, .. } => *left == 0,
            Inner::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Chunks(chunks) => SizeHint::with_exact(chunks.iter().map(|chunk| chunk.len() as u64).sum()),
            Inner::Made { left, .. } => SizeHint::with_exact(*left),
            Inner::Stream(_) => SizeHint::default(),
        }
    }
}

fn too_large() -> Status {
    Status::too_large(format!("Request entity too large: limit is {BODY_LIMIT}"))
}

/// Reads a request's body, within bounds of size and time.
pub(crate) async fn read<B>(headers: &HeaderMap, body: B) -> Result<Bytes, Status>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > BODY_LIMIT) {
        return Err(too_large());
    }
    let all = async {
        let mut body = std::pin::pin!(body);
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Status::bad_request("the request's body ended early"))?;
            let Ok(data) = frame.into_data() else { continue };
            if first.len() + rest.len() + data.len() > BODY_LIMIT {
                return Err(too_large());
            }
            if first.is_empty() {
                first = data;
            } else {
                rest.extend_from_slice(&data);
            }
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(first.len() + rest.len());
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&rest);
        Ok(whole.freeze())
    };
    let late = || Status::new(408, "Timeout", "the request's body did not arrive in time");
    tokio::time::timeout(BODY_TIMEOUT, all).await.map_err(|_| late())?
}

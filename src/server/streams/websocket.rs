//! Channels in a WebSocket: every message begins with the number of its channel. Or, as a tunnel, one byte stream.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, Stream, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tokio_util::sync::CancellationToken;

use super::channel::{Feed, Inlet, Outgoing, Outlet, inward, outward};
use super::connection::{Connection, LINGER};

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Largest message a client may send.
const MESSAGE_LIMIT: usize = 16 << 20;
const BUFFER: usize = 32 << 10;
/// With v5: the message's second byte is the channel that ends.
const CLOSE: u8 = 255;
/// The end of a session. Without this code clients take it for a broken connection.
const DONE: CloseFrame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::from_static("") };

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Binary messages.
    Raw,
    /// Binary messages, and channels that the client can end one by one.
    Closing,
    /// Text messages: the channel as a digit, then base64.
    Base64,
}

impl Form {
    /// The form of a subprotocol.
    pub(super) fn of(protocol: &str) -> Self {
        match protocol {
            "v5.channel.k8s.io" => Self::Closing,
            one if one.contains("base64") => Self::Base64,
            _ => Self::Raw,
        }
    }

    fn decode(self, message: Message) -> Option<(u8, Bytes)> {
        let mut data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => text.into(),
            _ => return None,
        };
        if data.is_empty() {
            return None;
        }
        let number = data.split_to(1)[0];
        match self {
            Self::Base64 => Some((number.wrapping_sub(b'0'), STANDARD.decode(&data).ok()?.into())),
            _ => Some((number, data)),
        }
    }

    fn encode(self, number: u8, data: &[u8]) -> Message {
        if self == Self::Base64 {
            let mut text = String::with_capacity(data.len() * 4 / 3 + 5);
            text.push(char::from(b'0'.wrapping_add(number)));
            STANDARD.encode_string(data, &mut text);
            return Message::text(text);
        }
        let mut bytes = BytesMut::with_capacity(data.len() + 1);
        bytes.put_u8(number);
        bytes.put_slice(data);
        Message::Binary(bytes.freeze())
    }
}

async fn socket(upgraded: Upgraded) -> Socket {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(Some(MESSAGE_LIMIT))
        .max_frame_size(Some(MESSAGE_LIMIT));
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await
}

/// A connection's channels by number.
pub(super) struct Channels {
    pub(super) connection: Connection,
    inlets: Vec<Option<Inlet>>,
}

impl Channels {
    /// What the client sends on a channel; nothing if it may not or was taken.
    pub(super) fn inlet(&mut self, number: u8) -> Option<Inlet> {
        self.inlets.get_mut(usize::from(number))?.take()
    }

    /// A way to send on a channel.
    pub(super) fn outlet(&self, number: u8) -> Outlet {
        let stream = u32::from(number);
        Outlet { stream, queue: self.connection.queue.clone(), reset: CancellationToken::new(), _place: None }
    }
}

/// Serves channels; `readable` says on which the client may send.
pub(super) async fn serve(upgraded: Upgraded, form: Form, readable: &[bool]) -> Channels {
    let (sink, stream) = socket(upgraded).await.split();
    let (feeds, inlets) = readable.iter().map(|readable| readable.then(inward).unzip()).unzip();
    let (queue, outgoing) = outward();
    let writer = async move {
        if let Err(error) = send(outgoing, sink, form).await {
            tracing::debug!(%error, "WebSocket ended");
        }
    };
    Channels { connection: Connection::serve(queue, receive(stream, form, feeds), writer), inlets }
}

async fn receive(mut stream: SplitStream<Socket>, form: Form, mut feeds: Vec<Option<Feed>>) {
    while let Some(message) = stream.next().await {
        let message = match message {
            Ok(Message::Close(_)) => continue,
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(%error, "WebSocket ended");
                return;
            }
        };
        let Some((number, data)) = form.decode(message) else { continue };
        if form == Form::Closing && number == CLOSE {
            if let Some(feed) = data.first().and_then(|ended| feeds.get_mut(usize::from(*ended))) {
                *feed = None;
            }
            continue;
        }
        if let Some(Some(feed)) = feeds.get(usize::from(number))
            && !data.is_empty()
        {
            // Where nobody reads any more, what comes is thrown away.
            let _ = feed.push(data).await;
        }
    }
}

async fn send(mut queue: mpsc::Receiver<Outgoing>, mut sink: SplitSink<Socket, Message>, form: Form) -> Result<(), Error> {
    while let Some(message) = queue.recv().await {
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Outgoing::Data(stream, data) => sink.feed(form.encode(u8::try_from(stream).unwrap_or_default(), &data)).await?,
                Outgoing::Close => sink.feed(Message::Close(Some(DONE))).await?,
                // Nothing in these protocols says that one of our channels ended.
                Outgoing::End(_) | Outgoing::Reply(_) | Outgoing::Refuse(..) | Outgoing::Ping(_) => {}
            }
            next = queue.try_recv().ok();
        }
        sink.flush().await?;
    }
    Ok(())
}

/// Sends bytes, after an empty message that tells the client that they will come, until they or the client end.
pub(super) async fn send_bytes(upgraded: Upgraded, base64: bool, bytes: impl Stream<Item = io::Result<Bytes>> + Send) {
    let (mut sink, stream) = socket(upgraded).await.split();
    let message = |data: Bytes| if base64 { Message::text(STANDARD.encode(&data)) } else { Message::Binary(data) };
    let sending = async {
        let mut bytes = std::pin::pin!(bytes);
        sink.send(message(Bytes::new())).await?;
        while let Some(Ok(data)) = bytes.next().await {
            sink.send(message(data)).await?;
        }
        sink.send(Message::Close(Some(DONE))).await?;
        tokio::time::sleep(LINGER).await;
        Ok::<_, Error>(())
    };
    tokio::select! {
        result = sending => drop(result),
        () = stream.for_each(|_| std::future::ready(())) => {}
    }
}

/// The byte stream in a WebSocket's binary messages.
pub(super) async fn tunnel(upgraded: Upgraded) -> (impl AsyncRead + Send + Unpin + 'static, impl AsyncWrite + Send + Unpin + 'static) {
    let (sink, stream) = socket(upgraded).await.split();
    let sink = sink.sink_map_err(io::Error::other).with(|data: Bytes| std::future::ready(Ok::<_, io::Error>(Message::Binary(data))));
    (StreamReader::new(bytes_of(stream)), SinkWriter::new(CopyToBytes::new(sink)))
}

fn bytes_of(stream: SplitStream<Socket>) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static {
    stream.filter_map(|message| {
        std::future::ready(match message {
            Ok(Message::Binary(data)) => Some(Ok(data)),
            Ok(_) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn messages() {
        for form in [Form::Raw, Form::Base64, Form::Closing] {
            let (number, data) = form.decode(form.encode(1, b"foo\n")).unwrap();
            assert_eq!((number, &data[..]), (1, &b"foo\n"[..]));
            assert_eq!(form.decode(form.encode(2, b"")).unwrap(), (2, Bytes::new()));
        }
        assert_eq!(Form::Base64.encode(1, b"foo\n"), Message::text("1Zm9vCg=="));
        assert_eq!(Form::Raw.decode(Message::Binary(Bytes::new())), None);
        assert_eq!(Form::Base64.decode(Message::text("0~")), None);
        assert_eq!(Form::of("v4.base64.channel.k8s.io"), Form::Base64);
    }
}

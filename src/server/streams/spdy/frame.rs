//! Frames of SPDY/3.1: eight bytes of head, then what the kind says.
//!
//! ```text
//! control: 1 | version (15) | type (16) | flags (8) | length (24)      data: 0 | stream (31) | flags (8) | length (24)
//! ```

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::headers::{Headers, Packer, Unpacker};

/// Longest control frame that is read; data frames are handed on in pieces and may be of any length.
const CONTROL_LIMIT: usize = 32 << 10;
/// Longest piece of data handed on at once.
const PIECE: usize = 32 << 10;
const VERSION: u16 = 3;
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// Why a stream was refused or given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    /// The frame does not fit the connection's state.
    ProtocolError = 1,
    /// Not served, or too many.
    Refused = 3,
}

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// Reading failed.
    #[error("read a frame")]
    Io(#[from] io::Error),
    /// Header compression is out of step.
    #[error("a header block cannot be decompressed")]
    Compression,
    /// A control frame or header block over the limit.
    #[error("a frame is too large")]
    TooLarge,
    /// A part that cannot be read.
    #[error("a {0} is malformed")]
    Malformed(&'static str),
}

/// What the other side said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A new stream.
    Open {
        /// Its id.
        stream: u32,
        /// Whether nothing will be sent on it.
        fin: bool,
        /// Its headers.
        headers: Headers,
    },
    /// The other side gave a stream up.
    Reset(u32),
    /// To be sent back.
    Ping(u32),
    /// No new streams will come.
    GoAway,
    /// Part of a stream's data; `fin` ends it.
    Data {
        /// Whose.
        stream: u32,
        /// The bytes.
        data: Bytes,
        /// Whether they are the last.
        fin: bool,
    },
    /// Something that changes nothing here: settings, window updates, replies.
    Other,
}

/// Reads frames.
pub(crate) struct Reader<R> {
    io: R,
    unpacker: Unpacker,
    /// A data frame that has not been handed on to its end: stream, bytes left, whether it ends the stream.
    rest: Option<(u32, usize, bool)>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads from `io`.
    pub(crate) fn new(io: R) -> Self {
        Self { io, unpacker: Unpacker::new(), rest: None }
    }

    /// The next frame; `None` at the end of the connection. After an error there is no next.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some((stream, left, fin)) = self.rest.take() {
            return self.piece(stream, left, fin).await.map(Some);
        }
        let mut head = [0; 8];
        if self.io.read(&mut head[..1]).await? == 0 {
            return Ok(None);
        }
        self.io.read_exact(&mut head[1..]).await?;
        let [a, b, c, d, flags, e, f, g] = head;
        let length = usize::from(e) << 16 | usize::from(f) << 8 | usize::from(g);
        if a & 0x80 == 0 {
            let stream = u32::from_be_bytes([a, b, c, d]);
            return self.piece(stream, length, flags & FIN != 0).await.map(Some);
        }
        if length > CONTROL_LIMIT {
            return Err(FrameError::TooLarge);
        }
        let mut body = vec![0; length];
        self.io.read_exact(&mut body).await?;
        let version = u16::from_be_bytes([a & 0x7f, b]);
        if version != VERSION {
            return Err(FrameError::Malformed("version"));
        }
        self.control(u16::from_be_bytes([c, d]), flags, &body).map(Some)
    }

    async fn piece(&mut self, stream: u32, left: usize, fin: bool) -> Result<Frame, FrameError> {
        let size = left.min(PIECE);
        let mut data = BytesMut::with_capacity(size);
        while data.len() < size {
            let room = size - data.len();
            if (&mut self.io).take(room as u64).read_buf(&mut data).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        if left > size {
            self.rest = Some((stream, left - size, fin));
        }
        Ok(Frame::Data { stream, data: data.freeze(), fin: fin && left == size })
    }

    fn control(&mut self, kind: u16, flags: u8, body: &[u8]) -> Result<Frame, FrameError> {
        let fin = flags & FIN != 0;
        Ok(match kind {
            SYN_STREAM => {
                let stream = word(body, 0)? & 0x7fff_ffff;
                let block = body.get(10..).ok_or(FrameError::Malformed("stream"))?;
                Frame::Open { stream, fin, headers: self.unpacker.unpack(block)? }
            }
            SYN_REPLY | HEADERS => {
                // Read only to keep the compression in step.
                let stream = word(body, 0)? & 0x7fff_ffff;
                self.unpacker.unpack(body.get(4..).ok_or(FrameError::Malformed("stream"))?)?;
                if fin { Frame::Data { stream, data: Bytes::new(), fin } } else { Frame::Other }
            }
            RST_STREAM => Frame::Reset(word(body, 0)? & 0x7fff_ffff),
            PING => Frame::Ping(word(body, 0)?),
            GOAWAY => Frame::GoAway,
            _ => Frame::Other,
        })
    }
}

fn word(body: &[u8], at: usize) -> Result<u32, FrameError> {
    let bytes = body.get(at..).and_then(<[u8]>::first_chunk::<4>).ok_or(FrameError::Malformed("control frame"))?;
    Ok(u32::from_be_bytes(*bytes))
}

/// Writes frames into a buffer.
pub(crate) struct Writer {
    packer: Packer,
}

impl Writer {
    /// Starts a connection's direction.
    pub(crate) fn new() -> Result<Self, FrameError> {
        Ok(Self { packer: Packer::new()? })
    }

    fn control(out: &mut BytesMut, kind: u16, flags: u8, length: usize) {
        out.put_u16(0x8000 | VERSION);
        out.put_u16(kind);
        out.put_u32(u32::from(flags) << 24 | u32::try_from(length).unwrap_or_default() & 0xff_ffff);
    }

    /// Accepts a stream.
    pub(crate) fn reply(&mut self, out: &mut BytesMut, stream: u32) -> Result<(), FrameError> {
        let block = self.packer.pack(&Headers::new())?;
        Self::control(out, SYN_REPLY, 0, block.len() + 4);
        out.put_u32(stream);
        out.put_slice(&block);
        Ok(())
    }

    /// Opens a stream.
    #[cfg(test)]
    pub(crate) fn open(&mut self, out: &mut BytesMut, stream: u32, headers: &Headers) -> Result<(), FrameError> {
        let block = self.packer.pack(headers)?;
        Self::control(out, SYN_STREAM, 0, block.len() + 10);
        out.put_u32(stream);
        out.put_slice(&[0; 6]);
        out.put_slice(&block);
        Ok(())
    }

    /// Refuses a stream, or gives it up.
    pub(crate) fn reset(out: &mut BytesMut, stream: u32, why: Reset) {
        Self::control(out, RST_STREAM, 0, 8);
        out.put_u32(stream);
        out.put_u32(why as u32);
    }

    /// Answers a ping.
    pub(crate) fn ping(out: &mut BytesMut, id: u32) {
        Self::control(out, PING, 0, 4);
        out.put_u32(id);
    }

    /// Says that no stream after `last` is served.
    pub(crate) fn go_away(out: &mut BytesMut, last: u32) {
        Self::control(out, GOAWAY, 0, 8);
        out.put_u32(last);
        out.put_u32(0);
    }

    /// Data of a stream; `fin` says that it is the last.
    pub(crate) fn data(out: &mut BytesMut, stream: u32, data: &[u8], fin: bool) {
        let mut pieces = data.chunks(0xff_ffff).peekable();
        loop {
            let piece = pieces.next().unwrap_or_default();
            let last = pieces.peek().is_none();
            out.put_u32(stream & 0x7fff_ffff);
            let flags = u32::from(last && fin) * u32::from(FIN);
            out.put_u32(flags << 24 | u32::try_from(piece.len()).unwrap_or_default());
            out.put_slice(piece);
            if last {
                return;
            }
        }
    }
}

//! Header blocks: names and values compressed with zlib, whose state runs over a whole connection in each direction.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::dictionary;
use super::frame::FrameError;

/// Most bytes a block may unfold to.
const BLOCK_LIMIT: usize = 64 << 10;

/// A stream's headers, names in lower case.
pub(crate) type Headers = BTreeMap<String, String>;

/// Writes header blocks.
pub(super) struct Packer(Compress);

impl Packer {
    /// Starts a connection's direction.
    pub(super) fn new() -> Result<Self, FrameError> {
        let mut zlib = Compress::new(Compression::default(), true);
        zlib.set_dictionary(dictionary()).map_err(|_| FrameError::Compression)?;
        Ok(Self(zlib))
    }

    /// The block of these headers.
    pub(super) fn pack(&mut self, headers: &Headers) -> Result<Vec<u8>, FrameError> {
        let mut plain = BytesMut::new();
        put_length(&mut plain, headers.len());
        for (name, value) in headers {
            put_length(&mut plain, name.len());
            plain.put_slice(name.as_bytes());
            put_length(&mut plain, value.len());
            plain.put_slice(value.as_bytes());
        }
        let mut packed = Vec::with_capacity(plain.len() / 2 + 64);
        let start = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX);
            let rest = plain.get(done..).unwrap_or_default();
            self.0.compress_vec(rest, &mut packed, FlushCompress::Sync).map_err(|_| FrameError::Compression)?;
            let all_in = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX) >= plain.len();
            // A flush is over once it leaves room.
            if all_in && packed.len() < packed.capacity() {
                return Ok(packed);
            }
            packed.reserve(256);
        }
    }
}

fn put_length(out: &mut BytesMut, length: usize) {
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

/// Reads header blocks.
pub(super) struct Unpacker(Decompress);

impl Unpacker {
    /// Starts a connection's direction.
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// The headers in a block.
    pub(super) fn unpack(&mut self, block: &[u8]) -> Result<Headers, FrameError> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut plain = Vec::with_capacity(1_024);
        let start = self.0.total_in();
        let mut asked = false;
        loop {
            let used = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX);
            let rest = block.get(used..).unwrap_or_default();
            match self.0.decompress_vec(rest, &mut plain, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Err(FrameError::Compression),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() && !asked => {
                    asked = true;
                    self.0.set_dictionary(dictionary()).map_err(|_| FrameError::Compression)?;
                    continue;
                }
                Err(_) => return Err(FrameError::Compression),
            }
            let used = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX);
            if plain.len() < plain.capacity() {
                // Room is left: either all was read, or nothing more can be.
                return if used >= block.len() { Ok(plain) } else { Err(FrameError::Compression) };
            }
            if plain.len() >= BLOCK_LIMIT {
                return Err(FrameError::TooLarge);
            }
            plain.reserve(plain.len().min(16 << 10));
        }
    }
}

fn parse(mut plain: &[u8]) -> Result<Headers, FrameError> {
    let count = take_length(&mut plain)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let name = take_text(&mut plain)?.to_ascii_lowercase();
        let value = take_text(&mut plain)?;
        if name.is_empty() || headers.insert(name, value).is_some() {
            return Err(FrameError::Malformed("header block"));
        }
    }
    Ok(headers)
}

fn take_length(plain: &mut &[u8]) -> Result<usize, FrameError> {
    let (length, rest) = plain.split_first_chunk::<4>().ok_or(FrameError::Malformed("header block"))?;
    *plain = rest;
    usize::try_from(u32::from_be_bytes(*length)).map_err(|_| FrameError::TooLarge)
}

fn take_text(plain: &mut &[u8]) -> Result<String, FrameError> {
    let length = take_length(plain)?;
    let (text, rest) = plain.split_at_checked(length).ok_or(FrameError::Malformed("header block"))?;
    *plain = rest;
    String::from_utf8(text.to_vec()).map_err(|_| FrameError::Malformed("header block"))
}

//! A client of SPDY/3.1, as much of one as the tests of streams need.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, missing_docs)]

use std::collections::HashMap;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use flate2::{Compress, Compression, FlushCompress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is awaited must come, in a minute at the very longest.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("nothing came")
}

/// The client's side of SPDY, as much of it as is needed; compressed without the dictionary, as a client may.
pub struct Spdy<S> {
    pub io: S,
    zlib: Compress,
    /// What came on each stream, and whether it ended.
    pub streams: HashMap<u32, (Vec<u8>, bool)>,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Spdy<S> {
    pub fn new(io: S) -> Self {
        Self { io, zlib: Compress::new(Compression::fast(), true), streams: HashMap::new() }
    }

    pub async fn open(&mut self, stream: u32, headers: &[(&str, &str)]) {
        let mut plain = BytesMut::new();
        plain.put_u32(u32::try_from(headers.len()).unwrap());
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(u32::try_from(text.len()).unwrap());
            plain.put_slice(text.as_bytes());
        }
        let mut block = Vec::with_capacity(1024);
        self.zlib.compress_vec(&plain, &mut block, FlushCompress::Sync).unwrap();
        let mut frame = BytesMut::new();
        frame.put_slice(&[0x80, 3, 0, 1]);
        frame.put_u32(u32::try_from(block.len() + 10).unwrap());
        frame.put_u32(stream);
        frame.put_slice(&[0; 6]);
        frame.put_slice(&block);
        self.io.write_all(&frame).await.unwrap();
        self.io.flush().await.unwrap();
    }

    pub async fn data(&mut self, stream: u32, data: &[u8], fin: bool) {
        self.io.write_all(&data_frame(stream, data, fin)).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// Reads until a stream has ended, and says what came on it.
    pub async fn ended(&mut self, stream: u32) -> Vec<u8> {
        while !self.streams.get(&stream).is_some_and(|(_, ended)| *ended) {
            soon(self.read()).await;
        }
        self.streams[&stream].0.clone()
    }

    pub async fn read(&mut self) {
        let mut head = [0; 8];
        self.io.read_exact(&mut head).await.unwrap();
        let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        let mut body = vec![0; usize::try_from(word(4) & 0xff_ffff).unwrap()];
        self.io.read_exact(&mut body).await.unwrap();
        if head[0] & 0x80 == 0 {
            let stream = self.streams.entry(word(0)).or_default();
            stream.0.extend_from_slice(&body);
            stream.1 |= head[4] == 1;
        }
    }
}

pub fn data_frame(stream: u32, data: &[u8], fin: bool) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_u32(stream);
    frame.put_u32(u32::from(fin) << 24 | u32::try_from(data.len()).unwrap());
    frame.put_slice(data);
    frame.to_vec()
}

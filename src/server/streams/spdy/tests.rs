#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::dictionary::dictionary;
use super::frame::*;
use super::headers::*;
use super::*;
use bytes::Bytes;

fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Deterministic bytes without a pattern.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

async fn read_all(bytes: &[u8]) -> (Vec<Frame>, Result<(), FrameError>) {
    let mut reader = Reader::new(bytes);
    let mut frames = Vec::new();
    loop {
        match reader.next().await {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, Ok(())),
            Err(error) => return (frames, Err(error)),
        }
    }
}

#[test]
fn dictionary_is_the_one_of_the_protocol() {
    let (mut a, mut b) = (1u32, 0u32);
    for byte in dictionary() {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    assert_eq!((dictionary().len(), b << 16 | a), (1_423, 0xe3c6_a7c2));
}

#[test]
fn header_blocks_keep_state_over_a_connection() {
    let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new());
    let first = headers(&[("streamtype", "data"), ("port", "8080"), ("requestid", "0")]);
    let mut sizes = Vec::new();
    for round in 0..100 {
        let mut these = first.clone();
        these.insert("requestid".to_owned(), round.to_string());
        let block = packer.pack(&these).unwrap();
        sizes.push(block.len());
        assert_eq!(unpacker.unpack(&block).unwrap(), these);
    }
    assert!(sizes[50] < sizes[0], "{sizes:?}");
    assert_eq!(unpacker.unpack(&packer.pack(&Headers::new()).unwrap()).unwrap(), Headers::new());
    let large = headers(&[("x", &"abc".repeat(15_000)), ("y", &String::from_utf8_lossy(&noise(1, 3_000)))]);
    assert_eq!(unpacker.unpack(&packer.pack(&large).unwrap()).unwrap(), large);
}

#[test]
fn a_block_that_unfolds_without_end_is_refused() {
    let large = headers(&[("x", &"0".repeat(1 << 20))]);
    let block = Packer::new().unwrap().pack(&large).unwrap();
    assert!(block.len() < 10_000);
    assert!(matches!(Unpacker::new().unpack(&block), Err(FrameError::TooLarge)));
}

#[tokio::test]
async fn frames_come_back() {
    let mut writer = Writer::new().unwrap();
    let mut out = BytesMut::new();
    let opening = headers(&[("streamtype", "stdin")]);
    writer.open(&mut out, 1, &opening).unwrap();
    writer.reply(&mut out, 2).unwrap();
    Writer::ping(&mut out, 7);
    Writer::data(&mut out, 1, b"hello", false);
    Writer::data(&mut out, 1, &noise(2, 100_000), true);
    Writer::reset(&mut out, 3, Reset::Refused);
    Writer::go_away(&mut out, 1);
    let (frames, end) = read_all(&out).await;
    end.unwrap();
    let mut frames = frames.into_iter();
    assert_eq!(frames.next(), Some(Frame::Open { stream: 1, fin: false, headers: opening }));
    assert_eq!(frames.next(), Some(Frame::Other));
    assert_eq!(frames.next(), Some(Frame::Ping(7)));
    assert_eq!(frames.next(), Some(Frame::Data { stream: 1, data: Bytes::from_static(b"hello"), fin: false }));
    let mut whole = Vec::new();
    loop {
        let Some(Frame::Data { stream: 1, data, fin }) = frames.next() else { panic!("data expected") };
        whole.extend_from_slice(&data);
        if fin {
            break;
        }
    }
    assert_eq!(whole, noise(2, 100_000));
    assert_eq!(frames.collect::<Vec<_>>(), [Frame::Reset(3), Frame::GoAway]);
}

#[tokio::test]
async fn hostile_bytes_never_panic() {
    let mut writer = Writer::new().unwrap();
    let mut good = BytesMut::new();
    writer.open(&mut good, 1, &headers(&[("streamtype", "error"), ("port", "80")])).unwrap();
    writer.open(&mut good, 3, &headers(&[("streamtype", "data"), ("port", "80")])).unwrap();
    Writer::data(&mut good, 3, &noise(3, 50), true);
    Writer::ping(&mut good, 1);
    // Cut at every byte; every byte wrong in several ways; and noise, with a likely head before it.
    for cut in 0..good.len() {
        let (_, end) = read_all(&good[..cut]).await;
        drop(end);
    }
    for at in 0..good.len() {
        for change in [0xff, 0x80, 1, 0x10] {
            let mut bad = good.to_vec();
            bad[at] ^= change;
            let _ = read_all(&bad).await;
        }
    }
    for seed in 0..2_000 {
        let mut bytes = vec![0x80, 3, 0, u8::try_from(seed % 10).unwrap(), 0, 0, 0, u8::try_from(seed % 200).unwrap()];
        bytes.extend(noise(seed, 300));
        let _ = read_all(&bytes).await;
        let _ = read_all(&noise(seed, 300)).await;
    }
}

#[tokio::test]
async fn limits_and_versions() {
    let control = |version: u8, kind: u8, length: [u8; 3]| [0x80, version, 0, kind, 0, length[0], length[1], length[2]];
    assert!(matches!(read_all(&control(3, 1, [0xff; 3])).await.1, Err(FrameError::TooLarge)));
    let mut old = control(2, 6, [0, 0, 4]).to_vec();
    old.extend([0, 0, 0, 1]);
    assert!(matches!(read_all(&old).await.1, Err(FrameError::Malformed("version"))));
    assert!(matches!(read_all(&control(3, 6, [0, 0, 0])).await.1, Err(FrameError::Malformed(_))));
    let settings = control(3, 4, [0, 0, 0]);
    assert_eq!(read_all(&settings).await.0, [Frame::Other]);
}

#[tokio::test]
async fn streams_pings_and_refusals() {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let (read, write) = tokio::io::split(theirs);
    let (_connection, mut opened) = serve(read, write);
    let (read, mut write) = tokio::io::split(ours);
    let mut reader = Reader::new(read);
    let (mut writer, mut out) = (Writer::new().unwrap(), BytesMut::new());
    Writer::ping(&mut out, 1);
    Writer::ping(&mut out, 2);
    writer.open(&mut out, 2, &headers(&[("a", "even")])).unwrap();
    writer.open(&mut out, 5, &headers(&[("a", "b")])).unwrap();
    writer.open(&mut out, 3, &headers(&[("a", "late")])).unwrap();
    Writer::data(&mut out, 5, b"in", true);
    write.write_all_buf(&mut out).await.unwrap();
    let mut stream = opened.recv().await.unwrap();
    assert_eq!((stream.stream, stream.header("a")), (5, "b"));
    assert_eq!(stream.inlet.next().await.unwrap(), &b"in"[..]);
    assert_eq!(stream.inlet.next().await, None);
    stream.outlet.send("out").await.unwrap();
    stream.outlet.end().await.unwrap();
    let mut got = Vec::new();
    for _ in 0..6 {
        got.push(reader.next().await.unwrap().unwrap());
    }
    let data = |data: &'static [u8], fin| Frame::Data { stream: 5, data: Bytes::from_static(data), fin };
    assert_eq!(got, [Frame::Ping(1), Frame::Reset(2), Frame::Other, Frame::Reset(3), data(b"out", false), data(b"", true)]);
}

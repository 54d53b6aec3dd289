//! The journal: a file of fixed size in which one short sequential write makes a batch durable, long before the tables have it.
//!
//! A batch is a frame: length and CRC-32 of what follows, then for each record its revision, its length and itself. When the
//! tables durably have all of it, the journal is written from its beginning again. What is read back ends with the first frame
//! that is torn or whose revisions do not go on where the frame before it ended: that one is of an earlier round. Only the last
//! frame can be torn, since each is durable before the next is written: where a later one is whole, the journal is damaged.
//!
//! Whole blocks are written, from memory that lies as they do, so that the file can be open past the kernel's cache (`O_DIRECT`):
//! what a block held before stays as it is in the rewritten one.

use std::sync::Arc;

use redb::{Database, StorageBackend};

use crate::error::StoreError;
use crate::record::Record;

/// Length and checksum.
pub(crate) const HEAD: usize = 8;
/// Before each record: its revision and its length.
const RECORD_HEAD: usize = 12;
/// Of what length and at what address direct writes are.
pub(crate) const BLOCK: usize = 4_096;
/// How much of a new journal is written at once.
const STEP: usize = 1 << 16;

pub(crate) type Backend = Arc<dyn StorageBackend>;

pub(crate) struct Journal {
    file: Backend,
    size: u64,
    end: u64,
    /// What the block that `end` is in holds before it.
    tail: Vec<u8>,
}

/// Zeroed bytes at an address that is a multiple of the block size.
pub(crate) struct Blocks {
    room: Vec<u8>,
    start: usize,
    length: usize,
}

impl Blocks {
    /// As many blocks as hold so many bytes.
    pub(crate) fn of(bytes: usize) -> Self {
        let length = bytes.next_multiple_of(BLOCK);
        let room = vec![0; length + BLOCK];
        let start = room.as_ptr().align_offset(BLOCK);
        Self { room, start, length }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.start + self.length]
    }
}

/// A batch as the journal holds it.
pub(crate) fn frame(batch: &[Record]) -> Vec<u8> {
    let mut out = vec![0; HEAD];
    for record in batch {
        out.extend_from_slice(&record.entry.revision.to_le_bytes());
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        record.encode(&mut out);
        let length = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
    let (length, sum) = ((out.len() - HEAD) as u32, crc32fast::hash(&out[HEAD..]));
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[4..HEAD].copy_from_slice(&sum.to_le_bytes());
    out
}

impl Journal {
    /// A journal of at least `size` bytes, in whole blocks. They are written once, so that later writes change no metadata of
    /// the file; from then on it has `promised` bytes.
    pub(crate) fn open(file: Backend, size: u64, promised: u64) -> Result<Self, StoreError> {
        let length = file.len().map_err(redb::Error::Io)?;
        let size = size.next_multiple_of(BLOCK as u64);
        if length < promised {
            return Err(StoreError::Damaged { what: format!("the journal has {length} of its {promised} bytes") });
        }
        Ok(Self::extend(file, length, size).map_err(redb::Error::Io)?)
    }

    fn extend(file: Backend, mut length: u64, size: u64) -> std::io::Result<Self> {
        let mut zeros = Blocks::of(if length < size { STEP } else { 0 });
        while length < size {
            let step = (size - length).min(STEP as u64);
            file.set_len(length + step)?;
            file.write(length, &zeros.bytes()[..step as usize])?;
            length += step;
            if length == size {
                file.sync_data()?;
            }
        }
        Ok(Self { file, size: length, end: 0, tail: Vec::new() })
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether so many bytes have room.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.end + bytes as u64 <= self.size
    }

    /// Adds a frame that has room; when this returns, it survives a loss of power.
    pub(crate) fn append(&mut self, frame: &[u8]) -> std::io::Result<()> {
        let held = self.tail.len();
        let mut blocks = Blocks::of(held + frame.len());
        let bytes = blocks.bytes();
        bytes[..held].copy_from_slice(&self.tail);
        bytes[held..held + frame.len()].copy_from_slice(frame);
        self.file.write(self.end - held as u64, bytes)?;
        self.file.sync_data()?;
        self.end += frame.len() as u64;
        let whole = (held + frame.len()) / BLOCK * BLOCK;
        self.tail.clear();
        self.tail.extend_from_slice(&bytes[whole..held + frame.len()]);
        Ok(())
    }

    /// Begins anew: the tables have everything.
    pub(crate) fn restart(&mut self) {
        self.end = 0;
        self.tail.clear();
    }

    /// The records after a revision, which the tables end at.
    pub(crate) fn read(&self, after: u64) -> Result<Vec<Record>, StoreError> {
        let mut blocks = Blocks::of(self.size as usize);
        let bytes = blocks.bytes();
        self.file.read(0, bytes).map_err(redb::Error::Io)?;
        let mut rest = &*bytes;
        let (mut records, mut last) = (Vec::new(), None);
        while let Some((body, behind)) = whole_frame(rest) {
            let Some(batch) = batch(body, last) else { break };
            last = batch.last().map(|record: &Record| record.entry.revision).or(last);
            records.extend(batch.into_iter().filter(|record| record.entry.revision > after));
            rest = behind;
        }
        let end = last.unwrap_or(0).max(after);
        if let Some(later) = first_revision_beyond(rest, end) {
            return Err(StoreError::Damaged { what: format!("the journal cannot be read from revision {} on, and has {later}", end + 1) });
        }
        match records.first().map(|record| record.entry.revision) {
            Some(first) if first > after + 1 => {
                Err(StoreError::Damaged { what: format!("the journal goes on at revision {first}, the tables end at {after}") })
            }
            _ => Ok(records),
        }
    }
}

/// The first revision of a whole frame anywhere in `bytes` whose revisions come after `end`.
fn first_revision_beyond(bytes: &[u8], end: u64) -> Option<u64> {
    // so many records fit: what looks like a larger revision is none
    let most = end + (bytes.len() / RECORD_HEAD) as u64 + 1;
    (0..bytes.len()).find_map(|at| {
        let revision = u64::from_le_bytes(bytes.get(at + HEAD..at + HEAD + 8)?.try_into().ok()?);
        if !(end + 1..=most).contains(&revision) {
            return None;
        }
        let (body, _) = whole_frame(&bytes[at..])?;
        batch(body, None)?.first().map(|record| record.entry.revision)
    })
}

fn whole_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let word = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let (body, rest) = rest.split_at_checked(word(0)? as usize)?;
    (!body.is_empty() && crc32fast::hash(body) == word(4)?).then_some((body, rest))
}

/// The records of a frame, if they follow the revision `last`.
fn batch(mut body: &[u8], mut last: Option<u64>) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while !body.is_empty() {
        let (head, rest) = body.split_at_checked(RECORD_HEAD)?;
        let revision = u64::from_le_bytes(head[..8].try_into().ok()?);
        let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(head[8..].try_into().ok()?) as usize)?;
        if last.is_some_and(|last| revision != last + 1) {
            return None;
        }
        last = Some(revision);
        records.push(Record::decode(revision, bytes).ok()?);
        body = rest;
    }
    Some(records)
}

/// Opens tables and journal.
pub(crate) type Opener = Box<dyn Fn(&mut redb::Builder) -> Result<(Database, Backend), StoreError> + Send + Sync>;

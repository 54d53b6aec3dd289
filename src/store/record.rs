//! How writes lie on disk: a header of fixed size, the key, the bytes; integers little-endian. The header's checksum is over the
//! revision, which lies elsewhere, and all the rest: redb looks at its own only after a crash.

use std::sync::Arc;

use bytes::Bytes;

use crate::entry::{Entry, EventKind, Value};
use crate::error::StoreError;

pub(crate) const HEADER: usize = 1 + 4 + 8 + 8 + 4 + 4;
/// In the first byte: the record has a checksum, as all have that this version writes.
const CHECKED: u8 = 2;

/// One write, or in `base` the last write of a key.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) kind: EventKind,
    /// Milliseconds since 1970.
    pub(crate) time: u64,
    /// Revision of the write before it to the same key; 0 where the key was absent.
    pub(crate) previous: u64,
    pub(crate) entry: Arc<Entry>,
}

impl Record {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let Entry { key, value, .. } = &*self.entry;
        out.reserve(HEADER + key.len() + value.bytes.len());
        let start = out.len();
        out.push(match self.kind {
            EventKind::Put => CHECKED,
            EventKind::Delete => CHECKED | 1,
        });
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.time.to_le_bytes());
        out.extend_from_slice(&self.previous.to_le_bytes());
        out.extend_from_slice(&(value.cut as u32).to_le_bytes());
        out.extend_from_slice(&(key.len() as u32).to_le_bytes());
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(&value.bytes);
        let sum = checksum(self.entry.revision, out[start], &out[start + 5..]);
        out[start + 1..start + 5].copy_from_slice(&sum.to_le_bytes());
    }

    /// Reads the record of the write `revision`.
    pub(crate) fn decode(revision: u64, bytes: &[u8]) -> Result<Self, StoreError> {
        Self::parse(revision, bytes).ok_or_else(|| StoreError::Damaged { what: format!("record of revision {revision}") })
    }

    fn parse(revision: u64, bytes: &[u8]) -> Option<Self> {
        let (&first, rest) = bytes.split_first()?;
        let rest = match first & CHECKED {
            0 => rest,
            _ => {
                let (sum, rest) = rest.split_at_checked(4)?;
                (sum == checksum(revision, first, rest).to_le_bytes()).then_some(rest)?
            }
        };
        let kind = match first & !CHECKED {
            0 => EventKind::Put,
            1 => EventKind::Delete,
            _ => return None,
        };
        let (header, rest) = rest.split_at_checked(HEADER - 5)?;
        let u64_at = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?) as usize);
        let (key, value) = rest.split_at_checked(u32_at(20)?)?;
        let cut = u32_at(16)?;
        if cut > value.len() {
            return None;
        }
        let value = Value { bytes: Bytes::copy_from_slice(value), cut };
        let entry = Arc::new(Entry { key: std::str::from_utf8(key).ok()?.into(), revision, value });
        Some(Self { kind, time: u64_at(0)?, previous: u64_at(8)?, entry })
    }
}

fn checksum(revision: u64, first: u8, rest: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&revision.to_le_bytes());
    sum.update(&[first]);
    sum.update(rest);
    sum.finalize()
}

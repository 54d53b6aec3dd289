//! How writes lie on disk: a header of fixed size, the key, the bytes; integers little-endian.

use std::sync::Arc;

use bytes::Bytes;

use crate::entry::{Entry, EventKind, Value};
use crate::error::StoreError;

pub(crate) const HEADER: usize = 1 + 8 + 8 + 4 + 4;

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
        out.push(match self.kind {
            EventKind::Put => 0,
            EventKind::Delete => 1,
        });
        out.extend_from_slice(&self.time.to_le_bytes());
        out.extend_from_slice(&self.previous.to_le_bytes());
        out.extend_from_slice(&(value.cut as u32).to_le_bytes());
        out.extend_from_slice(&(key.len() as u32).to_le_bytes());
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(&value.bytes);
    }

    /// Reads the record of the write `revision`.
    pub(crate) fn decode(revision: u64, bytes: &[u8]) -> Result<Self, StoreError> {
        Self::parse(revision, bytes).ok_or_else(|| StoreError::Damaged { what: format!("record of revision {revision}") })
    }

    fn parse(revision: u64, bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(HEADER)?;
        let u64_at = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?) as usize);
        let kind = match header.first()? {
            0 => EventKind::Put,
            1 => EventKind::Delete,
            _ => return None,
        };
        let (key, value) = rest.split_at_checked(u32_at(21)?)?;
        let cut = u32_at(17)?;
        if cut > value.len() {
            return None;
        }
        let value = Value { bytes: Bytes::copy_from_slice(value), cut };
        let entry = Arc::new(Entry { key: std::str::from_utf8(key).ok()?.into(), revision, value });
        Some(Self { kind, time: u64_at(1)?, previous: u64_at(9)?, entry })
    }
}

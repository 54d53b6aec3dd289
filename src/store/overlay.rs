//! A file that is read and never written: what would be written is kept in memory, for whoever wants to look at a store.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use parking_lot::Mutex;
use redb::StorageBackend;

const BLOCK: u64 = 4_096;

#[derive(Debug)]
pub(crate) struct Overlay {
    file: File,
    /// Its length.
    below: u64,
    changed: Mutex<Changed>,
}

#[derive(Debug, Default)]
struct Changed {
    length: u64,
    /// Whole blocks that were written to.
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, below: length, changed: Mutex::new(Changed { length, blocks: BTreeMap::new() }) })
    }

    /// A block as the file has it; zeros behind its end.
    fn original(&self, block: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; BLOCK as usize];
        let start = block * BLOCK;
        let there = self.below.saturating_sub(start).min(BLOCK) as usize;
        self.file.read_exact_at(&mut bytes[..there], start)?;
        Ok(bytes)
    }
}

/// The parts of a range by block: the block, where in it, how many bytes.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + length as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let (block, within) = (at / BLOCK, at % BLOCK);
            let count = (BLOCK - within).min(end - at);
            at += count;
            (block, within as usize, count as usize)
        })
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changed.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changed = self.changed.lock();
        if offset + out.len() as u64 > changed.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut out = out;
        for (block, within, count) in parts(offset, out.len()) {
            let (now, rest) = out.split_at_mut(count);
            match changed.blocks.get(&block) {
                Some(bytes) => now.copy_from_slice(&bytes[within..within + count]),
                None => now.copy_from_slice(&self.original(block)?[within..within + count]),
            }
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut changed = self.changed.lock();
        // what is cut off does not come back when the file grows again
        for block in length / BLOCK..changed.length.div_ceil(BLOCK) {
            let mut bytes = match changed.blocks.remove(&block) {
                Some(bytes) => bytes,
                None => self.original(block)?,
            };
            let kept = length.saturating_sub(block * BLOCK).min(BLOCK) as usize;
            bytes[kept..].fill(0);
            changed.blocks.insert(block, bytes);
        }
        changed.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changed = self.changed.lock();
        let end = offset + data.len() as u64;
        let mut data = data;
        for (block, within, count) in parts(offset, data.len()) {
            let (now, rest) = data.split_at(count);
            let bytes = match changed.blocks.entry(block) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(self.original(block)?),
            };
            bytes[within..within + count].copy_from_slice(now);
            data = rest;
        }
        changed.length = changed.length.max(end);
        Ok(())
    }
}

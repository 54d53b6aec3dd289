//! Texts of lines: kept in memory as far as they fit, the oldest on disk. Nothing is dropped.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Texts are laid one after the other into pieces of this size.
const PIECE: usize = 4 << 20;
/// How many pieces stay in memory.
const IN_MEMORY: usize = 16;

/// Where a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    piece: u32,
    offset: u32,
    length: u32,
}

enum Piece {
    Memory(Vec<u8>),
    /// At this place of the file, so long.
    Disk(u64, usize),
}

/// The texts.
pub(super) struct Texts {
    pieces: Vec<Piece>,
    in_memory: usize,
    file: Option<File>,
    written: u64,
    /// A disk that is full or cannot be used is not asked again: memory must do.
    unusable: bool,
    /// The piece that was read from disk last.
    read: RefCell<Option<(u32, Rc<Vec<u8>>)>>,
    piece: usize,
    most: usize,
}

impl Default for Texts {
    fn default() -> Self {
        Self::sized(PIECE, IN_MEMORY)
    }
}

impl Texts {
    fn sized(piece: usize, most: usize) -> Self {
        Self { pieces: Vec::new(), in_memory: 0, file: None, written: 0, unusable: false, read: RefCell::default(), piece, most }
    }

    /// Keeps a text.
    pub(super) fn add(&mut self, text: &str) -> At {
        let fits = matches!(self.pieces.last(), Some(Piece::Memory(bytes)) if bytes.len() + text.len() <= self.piece);
        if !fits {
            self.pieces.push(Piece::Memory(Vec::with_capacity(self.piece.min(1 << 16))));
            self.in_memory += 1;
            self.spill();
        }
        let piece = u32::try_from(self.pieces.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let mut offset = 0;
        if let Some(Piece::Memory(bytes)) = self.pieces.last_mut() {
            offset = bytes.len();
            bytes.extend_from_slice(text.as_bytes());
        }
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        At { piece, offset: number(offset), length: number(text.len()) }
    }

    /// Writes the oldest pieces to disk until few enough are in memory.
    fn spill(&mut self) {
        while self.in_memory > self.most && !self.unusable {
            let Some(oldest) = self.pieces.iter().position(|piece| matches!(piece, Piece::Memory(_))) else { return };
            if self.file.is_none() {
                self.file = nameless();
            }
            let Piece::Memory(bytes) = &self.pieces[oldest] else { return };
            let written = self.file.as_ref().is_some_and(|file| file.write_all_at(bytes, self.written).is_ok());
            if !written {
                self.unusable = true;
                return;
            }
            let (at, length) = (self.written, bytes.len());
            self.written += length as u64;
            self.pieces[oldest] = Piece::Disk(at, length);
            self.in_memory -= 1;
        }
    }

    /// A text.
    pub(super) fn get(&self, at: At) -> Cow<'_, str> {
        let range = at.offset as usize..at.offset as usize + at.length as usize;
        match self.pieces.get(at.piece as usize) {
            Some(Piece::Memory(bytes)) => String::from_utf8_lossy(bytes.get(range).unwrap_or_default()),
            Some(Piece::Disk(from, length)) => {
                let bytes = self.piece_on_disk(at.piece, *from, *length);
                Cow::Owned(String::from_utf8_lossy(bytes.get(range).unwrap_or_default()).into_owned())
            }
            None => Cow::Borrowed(""),
        }
    }

    fn piece_on_disk(&self, number: u32, from: u64, length: usize) -> Rc<Vec<u8>> {
        if let Some((_, bytes)) = self.read.borrow().as_ref().filter(|(read, _)| *read == number) {
            return bytes.clone();
        }
        let mut bytes = vec![0; length];
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.read_exact_at(&mut bytes, from)) {
            bytes.fill(b'?');
            tracing::warn!(%error, "lines of a log cannot be read back");
        }
        let bytes = Rc::new(bytes);
        *self.read.borrow_mut() = Some((number, bytes.clone()));
        bytes
    }
}

/// A file that is gone when it is closed, however that comes about.
fn nameless() -> Option<File> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("coracle-log-{}-{number}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).ok()?;
    std::fs::remove_file(&path).ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_beyond_memory_is_read_back_from_disk(texts in proptest::collection::vec("\\PC{0,40}", 1..200), most in 1usize..4) {
            let mut kept = Texts::sized(64, most);
            let places: Vec<At> = texts.iter().map(|text| kept.add(text)).collect();
            for (text, at) in texts.iter().zip(&places) {
                prop_assert_eq!(&kept.get(*at), text);
            }
            prop_assert!(kept.in_memory <= most.max(1));
            let on_disk = kept.pieces.iter().filter(|piece| matches!(piece, Piece::Disk(..))).count();
            prop_assert_eq!(on_disk + kept.in_memory, kept.pieces.len());
        }
    }
}

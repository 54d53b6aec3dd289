//! Damage: small samples, flipped, cut, spliced and repeated, the same way each time.
//!
//! `CORACLE_FUZZ_CASES` says how many times, `CORACLE_FUZZ_SEED` in which order.
#![allow(dead_code, reason = "every room uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// No damaged sample is longer.
const LONGEST: usize = 64 << 10;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn seed() -> u64 {
    number("CORACLE_FUZZ_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// How many cases: a few, or as many as the environment says.
pub fn cases(few: u64) -> u64 {
    number("CORACLE_FUZZ_CASES", few)
}

/// The samples of a name, in the order of their files.
pub fn corpus(name: &str) -> Vec<Vec<u8>> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let folder = above.map(|path| path.join("tests/fuzz/corpus").join(name)).find(|path| path.is_dir()).expect("the corpus is there");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has no samples");
    files.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Damages samples.
pub struct Mutator {
    state: u64,
    samples: Vec<Vec<u8>>,
    words: &'static [&'static str],
}

impl Mutator {
    /// Of the samples of a name; `words` mean something to whoever reads them.
    pub fn of(name: &str, words: &'static [&'static str]) -> Self {
        Self { state: seed(), samples: corpus(name), words }
    }

    /// Of samples that were made.
    pub fn from(samples: Vec<Vec<u8>>) -> Self {
        Self { state: seed(), samples, words: &[] }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % bound.max(1)
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let begin = self.below(length + 1);
        let most = if self.below(3) == 0 { length - begin } else { (length - begin).min(24) };
        begin..begin + self.below(most + 1)
    }

    fn sample(&mut self) -> Vec<u8> {
        let at = self.below(self.samples.len());
        self.samples[at].clone()
    }

    /// A sample that is damaged in some places; now and then a whole one.
    pub fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.sample();
        for _ in 0..self.below(6) {
            let range = self.range(bytes.len());
            match self.below(7) {
                0 | 1 => {
                    for at in range.take(4) {
                        bytes[at] ^= 1 << self.below(8);
                    }
                }
                2 => drop(bytes.drain(range)),
                3 => {
                    let other = self.sample();
                    let piece = self.range(other.len());
                    bytes.splice(range, other[piece].iter().copied());
                }
                4 => {
                    let (piece, times) = (bytes[range.clone()].to_vec(), 1 << self.below(12));
                    let room = LONGEST.saturating_sub(bytes.len()) / piece.len().max(1);
                    let more = piece.repeat(times.min(room));
                    bytes.splice(range.end..range.end, more);
                }
                5 if !self.words.is_empty() => {
                    let word = self.words[self.below(self.words.len())];
                    bytes.splice(range, word.bytes());
                }
                _ => {
                    for at in range.take(8) {
                        bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b'9'][self.below(8)];
                    }
                }
            }
        }
        bytes.truncate(LONGEST);
        bytes
    }

    /// Gives so many damaged samples to `target`; says which one it failed on.
    pub fn run(mut self, cases: u64, mut target: impl FnMut(&[u8])) {
        for case in 0..cases {
            let bytes = self.next();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&bytes))) {
                eprintln!("case {case}: {}", bytes.escape_ascii());
                resume_unwind(panic);
            }
        }
    }
}

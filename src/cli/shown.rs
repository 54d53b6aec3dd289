//! What others wrote, on a terminal: colours pass, nothing else that a terminal would obey does.
//!
//! Names, annotations, messages and logs come from whoever may write to a cluster or run in it. A terminal must not be told
//! by them to change its title, its clipboard, what stands on it, or what it answers. Pipes and files get every byte.

use std::io::{self, IsTerminal, Write};

const ESCAPE: u8 = 0x1b;
/// As much of a colour's numbers as a terminal understands.
const LONGEST: usize = 64;

/// A writer that a terminal may be behind.
pub(crate) struct Shown<W: Write> {
    to: W,
    terminal: bool,
    /// The beginning of what may be a colour, or a character of two bytes.
    held: Vec<u8>,
    coloured: bool,
}

/// Standard output.
pub(crate) fn stdout() -> Shown<io::Stdout> {
    Shown::new(io::stdout(), io::stdout().is_terminal())
}

/// Standard error.
pub(crate) fn stderr() -> Shown<io::Stderr> {
    Shown::new(io::stderr(), io::stderr().is_terminal())
}

impl<W: Write> Shown<W> {
    fn new(to: W, terminal: bool) -> Self {
        Self { to, terminal, held: Vec::new(), coloured: false }
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) {
        match (self.held.as_slice(), byte) {
            ([], ESCAPE | 0xc2 | b'\r') => self.held.push(byte),
            ([], _) => plain(byte, out),
            // the end of a line, as some systems write it
            ([b'\r'], b'\n') => {
                self.held.clear();
                out.extend_from_slice(b"\r\n");
            }
            // control characters beyond ASCII, of which one begins sequences as escape and bracket do
            ([0xc2], 0x80..=0x9f) => {
                self.held.clear();
                out.extend_from_slice(format!("<{byte:02x}>").as_bytes());
            }
            ([0xc2], 0xa0..=0xbf) => {
                self.held.clear();
                out.extend_from_slice(&[0xc2, byte]);
            }
            ([ESCAPE], b'[') => self.held.push(byte),
            ([ESCAPE, b'[', ..], b'0'..=b'9' | b';' | b':') if self.held.len() < LONGEST => self.held.push(byte),
            ([ESCAPE, b'[', ..], b'm') => {
                self.coloured = true;
                out.append(&mut self.held);
                out.push(byte);
            }
            _ => {
                self.release(out);
                self.take(byte, out);
            }
        }
    }

    /// What was held is no colour.
    fn release(&mut self, out: &mut Vec<u8>) {
        for byte in std::mem::take(&mut self.held) {
            plain(byte, out);
        }
    }
}

/// A byte; controls that are not lines and columns as carets show them.
fn plain(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'\n' | b'\t' => out.push(byte),
        0..0x20 | 0x7f => out.extend_from_slice(&[b'^', byte ^ 0x40]),
        _ => out.push(byte),
    }
}

impl<W: Write> Write for Shown<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.terminal {
            return self.to.write(bytes);
        }
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.take(*byte, &mut out);
        }
        self.to.write_all(&out)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<W: Write> Drop for Shown<W> {
    fn drop(&mut self) {
        let mut out = Vec::new();
        self.release(&mut out);
        if self.coloured {
            out.extend_from_slice(b"\x1b[0m");
        }
        let _ = self.to.write_all(&out).and_then(|()| self.to.flush());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// Written whole and byte by byte, it comes to the same.
    fn shown(text: &[u8]) -> String {
        let write = |pieces: Vec<&[u8]>| {
            let mut to = Vec::new();
            let mut shown = Shown::new(&mut to, true);
            pieces.iter().for_each(|piece| shown.write_all(piece).unwrap());
            drop(shown);
            String::from_utf8_lossy(&to).into_owned()
        };
        let whole = write(vec![text]);
        assert_eq!(write(text.chunks(1).collect()), whole);
        whole
    }

    #[test]
    fn colours_pass_and_nothing_else() {
        assert_eq!(shown(b"a \x1b[1;31mred\x1b[0m b\n"), "a \x1b[1;31mred\x1b[0m b\n\x1b[0m");
        assert_eq!(shown("käse → 船 \u{a0}\n\tx\r\n".as_bytes()), "käse → 船 \u{a0}\n\tx\r\n");
        for (hostile, seen) in [
            ("\x1b]0;owned\x07", "^[]0;owned^G"),
            ("\x1b]52;c;aGk=\x1b\\", "^[]52;c;aGk=^[\\"),
            ("\x1b[2J\x1b[H", "^[[2J^[[H"),
            ("\x1b[?1049h", "^[[?1049h"),
            ("\x1b[6n", "^[[6n"),
            ("\x1bc", "^[c"),
            ("\x1bP+q\x1b\\", "^[P+q^[\\"),
            ("\u{9b}2J", "<9b>2J"),
            ("safe\rrm -rf", "safe^Mrm -rf"),
            ("a\x08b\x7f\0", "a^Hb^?^@"),
            ("\x1b[31", "^[[31"),
            ("\x1b\x1b[31mx", "^[\x1b[31mx\x1b[0m"),
        ] {
            assert_eq!(shown(hostile.as_bytes()), seen, "{hostile:?}");
        }
    }

    #[test]
    fn files_get_every_byte() {
        let (mut to, bytes) = (Vec::new(), b"\x1b]0;x\x07\xc2\x9b\r".as_slice());
        Shown::new(&mut to, false).write_all(bytes).unwrap();
        assert_eq!(to, bytes);
    }
}

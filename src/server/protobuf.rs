//! Protocol buffers on the wire.

/// A message being written.
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<u8>);

const LENGTH_DELIMITED: u32 = 2;

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
            number >>= 7;
        }
        self.0.push(u8::try_from(number).unwrap_or(0));
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field << 3 | LENGTH_DELIMITED));
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A string; the empty one is left out, as it is the default.
    pub(crate) fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    /// A bool; false is left out.
    pub(crate) fn flag(&mut self, field: u32, flag: bool) {
        if flag {
            self.varint(u64::from(field << 3));
            self.0.push(1);
        }
    }

    /// A message in the message.
    pub(crate) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// The bytes.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_as_the_specification_shows_them() {
        let mut message = Message::default();
        message.text(2, "testing");
        message.message(3, |inner| inner.flag(1, true));
        message.text(4, "");
        message.flag(5, false);
        assert_eq!(message.finish(), [0x12, 7, b't', b'e', b's', b't', b'i', b'n', b'g', 0x1a, 2, 8, 1]);
        let mut long = Message::default();
        long.text(1, &"x".repeat(300));
        assert_eq!(&long.finish()[..3], [0x0a, 0xac, 2]);
    }
}

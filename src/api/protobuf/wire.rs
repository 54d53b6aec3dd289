//! Protocol buffers on the wire: fields as numbers with values of four forms.

/// A message being written.
#[derive(Debug, Default)]
pub struct Message(Vec<u8>);

impl From<Vec<u8>> for Message {
    /// Goes on behind these bytes.
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
            number >>= 7;
        }
        self.0.push(u8::try_from(number).unwrap_or(0));
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    /// Bytes or a string, as they are.
    pub fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A number or a bool, as it is.
    pub fn number(&mut self, field: u32, number: u64) {
        self.tag(field, 0);
        self.varint(number);
    }

    /// Eight bytes.
    pub fn fixed64(&mut self, field: u32, bits: u64) {
        self.tag(field, 1);
        self.0.extend_from_slice(&bits.to_le_bytes());
    }

    /// A string; the empty one is left out, as it is the default.
    pub fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    /// A bool; false is left out.
    pub fn flag(&mut self, field: u32, flag: bool) {
        if flag {
            self.number(field, 1);
        }
    }

    /// A message in the message.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.tag(field, 2);
        let start = self.0.len();
        write(self);
        let end = self.0.len();
        // The length is known now, and goes before what it counts.
        self.varint((end - start) as u64);
        self.0[start..].rotate_left(end - start);
    }

    /// The bytes so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Why bytes are no message; the texts are those of upstream's generated code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("unexpected EOF")]
    End,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: illegal wireType {0}")]
    WireType(u64),
    #[error("proto: illegal tag {0}")]
    Tag(u64),
    #[error("proto: unexpected end of group")]
    Group,
    #[error("proto: wrong wireType = {found} for field {field}")]
    Unfit { found: u8, field: &'static str },
    #[error("exceeded max depth")]
    Depth,
    #[error("field {field}: {why}")]
    Value { field: &'static str, why: String },
}

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Wire<'a> {
    fn unfit(self, field: &'static str) -> Malformed {
        let found = match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Fixed32(_) => 5,
        };
        Malformed::Unfit { found, field }
    }

    /// A number; `field` is for the message of the error.
    pub(super) fn varint(self, field: &'static str) -> Result<u64, Malformed> {
        if let Self::Varint(number) = self { Ok(number) } else { Err(self.unfit(field)) }
    }

    /// Eight bytes.
    pub(super) fn fixed64(self, field: &'static str) -> Result<u64, Malformed> {
        if let Self::Fixed64(bits) = self { Ok(bits) } else { Err(self.unfit(field)) }
    }

    /// Text, bytes, a message or packed numbers.
    pub(super) fn bytes(self, field: &'static str) -> Result<&'a [u8], Malformed> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(self.unfit(field)) }
    }
}

/// What of a message is still to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next field; groups, which Kubernetes does not use, are passed over.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, Malformed> {
        let mut groups = 0_usize;
        while !self.0.is_empty() {
            let tag = self.varint()?;
            let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0 && *number < 1 << 29).ok_or(Malformed::Tag(tag >> 3))?;
            let value = match tag & 7 {
                0 => Wire::Varint(self.varint()?),
                1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
                2 => {
                    let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Overflow)?;
                    Wire::Bytes(self.take(length)?)
                }
                3 => {
                    groups += 1;
                    continue;
                }
                4 => {
                    groups = groups.checked_sub(1).ok_or(Malformed::Group)?;
                    continue;
                }
                5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
                other => return Err(Malformed::WireType(other)),
            };
            if groups == 0 {
                return Ok(Some((number, value)));
            }
        }
        if groups == 0 { Ok(None) } else { Err(Malformed::End) }
    }

    /// A number of variable length, of at most 64 bits.
    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed::Overflow)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed::End)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::End)?;
        self.0 = rest;
        Ok(taken)
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
        long.message(1, |inner| inner.text(1, &"x".repeat(300)));
        assert_eq!(&long.finish()[..6], [0x0a, 0xaf, 2, 0x0a, 0xac, 2]);
    }
}

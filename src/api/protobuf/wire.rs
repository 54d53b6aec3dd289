//! Protocol buffers on the wire: fields as numbers with values of four forms.

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

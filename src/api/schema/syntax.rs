//! What is wrong with a text that is no JSON, in the words of upstream's reader (Go's `encoding/json`).

/// What the reader wants next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    /// A value, or the end of an empty array.
    FirstValue,
    Key,
    /// A key, or the end of an empty object.
    FirstKey,
    Colon,
    /// What may follow a value.
    After,
}

const END: &str = "unexpected end of JSON input";

/// The first fault of a text; `None` of JSON.
pub(super) fn fault(text: &[u8]) -> Option<String> {
    Reader { text, at: 0 }.read().err()
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

type Read = Result<(), String>;

fn unexpected(byte: u8, place: &str) -> String {
    let shown = match byte {
        b'\'' => "\\'".to_owned(),
        b'"' => "\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\t' => "\\t".to_owned(),
        control if control < 0x20 || control == 0x7f => format!("\\x{control:02x}"),
        other => char::from(other).to_string(),
    };
    format!("invalid character '{shown}' {place}")
}

impl Reader<'_> {
    fn next(&mut self) -> Result<u8, String> {
        let byte = self.text.get(self.at).copied().ok_or(END)?;
        self.at += 1;
        Ok(byte)
    }

    fn read(&mut self) -> Read {
        // for each structure that is open: whether it is an object
        let mut open: Vec<bool> = Vec::new();
        let mut next = Next::Value;
        loop {
            while self.text.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
                self.at += 1;
            }
            if next == Next::After && open.is_empty() && self.at == self.text.len() {
                return Ok(());
            }
            let byte = self.next()?;
            next = match (next, byte, open.last()) {
                (Next::FirstValue, b']', _) | (Next::FirstKey | Next::After, b'}', Some(true)) | (Next::After, b']', Some(false)) => {
                    open.pop();
                    Next::After
                }
                (Next::Value | Next::FirstValue, b'{', _) => {
                    open.push(true);
                    Next::FirstKey
                }
                (Next::Value | Next::FirstValue, b'[', _) => {
                    open.push(false);
                    Next::FirstValue
                }
                (Next::Value | Next::FirstValue, byte, _) => self.scalar(byte).map(|()| Next::After)?,
                (Next::Key | Next::FirstKey, b'"', _) => self.string().map(|()| Next::Colon)?,
                (Next::Key | Next::FirstKey, other, _) => return Err(unexpected(other, "looking for beginning of object key string")),
                (Next::Colon, b':', _) => Next::Value,
                (Next::Colon, other, _) => return Err(unexpected(other, "after object key")),
                (Next::After, b',', Some(true)) => Next::Key,
                (Next::After, b',', Some(false)) => Next::Value,
                (Next::After, other, Some(true)) => return Err(unexpected(other, "after object key:value pair")),
                (Next::After, other, Some(false)) => return Err(unexpected(other, "after array element")),
                (Next::After, other, None) => return Err(unexpected(other, "after top-level value")),
            };
        }
    }

    fn scalar(&mut self, first: u8) -> Read {
        match first {
            b'"' => self.string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'-' | b'0'..=b'9' => self.number(first),
            other => Err(unexpected(other, "looking for beginning of value")),
        }
    }

    fn literal(&mut self, word: &str) -> Read {
        for wanted in word.bytes().skip(1) {
            let byte = self.next()?;
            if byte != wanted {
                return Err(unexpected(byte, &format!("in literal {word} (expecting '{}')", char::from(wanted))));
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Read {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let byte = self.next()?;
                            if !byte.is_ascii_hexdigit() {
                                return Err(unexpected(byte, "in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    other => return Err(unexpected(other, "in string escape code")),
                },
                control if control < 0x20 => return Err(unexpected(control, "in string literal")),
                _ => {}
            }
        }
    }

    fn digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    /// A digit that has to be there, and those after it.
    fn some_digits(&mut self, place: &str) -> Read {
        let byte = self.next()?;
        if !byte.is_ascii_digit() {
            return Err(unexpected(byte, place));
        }
        self.digits();
        Ok(())
    }

    fn follows(&mut self, bytes: &[u8]) -> bool {
        let found = self.text.get(self.at).is_some_and(|byte| bytes.contains(byte));
        self.at += usize::from(found);
        found
    }

    fn number(&mut self, mut first: u8) -> Read {
        if first == b'-' {
            first = self.next()?;
            if !first.is_ascii_digit() {
                return Err(unexpected(first, "in numeric literal"));
            }
        }
        if first != b'0' {
            self.digits();
        }
        if self.follows(b".") {
            self.some_digits("after decimal point in numeric literal")?;
        }
        if self.follows(b"eE") {
            self.follows(b"+-");
            self.some_digits("in exponent of numeric literal")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", END)]
    #[case("{\"a\": [1, ", END)]
    #[case("hello", "invalid character 'h' looking for beginning of value")]
    #[case("[1,]", "invalid character ']' looking for beginning of value")]
    #[case("{\"a\": 1,}", "invalid character '}' looking for beginning of object key string")]
    #[case("{a: 1}", "invalid character 'a' looking for beginning of object key string")]
    #[case("{\"a\" 1}", "invalid character '1' after object key")]
    #[case("{\"a\": 1 \"b\": 2}", "invalid character '\"' after object key:value pair")]
    #[case("[1 2]", "invalid character '2' after array element")]
    #[case("{} x", "invalid character 'x' after top-level value")]
    #[case("01", "invalid character '1' after top-level value")]
    #[case("trUe", "invalid character 'U' in literal true (expecting 'u')")]
    #[case("1.x", "invalid character 'x' after decimal point in numeric literal")]
    #[case("1e]", "invalid character ']' in exponent of numeric literal")]
    #[case("-a", "invalid character 'a' in numeric literal")]
    #[case("\"a\nb\"", "invalid character '\\n' in string literal")]
    #[case("\"\\x\"", "invalid character 'x' in string escape code")]
    #[case("\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape")]
    fn faults(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(fault(text.as_bytes()).as_deref(), Some(expected));
    }

    proptest! {
        /// What one reader takes the other takes, as long as it nests no deeper than is allowed.
        #[test]
        fn agrees_with_the_reader_that_counts(text in "[\\[\\]{},:\"0-9.eE+ truefalsn\\\\-]{0,24}") {
            prop_assert_eq!(fault(text.as_bytes()).is_none(), serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
        }
    }
}

//! The query of a request.

use coracle_api::status::Status;

/// Decoded pairs in the order they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c`; a pair that is not well-formed is read as it stands.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_form(key), decode_form(value))
        });
        Self(pairs.collect())
    }

    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_str())
    }

    /// The first value of a key, unless it is empty.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    /// The pairs as they came.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Every value of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == key).map(|(_, value)| value.as_str())
    }

    /// A flag as Go's query conversion reads it: there and neither `false` nor `0`.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// An optional flag.
    pub fn optional_flag(&self, key: &str) -> Option<bool> {
        self.get(key).map(|_| self.flag(key))
    }

    /// An optional number.
    pub fn number(&self, key: &str) -> Result<Option<i64>, Status> {
        self.text(key)
            .map(|text| text.parse().map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))))
            .transpose()
    }
}

fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    if !text.contains(['%', '+']) {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let (high, low) = (hex(bytes.next()?)?, hex(bytes.next()?)?);
                high << 4 | low
            }
            b'+' if plus_is_space => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn decode_form(text: &str) -> String {
    decode(text, true).unwrap_or_else(|| text.to_owned())
}

/// Decodes a segment of a path.
pub(crate) fn decode_segment(text: &str) -> Option<String> {
    decode(text, false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn reads_pairs() {
        let query = Query::parse("a=1%2C2&b=x+y&flag&off=false&a=3&bad=%z");
        assert_eq!(query.get("a"), Some("1,2"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1,2", "3"]);
        assert_eq!(query.get("b"), Some("x y"));
        assert!(query.flag("flag") && !query.flag("off") && !query.flag("none"));
        assert_eq!(query.get("bad"), Some("%z"));
        assert!(query.number("b").is_err());
    }
}

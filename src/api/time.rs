//! Points in time as objects carry them: `metav1.Time` in whole seconds, `metav1.MicroTime` in millionths, both in UTC.

use jiff::Timestamp;

/// `2026-03-01T12:00:00Z`.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-03-01T12:00:00.000000Z`.
pub fn micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// A time of RFC 3339; nothing else is accepted, as Go's `time.RFC3339` does not.
pub fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let fits = marks.iter().all(|&(at, mark)| bytes.get(at) == Some(&mark))
        && [0..4, 5..7, 8..10, 11..13, 14..16, 17..19].into_iter().all(digits)
        && zone(&bytes[19..]);
    if fits { text.parse().ok() } else { None }
}

/// What follows the seconds: a fraction, then `Z` or `+hh:mm`.
fn zone(rest: &[u8]) -> bool {
    let rest = match rest.split_first() {
        Some((b'.', fraction)) => {
            let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if length == 0 {
                return false;
            }
            &fraction[length..]
        }
        _ => rest,
    };
    match rest {
        [b'Z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn prints_in_utc() {
        let time = parse("2026-03-01T14:00:00.1234567+02:00").unwrap();
        assert_eq!(seconds(time), "2026-03-01T12:00:00Z");
        assert_eq!(micros(time), "2026-03-01T12:00:00.123456Z");
    }

    #[test]
    fn refuses_other_forms() {
        for text in [
            "",
            "2026-03-01",
            "2026-03-01 12:00:00Z",
            "2026-03-01T12:00:00",
            "2026-03-01T12:00:00.Z",
            "2026-13-01T12:00:00Z",
            "ten",
            "é026-03-01T12:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

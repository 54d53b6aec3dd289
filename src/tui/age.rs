//! Ages as kubectl writes them, and when what is shown changes next.

/// `HumanDuration` of k8s.io/apimachinery: a duration in at most two units.
pub fn human(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
    };
    match seconds {
        i64::MIN..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds / MINUTE, "m", seconds % MINUTE, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(seconds / HOUR, "h", seconds % HOUR / MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(seconds / YEAR, "y", seconds % YEAR / DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// Seconds until [`human`] of an age reads differently.
pub fn next_change(seconds: i64) -> i64 {
    let step = match seconds {
        i64::MIN..0 => return 1,
        0..600 => 1,
        600..28_800 => 60,
        28_800..691_200 => 3_600,
        _ => 86_400,
    };
    step - seconds % step
}

/// Reads `90s`, `1h30m`, `2d`; a bare number is seconds.
pub fn parse(text: &str) -> Option<i64> {
    let mut total = 0i64;
    let mut number = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            'y' => 31_536_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(unit)?)?;
        number.clear();
    }
    if number.is_empty() { (!text.is_empty()).then_some(total) } else { total.checked_add(number.parse().ok()?) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(-2, "<invalid>")]
    #[case(0, "0s")]
    #[case(119, "119s")]
    #[case(120, "2m")]
    #[case(599, "9m59s")]
    #[case(600, "10m")]
    #[case(10_800, "3h")]
    #[case(10_860, "3h1m")]
    #[case(28_800, "8h")]
    #[case(172_800, "2d")]
    #[case(180_000, "2d2h")]
    #[case(691_200, "8d")]
    #[case(63_158_400, "2y1d")]
    #[case(252_288_000, "8y")]
    fn as_kubectl_writes_it(#[case] seconds: i64, #[case] text: &str) {
        assert_eq!(human(seconds), text);
    }

    proptest! {
        #[test]
        fn nothing_changes_before_the_next_change(age in 0i64..400_000_000) {
            let wait = next_change(age);
            prop_assert!(wait >= 1);
            prop_assert_eq!(human(age), human(age + wait - 1));
        }

        #[test]
        fn what_is_written_reads_back(age in 0i64..691_200) {
            let back = parse(&human(age)).unwrap();
            prop_assert!(back <= age && age - back < 3_600);
        }
    }
}

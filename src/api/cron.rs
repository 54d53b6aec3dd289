//! Schedules of CronJobs, with the rules and words of the parser upstream uses (`robfig/cron`).

use jiff::{RoundMode, SignedDuration, ToSpan, Unit, Zoned, ZonedRound};

struct Field {
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { low: 0, high: 59, names: &[] },
    Field { low: 0, high: 23, names: &[] },
    Field { low: 1, high: 31, names: &[] },
    Field { low: 1, high: 12, names: MONTHS },
    Field { low: 0, high: 6, names: DAYS },
];

/// A schedule of a CronJob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// Bits of the allowed minutes, hours, days, months and weekdays; whether the days and the weekdays are restricted.
    Fields {
        /// Allowed values by field.
        bits: [u64; 5],
        /// `*` in the day of the month or of the week: the other one decides alone.
        any_day: bool,
    },
    /// `@every` so long.
    Every(SignedDuration),
}

/// Reads a schedule; the zone is the one named in it, if any.
pub fn parse(schedule: &str) -> Result<(Schedule, Option<String>), String> {
    let (mut schedule, mut zone) = (schedule, None);
    if let Some(rest) = schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ=")) {
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        (zone, schedule) = (Some(name.to_owned()), rest.trim());
    }
    let standard = match schedule {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other => other,
    };
    if let Some(every) = standard.strip_prefix("@every ") {
        let delay = every.parse::<SignedDuration>().map_err(|error| format!("failed to parse duration {schedule}: {error}"))?;
        return Ok((Schedule::Every(SignedDuration::from_secs(delay.as_secs().max(1))), zone));
    }
    if standard.starts_with('@') {
        return Err(format!("unrecognized descriptor: {schedule}"));
    }
    let texts: Vec<&str> = standard.split_whitespace().collect();
    if texts.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", texts.len(), texts.join(" ")));
    }
    let (mut bits, mut any_day) = ([0; 5], false);
    for (at, (text, field)) in texts.iter().zip(&FIELDS).enumerate() {
        for range in text.split(',').filter(|part| !part.is_empty()) {
            bits[at] |= field.bits(range)?;
            any_day |= matches!(at, 2 | 4) && matches!(range.split('/').next(), Some("*" | "?"));
        }
    }
    Ok((Schedule::Fields { bits, any_day }, zone))
}

impl Schedule {
    /// The first moment after `after` on the schedule, by that zone's clocks; `None` when there is none in five years.
    /// Moments that a clock skips are skipped.
    pub fn next(&self, after: &Zoned) -> Option<Zoned> {
        let (bits, any_day) = match self {
            Self::Every(delay) => return after.checked_add(*delay).ok()?.round(Unit::Second).ok(),
            Self::Fields { bits, any_day } => (bits, *any_day),
        };
        let has = |at: usize, value: i8| bits[at] & (1 << value) != 0;
        let mut at = after.checked_add(1.minute()).ok()?.round(ZonedRound::new().smallest(Unit::Minute).mode(RoundMode::Trunc)).ok()?;
        let end = after.year() + 5;
        while at.year() <= end {
            if !has(3, at.month()) {
                at = at.first_of_month().ok()?.checked_add(1.month()).ok()?.start_of_day().ok()?;
                continue;
            }
            let (of_month, of_week) = (has(2, at.day()), has(4, at.weekday().to_sunday_zero_offset()));
            if !(if any_day { of_month && of_week } else { of_month || of_week }) {
                at = at.tomorrow().ok()?.start_of_day().ok()?;
            } else if !has(1, at.hour()) {
                at = at.checked_sub(i64::from(at.minute()).minutes()).ok()?.checked_add(1.hour()).ok()?;
            } else if !has(0, at.minute()) {
                at = at.checked_add(1.minute()).ok()?;
            } else {
                return Some(at);
            }
        }
        None
    }
}

impl Field {
    fn bits(&self, text: &str) -> Result<u64, String> {
        let (range, step) = match text.split('/').collect::<Vec<_>>()[..] {
            [range] => (range, None),
            [range, step] => (range, Some(number(step)?)),
            _ => return Err(format!("too many slashes: {text}")),
        };
        let (start, end) = if matches!(range, "*" | "?") {
            (self.low, self.high)
        } else {
            match range.split('-').collect::<Vec<_>>()[..] {
                [one] => {
                    let start = self.value(one)?;
                    (start, if step.is_some() { self.high } else { start })
                }
                [start, end] => (self.value(start)?, self.value(end)?),
                _ => return Err(format!("too many hyphens: {text}")),
            }
        };
        if start < self.low {
            return Err(format!("beginning of range ({start}) below minimum ({}): {text}", self.low));
        }
        if end > self.high {
            return Err(format!("end of range ({end}) above maximum ({}): {text}", self.high));
        }
        if start > end {
            return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
        }
        if step == Some(0) {
            return Err(format!("step of range should be a positive number: {text}"));
        }
        let step = usize::try_from(step.unwrap_or(1)).unwrap_or(1);
        Ok((start..=end).step_by(step).fold(0, |bits, value| bits | 1 << value))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        match self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            Some(index) => Ok(u32::try_from(index).unwrap_or(0) + self.low),
            None => number(text),
        }
    }
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(value) => u32::try_from(value).map_err(|_| format!("negative number ({value}) not allowed: {text}")),
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("*/5 * * * *", "")]
    #[case("0 0 1 jan sun-fri", "")]
    #[case("@hourly", "")]
    #[case("TZ=UTC 0 1 * * 1,2", "")]
    #[case("every now and then", "expected exactly 5 fields, found 4: [every now and then]")]
    #[case("70 * * * *", "end of range (70) above maximum (59): 70")]
    #[case("* * 0 * *", "beginning of range (0) below minimum (1): 0")]
    #[case("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax")]
    #[case("@never", "unrecognized descriptor: @never")]
    fn schedules(#[case] schedule: &str, #[case] expected: &str) {
        assert_eq!(parse(schedule).err().unwrap_or_default(), expected);
    }

    #[rstest]
    #[case("*/5 * * * *", "2024-02-28T23:58:30[UTC]", "2024-02-29T00:00:00[UTC]")]
    #[case("30 2 * * *", "2024-03-09T12:00:00[America/New_York]", "2024-03-11T02:30:00[America/New_York]")]
    #[case("0 0 13 * fri", "2024-09-01T00:00:00[UTC]", "2024-09-06T00:00:00[UTC]")]
    #[case("0 0 31 * *", "2024-01-31T00:00:00[UTC]", "2024-03-31T00:00:00[UTC]")]
    #[case("0 12 * jan sun", "2024-02-01T00:00:00[UTC]", "2025-01-05T12:00:00[UTC]")]
    #[case("@every 1h30m", "2024-02-01T00:00:00[UTC]", "2024-02-01T01:30:00[UTC]")]
    #[case("15 9 * * *", "2024-07-01T00:00:00[Europe/Berlin]", "2024-07-01T09:15:00[Europe/Berlin]")]
    fn next(#[case] schedule: &str, #[case] after: &str, #[case] expected: &str) {
        let (schedule, _) = parse(schedule).unwrap();
        assert_eq!(schedule.next(&after.parse().unwrap()), Some(expected.parse().unwrap()));
    }

    #[test]
    fn a_day_that_never_comes() {
        assert_eq!(parse("0 0 30 feb *").unwrap().0.next(&"2024-01-01T00:00:00[UTC]".parse().unwrap()), None);
    }
}

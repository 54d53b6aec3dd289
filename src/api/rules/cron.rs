//! Whether a schedule of a CronJob can be read, with the words of the parser upstream uses (`robfig/cron`).

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

/// What is wrong with a schedule.
pub(crate) fn check(schedule: &str) -> Result<(), String> {
    let mut schedule = schedule;
    if schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=") {
        schedule = schedule.split_once(' ').map_or("", |(_, rest)| rest).trim();
    }
    if let Some(name) = schedule.strip_prefix('@') {
        return match name {
            "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly" => Ok(()),
            _ if name.starts_with("every ") => Ok(()),
            _ => Err(format!("unrecognized descriptor: {schedule}")),
        };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    for (text, field) in fields.iter().zip(&FIELDS) {
        for range in text.split(',').filter(|part| !part.is_empty()) {
            field.check(range)?;
        }
    }
    Ok(())
}

impl Field {
    fn check(&self, text: &str) -> Result<(), String> {
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
        Ok(())
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
        assert_eq!(check(schedule).err().unwrap_or_default(), expected);
    }
}

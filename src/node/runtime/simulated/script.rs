//! A container's script, read from its pod's annotations.

use std::collections::BTreeMap;
use std::time::Duration;

use coracle_api::quantity::Quantity;
use jiff::Timestamp;

use crate::runtime::ScriptedLog;

/// What scripting annotations begin with.
pub(super) const PREFIX: &str = "simulated.coracle.local/";

/// What a container does.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Script {
    pub(super) start_delay: Option<Duration>,
    pub(super) start_error: Option<String>,
    pub(super) exit_after: Option<Duration>,
    exits: Vec<i32>,
    pub(super) stop_delay: Option<Duration>,
    pub(super) stop_code: i32,
    log: Vec<String>,
    log_every: Option<(Duration, String)>,
    probes: BTreeMap<String, Vec<(bool, Option<Duration>)>>,
    exec_output: Option<String>,
    pub(super) exec_code: i32,
    pub(super) cpu_milli: u64,
    pub(super) memory: u64,
}

/// `200ms`, `1.5s`, `2m`, `1h`; a bare number is seconds.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let seconds = match &text[end..] {
        "ms" => number / 1_000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// `fail 5s ok 30s fail`: outcomes, each but the last with how long it lasts.
fn outcomes(text: &str) -> Vec<(bool, Option<Duration>)> {
    let mut out: Vec<(bool, Option<Duration>)> = Vec::new();
    for word in text.split_whitespace() {
        match word {
            "ok" => out.push((true, None)),
            "fail" => out.push((false, None)),
            word => {
                if let Some(last) = out.last_mut() {
                    last.1 = duration(word);
                }
            }
        }
    }
    out
}

/// How long ago `started` is.
pub(super) fn elapsed(started: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(started).try_into().unwrap_or_default()
}

impl Script {
    /// The script of `container`; `None` without any annotation for it.
    pub(super) fn of(annotations: &BTreeMap<String, String>, container: &str) -> Option<Self> {
        let get = |key: &str| {
            annotations
                .get(&format!("{PREFIX}{key}.{container}"))
                .or_else(|| annotations.get(&format!("{PREFIX}{key}")))
                .map(String::as_str)
        };
        if annotations.is_empty() {
            return None;
        }
        let number = |key: &str| get(key).and_then(|text| text.trim().parse().ok());
        let exits: Vec<i32> = match get("exits") {
            Some(list) => list.split_whitespace().filter_map(|code| code.parse().ok()).collect(),
            None => number("exit-code").into_iter().collect(),
        };
        let amount = |key: &str| get(key).and_then(|text| text.parse::<Quantity>().ok());
        Some(Self {
            start_delay: get("start-delay").and_then(duration),
            start_error: get("start-error").map(str::to_owned),
            exit_after: get("exit-after").and_then(duration).or_else(|| (!exits.is_empty()).then(|| Duration::from_secs(1))),
            exits,
            stop_delay: get("stop-delay").and_then(duration),
            stop_code: number("stop-code").unwrap_or(0),
            log: get("log").into_iter().flat_map(str::lines).map(str::to_owned).collect(),
            log_every: get("log-every")
                .and_then(|text| text.split_once(' '))
                .and_then(|(every, line)| Some((duration(every).filter(|every| !every.is_zero())?, line.to_owned()))),
            probes: ["startup", "liveness", "readiness"]
                .into_iter()
                .filter_map(|kind| Some((kind.to_owned(), outcomes(get(kind)?))))
                .collect(),
            exec_output: get("exec-output").map(str::to_owned),
            exec_code: number("exec-code").unwrap_or(0),
            cpu_milli: amount("cpu").map_or(1, |amount| u64::try_from(amount.milli_value()).unwrap_or(0)),
            memory: amount("memory").map_or(8 << 20, |amount| u64::try_from(amount.value()).unwrap_or(0)),
        })
    }

    /// Exit code of an instance.
    pub(super) fn exit_code(&self, attempt: u32) -> i32 {
        let at = usize::try_from(attempt).unwrap_or(usize::MAX);
        self.exits.get(at).or(self.exits.last()).copied().unwrap_or(0)
    }

    /// What a command prints.
    pub(super) fn exec_output(&self, command: &[String]) -> String {
        match &self.exec_output {
            Some(text) => format!("{text}\n"),
            None => match command.split_first() {
                Some((first, rest)) if first == "echo" => format!("{}\n", rest.join(" ")),
                _ => String::new(),
            },
        }
    }

    /// What a probe finds so long after the start.
    pub(super) fn probe(&self, kind: &str, after: Duration) -> Result<(), String> {
        let mut left = after;
        for (ok, lasts) in self.probes.get(kind).into_iter().flatten() {
            match lasts {
                Some(lasts) if left >= *lasts => left -= *lasts,
                _ => return if *ok { Ok(()) } else { Err("scripted failure".to_owned()) },
            }
        }
        Ok(())
    }

    /// Lines written between `after` and `until`.
    pub(super) fn log(&self, started: Timestamp, until: Timestamp, after: Option<Timestamp>, running: bool) -> ScriptedLog {
        let is_new = |time: Timestamp| after.is_none_or(|after| time > after);
        let first = self
            .log
            .iter()
            .enumerate()
            .map(|(index, line)| (started + Duration::from_nanos(u64::try_from(index).unwrap_or(0)), line.clone()));
        let mut lines: Vec<_> = first.filter(|(time, _)| is_new(*time)).collect();
        let mut next = None;
        if let Some((every, line)) = &self.log_every {
            let passed = elapsed(started, until).as_nanos() / every.as_nanos();
            let seen = after.map_or(0, |after| elapsed(started, after).as_nanos() / every.as_nanos());
            // A reader wants the end: no more than the last thousand.
            let from = seen.max(passed.saturating_sub(1_000)) + 1;
            let nanos = |times: u128| u64::try_from(every.as_nanos() * times).unwrap_or(u64::MAX);
            lines.extend((from..=passed).map(|times| (started + Duration::from_nanos(nanos(times)), line.clone())));
            next = running.then(|| Duration::from_nanos(nanos(passed + 1)).saturating_sub(elapsed(started, until)));
        }
        ScriptedLog { lines, next }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;

    use super::*;

    fn script(pairs: &[(&str, &str)]) -> Script {
        let annotations = pairs.iter().map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned())).collect();
        Script::of(&annotations, "c").unwrap()
    }

    #[rstest]
    #[case("200ms", Some(200))]
    #[case("1.5s", Some(1_500))]
    #[case("2m", Some(120_000))]
    #[case("3", Some(3_000))]
    #[case("3x", None)]
    fn durations(#[case] text: &str, #[case] millis: Option<u64>) {
        assert_eq!(duration(text), millis.map(Duration::from_millis));
    }

    #[rstest]
    #[case(0, false)]
    #[case(4, false)]
    #[case(5, true)]
    #[case(34, true)]
    #[case(35, false)]
    #[case(3_500, false)]
    fn probes_change_over_time(#[case] second: u64, #[case] ok: bool) {
        let script = script(&[("readiness", "fail 5s ok 30s fail")]);
        assert_eq!(script.probe("readiness", Duration::from_secs(second)).is_ok(), ok);
        assert!(script.probe("liveness", Duration::from_secs(second)).is_ok());
    }

    #[test]
    fn one_containers_own_key_wins() {
        let script = script(&[("exits", "1 1 0"), ("exits.c", "7 0")]);
        assert_eq!([script.exit_code(0), script.exit_code(1), script.exit_code(9)], [7, 0, 0]);
    }

    #[test]
    fn log_lines_come_once() {
        let script = script(&[("log", "one\ntwo"), ("log-every", "1s tick")]);
        let started = Timestamp::from_second(1_000).unwrap();
        let at = |millis: u64| started + Duration::from_millis(millis);
        let text = |log: &ScriptedLog| log.lines.iter().map(|(_, line)| line.clone()).collect::<Vec<_>>().join(" ");
        let first = script.log(started, at(2_500), None, true);
        assert_eq!(text(&first), "one two tick tick");
        assert_eq!(first.next, Some(Duration::from_millis(500)));
        let more = script.log(started, at(3_100), first.lines.last().map(|(time, _)| *time), true);
        assert_eq!(text(&more), "tick");
        assert_eq!(script.log(started, at(3_100), None, false).next, None);
    }
}

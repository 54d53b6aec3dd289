//! Which lines of a log pass: `regex`, `!regex`, `-f fuzzy`, `level>=warn`, `.field.of.json=value`, all of which must hold;
//! what a line says of its level, and which lines belong to a stack trace.

use std::sync::OnceLock;

use nucleo::pattern::{CaseMatching, Normalization, Pattern};
use nucleo::{Config, Matcher, Utf32Str};
use regex::Regex;
use serde_json::Value;

use crate::table::filter::pattern;

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

impl Level {
    fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "trace" | "trc" => Self::Trace,
            "debug" | "dbg" => Self::Debug,
            "info" | "inf" | "notice" | "information" => Self::Info,
            "warn" | "warning" | "wrn" => Self::Warn,
            "error" | "err" | "eror" | "exception" => Self::Error,
            "fatal" | "panic" | "critical" | "crit" | "emerg" | "alert" | "ftl" => Self::Fatal,
            _ => return None,
        })
    }
}

/// What a line says of its level: a field of that name, the letter of klog, or a word near its beginning.
pub(super) fn level_of(text: &str) -> Option<Level> {
    static FIELD: OnceLock<Option<Regex>> = OnceLock::new();
    let field = FIELD.get_or_init(|| Regex::new(r#"(?i)"?\b(?:level|severity|lvl|levelname)"?\s*[=:]\s*"?([a-z]+)"#).ok());
    let mut end = text.len().min(400);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let start = &text[..end];
    if let Some(found) = field.as_ref().and_then(|field| field.captures(start)).and_then(|found| found.get(1)) {
        return Level::parse(found.as_str());
    }
    let bytes = start.as_bytes();
    if bytes.len() > 5 && bytes[1..5].iter().all(u8::is_ascii_digit) && bytes[5] == b' ' {
        return match bytes[0] {
            b'I' => Some(Level::Info),
            b'W' => Some(Level::Warn),
            b'E' => Some(Level::Error),
            b'F' => Some(Level::Fatal),
            _ => None,
        };
    }
    let words = start.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() > 2).take(10);
    words.into_iter().find_map(|word| Level::parse(word).filter(|_| word.len() < 12))
}

/// Whether a line belongs to the one before it: a frame of a stack, or its cause. `after`: the line before did.
pub(super) fn is_frame(text: &str, after: bool) -> bool {
    let inner = text.trim_start();
    let indent = text.len() - inner.len();
    if inner.starts_with("Caused by: ") || inner.starts_with("Suppressed: ") {
        return true;
    }
    if indent < 2 {
        return false;
    }
    let more = inner.starts_with("... ") && inner.ends_with(" more");
    let place = || {
        static PLACE: OnceLock<Option<Regex>> = OnceLock::new();
        let place = PLACE.get_or_init(|| Regex::new(r"^[\w./@~-]+\.(?:go|rs|py|js|ts|rb|java|kt|cs|php|c|cc|cpp):\d+").ok());
        place.as_ref().is_some_and(|place| place.is_match(inner))
    };
    inner.starts_with("at ") || inner.starts_with("File \"") || more || place() || (after && indent >= 4)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
    Matches,
}

enum Term {
    Text { pattern: Regex, inverse: bool },
    Fuzzy(Box<Pattern>, Box<std::cell::RefCell<Matcher>>),
    Level(Compare, Level),
    Field { path: Vec<String>, compare: Compare, value: String, pattern: Option<Regex> },
}

/// What lines must be like.
#[derive(Default)]
pub(super) struct Sift {
    terms: Vec<Term>,
}

const OPERATORS: &[(&str, Compare)] =
    &[("!=", Compare::NotEqual), (">=", Compare::AtLeast), ("<=", Compare::AtMost), ("=", Compare::Equal), ("~", Compare::Matches)];

impl Sift {
    /// Reads what was typed.
    ///
    /// # Errors
    /// What cannot be understood.
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        if let Some(fuzzy) = source.trim().strip_prefix("-f ") {
            let fuzzy = Pattern::parse(fuzzy.trim(), CaseMatching::Ignore, Normalization::Smart);
            terms.push(Term::Fuzzy(Box::new(fuzzy), Box::new(Matcher::new(Config::DEFAULT).into())));
            return Ok(Self { terms });
        }
        // words that are no terms are one expression, spaces and all
        let mut rest = Vec::new();
        for word in source.split(' ') {
            match term(word)? {
                Some(term) => terms.push(term),
                None => rest.push(word),
            }
        }
        let rest = rest.join(" ");
        let rest = if terms.is_empty() { rest.as_str() } else { rest.trim() };
        let (inverse, text) = rest.strip_prefix('!').map_or((false, rest), |text| (true, text));
        if !text.is_empty() {
            terms.push(Term::Text { pattern: pattern(text)?, inverse });
        }
        Ok(Self { terms })
    }

    /// Everything passes.
    pub(super) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// What is to be marked in the lines that pass.
    pub(super) fn marks(&self) -> Option<&Regex> {
        self.terms.iter().find_map(|term| match term {
            Term::Text { pattern, inverse: false } => Some(pattern),
            _ => None,
        })
    }

    /// Whether a line of a source passes.
    pub(super) fn passes(&self, text: &str, source: &str) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Text { pattern, inverse } => (pattern.is_match(text) || pattern.is_match(source)) != *inverse,
            Term::Fuzzy(fuzzy, matcher) => {
                let mut buffer = Vec::new();
                fuzzy.score(Utf32Str::new(text, &mut buffer), &mut matcher.borrow_mut()).is_some()
            }
            Term::Level(compare, level) => level_of(text).is_some_and(|found| match compare {
                Compare::Equal | Compare::Matches => found == *level,
                Compare::NotEqual => found != *level,
                Compare::AtLeast => found >= *level,
                Compare::AtMost => found <= *level,
            }),
            Term::Field { path, compare, value, pattern } => field(text, path, *compare, value, pattern.as_ref()),
        })
    }
}

fn field(text: &str, path: &[String], compare: Compare, value: &str, pattern: Option<&Regex>) -> bool {
    // what stands before the object is the writer's own
    let Some(object) = text.find('{').and_then(|at| serde_json::from_str::<Value>(&text[at..]).ok()) else { return false };
    let Some(found) = path.iter().try_fold(&object, |value, name| match name.parse::<usize>() {
        Ok(index) if value.is_array() => value.get(index),
        _ => value.get(name),
    }) else {
        return compare == Compare::NotEqual;
    };
    let shown = crate::source::printer::shown(found);
    let order = || match (shown.parse::<f64>(), value.parse::<f64>()) {
        (Ok(found), Ok(wanted)) => found.partial_cmp(&wanted),
        _ => Some(shown.as_str().cmp(value)),
    };
    match compare {
        Compare::Equal => shown.eq_ignore_ascii_case(value),
        Compare::NotEqual => !shown.eq_ignore_ascii_case(value),
        Compare::AtLeast => order().is_some_and(std::cmp::Ordering::is_ge),
        Compare::AtMost => order().is_some_and(std::cmp::Ordering::is_le),
        Compare::Matches => pattern.is_some_and(|pattern| pattern.is_match(&shown)),
    }
}

/// `level>=warn`, `.user.id=7`; None if the word is neither.
fn term(word: &str) -> Result<Option<Term>, String> {
    let split = OPERATORS.iter().filter_map(|(sign, compare)| Some((word.find(sign)?, *sign, *compare))).min_by_key(|found| found.0);
    let Some((at, sign, compare)) = split else { return Ok(None) };
    let (name, value) = (&word[..at], &word[at + sign.len()..]);
    if name == "level" {
        return match Level::parse(value) {
            Some(level) => Ok(Some(Term::Level(compare, level))),
            None if value.is_empty() => Ok(None),
            None => Err(format!("level takes trace, debug, info, warn, error or fatal, not {value:?}")),
        };
    }
    let path = name.strip_prefix('.').filter(|path| !path.is_empty() && path.chars().all(|c| c.is_alphanumeric() || "._-@".contains(c)));
    let Some(path) = path else { return Ok(None) };
    let pattern = if compare == Compare::Matches { Some(pattern(value)?) } else { None };
    let path = path.split('.').map(str::to_owned).collect();
    Ok(Some(Term::Field { path, compare, value: value.to_owned(), pattern }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;

    use super::*;

    const JSON: &str = r#"{"level":"error","msg":"cannot pay","user":{"id":7},"took":0.25}"#;

    #[rstest]
    #[case("pay", JSON, true)]
    #[case("!pay", JSON, false)]
    #[case("cannot pay", JSON, true)]
    #[case("-f cntpy", JSON, true)]
    #[case("level=error", JSON, true)]
    #[case("level>=warn", JSON, true)]
    #[case("level<=info", JSON, false)]
    #[case("level>=warn !pay", JSON, false)]
    #[case(".user.id=7", JSON, true)]
    #[case(".user.id=8", JSON, false)]
    #[case(".took>=0.2 .user.id!=8", JSON, true)]
    #[case(".took>=0.3", JSON, false)]
    #[case(".msg~^cannot", JSON, true)]
    #[case(".none!=x", JSON, true)]
    #[case(".user.id=7", "no json", false)]
    #[case("level=warn", "W1121 10:00:00.1 main.go:3] hm", true)]
    #[case("level=info", "ts=1 level=info msg=\"no error\"", true)]
    #[case("level=error", "2026-11-21 10:00:00 ERROR main - it broke", true)]
    #[case("level=warn", "[warn] careful", true)]
    #[case("level>=trace", "just text", false)]
    #[case("a=b", "path?a=b", true)]
    #[case("kube", "line", false)]
    fn lines_pass_that_are_as_was_typed(#[case] source: &str, #[case] line: &str, #[case] passes: bool) {
        assert_eq!(Sift::parse(source).unwrap().passes(line, "pod/main"), passes);
    }

    #[test]
    fn sources_are_found_and_nonsense_is_named() {
        assert!(Sift::parse("pod/ma").unwrap().passes("line", "pod/main"));
        assert!(Sift::parse("level=loud").err().unwrap().contains("level takes"));
        assert!(Sift::parse("(").is_err());
        assert!(Sift::parse("").unwrap().is_empty());
    }

    #[rstest]
    #[case("    at com.example.Main.run(Main.java:12)", false, true)]
    #[case("Caused by: java.lang.IllegalStateException", false, true)]
    #[case("  File \"/app/main.py\", line 3, in <module>", false, true)]
    #[case("    raise ValueError()", true, true)]
    #[case("    raise ValueError()", false, false)]
    #[case("        /src/main.go:42 +0x1d", false, true)]
    #[case("    ... 12 more", false, true)]
    #[case("ValueError: no", true, false)]
    #[case("  indented text", false, false)]
    fn frames_of_stacks_are_known(#[case] line: &str, #[case] after: bool, #[case] frame: bool) {
        assert_eq!(is_frame(line, after), frame);
    }
}

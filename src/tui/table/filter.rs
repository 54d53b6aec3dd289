//! The filter of a table: `text` (regex), `!text`, `-f fuzzy`, and terms on columns such as
//! `status!=Running restarts>3 age<1h node~gpu`, all of which must hold. `-l` goes to the server.

use std::cell::RefCell;

use jiff::Timestamp;
use nucleo::pattern::{CaseMatching, Normalization, Pattern};
use nucleo::{Config, Matcher, Utf32Str};
use regex::{Regex, RegexBuilder};

use super::columns::{Column, ColumnKind};
use super::row::{Row, leading_number};
use crate::age;

/// A filter as typed, ready to test rows.
#[derive(Default)]
pub struct Filter {
    /// As typed.
    pub source: String,
    /// `-l`: a label selector, for the server.
    pub labels: Option<String>,
    terms: Vec<Term>,
    faults_only: bool,
    matcher: RefCell<Matcher>,
}

enum Term {
    Text { pattern: Regex, inverse: bool, namespace: RefCell<Remembered> },
    Fuzzy(Pattern),
    Column { index: usize, kind: ColumnKind, compare: Compare, value: Value },
}

/// The last namespace that was looked at, and whether the pattern is in it: rows of one come after another.
#[derive(Default)]
struct Remembered {
    namespace: String,
    matches: bool,
}

impl Remembered {
    fn matches(&mut self, namespace: &str, pattern: &Regex) -> bool {
        if self.namespace != namespace {
            self.namespace.clear();
            self.namespace.push_str(namespace);
            self.matches = pattern.is_match(namespace);
        }
        self.matches
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

enum Value {
    Text(String),
    Pattern(Regex),
    NotPattern(Regex),
    Number(f64),
    Seconds(i64),
}

const OPERATORS: &[&str] = &["!~", "!=", ">=", "<=", "==", "=", ">", "<", "~"];

impl Filter {
    /// Reads `source` for a table with these columns.
    ///
    /// # Errors
    /// What cannot be understood, in words.
    pub fn parse(source: &str, columns: &[Column], faults_only: bool) -> Result<Self, String> {
        let mut filter = Self { source: source.to_owned(), faults_only, matcher: Matcher::new(Config::DEFAULT).into(), ..Self::default() };
        let trimmed = source.trim();
        if let Some(fuzzy) = trimmed.strip_prefix("-f") {
            if !fuzzy.trim().is_empty() {
                filter.terms.push(Term::Fuzzy(Pattern::parse(fuzzy.trim(), CaseMatching::Ignore, Normalization::Smart)));
            }
            return Ok(filter);
        }
        if let Some(labels) = trimmed.strip_prefix("-l") {
            filter.labels = Some(labels.trim().to_owned()).filter(|labels| !labels.is_empty());
            return Ok(filter);
        }
        for word in trimmed.split_whitespace() {
            filter.terms.push(match column_term(word, columns)? {
                Some(term) => term,
                None => text_term(word)?,
            });
        }
        Ok(filter)
    }

    /// Lets everything through.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty() && !self.faults_only
    }

    /// Whether every row this filter lets through was let through by `before`: it was only typed on.
    pub fn narrows(&self, before: &Self) -> bool {
        let literal = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '-');
        self.faults_only == before.faults_only
            && (before.terms.is_empty()
                || (literal(&self.source)
                    && literal(&before.source)
                    && !before.source.starts_with('-')
                    && self.source.starts_with(&before.source)))
    }

    /// Whether `row` is let through.
    pub fn matches(&self, row: &Row, now: Timestamp) -> bool {
        if self.faults_only && row.health != super::Health::Faulty {
            return false;
        }
        self.terms.iter().all(|term| self.holds(term, row, now))
    }

    fn holds(&self, term: &Term, row: &Row, now: Timestamp) -> bool {
        match term {
            Term::Text { pattern, inverse, namespace } => {
                (namespace.borrow_mut().matches(row.namespace(), pattern) || pattern.is_match(row.text())) != *inverse
            }
            Term::Fuzzy(pattern) => {
                let mut buffer = Vec::new();
                pattern.score(Utf32Str::new(&row.key, &mut buffer), &mut self.matcher.borrow_mut()).is_some()
            }
            Term::Column { index, kind, compare, value } => compares(row, *index, *kind, *compare, value, now),
        }
    }
}

fn compares(row: &Row, index: usize, kind: ColumnKind, compare: Compare, value: &Value, now: Timestamp) -> bool {
    // the namespace stands before the cells: `usize::MAX` names it
    let cell = if index == usize::MAX { row.namespace() } else { row.cell(index) };
    match value {
        Value::Pattern(pattern) => pattern.is_match(cell),
        Value::NotPattern(pattern) => !pattern.is_match(cell),
        Value::Seconds(seconds) => {
            let ColumnKind::Time(at) = kind else {
                return age::parse(cell).is_some_and(|age| ordered(age.partial_cmp(seconds), compare));
            };
            row.times.get(at).is_some_and(|time| ordered((now.as_second() - time).partial_cmp(seconds), compare))
        }
        Value::Number(number) => match leading_number(cell) {
            Some(found) => ordered(found.partial_cmp(number), compare),
            None => compare == Compare::NotEqual,
        },
        Value::Text(text) => {
            let order = if cell.eq_ignore_ascii_case(text) { std::cmp::Ordering::Equal } else { cell.cmp(text) };
            ordered(Some(order), compare)
        }
    }
}

fn ordered(order: Option<std::cmp::Ordering>, compare: Compare) -> bool {
    let Some(order) = order else { return false };
    match compare {
        Compare::Equal => order.is_eq(),
        Compare::NotEqual => order.is_ne(),
        Compare::Less => order.is_lt(),
        Compare::LessOrEqual => order.is_le(),
        Compare::Greater => order.is_gt(),
        Compare::GreaterOrEqual => order.is_ge(),
    }
}

fn column_term(word: &str, columns: &[Column]) -> Result<Option<Term>, String> {
    let Some((at, operator)) = word
        .char_indices()
        .filter(|(at, _)| *at > 0)
        .find_map(|(at, _)| OPERATORS.iter().find(|operator| word[at..].starts_with(**operator)).map(|operator| (at, *operator)))
    else {
        return Ok(None);
    };
    let (name, value) = (&word[..at], &word[at + operator.len()..]);
    let (index, kind) = match columns.iter().position(|column| column.is_called(name)) {
        Some(index) => (index, columns[index].kind),
        None if name.eq_ignore_ascii_case("namespace") || name.eq_ignore_ascii_case("ns") => (usize::MAX, ColumnKind::Text),
        None => return Ok(None),
    };
    let compare = match operator {
        "!=" => Compare::NotEqual,
        "<" => Compare::Less,
        "<=" => Compare::LessOrEqual,
        ">" => Compare::Greater,
        ">=" => Compare::GreaterOrEqual,
        _ => Compare::Equal,
    };
    let value = match operator {
        "~" => Value::Pattern(pattern(value)?),
        "!~" => Value::NotPattern(pattern(value)?),
        _ if matches!(kind, ColumnKind::Time(_)) => match age::parse(value) {
            Some(seconds) => Value::Seconds(seconds),
            None => return Err(format!("{name} takes an age such as 90s, 5m or 1h30m, not {value:?}")),
        },
        _ => match value.parse::<f64>() {
            Ok(number) => Value::Number(number),
            Err(_) if matches!(kind, ColumnKind::Number | ColumnKind::NumberSince(_)) => {
                return Err(format!("{name} takes a number, not {value:?}"));
            }
            Err(_) => Value::Text(value.to_owned()),
        },
    };
    Ok(Some(Term::Column { index, kind, compare, value }))
}

fn text_term(word: &str) -> Result<Term, String> {
    let (inverse, text) = match word.strip_prefix('!') {
        Some(text) => (true, text),
        None => (false, word),
    };
    // a bare `!` is the start of an inverse filter: it lets everything through until more is typed
    let pattern = pattern(text)?;
    let namespace = Remembered { matches: pattern.is_match(""), ..Remembered::default() };
    Ok(Term::Text { pattern, inverse: inverse && !text.is_empty(), namespace: namespace.into() })
}

/// A case-insensitive regex.
///
/// # Errors
/// What is wrong with it.
pub fn pattern(text: &str) -> Result<Regex, String> {
    // without the letters from elsewhere that are another case of k and s, a plain word is found faster
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/:".contains(&byte));
    RegexBuilder::new(text).case_insensitive(true).unicode(!plain).build().map_err(|error| match error {
        regex::Error::Syntax(text) => text.lines().last().unwrap_or("not a regular expression").trim_start_matches("error: ").to_owned(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;

    use super::*;
    use crate::table::Health;

    fn columns() -> Vec<Column> {
        let mut columns: Vec<Column> =
            ["Name", "Ready", "Status", "Restarts"].iter().map(|name| Column::new(name, "string", false)).collect();
        columns.push(Column { name: "AGE".into(), kind: ColumnKind::Time(0), wide: false });
        columns
    }

    fn row(name: &str, status: &str, restarts: &str, created: i64) -> Row {
        let health = if status == "Running" { Health::Fine } else { Health::Faulty };
        Row::new("shop", name, &[name.into(), "1/1".into(), status.into(), restarts.into(), String::new()], vec![created], health, "")
    }

    #[rstest]
    #[case("", true)]
    #[case("WEB", true)]
    #[case("!web", false)]
    #[case("!", true)]
    #[case("we.*7", true)]
    #[case("running web", true)]
    #[case("-f wb7", true)]
    #[case("-f zz", false)]
    #[case("status=running", true)]
    #[case("status!=Running", false)]
    #[case("restarts>3", true)]
    #[case("restarts>=5", false)]
    #[case("restarts=4 age<1h", true)]
    #[case("age>1h", false)]
    #[case("name~^web", true)]
    #[case("name!~^web", false)]
    #[case("ns=shop", true)]
    #[case("namespace!=shop", false)]
    fn filters_let_through_what_they_say(#[case] source: &str, #[case] expected: bool) {
        let now = Timestamp::from_second(10_000).unwrap();
        let row = row("web-7", "Running", "4 (5m ago)", 9_000);
        let filter = Filter::parse(source, &columns(), false).unwrap();
        assert_eq!(filter.matches(&row, now), expected, "{source}");
    }

    #[rstest]
    #[case("age<soon", "age takes an age")]
    #[case("restarts>many", "restarts takes a number")]
    #[case("(", "unclosed group")]
    fn what_cannot_be_read_is_named(#[case] source: &str, #[case] part: &str) {
        let error = Filter::parse(source, &columns(), false).err().unwrap();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn labels_go_to_the_server_and_faults_are_rows_that_are_not_well() {
        let filter = Filter::parse("-l app=web,tier in (a,b)", &columns(), false).unwrap();
        assert_eq!(filter.labels.as_deref(), Some("app=web,tier in (a,b)"));
        let faults = Filter::parse("", &columns(), true).unwrap();
        assert!(faults.matches(&row("a", "Error", "0", 0), Timestamp::UNIX_EPOCH));
        assert!(!faults.matches(&row("a", "Running", "0", 0), Timestamp::UNIX_EPOCH));
    }
}

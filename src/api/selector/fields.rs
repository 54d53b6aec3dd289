//! Field selectors: `key=value`, `key==value`, `key!=value`, joined by commas (`k8s.io/apimachinery/pkg/fields`).

use std::fmt;

use super::SelectorError;

/// One term of a field selector.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldRequirement {
    /// Field, as `metadata.name`.
    pub field: String,
    /// Whether the field must equal the value, or must not.
    pub equal: bool,
    /// Value, unescaped.
    pub value: String,
}

/// A conjunction of terms; empty selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    /// The terms, sorted as upstream sorts them.
    pub terms: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Parses the query parameter `fieldSelector`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let Some((field, equal, value)) = split_term(part) else {
                return Err(SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            terms.push(FieldRequirement { field: field.to_owned(), equal, value: unescape(value)? });
        }
        Ok(Self { terms })
    }

    /// Whether every object is selected.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value a field must have, if the selector demands one.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| &*term.value)
    }

    /// Whether an object matches; `value_of` yields a field's text, empty where the object has none.
    pub fn matches<S: AsRef<str>>(&self, mut value_of: impl FnMut(&str) -> S) -> bool {
        self.terms.iter().all(|term| (value_of(&term.field).as_ref() == term.value) == term.equal)
    }

    /// Whether an object with these selectable fields matches; a field that is not among them is empty.
    pub fn matches_fields(&self, fields: &[(String, String)]) -> bool {
        self.matches(|wanted| fields.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| value))
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let operator = if term.equal { "=" } else { "!=" };
            write!(f, "{comma}{}{operator}", term.field)?;
            for ch in term.value.chars() {
                if matches!(ch, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{ch}")?;
            }
        }
        Ok(())
    }
}

/// Splits at commas that no backslash escapes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, ch) in text.char_indices() {
        match ch {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Field, whether equality is asked, and the escaped value.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in term.char_indices() {
        let rest = &term[at..];
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((&term[..at], equal, value));
            }
        }
    }
    None
}

fn unescape(text: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(ch) = chars.next() {
        match ch {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                next => {
                    let sequence: String = std::iter::once('\\').chain(next).collect();
                    return Err(SelectorError(format!("invalid field selector: invalid escape sequence: {sequence}")));
                }
            },
            // Upstream prints the character's number.
            ',' | '=' => return Err(SelectorError(format!("invalid field selector: unescaped character in value: {}", ch as u32))),
            _ => out.push(ch),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_and_matches() {
        let selector = FieldSelector::parse("status.phase!=Running,metadata.name==a").unwrap();
        assert_eq!(selector.to_string(), "metadata.name=a,status.phase!=Running");
        assert_eq!(selector.required("metadata.name"), Some("a"));
        let fields =
            |name: &str, phase: &str| [("metadata.name".to_owned(), name.to_owned()), ("status.phase".to_owned(), phase.to_owned())];
        assert!(selector.matches_fields(&fields("a", "Pending")));
        assert!(!selector.matches_fields(&fields("a", "Running")));
        assert!(!selector.matches_fields(&fields("b", "Pending")));
        assert!(FieldSelector::parse("").unwrap().is_everything());
        assert_eq!(FieldSelector::parse("spec.nodeName=").unwrap().required("spec.nodeName"), Some(""));
    }

    #[test]
    fn says_what_it_cannot_understand() {
        assert_eq!(FieldSelector::parse("a=b,c").unwrap_err().to_string(), "invalid selector: 'a=b,c'; can't understand 'c'");
        assert_eq!(FieldSelector::parse(r"a=\x").unwrap_err().to_string(), r"invalid field selector: invalid escape sequence: \x");
        assert_eq!(FieldSelector::parse("a=b=c").unwrap_err().to_string(), "invalid field selector: unescaped character in value: 61");
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_itself(terms in proptest::collection::vec(("[a-z][a-z.]{0,8}", any::<bool>(), "[a-z=,\\\\]{0,6}"), 0..4)) {
            let selector = FieldSelector {
                terms: terms.into_iter().map(|(field, equal, value)| FieldRequirement { field, equal, value }).collect(),
            };
            let once = FieldSelector::parse(&selector.to_string()).unwrap();
            prop_assert_eq!(FieldSelector::parse(&once.to_string()).unwrap(), once.clone());
            let mut expected = selector.terms;
            expected.sort();
            let mut actual = once.terms;
            actual.sort();
            prop_assert_eq!(actual, expected);
        }
    }
}

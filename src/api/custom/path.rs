//! JSONPath as far as definitions use it: `.spec.a`, `['b']`, `[0]`, `[*]`, `[?(@.type=="Ready")]`.

use serde_json::{Map, Value};

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// Elements whose field compares so with a value.
    Filter(Vec<String>, bool, Value),
}

/// A path.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Path(Vec<Step>);

impl Path {
    /// Reads a path.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{why}: {text}");
        let mut rest = text.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let (name, more) = field(after);
                match name.as_str() {
                    "" if more.starts_with('[') => {}
                    "" => return Err(wrong("unrecognized character in path")),
                    "*" => steps.push(Step::All),
                    _ => steps.push(Step::Field(name)),
                }
                rest = more;
                continue;
            }
            let after = rest.strip_prefix('[').ok_or_else(|| wrong("path must start with a dot"))?;
            let end = closing(after).ok_or_else(|| wrong("unterminated array"))?;
            steps.push(bracket(&after[..end]).ok_or_else(|| wrong("invalid array index"))?);
            rest = &after[end + 1..];
        }
        Ok(Self(steps))
    }

    /// What the path leads to.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.follow(value)).collect();
        }
        found
    }

    /// Whether it is made of names only.
    pub(super) fn is_simple(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|step| matches!(step, Step::Field(_)))
    }

    /// The names it is made of.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|step| if let Step::Field(name) = step { Some(name.as_str()) } else { None })
    }

    /// Puts a value where the path of names leads.
    pub fn put(&self, object: &mut Value, value: Value) {
        let mut place = object;
        for name in self.names() {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[name];
        }
        *place = value;
    }
}

/// A path of names, as definitions write it.
impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.names().try_for_each(|name| write!(f, ".{name}"))
    }
}

/// A name up to a dot or bracket, in which a backslash takes the next character as it is.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, ch)) = chars.next() {
        match ch {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(chars.next().map(|(_, next)| next)),
            _ => name.push(ch),
        }
    }
    (name, "")
}

fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, ch) in text.char_indices() {
        match (quote, ch) {
            (Some(open), ch) if ch == open => quote = None,
            (None, '\'' | '"') => quote = Some(ch),
            (None, ']') => return Some(at),
            _ => {}
        }
    }
    None
}

fn literal(text: &str) -> Value {
    let quoted = |mark| text.strip_prefix(mark).and_then(|text: &str| text.strip_suffix(mark));
    match quoted('\'').or_else(|| quoted('"')) {
        Some(text) => Value::from(text),
        None => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
    }
}

fn bracket(text: &str) -> Option<Step> {
    let text = text.trim();
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        let (path, equal, value) = match filter.split_once("==") {
            Some((path, value)) => (path, true, value),
            None => filter.split_once("!=").map(|(path, value)| (path, false, value))?,
        };
        let path = Path::parse(path.trim().strip_prefix('@')?).ok()?;
        return Some(Step::Filter(path.names().map(str::to_owned).collect(), equal, literal(value.trim())));
    }
    match literal(text) {
        Value::String(name) => Some(Step::Field(name)),
        Value::Number(index) => index.as_i64().map(Step::Index),
        _ => None,
    }
}

impl Step {
    fn follow<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Self::Field(name), value) => value.get(name).into_iter().collect(),
            (Self::Index(at), Value::Array(items)) => {
                let at = if *at < 0 { items.len() as i64 + at } else { *at };
                usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
            }
            (Self::All, Value::Array(items)) => items.iter().collect(),
            (Self::All, Value::Object(fields)) => fields.values().collect(),
            (Self::Filter(path, equal, wanted), Value::Array(items)) => items
                .iter()
                .filter(|item| {
                    let found = path.iter().try_fold(*item, |value, name| value.get(name));
                    found.is_some_and(|found| (found == wanted) == *equal)
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

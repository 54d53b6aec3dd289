//! Reads `facts.txt`.

use std::collections::HashMap;
use std::sync::LazyLock;

/// One thing said of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fact {
    Merge(&'static str),
    Patch(&'static str),
    Enum(&'static str),
    Default(&'static str),
    Value,
    Pointer,
}

/// Fields of a type, each with what is said of it.
pub(crate) type FieldFacts = Vec<(&'static str, Vec<Fact>)>;

static FACTS: LazyLock<HashMap<&'static str, FieldFacts>> = LazyLock::new(|| {
    let mut out: HashMap<&'static str, FieldFacts> = HashMap::new();
    let mut fields: FieldFacts = Vec::new();
    let mut name = "";
    for line in include_str!("facts.txt").lines().filter(|line| !line.starts_with('#')) {
        let Some(rest) = line.strip_prefix(' ') else {
            out.insert(name, std::mem::take(&mut fields));
            name = line;
            continue;
        };
        let mut words = rest.split(' ');
        let field = words.next().unwrap_or_default();
        fields.push((field, words.filter_map(fact).collect()));
    }
    out.insert(name, fields);
    out
});

fn fact(word: &'static str) -> Option<Fact> {
    Some(match word.split_once('=') {
        Some(("merge", rest)) => Fact::Merge(rest),
        Some(("patch", rest)) => Fact::Patch(rest),
        Some(("enum", rest)) => Fact::Enum(rest),
        Some(("default", rest)) => Fact::Default(rest),
        None if word == "value" => Fact::Value,
        None if word == "pointer" => Fact::Pointer,
        _ => return None,
    })
}

/// What is said of a type's fields; `name` is the full name.
pub(crate) fn facts_of(name: &str) -> &'static [(&'static str, Vec<Fact>)] {
    FACTS.get(name.strip_prefix("io.k8s.").unwrap_or(name)).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static FieldFacts)> {
    FACTS.iter().map(|(name, fields)| (*name, fields))
}

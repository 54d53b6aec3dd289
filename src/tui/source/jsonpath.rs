//! The little of JSONPath that columns are written in: `.metadata.labels.app`, `['a.b']`, `[0]`, `[*]`, `.a\.b`.

use serde_json::Value;

enum Step {
    Field(String),
    Index(i64),
    All,
}

/// What `path` names in `value`.
pub fn find<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![value];
    for step in steps(path) {
        found = found
            .into_iter()
            .flat_map(|value| -> Vec<&Value> {
                match (&step, value) {
                    (Step::Field(name), _) => value.get(name).into_iter().collect(),
                    (Step::Index(at), Value::Array(items)) => {
                        let at = if *at < 0 { at + i64::try_from(items.len()).unwrap_or_default() } else { *at };
                        usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
                    }
                    (Step::All, Value::Array(items)) => items.iter().collect(),
                    (Step::All, Value::Object(fields)) => fields.values().collect(),
                    _ => Vec::new(),
                }
            })
            .collect();
    }
    found
}

fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut chars = path.trim_start_matches('$').chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '.' => {}
            '[' => {
                let inside: String = chars.by_ref().take_while(|c| *c != ']').collect();
                let inside = inside.trim();
                steps.push(match inside.parse() {
                    Ok(index) => Step::Index(index),
                    Err(_) if inside == "*" => Step::All,
                    Err(_) => Step::Field(inside.trim_matches(['\'', '"']).to_owned()),
                });
            }
            first => {
                let mut name = String::new();
                let mut next = Some(first);
                while let Some(c) = next {
                    match c {
                        '\\' => name.extend(chars.next()),
                        c => name.push(c),
                    }
                    next = chars.next_if(|c| !matches!(c, '.' | '['));
                }
                steps.push(if name == "*" { Step::All } else { Step::Field(name) });
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(".metadata.labels.app", "web")]
    #[case("$.metadata.labels['a.b/c']", "x")]
    #[case(".metadata.labels.a\\.b/c", "x")]
    #[case(".list[1].name", "two")]
    #[case(".list[-1].name", "two")]
    #[case(".list[*].name", "one,two")]
    #[case(".nothing[0].there", "")]
    fn paths_find_what_they_name(#[case] path: &str, #[case] expected: &str) {
        let object = json!({"metadata": {"labels": {"app": "web", "a.b/c": "x"}}, "list": [{"name": "one"}, {"name": "two"}]});
        let found: Vec<&str> = find(&object, path).into_iter().filter_map(Value::as_str).collect();
        assert_eq!(found.join(","), expected);
    }
}

//! JSONPath templates as `kubectl -o jsonpath=…` reads them: text, `{.a.b[0]['c.d']}`, `{..name}`, `{[1:3]}`, `{[0,2]}`,
//! `{[?(@.a=="b")]}`, `{"\n"}`, `{range …}…{end}`. Keys that are not there give nothing.

use std::cmp::Ordering;

use serde_json::Value;

/// What a template makes of an object.
///
/// # Errors
/// What is wrong with the template, in words.
pub fn print(template: &str, object: &Value) -> Result<String, String> {
    shallow(template)?;
    let parts = parse(template)?;
    let mut out = String::new();
    render(&parts, object, object, &mut out)?;
    Ok(out)
}

/// The values that a path names, as `.status.phase` or `{.status.phase}`.
///
/// # Errors
/// What is wrong with the path, in words.
pub fn find<'a>(path: &str, object: &'a Value) -> Result<Vec<&'a Value>, String> {
    let path = path.trim();
    shallow(path)?;
    let inner = path.strip_prefix('{').and_then(|path| path.strip_suffix('}')).unwrap_or(path);
    let inner = if inner.starts_with(['.', '[', '$', '@']) { inner.to_owned() } else { format!(".{inner}") };
    Ok(follow(&steps(&inner)?, object, object))
}

/// A path as `metadata.name`, `.metadata.name`, `{metadata.name}` or `{.metadata.name}`, in the last of these forms.
///
/// # Errors
/// What is wrong with the path, in words.
pub fn relaxed(path: &str) -> Result<String, String> {
    let inner = path.strip_prefix('{').and_then(|path| path.strip_suffix('}')).unwrap_or(path);
    let inner = inner.strip_prefix('.').unwrap_or(inner);
    if inner.is_empty() || inner.contains(['{', '}']) {
        let expected = "a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'";
        return Err(format!("unexpected path string, expected {expected}"));
    }
    let path = format!("{{.{inner}}}");
    find(&path, &Value::Null)?;
    Ok(path)
}

/// How many brackets and ranges may be in each other: reading one calls itself for the next.
const DEEPEST: usize = 100;

fn shallow(template: &str) -> Result<(), String> {
    let mut depth = 0_usize;
    for byte in template.bytes() {
        match byte {
            b'[' | b'(' => depth += 1,
            b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err("brackets are nested too deeply".to_owned());
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Part>),
}

#[derive(Debug, PartialEq)]
enum Step {
    /// `$`: from the root again.
    Root,
    Field(String),
    All,
    /// `..`: this value and all below it.
    Below,
    Slice(Option<i64>, Option<i64>, i64),
    Union(Vec<Step>),
    Filter(Operand, Option<(String, Operand)>),
}

#[derive(Debug, PartialEq)]
enum Operand {
    Path(Vec<Step>),
    Value(Value),
}

fn parse(template: &str) -> Result<Vec<Part>, String> {
    let mut open: Vec<(Vec<Step>, Vec<Part>)> = Vec::new();
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        if at > 0 {
            parts.push(Part::Text(rest[..at].to_owned()));
        }
        let end = closing(&rest[at..], '{', '}').ok_or("unclosed action")?;
        let action = rest[at + 1..at + end].trim();
        rest = &rest[at + end + 1..];
        match action.split_once(char::is_whitespace) {
            Some(("range", _)) if open.len() == DEEPEST => return Err("ranges are nested too deeply".to_owned()),
            Some(("range", path)) => open.push((steps(path.trim())?, std::mem::take(&mut parts))),
            _ if action == "end" => {
                let (path, before) = open.pop().ok_or("not in range, nothing to end")?;
                let inner = std::mem::replace(&mut parts, before);
                parts.push(Part::Range(path, inner));
            }
            _ if action.starts_with(['"', '\'']) => parts.push(Part::Text(unquoted(action))),
            _ => parts.push(Part::Path(steps(action)?)),
        }
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    if open.is_empty() { Ok(parts) } else { Err("unclosed range".to_owned()) }
}

/// Where what opens at the beginning of `text` closes; brackets in quotes do not count.
fn closing(text: &str, opens: char, closes: char) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0, None, false);
    for (at, c) in text.char_indices() {
        match quote {
            _ if std::mem::take(&mut escaped) => {}
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == opens => depth += 1,
            None if c == closes => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            None => {}
        }
    }
    None
}

fn unquoted(text: &str) -> String {
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                other => out.extend(other),
            },
            (c, false) => out.push(c),
        }
    }
    out
}

fn steps(path: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = path.trim();
    while let Some(c) = rest.chars().next() {
        match c {
            '$' => {
                steps.push(Step::Root);
                rest = &rest[1..];
            }
            '@' => rest = &rest[1..],
            '[' => {
                let end = closing(rest, '[', ']').ok_or("unterminated array")?;
                steps.push(bracket(rest[1..end].trim())?);
                rest = &rest[end + 1..];
            }
            '.' if rest.starts_with("..") => {
                steps.push(Step::Below);
                rest = &rest[1..];
                if rest[1..].starts_with('[') {
                    rest = &rest[1..];
                }
            }
            '.' => {
                let (name, more) = field(&rest[1..]);
                match name.as_str() {
                    "" => {}
                    "*" => steps.push(Step::All),
                    _ => steps.push(Step::Field(name)),
                }
                rest = more;
            }
            _ => return Err(format!("unrecognized character in action: {path:?}")),
        }
    }
    Ok(steps)
}

/// A name up to the next step; `\.` is a dot in it.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' | ' ' => return (name, &text[at..]),
            c => name.push(c),
        }
    }
    (name, "")
}

fn bracket(inner: &str) -> Result<Step, String> {
    let wrong = || format!("invalid array index {inner}");
    if let Some(filter) = inner.strip_prefix('?') {
        let filter = filter.trim().strip_prefix('(').and_then(|filter| filter.strip_suffix(')')).ok_or_else(wrong)?;
        for operator in ["==", "!=", "<=", ">=", "<", ">"] {
            if let Some((left, right)) = filter.split_once(operator) {
                return Ok(Step::Filter(operand(left)?, Some((operator.to_owned(), operand(right)?))));
            }
        }
        return Ok(Step::Filter(operand(filter)?, None));
    }
    if inner == "*" {
        return Ok(Step::All);
    }
    if inner.starts_with(['\'', '"']) {
        let names: Vec<Step> = inner.split(',').map(|name| Step::Field(unquoted(name.trim()))).collect();
        return Ok(Step::Union(names));
    }
    let number = |text: &str| text.trim().parse::<i64>().map_err(|_| wrong());
    let optional = |text: Option<&str>| text.filter(|text| !text.trim().is_empty()).map(number).transpose();
    let one = |text: &str| -> Result<Step, String> {
        if text.contains(':') {
            let mut bounds = text.split(':');
            let (from, to) = (optional(bounds.next())?, optional(bounds.next())?);
            return Ok(Step::Slice(from, to, optional(bounds.next())?.unwrap_or(1).max(1)));
        }
        let at = number(text)?;
        Ok(Step::Slice(Some(at), if at == -1 { None } else { Some(at + 1) }, 1))
    };
    let mut steps = inner.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
    Ok(if steps.len() == 1 { steps.remove(0) } else { Step::Union(steps) })
}

fn operand(text: &str) -> Result<Operand, String> {
    let text = text.trim();
    Ok(match text.chars().next() {
        Some('@' | '$' | '.') => Operand::Path(steps(text)?),
        Some('"' | '\'') => Operand::Value(unquoted(text).into()),
        _ => Operand::Value(serde_json::from_str(text).map_err(|_| format!("unrecognized operand {text}"))?),
    })
}

fn follow<'a>(steps: &[Step], root: &'a Value, value: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![value];
    for step in steps {
        found = found.into_iter().flat_map(|value| take(step, root, value)).collect();
    }
    found
}

fn take<'a>(step: &Step, root: &'a Value, value: &'a Value) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Root, _) => vec![root],
        (Step::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
        (Step::All, Value::Array(items)) => items.iter().collect(),
        (Step::All, Value::Object(map)) => map.values().collect(),
        (Step::Below, _) => below(value),
        (Step::Union(steps), _) => steps.iter().flat_map(|step| take(step, root, value)).collect(),
        (Step::Slice(from, to, by), Value::Array(items)) => {
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let bound = |at: i64| if at < 0 { at + length } else { at };
            let (from, to) = (bound(from.unwrap_or(0)), bound(to.unwrap_or(length)).min(length));
            let by = usize::try_from(*by).unwrap_or(1);
            let at = (from.max(0)..to).filter(|_| from >= 0).step_by(by);
            at.filter_map(|at| items.get(usize::try_from(at).ok()?)).collect()
        }
        (Step::Filter(left, compare), Value::Array(items)) => {
            items.iter().filter(|item| holds(left, compare.as_ref(), root, item)).collect()
        }
        _ => Vec::new(),
    }
}

fn below(value: &Value) -> Vec<&Value> {
    let mut found = vec![value];
    match value {
        Value::Array(items) => found.extend(items.iter().flat_map(below)),
        Value::Object(map) => found.extend(map.values().flat_map(below)),
        _ => {}
    }
    found
}

fn holds(left: &Operand, compare: Option<&(String, Operand)>, root: &Value, item: &Value) -> bool {
    let value = |operand: &Operand| match operand {
        Operand::Path(steps) => follow(steps, root, item).first().map(|value| (*value).clone()),
        Operand::Value(value) => Some(value.clone()),
    };
    let left = value(left);
    let Some((operator, right)) = compare else { return left.is_some() };
    let (Some(left), Some(right)) = (left, value(right)) else { return false };
    let order = match (&left, &right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (left, right) => (left == right).then_some(Ordering::Equal),
    };
    match operator.as_str() {
        "==" => order == Some(Ordering::Equal),
        "!=" => order != Some(Ordering::Equal),
        "<" => order == Some(Ordering::Less),
        ">" => order == Some(Ordering::Greater),
        "<=" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

fn render(parts: &[Part], root: &Value, value: &Value, out: &mut String) -> Result<(), String> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(steps) => {
                let texts: Vec<String> = follow(steps, root, value).into_iter().map(text).collect();
                out.push_str(&texts.join(" "));
            }
            Part::Range(steps, inner) => {
                for found in follow(steps, root, value) {
                    render(inner, root, found, out)?;
                }
            }
        }
    }
    Ok(())
}

/// A value as it is printed: text as it is, the rest as JSON.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_are_read_as_kubectl_reads_them() {
        let object = json!({"kind": "List", "items": [
            {"metadata": {"name": "a", "labels": {"x.y/z": "1"}}, "n": 1, "ready": true},
            {"metadata": {"name": "b", "labels": {}}, "n": 2, "ready": false},
            {"metadata": {"name": "c"}, "n": 3}]});
        for (template, expected) in [
            ("{.kind}", "List"),
            ("{$.kind}", "List"),
            ("kind is {.kind}!", "kind is List!"),
            ("{.items[*].metadata.name}", "a b c"),
            ("{.items[0].metadata.name}", "a"),
            ("{.items[-1].metadata.name}", "c"),
            ("{.items[-2].metadata.name}", "b"),
            ("{.items[0:2].metadata.name}", "a b"),
            ("{.items[::2].metadata.name}", "a c"),
            ("{.items[0,2].metadata.name}", "a c"),
            ("{.items[0]['metadata'].name}", "a"),
            ("{.items[0].metadata.labels.x\\.y/z}", "1"),
            ("{.items[0].metadata.labels['x.y/z']}", "1"),
            ("{..name}", "a b c"),
            ("{.items[?(@.n>1)].metadata.name}", "b c"),
            ("{.items[?(@.n>=1)].n}", "1 2 3"),
            ("{.items[?(@.metadata.name==\"b\")].n}", "2"),
            ("{.items[?(@.metadata.name!='b')].n}", "1 3"),
            ("{.items[?(@.ready==true)].n}", "1"),
            ("{.items[?(@.ready)].n}", "1 2"),
            ("{range .items[*]}{.metadata.name}{\"\\t\"}{.n}{\"\\n\"}{end}", "a\t1\nb\t2\nc\t3\n"),
            ("{.items[0].metadata.labels}", "{\"x.y/z\":\"1\"}"),
            ("{.nothing.there}", ""),
            ("{.items[9].n}", ""),
            ("{.items[0]['n','ready']}", "1 true"),
        ] {
            assert_eq!(print(template, &object).as_deref(), Ok(expected), "{template}");
        }
        for wrong in ["{.a", "{range .items[*]}", "{end}", "{a}", "{.a[x]}"] {
            assert!(print(wrong, &object).is_err(), "{wrong}");
        }
        assert_eq!(find("items[0].n", &object).unwrap(), [&json!(1)]);
        assert_eq!(find("{.items[0].n}", &object).unwrap(), [&json!(1)]);
        for path in ["items[0].n", ".items[0].n", "{items[0].n}", "{.items[0].n}"] {
            assert_eq!(relaxed(path).as_deref(), Ok("{.items[0].n}"));
        }
    }
}

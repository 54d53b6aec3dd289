//! YAML as `kubectl get -o yaml` prints it: Go's `yaml.v2` emitter, keys in its order, lists not indented under their
//! keys, strings quoted only where a reader would take them for something else, lines folded after 80 columns.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::scalar::{Scalar, is_base_60, resolve};

const WIDTH: usize = 80;
/// Longer keys are written with a question mark.
const MAX_KEY: usize = 128;

/// The text of an object, ending with a newline.
pub fn to_string(value: &Value) -> String {
    let mut out = Emitter { text: String::new(), column: 0 };
    match value {
        Value::Object(map) if !map.is_empty() => out.map(map, 0),
        Value::Array(items) if !items.is_empty() => out.list(items, 0),
        other => out.leaf(other, 0),
    }
    out.text
}

struct Emitter {
    text: String,
    column: usize,
}

/// How a string is written.
#[derive(Debug, PartialEq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

impl Emitter {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.chars().count();
    }

    fn push_char(&mut self, character: char) {
        self.text.push(character);
        self.column += 1;
    }

    fn newline(&mut self) {
        self.text.push('\n');
        self.column = 0;
    }

    fn indent(&mut self, indent: usize) {
        for _ in self.column..indent {
            self.push_char(' ');
        }
    }

    /// A map whose first key stands where the line is now.
    fn map(&mut self, map: &Map<String, Value>, indent: usize) {
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort_by(|a, b| compare(a, b));
        for key in keys {
            self.indent(indent);
            let long = key.chars().count() > MAX_KEY || key.contains('\n');
            if long {
                self.push("? ");
            }
            let ended = self.string(key, indent, !long);
            if long {
                if !ended {
                    self.newline();
                }
                self.indent(indent);
            }
            self.push(":");
            match &map[key] {
                Value::Object(inner) if !inner.is_empty() => {
                    self.newline();
                    self.map(inner, indent + 2);
                }
                Value::Array(items) if !items.is_empty() => {
                    self.newline();
                    self.list(items, indent);
                }
                leaf => {
                    self.push(" ");
                    self.leaf(leaf, indent);
                }
            }
        }
    }

    fn list(&mut self, items: &[Value], indent: usize) {
        for item in items {
            self.indent(indent);
            self.push("- ");
            match item {
                Value::Object(map) if !map.is_empty() => self.map(map, indent + 2),
                Value::Array(inner) if !inner.is_empty() => self.list(inner, indent + 2),
                leaf => self.leaf(leaf, indent),
            }
        }
    }

    /// A scalar or an empty collection, and the end of its line.
    fn leaf(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Null => self.push("null"),
            Value::Object(_) => self.push("{}"),
            Value::Array(_) => self.push("[]"),
            Value::String(text) => {
                if self.string(text, indent, false) {
                    return;
                }
            }
            other => {
                let text = other.to_string();
                self.push(&text);
            }
        }
        self.newline();
    }

    /// Writes a string; says whether that ended the line already.
    fn string(&mut self, text: &str, indent: usize, key: bool) -> bool {
        let indent = indent + 2;
        match style(text, key) {
            Style::Plain => self.flow(text, indent, key, |out, character| out.push_char(character)),
            Style::Single => {
                self.push("'");
                self.flow(text, indent, key, |out, character| {
                    if character == '\'' {
                        out.push("''");
                    } else {
                        out.push_char(character);
                    }
                });
                self.push("'");
            }
            Style::Double => self.double(text, indent, key),
            Style::Literal => {
                self.literal(text, indent);
                return true;
            }
        }
        false
    }

    /// Characters of one line, folded at single spaces beyond the width.
    fn flow(&mut self, text: &str, indent: usize, key: bool, mut write: impl FnMut(&mut Self, char)) {
        let characters: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (index, &character) in characters.iter().enumerate() {
            let inside = index > 0 && index + 1 < characters.len();
            let folds = character == ' ' && !key && !after_space && inside && self.column > WIDTH && characters[index + 1] != ' ';
            after_space = character == ' ';
            if folds {
                self.newline();
                self.indent(indent);
            } else {
                write(self, character);
            }
        }
    }

    fn double(&mut self, text: &str, indent: usize, key: bool) {
        self.push("\"");
        self.flow(text, indent, key, |out, character| match character {
            '"' => out.push("\\\""),
            '\\' => out.push("\\\\"),
            '\0' => out.push("\\0"),
            '\u{7}' => out.push("\\a"),
            '\u{8}' => out.push("\\b"),
            '\t' => out.push("\\t"),
            '\n' => out.push("\\n"),
            '\u{b}' => out.push("\\v"),
            '\u{c}' => out.push("\\f"),
            '\r' => out.push("\\r"),
            '\u{1b}' => out.push("\\e"),
            '\u{85}' => out.push("\\N"),
            '\u{a0}' => out.push("\\_"),
            '\u{2028}' => out.push("\\L"),
            '\u{2029}' => out.push("\\P"),
            c if is_printable(c) => out.push_char(c),
            c if u32::from(c) <= 0xff => out.push(&format!("\\x{:02X}", u32::from(c))),
            c if u32::from(c) <= 0xffff => out.push(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(&format!("\\U{:08X}", u32::from(c))),
        });
        self.push("\"");
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.push("|");
        if text.starts_with([' ', '\n']) {
            self.push("2");
        }
        if !text.ends_with('\n') {
            self.push("-");
        } else if text == "\n" || text.ends_with("\n\n") {
            self.push("+");
        }
        self.newline();
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            if !line.is_empty() {
                self.indent(indent);
                self.push(line);
            }
            self.newline();
        }
    }
}

/// What Go's emitter writes without escapes: no control characters, no tab, nothing beyond the basic plane.
fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

fn style(text: &str, key: bool) -> Style {
    // a plain `<<` is the merge key
    let plain_means_text = resolve(text) == Scalar::Text && !is_base_60(text) && text != "<<";
    let facts = Facts::of(text);
    if text.contains('\n') {
        return if facts.block && !key { Style::Literal } else { Style::Double };
    }
    match (plain_means_text, facts.plain, facts.single) {
        (true, true, _) => Style::Plain,
        (true, false, true) => Style::Single,
        _ => Style::Double,
    }
}

/// Which styles can hold a text.
struct Facts {
    plain: bool,
    single: bool,
    block: bool,
}

impl Facts {
    fn of(text: &str) -> Self {
        let characters: Vec<char> = text.chars().collect();
        let blank =
            |index: usize| characters.get(index).is_none_or(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'));
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut space_break, mut break_space) = (false, false, false);
        for (index, &character) in characters.iter().enumerate() {
            indicators |= match character {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' if index == 0 => true,
                '-' | '?' if index == 0 => blank(index + 1),
                ':' => blank(index + 1),
                '#' => blank(index - 1),
                _ => false,
            };
            special |= !is_printable(character) || matches!(character, '\u{2028}' | '\u{2029}');
            if index > 0 {
                space_break |= character == '\n' && characters[index - 1] == ' ';
                break_space |= character == ' ' && characters[index - 1] == '\n';
            }
        }
        let edge = |character: Option<&char>| matches!(character, Some(' ' | '\n'));
        let edges = edge(characters.first()) || edge(characters.last());
        Self {
            plain: !indicators && !special && !edges && !text.contains('\n'),
            single: !special && !space_break && !break_space,
            block: !special && !space_break && characters.last() != Some(&' '),
        }
    }
}

/// Go's order of keys: letters after other characters, numbers within by their value.
fn compare(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    for index in 0..a.len().min(b.len()) {
        let (x, y) = (a[index], b[index]);
        if x == y {
            continue;
        }
        return match (x.is_alphabetic(), y.is_alphabetic()) {
            (true, true) => x.cmp(&y),
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => numbers(&a, &b, index),
        };
    }
    a.len().cmp(&b.len())
}

fn numbers(a: &[char], b: &[char], index: usize) -> Ordering {
    // a zero within a number is a digit like others, a leading one is not
    let within = a[..index].iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
    let start = u128::from(within && (a[index] == '0' || b[index] == '0'));
    let number = |text: &[char]| {
        let digits: Vec<u32> = text[index..].iter().map_while(|c| c.to_digit(10)).collect();
        (digits.iter().fold(start, |n, d| n.wrapping_mul(10).wrapping_add(u128::from(*d))), digits.len())
    };
    number(a).cmp(&number(b)).then(a[index].cmp(&b[index]))
}

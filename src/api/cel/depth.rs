//! How deep an expression may be, asked of its text: whatever reads it calls itself once a level, and a stack has an end.

use super::CompileError;

/// Brackets in brackets; the parser stops soon after, in words of its own (upstream's at 250).
const BRACKETS: usize = 90;
/// Levels of the tree: brackets, and operators without one, whose tree leans to one side.
const LEVELS: usize = 1_000;
/// Room for an expression of that depth, in an unoptimized build too; only what is used of it takes memory.
const READING: usize = 64 << 20;
/// Less than this left of a thread's stack, and what is evaluated gets one of its own.
const SCARCE: usize = 1 << 20;
const EVALUATING: usize = 16 << 20;

/// Does what reads an expression, if it is not too deep, with a stack that is large enough.
pub(super) fn reading<T>(source: &str, work: impl FnOnce() -> Result<T, CompileError>) -> Result<T, CompileError> {
    let (brackets, levels) = depth(source);
    if brackets > BRACKETS || levels > LEVELS {
        let message = format!("compilation failed: ERROR: <input>:-1:0: expression recursion limit exceeded: {BRACKETS}");
        return Err(CompileError::Invalid(message));
    }
    stacker::grow(READING, work)
}

/// Evaluates what was read.
pub(super) fn evaluating<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(SCARCE, EVALUATING, work)
}

/// What is between two brackets, or all: operators since the last separator, the deepest bracket among them, and the most that
/// the two were together.
#[derive(Default)]
struct Group {
    operators: usize,
    inside: usize,
    levels: usize,
}

impl Group {
    fn end_part(&mut self) {
        self.levels = self.levels.max(self.operators + self.inside);
        (self.operators, self.inside) = (0, 0);
    }
}

/// Most brackets in each other, and how deep the tree is at most.
fn depth(source: &str) -> (usize, usize) {
    let mut groups = vec![Group::default()];
    let (mut brackets, mut rest) = (0, source.as_bytes());
    let mut operator_before = false;
    while let Some(&byte) = rest.first() {
        let depth = groups.len() - 1;
        let Some(group) = groups.last_mut() else { break };
        let mut length = 1;
        let mut operator = false;
        match byte {
            b'(' | b'[' | b'{' => {
                group.operators += 1;
                groups.push(Group::default());
                brackets = brackets.max(depth + 1);
            }
            b')' | b']' | b'}' if depth > 0 => {
                group.end_part();
                let levels = group.levels + 1;
                groups.pop();
                if let Some(group) = groups.last_mut() {
                    group.inside = group.inside.max(levels);
                }
            }
            b',' | b'&' | b'|' => group.end_part(),
            b'"' | b'\'' => length = text(rest, false),
            b'/' if rest.starts_with(b"//") => length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                length = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').unwrap_or(rest.len());
                let (word, behind) = rest.split_at(length);
                let is_prefix = word.len() <= 2 && word.iter().all(|letter| b"rRbB".contains(letter));
                if is_prefix && matches!(behind.first(), Some(b'"' | b'\'')) {
                    length += text(behind, word.iter().any(|letter| b"rR".contains(letter)));
                }
                operator = word == b"in";
            }
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!' | b'.' | b'?' | b':' => operator = true,
            _ => {}
        }
        // those of several characters are one, and so are many signs before an operand
        if operator
            && !operator_before
            && let Some(group) = groups.last_mut()
        {
            group.operators += 1;
        }
        operator_before = operator;
        rest = rest.get(length..).unwrap_or_default();
    }
    let mut inside = 0;
    while let Some(mut group) = groups.pop() {
        group.inside = group.inside.max(inside);
        group.end_part();
        inside = group.levels + 1;
    }
    (brackets, inside - 1)
}

/// How long the text is that begins with its quote.
fn text(bytes: &[u8], raw: bool) -> usize {
    let quote = &bytes[..if bytes.len() > 2 && bytes[1] == bytes[0] && bytes[2] == bytes[0] { 3 } else { 1 }];
    let mut at = quote.len();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if !raw => at += 2,
            _ if bytes[at..].starts_with(quote) => return at + quote.len(),
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_that_of_the_tree() {
        for (source, brackets, levels) in [
            ("", 0, 0),
            ("a", 0, 0),
            ("a.b.c", 0, 2),
            ("a + b * c == d", 0, 3),
            ("a && b && c.d || e", 0, 1),
            ("!!!!a", 0, 1),
            ("f(a, b, g(c))", 2, 4),
            ("((a))", 2, 4),
            ("[1, [2], {'x': [3]}]", 3, 7),
            ("'((((' + r'\\' + \"\"\"((\"\"\" + 'a\\'(' + b'('", 0, 4),
            ("a // ((((\n + b", 0, 1),
            ("x in y in z", 0, 2),
            (")))", 0, 0),
            ("(((", 3, 6),
        ] {
            assert_eq!(depth(source), (brackets, levels), "{source}");
        }
    }
}

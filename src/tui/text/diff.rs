//! The difference of two texts, in hunks with a little of what is around.

use similar::{ChangeTag, TextDiff};

/// A line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiffLine {
    /// The same on both sides.
    Same(String),
    /// Only on the old side.
    Removed(String),
    /// Only on the new side.
    Added(String),
    /// So many equal lines are left out.
    Skipped(usize),
}

/// The difference from `old` to `new`; empty if there is none.
pub fn diff(old: &str, new: &str) -> Vec<DiffLine> {
    let diff = TextDiff::from_lines(old, new);
    let mut lines = Vec::new();
    let mut shown_until = 0;
    for group in diff.grouped_ops(3) {
        let start = group.first().map_or(0, |op| op.old_range().start);
        if start > shown_until {
            lines.push(DiffLine::Skipped(start - shown_until));
        }
        shown_until = group.last().map_or(start, |op| op.old_range().end);
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let text = change.value().trim_end_matches('\n').to_owned();
            lines.push(match change.tag() {
                ChangeTag::Equal => DiffLine::Same(text),
                ChangeTag::Delete => DiffLine::Removed(text),
                ChangeTag::Insert => DiffLine::Added(text),
            });
        }
    }
    lines
}

/// How many lines are added and removed.
pub fn counts(lines: &[DiffLine]) -> (usize, usize) {
    let count = |of: fn(&DiffLine) -> bool| lines.iter().filter(|line| of(line)).count();
    (count(|line| matches!(line, DiffLine::Added(_))), count(|line| matches!(line, DiffLine::Removed(_))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_changed_line_shows_with_three_around_it() {
        let old: String = (0..20).map(|n| format!("line {n}\n")).collect();
        let new = old.replace("line 10\n", "line ten\n");
        let lines = diff(&old, &new);
        assert_eq!(counts(&lines), (1, 1));
        assert_eq!(lines[0], DiffLine::Skipped(7));
        assert_eq!(lines.len(), 1 + 3 + 2 + 3);
        assert!(diff(&old, &old).is_empty());
    }
}

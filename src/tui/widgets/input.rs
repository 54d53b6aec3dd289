//! One line of text being typed.

use crate::input::{Key, KeyCode};

/// A line of text with a cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineInput {
    text: String,
    /// In bytes, on a character boundary.
    cursor: usize,
}

impl LineInput {
    /// A line with this text, the cursor behind it.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { cursor: text.len(), text }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text before the cursor, and from it on.
    pub fn halves(&self) -> (&str, &str) {
        self.text.split_at(self.cursor)
    }

    /// Replaces the text.
    pub fn set(&mut self, text: impl Into<String>) {
        *self = Self::new(text);
    }

    /// Types text, without line breaks.
    pub fn insert(&mut self, text: &str) {
        let plain: String = text.chars().filter(|c| !c.is_control()).collect();
        self.text.insert_str(self.cursor, &plain);
        self.cursor += plain.len();
    }

    /// Takes a key of line editing; false if it is none.
    pub fn key(&mut self, key: Key) -> bool {
        let before = self.text[..self.cursor].char_indices().next_back().map_or(0, |(at, _)| at);
        let after = self.text[self.cursor..].chars().next().map_or(self.cursor, |c| self.cursor + c.len_utf8());
        match (key.code, key.ctrl) {
            (KeyCode::Char(c), false) if !key.alt => self.insert(&c.to_string()),
            (KeyCode::Backspace, _) | (KeyCode::Char('h'), true) => {
                self.text.replace_range(before..self.cursor, "");
                self.cursor = before;
            }
            (KeyCode::Delete, _) => self.text.replace_range(self.cursor..after, ""),
            (KeyCode::Left, _) => self.cursor = before,
            (KeyCode::Right, _) => self.cursor = after,
            (KeyCode::Home, _) | (KeyCode::Char('a'), true) => self.cursor = 0,
            (KeyCode::End, _) | (KeyCode::Char('e'), true) => self.cursor = self.text.len(),
            (KeyCode::Char('u'), true) => {
                self.text.replace_range(..self.cursor, "");
                self.cursor = 0;
            }
            (KeyCode::Char('w'), true) => {
                let head = self.text[..self.cursor].trim_end();
                let from = head.rfind([' ', '/', ',']).map_or(0, |at| at + 1);
                self.text.replace_range(from..self.cursor, "");
                self.cursor = from;
            }
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;
    use crate::input::parse_macro;

    #[test]
    fn lines_are_edited_in_the_middle() {
        let mut line = LineInput::new("");
        for key in parse_macro("pods kübe<left><left>X<home><del>P<end><ctrl-w>ns").unwrap() {
            assert!(line.key(key));
        }
        assert_eq!(line.text(), "Pods ns");
    }

    proptest! {
        #[test]
        fn no_key_breaks_a_line(text in "\\PC{0,12}", keys in proptest::collection::vec(0usize..9, 0..30)) {
            let names = ["left", "right", "home", "end", "del", "backspace", "ctrl-w", "ctrl-u", "ä"];
            let mut line = LineInput::new(text);
            for key in keys {
                line.key(Key::parse(names[key]).unwrap());
                let (before, after) = line.halves();
                prop_assert_eq!(format!("{}{}", before, after), line.text());
            }
        }
    }
}

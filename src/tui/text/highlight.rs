//! Colours for YAML, by syntect's grammar. The grammar is loaded once, off the thread that draws.

use std::sync::OnceLock;

use syntect::parsing::{ParseState, ScopeStack, SyntaxSet};

use crate::theme::Role;

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// Nothing particular.
    Plain,
    /// A key.
    Key,
    /// A string.
    String,
    /// A number.
    Number,
    /// true, false, null.
    Constant,
    /// A comment.
    Comment,
}

impl Token {
    /// Its look.
    pub fn role(self) -> Role {
        match self {
            Self::Plain => Role::Text,
            Self::Key => Role::YamlKey,
            Self::String => Role::YamlString,
            Self::Number => Role::YamlNumber,
            Self::Constant => Role::YamlConstant,
            Self::Comment => Role::Comment,
        }
    }
}

/// Lines longer than this stay plain: certificates and the like.
const LONG: usize = 2_000;
/// Texts with more lines than this stay plain.
const MANY: usize = 20_000;

/// The pieces of each line: where each ends (in bytes), and what it is.
pub fn yaml(text: &str) -> Vec<Vec<(usize, Token)>> {
    static SYNTAXES: OnceLock<SyntaxSet> = OnceLock::new();
    let syntaxes = SYNTAXES.get_or_init(SyntaxSet::load_defaults_newlines);
    let Some(syntax) = syntaxes.find_syntax_by_extension("yaml") else { return Vec::new() };
    let mut state = ParseState::new(syntax);
    let mut stack = ScopeStack::new();
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n').take(MANY) {
        let mut pieces: Vec<(usize, Token)> = Vec::new();
        if line.len() > LONG {
            lines.push(pieces);
            continue;
        }
        let Ok(changes) = state.parse_line(line, syntaxes) else {
            lines.push(pieces);
            continue;
        };
        let end = line.trim_end_matches('\n').len();
        let mut push = |until: usize, token: Token| match pieces.last_mut() {
            Some(last) if last.1 == token => last.0 = until,
            _ => pieces.push((until, token)),
        };
        let mut from = 0;
        for (at, change) in changes {
            if at > from {
                push(at.min(end), token(&stack));
                from = at;
            }
            let _ = stack.apply(&change);
        }
        if from < end {
            push(end, token(&stack));
        }
        lines.push(pieces);
    }
    lines
}

fn token(stack: &ScopeStack) -> Token {
    for scope in stack.as_slice().iter().rev() {
        let name = scope.build_string();
        let known = [
            ("comment", Token::Comment),
            ("entity.name.tag", Token::Key),
            ("constant.numeric", Token::Number),
            ("constant.language", Token::Constant),
            ("string", Token::String),
        ];
        if let Some((_, token)) = known.iter().find(|(prefix, _)| name.starts_with(prefix)) {
            return *token;
        }
    }
    Token::Plain
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn yaml_is_told_apart() {
        let lines = yaml("spec: # all\n  replicas: 3\n  paused: true\n  image: nginx\n");
        let tokens = |line: usize| lines[line].iter().map(|(_, token)| *token).collect::<Vec<_>>();
        assert_eq!(lines.len(), 4);
        assert!(tokens(0).contains(&Token::Key) && tokens(0).contains(&Token::Comment));
        assert!(tokens(1).contains(&Token::Number));
        assert!(tokens(2).contains(&Token::Constant));
        assert!(tokens(3).contains(&Token::String));
        assert_eq!(lines[3].last().unwrap().0, "  image: nginx".len());
    }
}

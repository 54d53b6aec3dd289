//! `$(NAME)` in commands, arguments, environment and `subPathExpr`.

/// Replaces `$(NAME)` by what `value` says; unknown names stay as they are, `$$` is a plain `$`.
pub(crate) fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    expand_with(text, |name| value(name).unwrap_or_else(|| format!("$({name})")))
}

/// The same, but the first unknown name is an error.
pub(crate) fn expand_all(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let missing = std::cell::RefCell::new(None);
    let out = expand_with(text, |name| {
        value(name).unwrap_or_else(|| {
            missing.borrow_mut().get_or_insert_with(|| name.to_owned());
            String::new()
        })
    });
    missing.into_inner().map_or(Ok(out), Err)
}

fn expand_with(text: &str, mut value: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            out.push_str(&value(name));
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("$(A)", "1")]
    #[case("x$(A)-$(B)y", "x1-2y")]
    #[case("$(NONE)", "$(NONE)")]
    #[case("$$(A)", "$(A)")]
    #[case("$$$(A)", "$1")]
    #[case("$A $(A", "$A $(A")]
    #[case("$", "$")]
    #[case("", "")]
    fn expands(#[case] text: &str, #[case] expected: &str) {
        let value = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "B" => Some("2".to_owned()),
            _ => None,
        };
        assert_eq!(expand(text, value), expected);
    }

    #[test]
    fn a_strict_expansion_names_what_is_missing() {
        assert_eq!(expand_all("$(NOPE)/q", |_| None), Err("NOPE".to_owned()));
        assert_eq!(expand_all("$(A)/q", |_| Some("a".into())), Ok("a/q".to_owned()));
    }
}

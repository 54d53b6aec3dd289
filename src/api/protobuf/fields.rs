//! Reads `fields.txt`: the index when first needed, a type's line when the type is.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use crate::schema::Type;

/// How a field's message becomes JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As the schema says.
    Typed,
    /// Its fields are the parent's own; the member's name is that of its type.
    Inline,
    /// It holds JSON.
    Raw,
    /// A schema or a list of schemas.
    SchemaOrList,
    /// A schema or true or false.
    SchemaOrBool,
    /// A schema or a list of texts.
    SchemaOrTexts,
}

/// One field of a message.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) number: u32,
    pub(super) name: &'static str,
    pub(super) form: Form,
}

struct Line {
    text: &'static str,
    members: OnceLock<Box<[Member]>>,
}

static LINES: LazyLock<HashMap<&'static str, Line>> = LazyLock::new(|| {
    let lines = include_str!("fields.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, text) = line.split_once(' ').unwrap_or((line, ""));
            (name, Line { text, members: OnceLock::new() })
        })
        .collect()
});

/// The fields of a type, sorted by number; none where the type is not known. `name` is the full one.
pub(super) fn members(name: &str) -> &'static [Member] {
    LINES.get(name.strip_prefix("io.k8s.").unwrap_or(name)).map_or(&[], |line| {
        line.members.get_or_init(|| {
            let mut members: Vec<Member> = line.text.split(' ').filter_map(member).collect();
            members.sort_by_key(|member| member.number);
            members.into()
        })
    })
}

/// The members of a message whose fields are its parent's; a short name is one of the parent's package.
pub(super) fn inlined(ty: &Type, member: &Member) -> &'static [Member] {
    if member.name.contains('.') {
        return members(member.name);
    }
    let package = ty.name.rsplit_once('.').map_or("", |(package, _)| package);
    members(&format!("{package}.{}", member.name))
}

/// Whether the type is a message.
pub(super) fn is_message(name: &str) -> bool {
    LINES.contains_key(name.strip_prefix("io.k8s.").unwrap_or(name))
}

fn member(word: &'static str) -> Option<Member> {
    let (number, rest) = word.split_once(':')?;
    let (name, form) = match (rest.strip_prefix('+'), rest.split_once('=')) {
        (Some(name), _) => (name, Form::Inline),
        (None, None) => (rest, Form::Typed),
        (None, Some((name, "raw"))) => (name, Form::Raw),
        (None, Some((name, "schemaOrList"))) => (name, Form::SchemaOrList),
        (None, Some((name, "schemaOrBool"))) => (name, Form::SchemaOrBool),
        (None, Some((name, "schemaOrTexts"))) => (name, Form::SchemaOrTexts),
        (None, Some(_)) => return None,
    };
    Some(Member { number: number.parse().ok()?, name, form })
}

/// The field of this number.
pub(super) fn find(members: &'static [Member], number: u32) -> Option<&'static Member> {
    members.binary_search_by_key(&number, |member| member.number).ok().map(|at| &members[at])
}

#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    LINES.iter().map(|(name, line)| (*name, line.text))
}

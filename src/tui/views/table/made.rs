//! Tables that are made of something else than the objects of one kind.

use crate::action::Scopes;
use crate::shared::Shared;
use crate::source::work::Work;

/// A table that is made of something else than the objects of one kind.
pub struct Made {
    /// What its rows are, in the plural.
    pub name: &'static str,
    /// What they are of, for the title.
    pub of: String,
    /// The command that opens it again.
    pub command: Option<String>,
    /// Which actions make sense, beside those of every table.
    pub scopes: Scopes,
    /// Names of the actions to hint at.
    pub hints: &'static [&'static str],
    /// Rows have namespaces and follow those that are shown.
    pub namespaced: bool,
    /// The column it is sorted by at first, and whether backwards.
    pub sort: Option<(&'static str, bool)>,
    /// What makes the rows.
    pub work: Box<dyn Fn(&Shared) -> Work>,
}

impl Made {
    /// A table of `name`, opened by the command of the same name.
    pub fn new(name: &'static str, work: impl Fn(&Shared) -> Work + 'static) -> Self {
        Self {
            name,
            of: String::new(),
            command: Some(name.to_owned()),
            scopes: Scopes::NONE,
            hints: &["help", "command", "filter", "back"],
            namespaced: false,
            sort: None,
            work: Box::new(work),
        }
    }
}

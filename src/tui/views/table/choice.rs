//! Which objects a table shows.

use super::{Made, TableView};
use crate::shared::Shared;

/// Which objects of the kind.
pub(super) enum Choice {
    /// Those in the namespaces shown.
    Namespaces,
    /// These, whatever namespaces are shown; and of what they are, for the title.
    Fixed { namespace: Option<String>, labels: Option<String>, fields: Option<String>, of: String },
    /// Rows that some work makes.
    Made(Made),
}

impl TableView {
    /// What its rows are, if it is made.
    pub fn made_name(&self) -> Option<&'static str> {
        match &self.choice {
            Choice::Made(made) => Some(made.name),
            _ => None,
        }
    }

    /// What its rows are of, if it is made.
    pub fn made_of(&self) -> &str {
        match &self.choice {
            Choice::Made(made) => &made.of,
            _ => "",
        }
    }

    /// Rows of several namespaces are shown: each says its own.
    pub(super) fn shows_namespace(&self, shared: &Shared) -> bool {
        let many = match &self.choice {
            Choice::Namespaces | Choice::Made(_) => shared.namespaces.single().is_none(),
            Choice::Fixed { namespace, .. } => namespace.is_none(),
        };
        self.kind.namespaced && many
    }
}

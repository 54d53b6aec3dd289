//! Selectors: which objects a list, a watch or a workload means, by label or by field.

mod fields;
mod labels;
mod parse;

pub use fields::{FieldRequirement, FieldSelector};
pub use labels::{LabelSelector, Labels, Operator, Requirement};

/// A selector that cannot be understood; the text is upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

impl From<SelectorError> for crate::status::Status {
    fn from(error: SelectorError) -> Self {
        Self::bad_request(error.0)
    }
}

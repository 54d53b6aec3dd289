//! Bodies, queries, and connections.

pub mod body;
pub mod query;
pub(crate) mod serve;

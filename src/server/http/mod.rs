//! Bodies, queries, and connections.

pub mod body;
mod greeting;
pub mod query;
pub(crate) mod serve;

//! The model of a table: light rows, a filter, and an index of what is visible, sorted, kept as rows come and go.

pub mod columns;
pub mod filter;
pub mod row;
pub mod rows;
mod sort;

pub use columns::{Column, ColumnKind};
pub use filter::Filter;
pub use row::{Health, Row};
pub use rows::Rows;
pub use sort::Sort;

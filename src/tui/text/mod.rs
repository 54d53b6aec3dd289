//! Text as views show it: YAML with colours, differences, places of fields.

pub mod diff;
pub mod highlight;
pub mod number;
pub mod place;
pub mod schema;
pub mod why;
pub mod yaml;

pub use highlight::Token;

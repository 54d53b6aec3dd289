//! The vocabulary of the Kubernetes API, without I/O: what kinds there are, how objects are defaulted, validated,
//! patched and applied, how selectors, quantities and errors read. Every room may use this one; it knows none of them.
//!
//! Objects are `serde_json::Value` with sorted keys. Begin reading at `kinds`.

pub mod amounts;
pub mod apply;
pub mod cel;
pub mod clock;
pub mod cron;
pub mod custom;
pub mod field;
pub mod identity;
pub mod kinds;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod placement;
pub mod protobuf;
pub mod quantity;
pub mod quota;
pub mod rules;
pub mod schema;
pub mod seams;
pub mod selector;
pub mod status;
pub mod time;
pub mod yaml;

//! What kubectl's verbs do, one file each, over a client: the command line and the terminal UI's prompt both run these.
//!
//! A verb takes a client and typed arguments and gives a text or a value; it neither prints nor asks. This room knows a
//! cluster only through its client.

pub mod call;
mod describe;
pub mod discover;
mod drain;
pub mod fault;
pub mod kinds;

pub use describe::{DescribeError, describe};
pub use drain::{DrainError, DrainOptions, drain};

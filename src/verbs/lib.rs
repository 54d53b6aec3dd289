//! What kubectl's verbs do, one file each, over a client: the command line and the terminal UI's prompt both run these.
//!
//! A verb is what may be typed ([`Verb`], read by clap) and what it does on a [`Session`]; what it says goes to an [`Out`],
//! and it fails with kubectl's words and exit code ([`VerbError`]). Tables come from the server. This room knows a cluster
//! only through its client, and neither asks nor knows a terminal: where a program in a container needs one it is handed a
//! [`exec::Console`].

pub mod apply;
pub mod call;
mod columns;
mod copy;
mod cordon;
pub mod create;
mod delete;
mod describe;
pub mod discover;
mod drain;
pub mod edit;
mod error;
pub mod events;
pub mod exec;
mod explain;
pub mod export;
mod expose;
pub mod fault;
mod forward;
mod get;
pub mod jsonpath;
pub mod kinds;
mod logs;
mod making;
pub mod output;
mod pods;
mod resources;
mod rollout;
pub mod run;
mod scale;
mod session;
mod sort;
mod top;
mod verb;
mod wait;

pub use describe::{DescribeError, describe, describe_plainly};
pub use drain::{DrainError, DrainOptions, drain};
pub use error::VerbError;
pub use session::{Named, Out, Session, shown};
pub use verb::Verb;

//! The terminal UI: a cockpit for any cluster, in the manner of k9s, that never blocks and never polls.
//!
//! [`run`] shows it on a terminal, [`snapshot`] and [`Headless`] without one. Begin reading at `app`: a [`message::Message`]
//! goes into `App::update`, `Effect`s come out, the `executor` carries them out and answers with messages; `draw` only
//! reads. `action` is the one table behind keys, commands and help. A new view is a file in `views` and rows in `action`.
//!
//! Invariants: only `terminal` knows crossterm, and it gives the terminal back on every way out; only what is visible is
//! drawn, only when it changed; a lost server never empties a table or counts as live; nothing that was typed into the
//! editor is lost. This room may not know the server, the store or the node: it sees a cluster as any client does.

pub mod action;
mod actions;
mod age;
pub mod app;
pub mod boot;
mod command;
mod config;
mod draw;
mod early;
mod executor;
mod headless;
pub mod input;
pub mod keep;
pub mod manifests;
pub mod message;
mod panes;
mod press;
pub mod shared;
pub mod source;
mod stack;
mod svg;
pub mod table;
mod terminal;
pub mod text;
pub mod theme;
mod typed;
pub mod view;
pub mod views;
pub mod widgets;

pub use action::key_table;
pub use boot::{Boot, BootStep, Connection, Options, StepState};
pub use config::{DEFAULT_CONFIG, Program};
pub use coracle_verbs::kinds;
pub use headless::{Headless, snapshot, snapshot_svg};
pub use terminal::run;

/// Why the UI was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The person wanted to.
    Quit,
    /// The process was told to end.
    Terminated,
    /// The terminal is gone.
    Hangup,
}

/// Why the UI cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// Standard input or output is no terminal.
    #[error("the terminal UI needs a terminal; `coracle tui --snapshot 160x45` prints a frame without one")]
    NoTerminal,
    /// The terminal cannot be used.
    #[error("the terminal cannot be used")]
    Terminal(#[from] std::io::Error),
    /// The theme does not exist or is wrong.
    #[error("{0}")]
    Theme(String),
    /// A macro names a key that does not exist.
    #[error("{0}")]
    Keys(String),
}

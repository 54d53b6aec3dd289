//! What comes into the application, and what it asks to be done.
//!
//! `Message` → `App::update` → `Effect`s; an effect's outcome comes back as a message.

use std::any::Any;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::app::App;
use crate::boot::{BootStep, Connection};
use crate::input::Input;
use crate::kinds::{Kind, Target};
use crate::manifests::FolderStatus;
use crate::source::call::Call;
use crate::source::describe::Described;
use crate::source::fault::Fault;
use crate::source::logs::{LogEvent, LogQuery};
use crate::source::observe::Seen;
use crate::source::watch::{Query, RowEvent};
use crate::source::work::Work;
use crate::text::Token;

/// Names a subscription: news carry it, and whoever subscribed takes them.
pub type Sub = u64;

/// What to do with an answer.
pub type Then = Box<dyn FnOnce(&mut App, Result<Value, Fault>) + Send>;

/// Something happened.
pub enum Message {
    /// At the terminal.
    Input(Input),
    /// A step of the cluster's start.
    Step(BootStep),
    /// The cluster can be reached, or never will be.
    Connected(Result<Connection, String>),
    /// The kinds the server knows.
    Discovered(Result<Vec<Kind>, Fault>),
    /// The server answered a probe in this time.
    Probed(Result<Duration, Fault>),
    /// News of a subscription.
    News(Sub, News),
    /// The answer to a call.
    Answer(Then, Result<Value, Fault>),
    /// Work outside wants this done.
    Then(Box<dyn FnOnce(&mut App) + Send>),
    /// A draft could not be written.
    DraftFailed(String),
    /// Time passed.
    Tick,
}

/// News of a subscription.
pub enum News {
    /// Of a table.
    Rows(RowEvent),
    /// Of an object.
    Seen(Seen),
    /// Of a description.
    Described(Described),
    /// Of logs.
    Log(LogEvent),
    /// Of a watched folder.
    Folder(FolderStatus),
    /// Colours for this version of a text, per line.
    Highlighted(u64, Vec<Vec<(usize, Token)>>),
    /// The pause asked for is over.
    Paused(u64),
    /// What work found out; whoever began the work knows what it is.
    Told(Box<dyn Any + Send>),
}

/// Something to be done outside of the application's state.
pub enum Effect {
    /// Ask what kinds there are.
    Discover,
    /// Ask again and again whether the server answers.
    Probe,
    /// Keep a listing live.
    Watch(Sub, Query),
    /// Keep objects live.
    Observe(Sub, String),
    /// Keep a description live.
    Describe(Sub, Target),
    /// Read logs.
    Logs(Sub, LogQuery),
    /// Follow a folder that is watched already.
    FolderStatus(Sub, tokio::sync::watch::Receiver<FolderStatus>),
    /// Colour a YAML text.
    Highlight(Sub, u64, String),
    /// Say so after this time.
    Pause(Sub, u64, Duration),
    /// Work that takes its time and tells what it finds.
    Work(Sub, Work),
    /// End a subscription.
    Cancel(Sub),
    /// Ask the server once.
    Call(Call, Then),
    /// Write a draft, or remove it.
    Draft(PathBuf, Option<String>),
}

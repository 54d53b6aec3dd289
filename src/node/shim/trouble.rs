//! Lets the container library's error messages, which carry the causes that its errors lose, into the shim's log.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, subscriber::set_global_default};

struct Errors(File);

/// Writes a line to standard error, which is the shim's log. A disk that is full loses it: the pod goes on.
pub fn say(message: &str) {
    let _ = std::io::stderr().write_all(format!("shim: {message}\n").as_bytes());
}

/// Takes a copy of standard error: in a container that is being set up, descriptor 2 is the container's.
pub fn keep() {
    if let Ok(copy) = std::io::stderr().as_fd().try_clone_to_owned() {
        // A second call in one process changes nothing.
        let _ = set_global_default(Errors(copy.into()));
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.is_event()
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line("shim:".to_owned());
        event.record(&mut line);
        line.0.push('\n');
        let _ = (&self.0).write_all(line.0.as_bytes());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

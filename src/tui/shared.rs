//! State that views and layers share: theme, kinds, namespaces, the connection, messages.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ratatui::layout::Rect;
use serde_json::Value;

use crate::action::Keymap;
use crate::app::App;
use crate::boot::{BootStep, Connection, Options, StepState};
use crate::config::{Config, Program};
use crate::keep::access::Access;
use crate::keep::changes::Changes;
use crate::keep::forwards::Forwards;
use crate::keep::usage::Usage;
use crate::kinds::Kinds;
use crate::manifests::Watched;
use crate::message::{Effect, Sub, Then};
use crate::source::call::Call;
use crate::source::fault::Fault;
use crate::source::work::{Outside, work};
use crate::theme::{ColorDepth, Theme};
use crate::view::Go;

/// Which namespaces are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespaces {
    /// All.
    All,
    /// These; never none.
    Some(Vec<String>),
}

impl Namespaces {
    /// The one namespace, if it is one.
    pub fn single(&self) -> Option<&str> {
        match self {
            Self::Some(names) if names.len() == 1 => names.first().map(String::as_str),
            _ => None,
        }
    }

    /// Whether objects of `namespace` are shown.
    pub fn contain(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.iter().any(|name| name == namespace),
        }
    }

    /// For the header.
    pub fn shown(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Some(names) => names.join(","),
        }
    }
}

/// How the connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// The cluster is starting.
    Starting,
    /// It never will be there, and why.
    Failed(String),
    /// Asked, not answered yet.
    Connecting,
    /// It answers, in about so many milliseconds.
    Live(u32),
    /// It does not answer; when it last did.
    Lost(Fault, Timestamp),
}

/// How important a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something was done.
    Done,
    /// Something to know.
    Info,
    /// Something to look at.
    Warning,
    /// Something failed.
    Error,
}

/// A message of this session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// How important.
    pub level: Level,
    /// In words.
    pub text: String,
}

/// How many messages of a session are kept.
const REMEMBERED: usize = 1_000;

/// What is done when a program that had the terminal has ended.
pub type After = Box<dyn FnOnce(&mut App)>;

/// What everything on the screen may see.
pub struct Shared {
    /// How the UI was asked to be.
    pub options: Options,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// The present moment, as of the last message.
    pub now: Timestamp,
    /// The theme.
    pub theme: Theme,
    /// How many colours the terminal has.
    pub colors: ColorDepth,
    /// What kinds there are.
    pub kinds: Kinds,
    /// The server has said what kinds there are.
    pub discovered: bool,
    /// Which namespaces are shown.
    pub namespaces: Namespaces,
    /// Namespaces of the keys 1 to 9.
    pub favourites: Vec<String>,
    /// The way to the cluster, once there is one.
    pub connection: Option<Connection>,
    /// How the connection is.
    pub link: Link,
    /// When the server last answered.
    pub answered: Timestamp,
    /// Steps of the cluster's start.
    pub steps: Vec<BootStep>,
    /// What was said in this session, oldest first; the oldest of very much is forgotten.
    pub activity: Vec<Entry>,
    /// How much was said in all.
    pub said: usize,
    /// Writes under way.
    pub jobs: usize,
    /// Names of objects asked for by completion, by kind.
    pub names: HashMap<String, Vec<String>>,
    /// OpenAPI documents by group and version; `None` while they have not come.
    pub schemas: HashMap<String, Option<Arc<Value>>>,
    /// Commands typed before, oldest first.
    pub typed: Vec<String>,
    /// Wide tables.
    pub wide: bool,
    /// The header row is shown.
    pub header: bool,
    /// Columns the person does not want, by plural name of the kind.
    pub hidden_columns: HashMap<String, Vec<String>>,
    /// Where the view that is at work is drawn, if that is not everything.
    pub pane: Option<Rect>,
    /// What key means what.
    pub keymap: Keymap,
    /// What the person has configured.
    pub config: Config,
    /// Writes that can be undone, the last one last; and those that were.
    pub changes: Changes,
    /// Port-forwards of this session.
    pub forwards: Forwards,
    /// What the person may do.
    pub access: Access,
    /// What is used, where the server says so.
    pub usage: Usage,
    /// The cluster in this process, to come back to.
    pub home: Option<Connection>,
    /// Folders watched since then.
    pub folders: Vec<Watched>,
    /// A program to run in place of the UI, and what is done when it has ended.
    pub outside: Option<Program>,
    /// What is done when that program has ended.
    pub after_outside: Option<After>,
    /// To be put on the clipboard.
    pub clipboard: Option<String>,
    /// What the application is asked to do.
    pub go: Vec<Go>,
    /// What is to be done outside.
    pub effects: Vec<Effect>,
    /// Something visible has changed.
    pub dirty: bool,
    /// The whole screen is to be written again.
    pub redraw: bool,
    next_sub: Sub,
}

impl Shared {
    /// State at the start.
    ///
    /// # Errors
    /// The theme does not exist.
    pub fn new(options: Options, size: (u16, u16)) -> Result<Self, String> {
        let colors = options.colors.unwrap_or_else(|| ColorDepth::from_environment(|name| std::env::var(name).ok()));
        let (config, complaints) = Config::load(&options);
        let theme = config.theme(config.theme_of(&options.theme), colors)?;
        let (keymap, wrong) = config.keymap();
        let namespace = options.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let namespaces = if options.all_namespaces { Namespaces::All } else { Namespaces::Some(vec![namespace.clone()]) };
        let mut options = options;
        options.readonly |= config.settings().read_only;
        options.command = options.command.take().or_else(|| config.settings().default_view.clone());
        let header = !config.settings().ui.headless;
        let at = options.clock.now();
        let activity: Vec<Entry> = complaints.into_iter().chain(wrong).map(|text| Entry { at, level: Level::Warning, text }).collect();
        Ok(Self {
            size,
            now: options.clock.now(),
            theme,
            colors,
            kinds: Kinds::first(),
            discovered: false,
            namespaces,
            favourites: vec![namespace],
            connection: None,
            link: Link::Starting,
            answered: options.clock.now(),
            steps: Vec::new(),
            said: activity.len(),
            activity,
            jobs: 0,
            names: HashMap::new(),
            schemas: HashMap::new(),
            typed: Vec::new(),
            wide: false,
            header,
            hidden_columns: HashMap::new(),
            pane: None,
            keymap,
            changes: Changes::default(),
            forwards: Forwards::default(),
            access: Access::default(),
            usage: Usage::default(),
            home: None,
            folders: Vec::new(),
            outside: None,
            after_outside: None,
            clipboard: None,
            go: Vec::new(),
            effects: Vec::new(),
            dirty: true,
            redraw: false,
            next_sub: 0,
            config,
            options,
        })
    }

    /// Where the view at work is drawn.
    pub fn content(&self) -> Rect {
        self.pane.unwrap_or_else(|| self.whole())
    }

    /// Where all views are drawn.
    pub fn whole(&self) -> Rect {
        let top = u16::from(self.header);
        Rect::new(0, top, self.size.0, self.size.1.saturating_sub(1 + top))
    }

    /// Has work done beside the UI.
    pub fn work<F, Fut>(&mut self, function: F) -> Sub
    where
        F: FnOnce(Outside) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.subscribe(|sub| Effect::Work(sub, work(function)))
    }

    /// The context is one where a slip costs much.
    pub fn is_production(&self) -> bool {
        self.config.is_production(self.context())
    }

    /// A folder of what is kept between sessions, made if need be.
    ///
    /// # Errors
    /// Nothing is kept, or the folder cannot be made.
    pub fn kept(&self, name: &str) -> Result<PathBuf, String> {
        let dir = self.options.state_dir.as_ref().ok_or("nothing is kept between sessions")?.join(name);
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(dir)
    }

    /// A new name for a subscription.
    pub fn subscribe(&mut self, effect: impl FnOnce(Sub) -> Effect) -> Sub {
        self.next_sub += 1;
        self.effects.push(effect(self.next_sub));
        self.next_sub
    }

    /// Ends a subscription.
    pub fn cancel(&mut self, sub: &mut Option<Sub>) {
        if let Some(sub) = sub.take() {
            self.effects.push(Effect::Cancel(sub));
        }
    }

    /// Asks the server once.
    pub fn call(&mut self, call: Call, then: Then) {
        self.effects.push(Effect::Call(call, then));
    }

    /// Says something in the status row, and keeps it.
    pub fn say(&mut self, level: Level, text: impl Into<String>) {
        self.activity.push(Entry { at: self.now, level, text: text.into() });
        self.said += 1;
        let much = self.activity.len().saturating_sub(REMEMBERED);
        self.activity.drain(..much);
        self.dirty = true;
    }

    /// Forgets what was said since so much had been said.
    pub fn unsay(&mut self, said: usize) {
        let since = self.said.saturating_sub(said);
        self.activity.truncate(self.activity.len().saturating_sub(since));
        self.said = said;
    }

    /// Says that something failed.
    pub fn fail(&mut self, what: &str, fault: &Fault) {
        self.say(Level::Error, format!("{what}: {}", fault.message));
    }

    /// Remembers a namespace for the keys 1 to 9.
    pub fn favour(&mut self, namespace: &str) {
        if !self.favourites.iter().any(|known| known == namespace) {
            self.favourites.push(namespace.to_owned());
            self.favourites.truncate(9);
        }
    }

    /// Shows these namespaces from now on.
    pub fn set_namespaces(&mut self, namespaces: Namespaces) {
        if let Some(name) = namespaces.single() {
            let name = name.to_owned();
            self.favour(&name);
        }
        if self.namespaces != namespaces {
            self.namespaces = namespaces;
            self.go.push(Go::Namespaces);
        }
        self.dirty = true;
    }

    /// Name of the context, for the header.
    pub fn context(&self) -> &str {
        self.connection.as_ref().map_or("coracle", |connection| &connection.context)
    }

    /// A step of the start begins or ends.
    pub fn step(&mut self, step: BootStep) {
        if let StepState::Failed(message) = &step.state {
            self.say(Level::Error, format!("{}: {message}", step.name));
        }
        match self.steps.iter_mut().find(|known| known.name == step.name) {
            Some(known) => *known = step,
            None => self.steps.push(step),
        }
        self.dirty = true;
    }

    /// The server answered, or did not.
    pub fn probed(&mut self, answer: Result<Duration, Fault>) {
        if answer.as_ref().map_or_else(|fault| !fault.is_connection(), |_| true) {
            self.answered = self.now;
        }
        let link = match answer {
            Ok(took) => Link::Live(rounded(took)),
            Err(fault) if !fault.is_connection() => Link::Live(0),
            Err(fault) => match &self.link {
                Link::Lost(_, since) => Link::Lost(fault, *since),
                _ => Link::Lost(fault, self.answered),
            },
        };
        match (&self.link, &link) {
            (Link::Lost(..), Link::Live(_)) => self.say(Level::Info, "the server answers again"),
            (Link::Live(_) | Link::Connecting, Link::Lost(fault, _)) => {
                let server = self.connection.as_ref().map(|connection| connection.server.clone()).unwrap_or_default();
                self.say(Level::Error, format!("{server}: {}; trying again", fault.message));
            }
            _ => {}
        }
        if self.link != link {
            self.link = link;
            self.dirty = true;
        }
    }

    /// The file a draft of this object is kept in.
    pub fn draft_path(&self, name: &str) -> Option<PathBuf> {
        let plain = |text: &str| text.chars().map(|c| if c.is_alphanumeric() || ".-_".contains(c) { c } else { '_' }).collect::<String>();
        Some(self.options.state_dir.as_ref()?.join("drafts").join(plain(self.context())).join(format!("{}.yaml", plain(name))))
    }

    /// A time of day where the person is.
    pub fn time_of_day(&self, at: Timestamp, format: &str) -> String {
        at.to_zoned(self.options.time_zone.clone()).strftime(format).to_string()
    }
}

/// Milliseconds in steps, so that the header is still while nothing really changes.
fn rounded(took: Duration) -> u32 {
    let millis = u32::try_from(took.as_millis()).unwrap_or(u32::MAX).max(1);
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000].into_iter().find(|&step| millis <= step).unwrap_or(10_000)
}

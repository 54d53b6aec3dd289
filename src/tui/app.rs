//! The application: a stack of views, layers over them, and what happens when a message comes.

use serde_json::Value;

use crate::action::{Action, Scopes};
use crate::actions::change::in_production;
use crate::boot::Connection;
use crate::command;
use crate::early::Early;
use crate::kinds::Kinds;
use crate::message::{Effect, Message, News, Sub};
use crate::panes::Panes;
use crate::shared::{Level, Link, Namespaces, Shared};
use crate::source::fault::Fault;
use crate::view::{Go, Layer, View};
use crate::views::NAMES;
use crate::views::boot::BootView;
use crate::views::table::TableView;
use crate::widgets::prompt::Prompt;

/// Actions that write as soon as their key is pressed.
const UNASKED: &[&str] = &["cordon", "uncordon", "suspend", "trigger", "pause-rollout", "undo", "redo", "manifest-apply"];

/// State of the whole UI.
pub struct App {
    /// What views share.
    pub shared: Shared,
    /// Views, the shown one last; never empty.
    pub(crate) stack: Vec<Box<dyn View>>,
    /// What lies over them, the uppermost last.
    pub(crate) layers: Vec<Box<dyn Layer>>,
    /// The other panes, and how all are laid out.
    pub(crate) panes: Panes,
    /// Commands that opened views, oldest first, and which is shown.
    pub(crate) history: Vec<String>,
    pub(crate) position: usize,
    pub(crate) last: Option<String>,
    /// The first command, while it is not known what it means.
    first: Option<String>,
    /// How many messages the views of tasks know of.
    told: usize,
    /// Keys that came before the rows they are about.
    pub(crate) early: Early,
    /// It is time to leave.
    pub quit: bool,
}

impl App {
    /// The UI before anything has come.
    pub fn new(shared: Shared) -> Self {
        Self {
            shared,
            stack: vec![Box::new(BootView)],
            layers: Vec::new(),
            panes: Panes::default(),
            history: Vec::new(),
            position: 0,
            last: None,
            first: None,
            told: 0,
            early: Early::default(),
            quit: false,
        }
    }

    /// Takes a message in; what is to be done outside comes out.
    pub fn update(&mut self, message: Message) -> Vec<Effect> {
        self.shared.now = self.shared.options.clock.now();
        self.place();
        match message {
            Message::Input(input) => self.input(input),
            Message::Step(step) => self.shared.step(step),
            Message::Connected(Ok(connection)) => self.connected(connection),
            Message::Connected(Err(message)) => {
                self.shared.say(Level::Error, message.clone());
                self.shared.link = Link::Failed(message);
            }
            Message::Discovered(Ok(kinds)) => {
                self.shared.kinds = Kinds::discovered(kinds);
                self.shared.discovered = true;
                self.shared.dirty = true;
                self.shared.ask_usage();
                if let Some(command) = self.first.take() {
                    command::run(self, &command);
                    if self.is_bare() {
                        command::run(self, "pods");
                    }
                }
                self.every_view(|view, shared| view.kinds_changed(shared));
            }
            Message::Discovered(Err(fault)) => self.shared.probed(Err(fault)),
            Message::Probed(answer) => self.shared.probed(answer),
            Message::News(sub, news) => self.news(sub, news),
            Message::Answer(then, answer) => {
                self.shared.dirty = true;
                then(self, answer);
            }
            Message::DraftFailed(message) => self.shared.say(Level::Warning, format!("the draft is not on disk: {message}")),
            Message::Then(what) => {
                self.shared.dirty = true;
                what(self);
            }
            Message::Tick => self.shared.dirty = true,
        }
        self.settle();
        self.act_on_rows();
        self.follow_preview();
        self.follow_tasks();
        std::mem::take(&mut self.shared.effects)
    }

    /// A view of what was done shows what was done since.
    fn follow_tasks(&mut self) {
        let known = std::mem::replace(&mut self.told, self.shared.said);
        if known != self.told {
            self.every_view(|view, shared| {
                if let Some(tasks) = view.downcast::<TableView>().filter(|table| table.made_name() == Some("tasks")) {
                    tasks.reload(shared);
                }
            });
        }
    }

    fn connected(&mut self, connection: Connection) {
        let first = self.shared.options.command.clone().unwrap_or_else(|| "pods".to_owned());
        let again = self.shared.connection.is_some();
        self.leave();
        let shared = &mut self.shared;
        if (again || shared.options.namespace.is_none())
            && let Some(namespace) = &connection.namespace
        {
            shared.favourites = vec![namespace.clone()];
            if again || !shared.options.all_namespaces {
                shared.namespaces = Namespaces::Some(vec![namespace.clone()]);
            }
        }
        shared.favour("kube-system");
        if connection.embedded {
            shared.home = Some(connection.clone());
        }
        shared.connection = Some(connection);
        shared.link = Link::Connecting;
        shared.answered = shared.now;
        shared.dirty = true;
        shared.effects.push(Effect::Discover);
        shared.effects.push(Effect::Probe);
        shared.ask_access();
        if again {
            shared.say(Level::Info, format!("context {}", shared.context()));
        }
        let command = if again { self.shared.options.command.take().unwrap_or_else(|| "pods".to_owned()) } else { first };
        self.shared.options.command = None;
        self.shared.recall_forwards();
        let known = self.shared.said;
        command::run(self, &command);
        // a kind of somebody's own is known when the server has said what there is
        if self.is_bare() && !self.shared.discovered {
            self.shared.unsay(known);
            self.first = Some(command);
        }
    }

    /// No view has been opened yet.
    fn is_bare(&mut self) -> bool {
        self.layers.is_empty() && self.stack.len() == 1 && self.stack.last_mut().is_some_and(|view| view.downcast::<BootView>().is_some())
    }

    /// Closes everything that belongs to the cluster shown so far.
    fn leave(&mut self) {
        if self.shared.connection.is_none() {
            return;
        }
        self.close_panes();
        for view in &mut self.stack {
            view.close(&mut self.shared);
        }
        self.stack = vec![Box::new(BootView)];
        self.layers.clear();
        (self.history, self.position, self.last) = (Vec::new(), 0, None);
        self.shared.kinds = Kinds::first();
        self.shared.discovered = false;
        self.shared.names.clear();
        self.shared.schemas.clear();
        self.shared.usage.forget();
        self.shared.access.forget();
        self.shared.changes.forget();
        self.shared.folders.clear();
    }

    fn news(&mut self, sub: Sub, news: News) {
        let mut news = Some(news);
        self.out_of_patience(sub, &mut news);
        self.preview_news(sub, &mut news);
        for view in self.stack.iter_mut().rev() {
            if news.is_none() {
                return;
            }
            view.news(sub, &mut news, &mut self.shared);
        }
        self.other_news(sub, &mut news);
        if news.is_some() {
            self.layer_news(sub, &mut news);
        }
    }

    fn layer_news(&mut self, sub: Sub, news: &mut Option<News>) {
        for layer in &mut self.layers {
            layer.news(sub, news, &mut self.shared);
        }
    }

    /// Where we are, as scopes of actions.
    pub fn scopes(&self) -> Scopes {
        self.view().map_or(Scopes::ANY, View::scopes) | Scopes::ANY
    }

    /// The shown view.
    pub fn view(&self) -> Option<&dyn View> {
        self.stack.last().map(AsRef::as_ref)
    }

    /// Carries out an action, unless it may not be.
    pub fn perform(&mut self, action: &'static Action) {
        if action.writes && self.shared.options.readonly {
            return self.shared.say(Level::Warning, format!("{}: not with --readonly", action.name));
        }
        if !action.scopes.meet(self.scopes()) {
            return self.shared.say(Level::Warning, format!("{} makes no sense here", action.name));
        }
        if let Some(reason) = self.forbidden(action) {
            return self.shared.say(Level::Warning, format!("{}: {reason}", action.name));
        }
        // what asks nothing itself asks where a slip costs much
        if UNASKED.contains(&action.name) {
            return in_production(self, action.name, format!("{}?", action.doc), action.run);
        }
        (action.run)(self);
    }

    /// Why RBAC does not let the person do this here, as far as that is known.
    pub fn forbidden(&self, action: &Action) -> Option<String> {
        let (verb, subresource) = crate::action::needs(action.name)?;
        let target = self.view()?.target()?;
        self.shared.access.denies(verb, subresource, &target)
    }

    /// What the shown view and the layers over it are called.
    pub fn shown(&self) -> Vec<&'static str> {
        self.view().map(View::name).into_iter().chain(self.layers.iter().map(|layer| layer.name())).collect()
    }

    /// Works with the shown view, if it is a `T`.
    pub fn with<T: View>(&mut self, work: impl FnOnce(&mut T, &mut Shared)) {
        if let Some(view) = self.stack.last_mut().and_then(|view| view.downcast::<T>()) {
            work(view, &mut self.shared);
        }
    }

    /// Lays something over the views.
    pub fn lay(&mut self, layer: Box<dyn Layer>) {
        debug_assert!(NAMES.contains(&layer.name()), "{} is no name of a view", layer.name());
        self.layers.push(layer);
        self.shared.dirty = true;
    }

    /// Names of a kind's objects have come, for completion.
    pub fn learn_names(&mut self, kind: &str, answer: &Result<Value, Fault>) {
        let Ok(answer) = answer else { return };
        let items = answer.get("items").and_then(Value::as_array).into_iter().flatten();
        let names: Vec<String> = items.filter_map(|item| item.pointer("/metadata/name")?.as_str()).map(str::to_owned).collect();
        for layer in &mut self.layers {
            layer.names(kind, &names);
        }
        self.shared.names.insert(kind.to_owned(), names);
    }

    /// Does what views and layers asked for.
    pub(crate) fn settle(&mut self) {
        // each may ask for more; a loop that never ends would be a defect, so it is bounded
        for _ in 0..64 {
            if self.shared.go.is_empty() {
                return;
            }
            for go in std::mem::take(&mut self.shared.go) {
                self.go(go);
            }
        }
    }

    fn go(&mut self, go: Go) {
        self.shared.dirty = true;
        match go {
            Go::Push(view) => self.push(view),
            Go::Pop => self.pop(),
            Go::Layer(layer) => self.lay(layer),
            Go::Command(text) => command::run(self, &text),
            Go::Run(action) => self.perform(action),
            Go::Filter(text) => self.filter(&text),
            Go::PromptClosed => {
                if let Some(view) = self.stack.last_mut() {
                    view.prompt_closed();
                }
            }
            Go::Do(work) => work(self),
            Go::Namespaces => {
                self.every_view(|view, shared| view.namespace_changed(shared));
                self.shared.ask_access();
                if let Some(command) = self.view().and_then(View::command) {
                    self.remember(command);
                }
            }
            Go::Quit => self.quit = true,
        }
    }

    fn filter(&mut self, text: &str) {
        let Some(view) = self.stack.last_mut() else { return };
        let outcome = view.set_filter(text, &mut self.shared);
        for layer in &mut self.layers {
            if let Some(prompt) = (layer.as_mut() as &mut dyn std::any::Any).downcast_mut::<Prompt>() {
                prompt.set_error(outcome.as_ref().err().cloned());
            }
        }
    }

    /// A program that had the terminal has ended.
    pub fn back_from(&mut self, title: &str, ended: Result<(), String>, size: (u16, u16)) -> Vec<Effect> {
        self.shared.size = size;
        self.shared.redraw = true;
        self.shared.dirty = true;
        self.place();
        let after = self.shared.after_outside.take();
        match ended {
            Ok(()) => {
                if let Some(after) = after {
                    after(self);
                }
            }
            Err(message) => self.shared.say(Level::Error, format!("{title}: {message}")),
        }
        self.settle();
        std::mem::take(&mut self.shared.effects)
    }

    /// Seconds until what is drawn changes by itself.
    pub fn next_change(&self) -> Option<i64> {
        let by_view = self.view().and_then(|view| view.next_change(&self.shared));
        let by_link = matches!(self.shared.link, Link::Lost(..)).then_some(1);
        by_view.into_iter().chain(by_link).chain(self.panes_change()).min()
    }
}

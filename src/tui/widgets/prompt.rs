//! The prompt: commands with completion, and filters. It takes the place of the status row.

use std::collections::{HashMap, HashSet};

use nucleo::pattern::{CaseMatching, Normalization, Pattern};
use nucleo::{Config, Matcher};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};

use super::input::LineInput;
use crate::action::{ACTIONS, Scopes};
use crate::command::WORDS;
use crate::input::{Key, KeyCode};
use crate::shared::Shared;
use crate::source::call::Call;
use crate::theme::Role;
use crate::typed;
use crate::view::{Go, Layer, Taken};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Command,
    Filter,
}

/// Something that can be completed to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Completion {
    /// The whole word.
    word: String,
    /// What it is.
    doc: String,
    /// Other names it is found by.
    also: String,
    /// The key that does the same.
    key: String,
}

/// A prompt.
pub struct Prompt {
    mode: Mode,
    /// Where it was opened: only what makes sense there is offered.
    scopes: Scopes,
    input: LineInput,
    selected: Option<usize>,
    error: Option<String>,
    /// What the filter was before.
    before: String,
    asked: HashSet<String>,
    /// Why some actions may not be done.
    denied: HashMap<&'static str, String>,
    history: Option<usize>,
}

/// Whether a kind and a name may follow a word.
fn takes_object(word: &str) -> bool {
    typed::is_verb(word) || ACTIONS.iter().any(|action| action.name == word && action.scopes.meet(Scopes::OBJECT))
}

/// Most completions shown.
const SHOWN: usize = 10;

impl Prompt {
    /// A prompt for a command.
    pub fn command(scopes: Scopes, denied: HashMap<&'static str, String>, shared: &mut Shared) -> Self {
        // names change: what was learnt for the last prompt is asked for again
        shared.names.clear();
        Self { scopes, denied, ..Self::new(Mode::Command, String::new()) }
    }

    /// A prompt for a filter.
    pub fn filter(text: String) -> Self {
        Self::new(Mode::Filter, text)
    }

    fn new(mode: Mode, text: String) -> Self {
        Self {
            mode,
            scopes: Scopes::NONE,
            input: LineInput::new(text.clone()),
            selected: None,
            error: None,
            before: text,
            asked: HashSet::new(),
            denied: HashMap::new(),
            history: None,
        }
    }

    /// What is wrong with what was typed.
    pub fn set_error(&mut self, error: Option<String>) {
        self.error = error;
    }

    /// The words typed, the last one being typed.
    fn words(&self) -> (Vec<&str>, &str) {
        let mut words: Vec<&str> = self.input.text().split(' ').collect();
        let last = words.pop().unwrap_or_default();
        (words.into_iter().filter(|word| !word.is_empty()).collect(), last)
    }

    /// The kind whose names complete the last word.
    fn wants_names(&self, shared: &Shared) -> Option<String> {
        let (words, _) = self.words();
        let steers = matches!(words.as_slice(), ["rollout" | "set", ..]);
        match words.get(usize::from(steers)..).unwrap_or_default() {
            ["ns" | "namespace" | "namespaces"] => Some("namespaces".to_owned()),
            [kind] if !steers && shared.kinds.find(kind).is_some_and(|kind| kind.namespaced) => Some("namespaces".to_owned()),
            [_, kind] if steers => shared.kinds.find(kind).map(|kind| kind.plural.clone()),
            [verb, kind] if takes_object(verb) => shared.kinds.find(kind).map(|kind| kind.plural.clone()),
            _ => None,
        }
    }

    fn ask(&mut self, shared: &mut Shared) {
        if let Some(plural) = self.wants_names(shared)
            && self.asked.insert(plural.clone())
            && let Some(kind) = shared.kinds.find(&plural)
        {
            let namespace = shared.namespaces.single().map(str::to_owned);
            shared.call(Call::names(&kind, namespace.as_deref()), Box::new(move |app, answer| app.learn_names(&plural, &answer)));
        }
    }

    fn candidates(&self, shared: &Shared) -> Vec<Completion> {
        let plain =
            |word: &str, doc: &str| Completion { word: word.to_owned(), doc: doc.to_owned(), also: String::new(), key: String::new() };
        let kinds = || {
            shared.kinds.all().iter().map(|kind| {
                let first = shared.kinds.find(&kind.plural).is_some_and(|found| found.group == kind.group);
                let word = if first { kind.plural.clone() } else { format!("{}.{}", kind.plural, kind.group) };
                let short = kind.short_names.join(" ");
                Completion {
                    word,
                    doc: format!("{} {}", kind.kind, kind.api_version()),
                    also: format!("{short} {}", kind.singular),
                    key: String::new(),
                }
            })
        };
        let (words, _) = self.words();
        if let Some(kind) = self.wants_names(shared) {
            let names = shared.names.get(&kind).into_iter().flatten().map(|name| plain(name, ""));
            let all = (kind == "namespaces").then(|| plain("all", "all namespaces"));
            return all.into_iter().chain(names).collect();
        }
        match words.as_slice() {
            [] => {
                let here = |action: &&crate::action::Action| action.scopes.meet(self.scopes.or(Scopes::ANY).or(Scopes::OBJECT));
                let actions = ACTIONS.iter().filter(here).map(|action| Completion {
                    word: action.name.to_owned(),
                    doc: match self.denied.get(action.name) {
                        Some(reason) => format!("✗ {reason}"),
                        None => action.doc.to_owned(),
                    },
                    also: String::new(),
                    key: shared.keymap.keys(action).first().map(ToString::to_string).unwrap_or_default(),
                });
                let words = WORDS.iter().map(|(word, doc)| plain(word, doc));
                let known = |verb: &str| crate::action::by_name(verb).is_some() || shared.kinds.find(verb).is_some();
                let verbs = typed::verbs().iter().filter(|(verb, _)| !known(verb)).map(|(verb, doc)| plain(verb, doc));
                kinds().chain(words).chain(actions).chain(verbs).collect()
            }
            ["theme"] => shared.config.theme_names().iter().map(|name| plain(name, "")).collect(),
            ["ctx" | "context" | "contexts"] => {
                let contexts = shared.options.contexts.list().unwrap_or_default();
                contexts.iter().map(|context| plain(&context.name, &context.server)).collect()
            }
            ["xray" | "history"] => kinds().collect(),
            ["who-can"] => ["get", "list", "watch", "create", "update", "patch", "delete"].iter().map(|verb| plain(verb, "")).collect(),
            ["rollout"] => ["status", "history", "undo", "restart", "pause", "resume"].iter().map(|verb| plain(verb, "")).collect(),
            ["set"] => vec![plain("image", "")],
            [verb] if takes_object(verb) => kinds().collect(),
            ["rollout" | "set", _] => kinds().collect(),
            _ => Vec::new(),
        }
    }

    fn completions(&self, shared: &Shared) -> Vec<Completion> {
        if self.mode == Mode::Filter {
            return Vec::new();
        }
        let (words, last) = self.words();
        if last.is_empty() && words.is_empty() {
            return Vec::new();
        }
        let pattern = Pattern::parse(last, CaseMatching::Ignore, Normalization::Smart);
        let mut matcher = Matcher::new(Config::DEFAULT);
        let mut buffer = Vec::new();
        let mut scored: Vec<(u32, usize, Completion)> = self
            .candidates(shared)
            .into_iter()
            .enumerate()
            .filter_map(|(index, completion)| {
                let text = format!("{} {}", completion.word, completion.also);
                let score = pattern.score(nucleo::Utf32Str::new(&text, &mut buffer), &mut matcher)?;
                // a short name typed in full, or the beginning of a name, is what was meant
                let exact = completion.also.split(' ').any(|short| !short.is_empty() && short == last) || completion.word == last;
                let begins = completion.word.starts_with(last);
                Some((score + u32::from(begins) * 100 + u32::from(exact) * 1_000, index, completion))
            })
            .collect();
        scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        scored.into_iter().take(SHOWN).map(|(_, _, completion)| completion).collect()
    }

    fn complete(&mut self, word: &str) {
        let (words, _) = self.words();
        let mut text = words.join(" ");
        if !text.is_empty() {
            text.push(' ');
        }
        self.input.set(format!("{text}{word}"));
        self.selected = None;
    }

    fn enter(&mut self, shared: &mut Shared) -> Taken {
        if self.mode == Mode::Filter {
            shared.go.push(Go::Filter(self.input.text().to_owned()));
            if self.error.is_some() {
                return Taken::Yes;
            }
            shared.go.push(Go::PromptClosed);
            return Taken::Close;
        }
        let completions = self.completions(shared);
        let (words, last) = self.words();
        let known = words.is_empty()
            && (shared.kinds.find(last).is_some()
                || crate::action::by_name(last).is_some()
                || crate::command::is_word(last)
                || shared.config.alias(last).is_some());
        // what was not picked must at least begin alike: a slip is an error, not another command
        let alike = completions.first().is_some_and(|first| {
            // a verb may write: only its beginning means it
            let verb =
                typed::is_verb(&first.word) && crate::action::by_name(&first.word).is_none() && shared.kinds.find(&first.word).is_none();
            let letter = last.chars().next().map_or(0, char::len_utf8);
            let start = if verb { last } else { &last[..letter] };
            !start.is_empty() && first.word.starts_with(start)
        });
        let pick = self.selected.or((words.is_empty() && !known && alike).then_some(0)).and_then(|index| completions.get(index));
        if let Some(completion) = pick {
            let word = completion.word.clone();
            self.complete(&word);
        }
        let text = self.input.text().trim().to_owned();
        if !text.is_empty() {
            shared.typed.retain(|typed| *typed != text);
            shared.typed.push(text.clone());
        }
        shared.go.push(Go::Command(text));
        Taken::Close
    }

    fn recall(&mut self, by: isize, shared: &Shared) {
        let last = shared.typed.len();
        let at = self.history.unwrap_or(last).saturating_add_signed(by).min(last);
        self.history = Some(at);
        self.input.set(shared.typed.get(at).cloned().unwrap_or_default());
    }
}

impl Layer for Prompt {
    fn name(&self) -> &'static str {
        "prompt"
    }

    fn key(&mut self, key: Key, shared: &mut Shared) -> Taken {
        let count = self.completions(shared).len();
        match (key.code, key.ctrl) {
            (KeyCode::Esc, _) => {
                if self.mode == Mode::Filter && self.input.text() != self.before {
                    shared.go.push(Go::Filter(self.before.clone()));
                }
                shared.go.push(Go::PromptClosed);
                return Taken::Close;
            }
            (KeyCode::Enter, _) => return self.enter(shared),
            (KeyCode::Backspace, _) if self.input.text().is_empty() => {
                shared.go.push(Go::PromptClosed);
                return Taken::Close;
            }
            (KeyCode::Up, _) if self.history.is_some() || count == 0 => self.recall(-1, shared),
            (KeyCode::Down, _) if self.history.is_some() || count == 0 => self.recall(1, shared),
            (KeyCode::Up, _) => self.selected = Some(self.selected.map_or(count - 1, |at| (at + count - 1) % count)),
            (KeyCode::Down, _) => self.selected = Some(self.selected.map_or(0, |at| (at + 1) % count)),
            (KeyCode::Char('p'), true) => self.recall(-1, shared),
            (KeyCode::Char('n'), true) => self.recall(1, shared),
            (KeyCode::Tab, _) => {
                if let Some(completion) = self.completions(shared).get(self.selected.unwrap_or(0)) {
                    let word = format!("{} ", completion.word);
                    self.complete(&word);
                }
            }
            (KeyCode::Right, false) if self.input.halves().1.is_empty() && count > 0 => {
                if let Some(completion) = self.completions(shared).get(self.selected.unwrap_or(0)) {
                    let word = completion.word.clone();
                    self.complete(&word);
                }
            }
            _ => {
                if self.input.key(key) {
                    self.selected = None;
                    self.history = None;
                    if self.mode == Mode::Filter {
                        shared.go.push(Go::Filter(self.input.text().to_owned()));
                    }
                }
            }
        }
        self.ask(shared);
        Taken::Yes
    }

    fn paste(&mut self, text: &str, shared: &mut Shared) {
        self.input.insert(text);
        if self.mode == Mode::Filter {
            shared.go.push(Go::Filter(self.input.text().to_owned()));
        }
    }

    fn draw(&self, frame: &mut Frame, screen: Rect, shared: &Shared) {
        let theme = &shared.theme;
        let row = Rect::new(screen.x, screen.bottom().saturating_sub(1), screen.width, 1);
        let completions = self.completions(shared);
        let sign = if self.mode == Mode::Command { ":" } else { "/" };
        let (before, after) = self.input.halves();
        let mut spans = vec![Span::styled(format!("{sign}{before}{after}"), theme.style(Role::Prompt))];
        let (_, last) = self.words();
        if let Some(ghost) = completions.get(self.selected.unwrap_or(0)).and_then(|completion| completion.word.strip_prefix(last)) {
            spans.push(Span::styled(ghost.to_owned(), theme.style(Role::Prompt).patch(theme.style(Role::Dim))));
        }
        if let Some(error) = &self.error {
            spans.push(Span::styled(format!("   {error}"), theme.style(Role::Error)));
        }
        frame.render_widget(Clear, row);
        frame.render_widget(Paragraph::new(Line::from(spans)).style(theme.style(Role::Prompt)), row);
        let column = crate::table::rows::cell_width(before) + 1;
        frame.set_cursor_position((row.x + u16::try_from(column).unwrap_or_default().min(row.width.saturating_sub(1)), row.y));
        if completions.is_empty() || screen.height < 5 {
            return;
        }
        let height = u16::try_from(completions.len()).unwrap_or(1).min(screen.height - 3);
        let area = Rect::new(screen.x, row.y - height, screen.width.min(64), height);
        frame.render_widget(Clear, area);
        let lines: Vec<Line> = completions
            .iter()
            .enumerate()
            .map(|(index, completion)| {
                let mut style = theme.style(Role::Prompt);
                if self.selected == Some(index) {
                    style = style.patch(theme.style(Role::Cursor));
                }
                let short = if completion.key.is_empty() { completion.also.split(' ').next().unwrap_or_default() } else { &completion.key };
                Line::styled(format!(" {:<30} {short:<7} {:<24}", completion.word, completion.doc), style)
            })
            .collect();
        frame.render_widget(Paragraph::new(lines).style(theme.style(Role::Prompt)), area);
    }
}

//! Running text that stays live: descriptions and YAML, with search and colours.

use std::cell::Cell;
use std::sync::Arc;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};
use regex::Regex;
use serde_json::Value;

use crate::action::Scopes;
use crate::kinds::Target;
use crate::message::{Effect, News, Sub};
use crate::shared::Shared;
use crate::source::describe::Described;
use crate::source::fault::Fault;
use crate::source::observe::{Seen, path_of};
use crate::source::work::Work;
use crate::table::filter::pattern;
use crate::text::{Token, yaml};
use crate::theme::Role;
use crate::view::{Motion, View};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Description,
    Yaml,
    /// A text that does not change, or that some work tells.
    Document {
        yaml: bool,
    },
}

/// What tells a text, again and again.
type Teller = Box<dyn Fn(&Shared) -> Work>;

/// The description or the YAML of an object.
pub struct TextView {
    target: Target,
    shows: Shows,
    sub: Option<Sub>,
    colors_sub: Option<Sub>,
    object: Option<Value>,
    text: String,
    /// Where each line begins in `text`.
    starts: Vec<usize>,
    colors: Vec<Vec<(usize, Token)>>,
    version: u64,
    gone: bool,
    trouble: Option<String>,
    managed_fields: bool,
    decoded: bool,
    wrap: bool,
    top: usize,
    left: usize,
    search: String,
    pattern: Option<Regex>,
    matches: Vec<usize>,
    current: usize,
    height: Cell<usize>,
    /// How many levels of a YAML are shown, and the lines that are.
    levels: Option<usize>,
    shown: Vec<usize>,
    /// Of a document.
    document: String,
    teller: Option<Teller>,
    about: bool,
}

impl TextView {
    /// A text that does not change.
    pub fn document(title: String, text: String, yaml: bool) -> Self {
        let nothing = Target { kind: Arc::default(), namespace: String::new(), name: title.clone() };
        let mut view = Self { document: title, about: false, ..Self::new(nothing, Shows::Document { yaml }) };
        view.text = text;
        view
    }

    /// What work tells that has begun already; it ends when the view is closed.
    pub fn running(title: String, sub: Sub) -> Self {
        Self { sub: Some(sub), ..Self::document(title, String::new(), false) }
    }

    /// The work that tells it.
    pub fn runs(&self) -> Option<Sub> {
        self.sub
    }

    /// A text that some work tells, about an object.
    pub fn told(title: String, target: Target, teller: impl Fn(&Shared) -> Work + 'static) -> Self {
        Self { document: title, teller: Some(Box::new(teller)), ..Self::new(target, Shows::Document { yaml: false }) }
    }

    fn is_yaml(&self) -> bool {
        matches!(self.shows, Shows::Yaml | Shows::Document { yaml: true })
    }

    /// What a file with its text is called.
    pub fn file_name(&self) -> String {
        if self.document.is_empty() { self.target.name.clone() } else { self.document.clone() }
    }

    /// The description of an object.
    pub fn describe(target: Target) -> Self {
        Self::new(target, Shows::Description)
    }

    /// The YAML of an object.
    pub fn yaml(target: Target) -> Self {
        Self::new(target, Shows::Yaml)
    }

    fn new(target: Target, shows: Shows) -> Self {
        Self {
            target,
            shows,
            sub: None,
            colors_sub: None,
            object: None,
            text: String::new(),
            starts: Vec::new(),
            colors: Vec::new(),
            version: 0,
            gone: false,
            trouble: None,
            managed_fields: false,
            decoded: false,
            wrap: false,
            top: 0,
            left: 0,
            search: String::new(),
            pattern: None,
            matches: Vec::new(),
            current: 0,
            height: Cell::new(20),
            levels: None,
            shown: Vec::new(),
            document: String::new(),
            teller: None,
            about: true,
        }
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn line(&self, index: usize) -> &str {
        let Some(&start) = self.starts.get(index) else { return "" };
        let end = self.starts.get(index + 1).copied().unwrap_or(self.text.len());
        self.text.get(start..end).unwrap_or("").trim_end_matches('\n')
    }

    fn set_text(&mut self, text: String, shared: &mut Shared) {
        if self.text == text && self.version > 0 {
            return;
        }
        self.starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).filter(|&at| at < text.len()).collect();
        self.text = text;
        self.version += 1;
        self.fold();
        self.find();
        if self.is_yaml() {
            let (version, text) = (self.version, self.text.clone());
            self.colors_sub = Some(shared.subscribe(|sub| Effect::Highlight(sub, version, text)));
        }
        shared.dirty = true;
    }

    fn print(&mut self, shared: &mut Shared) {
        let Some(object) = &self.object else { return };
        let mut shown = if self.managed_fields { object.clone() } else { yaml::without_managed_fields(object) };
        if self.decoded && self.target.kind.is("", "secrets") {
            shown = yaml::decoded(&shown);
        }
        self.set_text(yaml::print(&shown), shared);
    }

    /// Shows managed fields, or hides them.
    pub fn toggle_managed_fields(&mut self, shared: &mut Shared) {
        self.managed_fields = !self.managed_fields;
        self.print(shared);
    }

    /// Decodes a secret, or hides it.
    pub fn toggle_decoded(&mut self, shared: &mut Shared) {
        self.decoded = !self.decoded;
        self.print(shared);
    }

    /// Wraps long lines, or not.
    pub fn toggle_wrap(&mut self) {
        self.wrap = !self.wrap;
        self.left = 0;
    }

    /// Shows two levels of the YAML, then one, then all.
    pub fn fold_deeper(&mut self, _shared: &mut Shared) {
        self.levels = match self.levels {
            None => Some(2),
            Some(2) => Some(1),
            Some(_) => None,
        };
        self.fold();
        self.top = self.top.min(self.shown.len().saturating_sub(1));
    }

    fn fold(&mut self) {
        let depth = |line: &str| {
            let inner = line.trim_start();
            (line.len() - inner.len()) / 2 + usize::from(inner.starts_with("- "))
        };
        let levels = self.levels.unwrap_or(usize::MAX);
        self.shown = (0..self.starts.len()).filter(|&index| depth(self.line(index)) < levels).collect();
    }

    fn find(&mut self) {
        self.matches = match &self.pattern {
            Some(pattern) => (0..self.starts.len()).filter(|&line| pattern.is_match(self.line(line))).collect(),
            None => Vec::new(),
        };
        self.current = self.current.min(self.matches.len().saturating_sub(1));
    }

    /// Goes to the next match, or the one before.
    pub fn next_match(&mut self, by: isize, _shared: &mut Shared) {
        if self.matches.is_empty() {
            return;
        }
        self.current = (self.current.cast_signed() + by).rem_euclid(self.matches.len().cast_signed()).cast_unsigned();
        self.show_match();
    }

    fn show_match(&mut self) {
        if !self.matches.is_empty() {
            // what is found is not hidden in a fold
            if self.levels.take().is_some() {
                self.fold();
            }
        }
        if let Some(&line) = self.matches.get(self.current)
            && !(self.top..self.top + self.height.get()).contains(&line)
        {
            self.top = line.saturating_sub(self.height.get() / 3);
        }
    }

    fn styled<'a>(&'a self, index: usize, shared: &Shared) -> Line<'a> {
        let theme = &shared.theme;
        let text = self.line(index);
        let mut spans = Vec::new();
        match self.colors.get(index).filter(|pieces| pieces.last().is_some_and(|(end, _)| *end == text.len())) {
            Some(pieces) => {
                let mut from = 0;
                for &(end, token) in pieces {
                    spans.push(Span::styled(text.get(from..end).unwrap_or(""), theme.style(token.role())));
                    from = end;
                }
            }
            None if !self.is_yaml() => {
                // `Name:   web`: the label, then the value
                let label = text.find(": ").map(|at| at + 1).or_else(|| text.ends_with(':').then_some(text.len())).filter(|&at| at < 36);
                let (label, value) = text.split_at(label.unwrap_or(0));
                spans.push(Span::styled(label, theme.style(Role::YamlKey)));
                spans.push(Span::styled(value, theme.style(Role::Text)));
            }
            None => spans.push(Span::styled(text, theme.style(Role::Text))),
        }
        let next = self.shown.partition_point(|&shown| shown <= index);
        let hidden = self.shown.get(next).copied().unwrap_or(self.starts.len()).saturating_sub(index + 1);
        if hidden > 0 {
            spans.push(Span::styled(format!("  ⋯ {hidden} lines"), theme.style(Role::Dim)));
        }
        let current = self.matches.get(self.current) == Some(&index);
        marked(spans, text, self.pattern.as_ref(), theme.style(Role::Match), current)
    }
}

/// Puts the look of a match over the spans of a line; the current match is underlined too.
pub fn marked<'a>(spans: Vec<Span<'a>>, text: &str, pattern: Option<&Regex>, look: ratatui::style::Style, current: bool) -> Line<'a> {
    let Some(pattern) = pattern else { return Line::from(spans) };
    let found: Vec<(usize, usize)> = pattern.find_iter(text).map(|found| (found.start(), found.end())).filter(|(a, b)| a < b).collect();
    if found.is_empty() {
        return Line::from(spans);
    }
    let look = if current { look.add_modifier(ratatui::style::Modifier::UNDERLINED) } else { look };
    let mut result = Vec::new();
    let mut at = 0;
    for span in spans {
        let content = span.content.into_owned();
        let mut from = 0;
        while from < content.len() {
            let here = at + from;
            let inside = found.iter().find(|(a, b)| here >= *a && here < *b);
            let until = match inside {
                Some((_, b)) => *b,
                None => found.iter().map(|(a, _)| *a).find(|a| *a > here).unwrap_or(usize::MAX),
            };
            let to = content.len().min(until.saturating_sub(at));
            let piece = content.get(from..to).unwrap_or("").to_owned();
            result.push(Span::styled(piece, if inside.is_some() { look } else { span.style }));
            from = to.max(from + 1);
        }
        at += content.len();
    }
    Line::from(result)
}

impl View for TextView {
    fn name(&self) -> &'static str {
        match (self.shows, &self.teller) {
            (Shows::Description, _) => "describe",
            (Shows::Yaml, _) => "yaml",
            (Shows::Document { .. }, Some(_)) => "why",
            (Shows::Document { .. }, None) => "document",
        }
    }

    fn title(&self) -> String {
        if !self.document.is_empty() {
            return self.document.clone();
        }
        let what = if self.shows == Shows::Yaml { "yaml" } else { "describe" };
        let gone = if self.gone { " (deleted)" } else { "" };
        format!("{what} {}{gone}", self.target.shown())
    }

    fn counts(&self) -> String {
        match (&self.pattern, self.matches.len()) {
            (None, _) => format!("{} line{}", self.starts.len(), if self.starts.len() == 1 { "" } else { "s" }),
            (Some(_), 0) => "no match".to_owned(),
            (Some(_), matches) => format!("match {}/{matches}", self.current + 1),
        }
    }

    fn scopes(&self) -> Scopes {
        if self.shows == Shows::Yaml { Scopes::TEXT | Scopes::YAML } else { Scopes::TEXT }
    }

    fn hints(&self) -> &'static [&'static str] {
        if matches!(self.shows, Shows::Document { .. }) {
            &["help", "back", "filter", "next-match", "copy-text", "save", "wrap"]
        } else if self.shows == Shows::Yaml {
            &["help", "back", "filter", "next-match", "managed-fields", "yaml-fold", "edit-this", "copy-text", "wrap"]
        } else {
            &["help", "back", "filter", "next-match", "edit-this", "copy-text", "wrap"]
        }
    }

    fn target(&self) -> Option<Target> {
        self.about.then(|| self.target.clone())
    }

    fn open(&mut self, shared: &mut Shared) {
        let target = self.target.clone();
        if let Shows::Document { .. } = self.shows {
            match &self.teller {
                Some(teller) => {
                    let work = teller(shared);
                    self.sub = Some(shared.subscribe(|sub| Effect::Work(sub, work)));
                }
                None if self.sub.is_some() => {}
                None => {
                    let text = std::mem::take(&mut self.text);
                    self.set_text(text, shared);
                }
            }
            return;
        }
        self.sub = Some(match self.shows {
            Shows::Document { .. } => return,
            Shows::Description => shared.subscribe(|sub| Effect::Describe(sub, target)),
            Shows::Yaml => shared.subscribe(|sub| Effect::Observe(sub, path_of(&target))),
        });
    }

    fn close(&mut self, shared: &mut Shared) {
        shared.cancel(&mut self.sub);
    }

    fn news(&mut self, sub: Sub, news: &mut Option<News>, shared: &mut Shared) {
        if self.colors_sub == Some(sub) {
            if let Some(News::Highlighted(version, colors)) = news.take()
                && version == self.version
            {
                self.colors = colors;
                shared.dirty = true;
            }
            return;
        }
        if self.sub != Some(sub) {
            return;
        }
        match news.take() {
            Some(News::Described(Described::Text(Some(text)))) => {
                (self.gone, self.trouble) = (false, None);
                self.set_text(text, shared);
            }
            Some(News::Told(told)) => match told.downcast::<Result<String, Fault>>().map(|told| *told) {
                Ok(Ok(text)) => {
                    self.trouble = None;
                    // who is at the end of what is still being said stays there
                    let follows = self.top > 0 && self.top + self.height.get() >= self.shown.len();
                    self.set_text(text, shared);
                    if follows {
                        self.motion(Motion::Bottom, shared);
                    }
                }
                Ok(Err(fault)) => self.trouble = Some(fault.message),
                Err(_) => {}
            },
            Some(News::Seen(Seen::Now(objects))) => match objects.into_values().next() {
                Some(object) => {
                    (self.gone, self.trouble) = (false, None);
                    self.object = Some(object);
                    self.print(shared);
                }
                None => self.gone = true,
            },
            Some(News::Described(Described::Text(None))) => self.gone = true,
            Some(News::Described(Described::Lost(fault)) | News::Seen(Seen::Lost(fault))) => {
                if fault.is_connection() {
                    shared.probed(Err(fault.clone()));
                }
                self.trouble = Some(fault.message);
            }
            _ => {}
        }
        shared.dirty = true;
    }

    fn motion(&mut self, motion: Motion, shared: &mut Shared) {
        let page = usize::from(shared.content().height).max(1);
        let last = self.shown.len().saturating_sub(page);
        self.top = match motion {
            Motion::Rows(by) => self.top.saturating_add_signed(by),
            Motion::Pages(by) => self.top.saturating_add_signed(by * page.cast_signed()),
            Motion::Top => 0,
            Motion::Bottom => last,
            Motion::Columns(by) => {
                self.left = self.left.saturating_add_signed(by);
                return;
            }
        }
        .min(last);
    }

    fn filter_text(&self) -> String {
        self.search.clone()
    }

    fn set_filter(&mut self, text: &str, _shared: &mut Shared) -> Result<(), String> {
        self.pattern = if text.is_empty() { None } else { Some(pattern(text)?) };
        self.search = text.to_owned();
        self.find();
        self.current = self.matches.iter().position(|&line| line >= self.top).unwrap_or(0);
        self.show_match();
        Ok(())
    }

    fn escape(&mut self, _shared: &mut Shared) -> bool {
        self.search.clear();
        self.matches.clear();
        self.pattern.take().is_some()
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    fn draw(&self, frame: &mut Frame, area: Rect, shared: &Shared) {
        self.height.set(usize::from(area.height));
        if self.text.is_empty() {
            let (text, role) = match (&self.trouble, self.gone) {
                (Some(trouble), _) => (trouble.clone(), Role::Error),
                (None, true) => (format!("{} does not exist", self.target.shown()), Role::Dim),
                (None, false) if !self.about => ("nothing has been said yet".to_owned(), Role::Dim),
                (None, false) => (format!("asking for {} …", self.target.shown()), Role::Dim),
            };
            return frame.render_widget(Paragraph::new(text).style(shared.theme.style(role)), area);
        }
        let lines: Vec<Line> =
            self.shown.iter().skip(self.top).take(usize::from(area.height)).map(|&index| self.styled(index, shared)).collect();
        let mut paragraph = Paragraph::new(lines).style(shared.theme.style(Role::Text));
        paragraph = if self.wrap {
            paragraph.wrap(Wrap { trim: false })
        } else {
            paragraph.scroll((0, u16::try_from(self.left).unwrap_or(u16::MAX)))
        };
        frame.render_widget(paragraph, area);
    }
}

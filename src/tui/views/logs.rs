//! Logs of one container, a pod or everything a workload selects, merged by time. Lines are kept, all of them;
//! standing still keeps the place while more arrive.

mod draw;
mod lines;
mod sift;
mod store;

use std::cell::Cell;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use regex::Regex;

use crate::action::Scopes;
use crate::kinds::Target;
use crate::message::{Effect, News, Sub};
use crate::shared::{Level, Shared};
use crate::source::logs::{LogEvent, LogLine, LogQuery, LogStart, PodChoice};
use crate::table::filter::pattern;
use crate::text::number::grouped;
use crate::theme::Role;
use crate::view::{Motion, View};

use self::lines::Kept;
use self::sift::Sift;
use self::store::Texts;

/// A line drawn by the person at the terminal.
const MARK: u16 = u16::MAX;

/// Logs.
pub struct LogsView {
    of: Target,
    query: LogQuery,
    sub: Option<Sub>,
    sources: Vec<String>,
    lines: Vec<Kept>,
    texts: Texts,
    /// How many of the lines are frames of stacks.
    frames: usize,
    /// Frames are hidden behind the line they belong to.
    folding: bool,
    /// Lines that pass the filter, when there is one.
    visible: Option<Vec<u32>>,
    filter: String,
    sift: Sift,
    top: usize,
    left: usize,
    follow: bool,
    timestamps: bool,
    wrap: bool,
    /// The container it began with, while all are shown.
    only: Option<String>,
    histogram: bool,
    locked: bool,
    /// What the prompt types next is searched for, not filtered by.
    searching: bool,
    search: String,
    needle: Option<Regex>,
    /// Lines that were searched for, among those that are visible.
    found: Vec<u32>,
    waiting: Option<String>,
    caught_up: bool,
    begun: bool,
    /// Size of the pane when it was last drawn.
    size: Cell<(usize, usize)>,
}

impl LogsView {
    /// The logs of these pods.
    pub fn new(of: Target, pods: PodChoice, container: Option<String>) -> Self {
        let query = LogQuery { namespace: of.namespace.clone(), pods, container, previous: false, from: LogStart::Tail(500) };
        Self {
            of,
            query,
            sub: None,
            sources: Vec::new(),
            lines: Vec::new(),
            texts: Texts::default(),
            frames: 0,
            folding: true,
            visible: None,
            filter: String::new(),
            sift: Sift::default(),
            top: 0,
            left: 0,
            follow: true,
            timestamps: false,
            wrap: false,
            only: None,
            histogram: false,
            locked: true,
            searching: false,
            search: String::new(),
            needle: None,
            found: Vec::new(),
            waiting: None,
            caught_up: false,
            begun: false,
            size: Cell::new((80, 20)),
        }
    }

    /// As it is configured, the first time it is opened.
    fn begun(&mut self, shared: &Shared) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let logger = &shared.config.settings().logger;
        (self.wrap, self.timestamps) = (logger.text_wrap, logger.show_time);
        if let Some(tail) = logger.tail.filter(|tail| *tail > 500) {
            self.query.from = LogStart::Tail(tail);
        }
    }

    /// Of the instance before the current one.
    pub fn set_previous(&mut self, previous: bool) {
        self.query.previous = previous;
    }

    /// Begins again from elsewhere.
    pub fn restart(&mut self, from: LogStart, shared: &mut Shared) {
        self.query.from = from;
        shared.cancel(&mut self.sub);
        self.sources.clear();
        self.clear();
        self.follow = from != LogStart::Beginning;
        self.open(shared);
    }

    /// Forgets the lines so far.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.texts = Texts::default();
        self.frames = 0;
        self.found.clear();
        self.top = 0;
        if let Some(visible) = &mut self.visible {
            visible.clear();
        }
    }

    /// Follows, or stands still.
    pub fn toggle_follow(&mut self, _shared: &mut Shared) {
        self.top = self.first_shown();
        self.follow = !self.follow;
    }

    /// Shows when lines were written, or not.
    pub fn toggle_timestamps(&mut self) {
        self.timestamps = !self.timestamps;
    }

    /// Wraps long lines, or not.
    pub fn toggle_wrap(&mut self, _shared: &mut Shared) {
        self.wrap = !self.wrap;
        self.left = 0;
    }

    /// Draws a line after what has come so far.
    pub fn mark(&mut self, shared: &mut Shared) {
        let nanos = i64::try_from(shared.now.as_nanosecond()).unwrap_or(i64::MAX);
        let nanos = self.lines.last().map_or(nanos, |last| last.nanos);
        self.add(MARK, vec![LogLine { nanos, text: String::new() }]);
    }

    /// Goes to the next line that was searched for; with a filter alone, every line is a match.
    pub fn next_match(&mut self, by: isize, shared: &mut Shared) {
        if self.needle.is_none() {
            return self.motion(Motion::Rows(by), shared);
        }
        let from = self.real(self.first_shown()).unwrap_or_default();
        let at = if by > 0 {
            self.found.partition_point(|&index| index as usize <= from)
        } else {
            self.found.partition_point(|&index| (index as usize) < from).wrapping_sub(1)
        };
        let next = self.found.get(at).map(|&index| self.shown_at(index));
        match next {
            Some(index) => (self.top, self.follow) = (index, false),
            None => shared.say(Level::Info, "no further match"),
        }
    }

    /// What the prompt types next is searched for.
    pub fn begin_search(&mut self) {
        self.searching = true;
    }

    /// All containers, or the one it began with.
    pub fn toggle_containers(&mut self, shared: &mut Shared) {
        match (self.query.container.take(), self.only.take()) {
            (Some(own), _) => self.only = Some(own),
            (None, Some(only)) => self.query.container = Some(only),
            (None, None) => return shared.say(Level::Info, "all containers are shown"),
        }
        self.restart(self.query.from, shared);
    }

    /// The instance before, or this one.
    pub fn toggle_previous(&mut self, shared: &mut Shared) {
        self.query.previous = !self.query.previous;
        self.restart(self.query.from, shared);
    }

    /// Shows how many lines there were when, or not.
    pub fn toggle_histogram(&mut self) {
        self.histogram = !self.histogram;
    }

    /// Sources stay in place, or move with the text.
    pub fn toggle_lock(&mut self) {
        self.locked = !self.locked;
    }

    /// What a file with these lines is called.
    pub fn file_name(&self) -> String {
        self.of.name.clone()
    }

    /// Everything that is visible, as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for at in 0..self.count() {
            if let Some(line) = self.at(at) {
                text.push_str(&self.text_of(line));
                text.push('\n');
            }
        }
        text
    }

    /// Shows frames of stacks, or hides them.
    pub fn toggle_folding(&mut self, shared: &mut Shared) {
        self.folding = !self.folding;
        let follow = self.follow;
        self.refilter();
        self.follow = follow;
        shared.say(Level::Info, if self.folding { "stack traces are folded" } else { "stack traces are shown" });
    }

    /// The first line shown when following.
    fn first_shown(&self) -> usize {
        if !self.follow {
            return self.top;
        }
        let (width, height) = self.size.get();
        let mut rows = 0;
        let mut first = self.count();
        while first > 0 {
            rows += self.at(first - 1).map_or(1, |line| self.rows_of(line, width));
            if rows > height {
                break;
            }
            first -= 1;
        }
        first.min(self.count().saturating_sub(1))
    }
}

impl View for LogsView {
    fn name(&self) -> &'static str {
        "logs"
    }

    fn title(&self) -> String {
        let of = match &self.query.container {
            Some(container) => format!("{}/{container}", self.of.name),
            None => match &self.query.pods {
                PodChoice::Names(names) => format!("{} pods", names.len()),
                _ => self.of.shown(),
            },
        };
        let from = match self.query.from {
            LogStart::Tail(lines) => format!("tail {lines}"),
            LogStart::Beginning => "from the beginning".to_owned(),
            LogStart::Since(seconds) => format!("since {}", crate::age::human(i64::from(seconds))),
        };
        let filter = if self.filter.is_empty() { String::new() } else { format!(" /{}", self.filter) };
        let search = if self.search.is_empty() { String::new() } else { format!(" ?{}", self.search) };
        format!("{}logs of {of} ({from}){filter}{search}", if self.query.previous { "previous " } else { "" })
    }

    fn counts(&self) -> String {
        let total = grouped(self.lines.len());
        let shown = if self.visible.is_some() { format!("{}/{total}", grouped(self.count())) } else { total };
        let state = match (self.query.previous, self.follow) {
            (true, _) => "",
            (_, true) => " following",
            (_, false) => " standing still",
        };
        let total = self.found.len();
        let search = match (&self.needle, self.real(self.first_shown())) {
            (None, _) => String::new(),
            (Some(_), _) if total == 0 => " no match".to_owned(),
            (Some(_), top) => {
                let at = self.found.partition_point(|&index| (index as usize) <= top.unwrap_or_default()).max(1);
                format!(" match {}/{}", grouped(at), grouped(total))
            }
        };
        format!("{shown} lines{search}{state}")
    }

    fn scopes(&self) -> Scopes {
        Scopes::LOGS | Scopes::TEXT
    }

    fn hints(&self) -> &'static [&'static str] {
        &[
            "help",
            "back",
            "filter",
            "follow",
            "timestamps",
            "wrap",
            "log-search",
            "log-beginning",
            "log-previous",
            "histogram",
            "log-fold",
            "save",
            "copy-text",
        ]
    }

    fn target(&self) -> Option<Target> {
        Some(self.of.clone())
    }

    fn open(&mut self, shared: &mut Shared) {
        self.begun(shared);
        let query = self.query.clone();
        self.caught_up = false;
        self.sub = Some(shared.subscribe(|sub| Effect::Logs(sub, query)));
    }

    fn close(&mut self, shared: &mut Shared) {
        shared.cancel(&mut self.sub);
    }

    fn news(&mut self, sub: Sub, news: &mut Option<News>, shared: &mut Shared) {
        if self.sub != Some(sub) {
            return;
        }
        let Some(News::Log(event)) = news.take() else { return };
        // standing still, only the count in the header changes
        shared.dirty = true;
        match event {
            LogEvent::Source(number, pod, container) => {
                let name = if self.query.container.is_some() { pod } else { format!("{pod}/{container}") };
                if self.sources.len() <= number {
                    self.sources.resize(number + 1, String::new());
                }
                self.sources[number] = name;
            }
            LogEvent::Lines(number, lines) => {
                if !lines.is_empty() {
                    self.waiting = None;
                }
                self.add(u16::try_from(number).unwrap_or(MARK - 1), lines);
            }
            LogEvent::CaughtUp => {
                self.caught_up = true;
            }
            LogEvent::Waiting(_, fault) => self.waiting = Some(fault.message),
            LogEvent::NoPods => self.waiting = Some("there are no such pods".to_owned()),
            LogEvent::Lost(fault) => {
                if fault.is_connection() {
                    shared.probed(Err(fault.clone()));
                }
                shared.say(Level::Warning, format!("logs: {}; trying again", fault.message));
                self.waiting = Some(fault.message);
            }
        }
    }

    fn motion(&mut self, motion: Motion, _shared: &mut Shared) {
        let page = self.size.get().1.max(1).cast_signed();
        let last = self.count().saturating_sub(1);
        let top = self.first_shown();
        let by = match motion {
            Motion::Rows(by) => by,
            Motion::Pages(by) => by * page,
            Motion::Top => isize::MIN / 2,
            Motion::Bottom => {
                self.follow = true;
                return;
            }
            Motion::Columns(by) => {
                self.left = self.left.saturating_add_signed(by);
                return;
            }
        };
        self.top = top.saturating_add_signed(by).min(last);
        // at the end again, it follows again
        self.follow = self.count() == 0 || (by > 0 && self.top + page.cast_unsigned() >= self.count());
    }

    fn filter_text(&self) -> String {
        if self.searching { self.search.clone() } else { self.filter.clone() }
    }

    fn prompt_closed(&mut self) {
        self.searching = false;
    }

    fn set_filter(&mut self, text: &str, shared: &mut Shared) -> Result<(), String> {
        if self.searching {
            self.needle = if text.is_empty() { None } else { Some(pattern(text)?) };
            text.clone_into(&mut self.search);
            self.find();
            let shown = self.at(self.first_shown()).is_some_and(|line| self.is_found(line));
            if self.needle.is_some() && !shown {
                self.next_match(if self.follow { -1 } else { 1 }, shared);
            }
            return Ok(());
        }
        self.sift = Sift::parse(text)?;
        self.filter = text.to_owned();
        self.refilter();
        Ok(())
    }

    fn escape(&mut self, _shared: &mut Shared) -> bool {
        if self.needle.take().is_some() {
            self.search.clear();
            self.found.clear();
            return true;
        }
        if self.filter.is_empty() {
            return false;
        }
        self.filter.clear();
        self.sift = Sift::default();
        self.refilter();
        true
    }

    fn trouble(&self) -> Option<String> {
        self.waiting.clone().filter(|_| !self.lines.is_empty())
    }

    fn draw(&self, frame: &mut Frame, mut area: Rect, shared: &Shared) {
        if self.histogram && area.height > 4 {
            let strip = self.strip(usize::from(area.width), shared);
            frame.render_widget(Paragraph::new(strip), Rect { height: 1, ..area });
            area = Rect { y: area.y + 1, height: area.height - 1, ..area };
        }
        let (width, height) = (usize::from(area.width), usize::from(area.height));
        self.size.set((width, height));
        if self.count() == 0 {
            let text = match (&self.waiting, self.caught_up, self.lines.is_empty()) {
                (_, _, false) => "no line passes the filter",
                (Some(waiting), _, _) => waiting.as_str(),
                (None, true, _) => "nothing has been written yet",
                (None, false, _) => "asking for logs …",
            };
            return frame.render_widget(Paragraph::new(text).style(shared.theme.style(Role::Dim)), area);
        }
        let mut drawn: Vec<Line> = Vec::new();
        for index in self.first_shown()..self.count() {
            if let (Some(line), Some(real)) = (self.at(index), self.real(index)) {
                drawn.extend(self.draw_line(real, line, width, shared));
            }
            if drawn.len() >= height && !self.follow {
                break;
            }
        }
        // following, the end is what matters: a first line that is too long loses its beginning
        let skip = if self.follow { drawn.len().saturating_sub(height) } else { 0 };
        let drawn: Vec<Line> = drawn.into_iter().skip(skip).take(height).collect();
        frame.render_widget(Paragraph::new(drawn).style(shared.theme.style(Role::Text)), area);
    }
}

//! Logs of one container, a pod or everything a workload selects, merged by time. Lines are kept, all of them;
//! standing still keeps the place while more arrive.

mod sift;
mod store;

use std::borrow::Cow;
use std::cell::Cell;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use regex::Regex;

use crate::action::Scopes;
use crate::kinds::Target;
use crate::message::{Effect, News, Sub};
use crate::shared::{Level, Shared};
use crate::source::logs::{LogEvent, LogLine, LogQuery, LogStart, PodChoice};
use crate::table::filter::pattern;
use crate::table::rows::cell_width;
use crate::theme::{Role, SOURCES};
use crate::view::{Motion, View};
use crate::views::table::grouped;
use crate::views::text::marked;

use self::sift::{Level as Gravity, Sift, is_frame, level_of};
use self::store::{At, Texts};

struct Kept {
    nanos: i64,
    at: At,
    source: u16,
    /// It belongs to the line before it: a frame of a stack.
    frame: bool,
}

/// How many lines a histogram looks at, at most.
const SAMPLED: usize = 20_000;

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

    /// What they are the logs of, for a file.
    pub fn name(&self) -> String {
        self.of.name.clone()
    }

    /// A strip of bars: lines over time, those of errors apart.
    fn strip(&self, width: usize, shared: &Shared) -> Line<'static> {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let (Some(first), Some(last)) = (self.at(0), self.at(self.count().saturating_sub(1))) else { return Line::default() };
        let span = (last.nanos - first.nanos).max(1);
        let room = width.saturating_sub(24).max(8);
        let mut counts = vec![(0u32, 0u32); room];
        // of very many lines some stand for all: bars are only compared with each other
        let stride = self.count() / SAMPLED + 1;
        for line in (0..self.count()).step_by(stride).filter_map(|index| self.at(index)).filter(|line| line.source != MARK) {
            let at = i128::from(line.nanos - first.nanos) * (room as i128 - 1) / i128::from(span);
            if let Some(count) = usize::try_from(at).ok().and_then(|at| counts.get_mut(at)) {
                count.0 += 1;
                count.1 += u32::from(is_error(&self.text_of(line)));
            }
        }
        let most = counts.iter().map(|count| count.0).max().unwrap_or(1).max(1);
        let time = |nanos: i64| shared.time_of_day(Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default(), "%H:%M:%S");
        let mut spans = vec![Span::styled(format!(" {} ", time(first.nanos)), shared.theme.style(Role::Dim))];
        for (count, errors) in counts {
            let bar = if count == 0 { ' ' } else { BARS[(count * 7 / most).min(7) as usize] };
            spans.push(Span::styled(bar.to_string(), shared.theme.style(if errors > 0 { Role::Faulty } else { Role::Fine })));
        }
        spans.push(Span::styled(format!(" {}", time(last.nanos)), shared.theme.style(Role::Dim)));
        Line::from(spans)
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

    fn count(&self) -> usize {
        self.visible.as_ref().map_or(self.lines.len(), Vec::len)
    }

    fn at(&self, index: usize) -> Option<&Kept> {
        match &self.visible {
            Some(visible) => self.lines.get(*visible.get(index)? as usize),
            None => self.lines.get(index),
        }
    }

    fn text_of(&self, line: &Kept) -> Cow<'_, str> {
        self.texts.get(line.at)
    }

    /// Which line stands at a place among the visible ones.
    fn real(&self, index: usize) -> Option<usize> {
        match &self.visible {
            Some(visible) => visible.get(index).map(|&index| index as usize),
            None => (index < self.lines.len()).then_some(index),
        }
    }

    /// Where a line stands among the visible ones.
    fn shown_at(&self, line: u32) -> usize {
        match &self.visible {
            Some(visible) => visible.partition_point(|&index| index < line),
            None => line as usize,
        }
    }

    /// Everything is visible as it came.
    fn is_plain(&self) -> bool {
        self.sift.is_empty() && (!self.folding || self.frames == 0)
    }

    fn passes(&self, line: &Kept) -> bool {
        if line.source == MARK {
            return true;
        }
        if self.sift.is_empty() {
            return !(self.folding && line.frame);
        }
        let source = self.sources.get(usize::from(line.source)).map_or("", String::as_str);
        self.sift.passes(&self.text_of(line), source)
    }

    fn is_found(&self, line: &Kept) -> bool {
        self.needle.as_ref().is_some_and(|needle| line.source != MARK && needle.is_match(&self.text_of(line)))
    }

    /// Shows frames of stacks, or hides them.
    pub fn toggle_folding(&mut self, shared: &mut Shared) {
        self.folding = !self.folding;
        let follow = self.follow;
        self.refilter();
        self.follow = follow;
        shared.say(Level::Info, if self.folding { "stack traces are folded" } else { "stack traces are shown" });
    }

    /// How many frames are hidden behind a line.
    fn behind(&self, index: usize) -> usize {
        if !self.folding || !self.sift.is_empty() {
            return 0;
        }
        let Some(head) = self.lines.get(index).filter(|line| !line.frame) else { return 0 };
        self.lines[index + 1..].iter().take_while(|line| line.frame && line.source == head.source).count()
    }

    fn add(&mut self, source: u16, mut fresh: Vec<LogLine>) {
        if fresh.is_empty() {
            return;
        }
        fresh.sort_by_key(|line| line.nanos);
        let first = fresh[0].nanos;
        let from = self.lines.partition_point(|line| line.nanos <= first);
        let anchor = self.at(self.top).map(|line| (line.nanos, line.source));
        let inserted_before = match anchor.filter(|_| from < self.lines.len()) {
            Some((nanos, _)) => fresh.iter().filter(|line| line.nanos < nanos).count(),
            None => 0,
        };
        let anchor_index = match &self.visible {
            Some(visible) => visible.get(self.top).map(|&index| index as usize),
            None => Some(self.top),
        };
        let mut after = self.lines[..from].iter().rev().take(64).find(|line| line.source == source).is_some_and(|line| line.frame);
        let mut later = self.lines.split_off(from).into_iter().peekable();
        for line in fresh {
            while let Some(old) = later.next_if(|old| old.nanos <= line.nanos) {
                self.lines.push(old);
            }
            let text =
                if line.text.contains('\t') { Cow::Owned(line.text.replace('\t', "    ")) } else { Cow::Borrowed(line.text.as_str()) };
            after = source != MARK && is_frame(&text, after);
            self.frames += usize::from(after);
            self.lines.push(Kept { nanos: line.nanos, at: self.texts.add(&text), source, frame: after });
        }
        self.lines.extend(later);
        if self.visible.is_none() && !self.is_plain() {
            // the first frame of a stack has come
            self.visible = Some((0..u32::try_from(from).unwrap_or(u32::MAX)).collect());
        }
        if let Some(mut visible) = self.visible.take() {
            visible.truncate(visible.partition_point(|&index| (index as usize) < from));
            visible.extend(
                (from..self.lines.len()).filter(|&index| self.passes(&self.lines[index])).filter_map(|index| u32::try_from(index).ok()),
            );
            self.visible = Some(visible);
        }
        if self.needle.is_some() {
            self.found.truncate(self.found.partition_point(|&index| (index as usize) < from));
            self.find_from(from);
        }
        if inserted_before > 0
            && let Some(index) = anchor_index
        {
            let index = index + inserted_before;
            self.top = match &self.visible {
                Some(visible) => visible.partition_point(|&at| (at as usize) < index),
                None => index,
            };
        }
    }

    fn refilter(&mut self) {
        self.visible = (!self.is_plain()).then(|| {
            (0..self.lines.len()).filter(|&index| self.passes(&self.lines[index])).filter_map(|index| u32::try_from(index).ok()).collect()
        });
        self.find();
        self.top = self.top.min(self.count().saturating_sub(1));
        self.follow = true;
    }

    fn find(&mut self) {
        self.found.clear();
        if self.needle.is_some() {
            self.find_from(0);
        }
    }

    /// Finds what is searched for from a line on.
    fn find_from(&mut self, from: usize) {
        let visible = |index: &usize| match &self.visible {
            Some(visible) => u32::try_from(*index).is_ok_and(|index| visible.binary_search(&index).is_ok()),
            None => true,
        };
        let found: Vec<u32> = (from..self.lines.len())
            .filter(|&index| self.is_found(&self.lines[index]))
            .filter(visible)
            .filter_map(|index| u32::try_from(index).ok())
            .collect();
        self.found.extend(found);
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

    fn rows_of(&self, line: &Kept, width: usize) -> usize {
        if !self.wrap || line.source == MARK {
            return 1;
        }
        let time = if self.timestamps { 13 } else { 0 };
        let source = self.sources.get(usize::from(line.source)).filter(|_| self.sources.len() > 1).map_or(0, |name| cell_width(name) + 1);
        (time + source + cell_width(&self.text_of(line))).div_ceil(width.max(1)).max(1)
    }

    /// Source and time before the text.
    fn prefix(&self, line: &Kept, shared: &Shared) -> (String, String) {
        let time = if self.timestamps {
            let time = Timestamp::from_nanosecond(i128::from(line.nanos)).unwrap_or_default();
            format!("{} ", shared.time_of_day(time, "%H:%M:%S%.3f"))
        } else {
            String::new()
        };
        let source = if self.sources.len() > 1 {
            format!("{} ", self.sources.get(usize::from(line.source)).map_or("", String::as_str))
        } else {
            String::new()
        };
        (format!("{time}{source}"), time)
    }

    fn draw_line(&self, index: usize, line: &Kept, width: usize, shared: &Shared) -> Vec<Line<'static>> {
        let theme = &shared.theme;
        if line.source == MARK {
            return vec![Line::styled("─".repeat(width), theme.style(Role::Marked))];
        }
        let (prefix, time) = self.prefix(line, shared);
        let source = prefix[time.len()..].to_owned();
        let color = SOURCES[usize::from(line.source) % SOURCES.len()];
        let mut spans = vec![Span::styled(time, theme.style(Role::Dim)), Span::styled(source, theme.style(color))];
        let text = self.text_of(line);
        let look = if is_grave(&text) { Role::Error } else { Role::Text };
        let plain = Line::from(vec![Span::styled(text.to_string(), theme.style(look))]);
        let pattern = self.needle.as_ref().or(self.sift.marks());
        let before = spans.len();
        spans.extend(marked(plain.spans, &text, pattern, theme.style(Role::Match), false).spans);
        let behind = self.behind(index);
        if behind > 0 {
            spans.push(Span::styled(format!("  ⋯ {behind} more"), theme.style(Role::Dim)));
        }
        if self.wrap {
            return wrapped(spans, width);
        }
        if !self.locked {
            return vec![cut(spans, self.left)];
        }
        let text = spans.split_off(before);
        spans.extend(cut(text, self.left).spans);
        vec![Line::from(spans)]
    }
}

/// Whether a line says of itself that it is grave.
fn is_grave(text: &str) -> bool {
    level_of(text).is_some_and(|level| level >= Gravity::Error)
}

/// Whether a line says of itself that it is an error.
fn is_error(text: &str) -> bool {
    let start: String = text.chars().take(120).collect::<String>().to_lowercase();
    ["error", "fatal", "panic", "exception", "\"level\":\"err"].iter().any(|word| start.contains(word))
}

/// Spans without their first `left` characters.
fn cut(spans: Vec<Span<'static>>, mut left: usize) -> Line<'static> {
    let mut rest = Vec::new();
    for span in spans {
        let chars = span.content.chars().count();
        if left >= chars {
            left -= chars;
            continue;
        }
        rest.push(Span::styled(span.content.chars().skip(std::mem::take(&mut left)).collect::<String>(), span.style));
    }
    Line::from(rest)
}

/// Spans in lines of `width`.
fn wrapped(spans: Vec<Span<'static>>, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Vec::new()];
    let mut used = 0;
    for span in spans {
        let mut piece = String::new();
        for c in span.content.chars() {
            let wide = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
            if used + wide > width.max(1) {
                if let Some(line) = lines.last_mut() {
                    line.push(Span::styled(std::mem::take(&mut piece), span.style));
                }
                lines.push(Vec::new());
                used = 0;
            }
            piece.push(c);
            used += wide;
        }
        if let Some(line) = lines.last_mut() {
            line.push(Span::styled(piece, span.style));
        }
    }
    lines.into_iter().map(Line::from).collect()
}

impl View for LogsView {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::kinds::Kind;

    fn view() -> LogsView {
        let kind = Arc::new(Kind { plural: "pods".into(), singular: "pod".into(), ..Kind::default() });
        LogsView::new(Target { kind, namespace: "default".into(), name: "web".into() }, PodChoice::Name("web".into()), None)
    }

    fn line(nanos: i64, text: &str) -> LogLine {
        LogLine { nanos, text: text.into() }
    }

    #[test]
    fn sources_are_merged_by_time() {
        let mut view = view();
        view.add(0, vec![line(1, "a"), line(5, "e")]);
        view.add(1, vec![line(2, "b"), line(5, "f"), line(9, "g")]);
        assert_eq!(view.text(), "a\nb\ne\nf\ng\n");
    }

    #[test]
    fn standing_still_keeps_the_place_while_lines_arrive_before_and_after() {
        let mut view = view();
        view.add(0, (0..100).map(|n| line(n * 10, &n.to_string())).collect());
        view.follow = false;
        view.top = 50;
        view.add(1, vec![line(5, "early"), line(15, "early"), line(2_000, "late")]);
        assert_eq!(view.text_of(view.at(view.top).unwrap()), "50");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_reordered_within_a_source(batches in proptest::collection::vec((0u16..3, proptest::collection::vec(0i64..50, 0..20)), 0..12), filter in "[0-9]?") {
            let mut view = view();
            let mut next = [0i64; 3];
            let mut sent: Vec<Vec<String>> = vec![Vec::new(); 3];
            let mut counter = 0;
            view.sift = Sift::parse(&filter).unwrap();
            view.refilter();
            for (source, gaps) in batches {
                let lines = gaps.into_iter().map(|gap| {
                    next[source as usize] += gap;
                    counter += 1;
                    let text = counter.to_string();
                    sent[source as usize].push(text.clone());
                    line(next[source as usize], &text)
                }).collect();
                view.add(source, lines);
            }
            prop_assert!(view.lines.is_sorted_by_key(|line| line.nanos));
            for source in 0..3u16 {
                let kept: Vec<String> = view.lines.iter().filter(|line| line.source == source).map(|line| view.text_of(line).into_owned()).collect();
                prop_assert_eq!(&kept, &sent[source as usize]);
            }
            let expected = view.lines.iter().filter(|line| view.passes(line)).count();
            prop_assert_eq!(view.count(), expected);
        }
    }
}

//! Tables: the objects of a kind, live. Only the rows in the window are drawn.

mod choice;
mod contents;
mod draw;
mod feed;
mod made;
mod order;
mod window;

use std::sync::Arc;

use ratatui::Frame;
use ratatui::layout::Rect;

use crate::action::Scopes;
use crate::age;
use crate::input::MouseKind;
use crate::keep::usage;
use crate::kinds::{Kind, Target};
use crate::message::{News, Sub};
use crate::shared::Shared;
use crate::source::fault::Fault;
use crate::table::{ColumnKind, Filter, Health, Row, Rows};
use crate::text::number::grouped;
use crate::theme::Role;
use crate::view::{Motion, View};

use self::choice::Choice;
pub use self::made::Made;

/// A table of a kind.
pub struct TableView {
    kind: Arc<Kind>,
    choice: Choice,
    rows: Rows,
    sub: Option<Sub>,
    /// Key of the row under the cursor, and where it was last.
    selected: Option<Arc<str>>,
    position: usize,
    top: usize,
    picked: Option<usize>,
    filter: String,
    faults_only: bool,
    last_mark: Option<Arc<str>>,
    listed: bool,
    trouble: Option<Fault>,
    shift: usize,
    /// Key of the row the cursor is to go to when it comes.
    wanted: Option<Arc<str>>,
    /// The revision shown, instead of the present.
    revision: Option<String>,
    /// What the cursor is on before there are rows.
    begun: Option<Target>,
}

impl TableView {
    /// The objects of a kind in the namespaces shown.
    pub fn of(kind: Arc<Kind>) -> Self {
        Self::with(kind, Choice::Namespaces)
    }

    /// Chosen objects of a kind.
    pub fn fixed(kind: Arc<Kind>, namespace: Option<String>, labels: Option<String>, fields: Option<String>, of: String) -> Self {
        Self::with(kind, Choice::Fixed { namespace, labels, fields, of })
    }

    /// A table that some work makes.
    pub fn made(made: Made) -> Self {
        let kind = Kind { plural: made.name.to_owned(), singular: made.name.to_owned(), namespaced: made.namespaced, ..Kind::default() };
        Self::with(Arc::new(kind), Choice::Made(made))
    }

    /// The kind of its objects.
    pub fn kind(&self) -> &Arc<Kind> {
        &self.kind
    }

    /// The row under the cursor.
    pub fn row(&self) -> Option<&Row> {
        self.current()
    }

    /// Its first rows are still to come.
    pub fn is_coming(&self) -> bool {
        self.sub.is_some() && !self.listed && self.rows.visible() == 0 && self.trouble.is_none() && self.begun.is_none()
    }

    /// Marked rows, or the one under the cursor.
    pub fn chosen(&self) -> Vec<&Row> {
        let marked: Vec<&Row> = self.rows.marked().collect();
        if marked.is_empty() { self.current().into_iter().collect() } else { marked }
    }

    /// Shows everything as it was at a revision.
    pub fn at_revision(&mut self, revision: String) {
        self.revision = Some(revision);
    }

    /// The cursor is on this object, though its row has not come yet.
    pub fn begin_with(&mut self, target: Target) {
        self.select(&format!("{}/{}", target.namespace, target.name));
        self.begun = Some(target);
    }

    /// Puts the cursor on the row with this key, as soon as it is there.
    pub fn select(&mut self, key: &str) {
        self.wanted = Some(key.into());
    }

    /// Reads everything again.
    pub fn reload(&mut self, shared: &mut Shared) {
        self.subscribe(shared);
    }

    fn with(kind: Arc<Kind>, choice: Choice) -> Self {
        Self {
            kind,
            choice,
            rows: Rows::default(),
            sub: None,
            selected: None,
            position: 0,
            top: 0,
            picked: None,
            filter: String::new(),
            faults_only: false,
            last_mark: None,
            listed: false,
            trouble: None,
            shift: 0,
            wanted: None,
            revision: None,
            begun: None,
        }
    }

    /// The filter to begin with.
    pub fn preset_filter(&mut self, text: &str) {
        self.filter = text.to_owned();
    }

    fn target_of(&self, row: &Row) -> Option<Target> {
        match (&row.target, &self.choice) {
            (Some(target), _) => Some(target.as_ref().clone()),
            (None, Choice::Made(_)) => None,
            (None, _) => Some(Target { kind: self.kind.clone(), namespace: row.namespace().to_owned(), name: row.name().to_owned() }),
        }
    }

    fn refilter(&mut self, shared: &mut Shared) -> Result<(), String> {
        let filter = Filter::parse(&self.filter, self.rows.columns(), self.faults_only)?;
        let labels_changed = filter.labels != self.rows.filter().labels;
        self.rows.set_filter(filter, shared.now);
        if labels_changed && self.sub.is_some() {
            self.subscribe(shared);
        }
        self.settle(shared);
        shared.dirty = true;
        Ok(())
    }

    fn shown_filter(&self) -> String {
        match (self.filter.is_empty(), self.faults_only) {
            (true, true) => "faults only".to_owned(),
            (false, true) => format!("{} (faults only)", self.filter),
            _ => self.filter.clone(),
        }
    }
}

/// The look of a health.
pub fn health_role(health: Health) -> Role {
    match health {
        Health::Fine => Role::Fine,
        Health::Done => Role::Done,
        Health::Pending => Role::Pending,
        Health::Leaving => Role::Leaving,
        Health::Faulty => Role::Faulty,
    }
}

impl View for TableView {
    fn name(&self) -> &'static str {
        self.made_name().unwrap_or("table")
    }

    fn title(&self) -> String {
        let filter = self.shown_filter();
        let mut filter = if filter.is_empty() { String::new() } else { format!(" /{filter}") };
        if let Some(revision) = &self.revision {
            filter = format!(" at revision {revision}{filter}");
        }
        match &self.choice {
            Choice::Namespaces => format!("{}{filter}", self.kind.plural),
            Choice::Fixed { of, .. } => format!("{} of {of}{filter}", self.kind.plural),
            Choice::Made(made) if made.of.is_empty() => format!("{}{filter}", made.name),
            Choice::Made(made) => format!("{} of {}{filter}", made.name, made.of),
        }
    }

    fn counts(&self) -> String {
        let (visible, total) = (self.rows.visible(), self.rows.total());
        match (self.listed || total > 0, visible == total) {
            (false, _) => "…".to_owned(),
            (true, true) => grouped(total),
            (true, false) => format!("{}/{}", grouped(visible), grouped(total)),
        }
    }

    fn scopes(&self) -> Scopes {
        let own = Scopes::TABLE | Scopes::LIST;
        match &self.choice {
            Choice::Made(made) => match self.target() {
                Some(target) => own | made.scopes | Scopes::of_kind(&target.kind),
                None => own | made.scopes,
            },
            _ => own | Scopes::of_kind(&self.kind),
        }
    }

    fn hints(&self) -> &'static [&'static str] {
        if let Choice::Made(made) = &self.choice {
            return made.hints;
        }
        match self.kind.plural.as_str() {
            "pods" => &["help", "command", "filter", "mark", "describe", "logs", "shell", "yaml", "edit", "delete"],
            "nodes" => &["help", "command", "filter", "drill-in", "describe", "cordon", "uncordon", "drain", "yaml"],
            "events" => &["help", "command", "filter", "describe", "faults"],
            _ if self.kind.is_scalable() => {
                &["help", "command", "filter", "drill-in", "describe", "scale", "edit", "restart", "logs", "delete"]
            }
            _ => &["help", "command", "filter", "drill-in", "describe", "yaml", "edit", "delete"],
        }
    }

    fn command(&self) -> Option<String> {
        match &self.choice {
            Choice::Namespaces => {
                let name =
                    if self.kind.group.is_empty() { self.kind.plural.clone() } else { format!("{}.{}", self.kind.plural, self.kind.group) };
                Some(if self.filter.is_empty() || self.filter.starts_with('-') {
                    format!("{name} {}", self.filter)
                } else {
                    format!("{name} /{}", self.filter)
                })
            }
            Choice::Fixed { .. } => None,
            Choice::Made(made) => made.command.clone(),
        }
    }

    fn target(&self) -> Option<Target> {
        match self.current() {
            Some(row) => self.target_of(row),
            None => self.begun.clone(),
        }
    }

    fn targets(&self) -> Vec<Target> {
        let marked: Vec<Target> = self.rows.marked().filter_map(|row| self.target_of(row)).collect();
        if marked.is_empty() { self.target().into_iter().collect() } else { marked }
    }

    fn open(&mut self, shared: &mut Shared) {
        // columns are not known yet: terms on them are read again when they are
        self.rows.set_filter(Filter::parse(&self.filter, &[], false).unwrap_or_default(), shared.now);
        self.subscribe(shared);
    }

    fn close(&mut self, shared: &mut Shared) {
        shared.cancel(&mut self.sub);
    }

    fn news(&mut self, sub: Sub, news: &mut Option<News>, shared: &mut Shared) {
        if self.sub == Some(sub)
            && let Some(News::Rows(event)) = news.take_if(|news| matches!(news, News::Rows(_)))
        {
            self.take(event, shared);
        }
    }

    fn motion(&mut self, motion: Motion, shared: &mut Shared) {
        self.go_by(motion, shared);
    }

    fn mouse(&mut self, kind: MouseKind, column: u16, row: u16, shared: &mut Shared) -> bool {
        if kind != MouseKind::Click {
            return false;
        }
        if row == 0 {
            let mut x = 1 + if self.shows_namespace(shared) { self.rows.widths().1.max(9) + 2 } else { 0 };
            for (index, width) in self.layout(usize::from(shared.content().width), shared) {
                if usize::from(column) < x + width + 2 {
                    self.sort_column(Some(index));
                    break;
                }
                x += width + 2;
            }
            return false;
        }
        let position = self.top + usize::from(row) - 1;
        let again = position == self.position;
        if position < self.rows.visible() {
            self.go(position, shared);
            return again;
        }
        false
    }

    fn filter_text(&self) -> String {
        self.filter.clone()
    }

    fn set_filter(&mut self, text: &str, shared: &mut Shared) -> Result<(), String> {
        let before = std::mem::replace(&mut self.filter, text.to_owned());
        let outcome = self.refilter(shared);
        if outcome.is_err() {
            self.filter = before;
        }
        outcome
    }

    fn escape(&mut self, shared: &mut Shared) -> bool {
        if !self.filter.is_empty() || self.faults_only {
            self.filter.clear();
            self.faults_only = false;
            let _ = self.refilter(shared);
            return true;
        }
        if self.rows.marked().next().is_some() {
            self.rows.clear_marks();
            return true;
        }
        false
    }

    fn usage_changed(&mut self, shared: &mut Shared) {
        if !self.is_measured() {
            return;
        }
        let changed: Vec<Row> = self.rows.all().filter_map(|row| shared.usage.fill(&self.kind, self.rows.columns(), row)).collect();
        if !changed.is_empty() {
            self.change(changed, &[], shared);
        }
    }

    fn kinds_changed(&mut self, shared: &mut Shared) {
        let measured = shared.is_measured() && usage::columns(&self.kind).is_some();
        if measured && self.sub.is_some() && !self.is_measured() && !matches!(self.choice, Choice::Made(_)) {
            self.subscribe(shared);
        }
    }

    fn namespace_changed(&mut self, shared: &mut Shared) {
        if matches!(self.choice, Choice::Namespaces | Choice::Made(_)) && self.kind.namespaced {
            self.listed = false;
            // rows of the namespaces before are wrong now, not just old
            let sort = self.rows.sort();
            let columns = self.rows.columns().to_vec();
            self.rows = Rows::default();
            self.rows.set_columns(columns);
            self.rows.set_sort(sort);
            (self.position, self.top, self.selected) = (0, 0, None);
            let _ = self.refilter(shared);
            self.subscribe(shared);
        }
    }

    fn names(&self) -> Vec<String> {
        self.rows.iter().take(500).map(|row| row.name().to_owned()).collect()
    }

    fn faults(&self) -> usize {
        self.rows.faults()
    }

    fn trouble(&self) -> Option<String> {
        // what has never come is not out of date: why it does not come stands in its place
        self.trouble.as_ref().filter(|_| self.listed).map(|fault| fault.message.clone())
    }

    fn next_change(&self, shared: &Shared) -> Option<i64> {
        let shown = self.layout(usize::from(shared.content().width), shared);
        let times: Vec<usize> = shown
            .iter()
            .filter_map(|(index, _)| match self.rows.columns().get(*index)?.kind {
                ColumnKind::Time(at) | ColumnKind::NumberSince(at) => Some(at),
                _ => None,
            })
            .collect();
        let rows = || (self.top..self.top + self.page(shared)).map_while(|at| self.rows.at(at));
        let marks = rows().flat_map(|row| shown.iter().filter_map(move |(index, _)| Some(row.moved(*index, shared.now)?.1)));
        let ages = rows()
            .flat_map(|row| times.iter().filter_map(|&at| row.times.get(at)).filter(|&&time| time > 0))
            .map(|time| age::next_change(shared.now.as_second() - time));
        ages.chain(marks).min()
    }

    fn draw(&self, frame: &mut Frame, area: Rect, shared: &Shared) {
        let buffer = frame.buffer_mut();
        buffer.set_style(area, shared.theme.style(Role::Text));
        let layout = self.layout(usize::from(area.width), shared);
        let row_area = |line: u16| Rect::new(area.x, area.y + line, area.width, 1);
        if area.height == 0 {
            return;
        }
        self.draw_header(buffer, row_area(0), &layout, shared);
        if self.rows.visible() == 0 {
            let style = shared.theme.style(if self.trouble.is_some() { Role::Error } else { Role::Dim });
            buffer.set_stringn(area.x + 1, area.y + 1, self.empty_text(shared), usize::from(area.width.saturating_sub(2)), style);
            return;
        }
        for line in 1..area.height {
            let position = self.top + usize::from(line) - 1;
            let Some(row) = self.rows.at(position) else { break };
            self.draw_row(buffer, row_area(line), row, position == self.position, &layout, shared);
        }
    }
}

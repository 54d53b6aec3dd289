//! Tables: the objects of a kind, live. Only the rows in the window are drawn.

use std::sync::Arc;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::action::Scopes;
use crate::age;
use crate::input::MouseKind;
use crate::keep::usage;
use crate::kinds::{Kind, Target};
use crate::message::{Effect, News, Sub};
use crate::shared::{Namespaces, Shared};
use crate::source::fault::Fault;
use crate::source::watch::{Query, RowEvent};
use crate::source::work::Work;
use crate::table::columns::fitting;
use crate::table::rows::cell_width;
use crate::table::{Column, ColumnKind, Filter, Health, Row, Rows, Sort};
use crate::theme::Role;
use crate::view::{Motion, View};

/// Which objects of the kind.
enum Choice {
    /// Those in the namespaces shown.
    Namespaces,
    /// These, whatever namespaces are shown; and of what they are, for the title.
    Fixed { namespace: Option<String>, labels: Option<String>, fields: Option<String>, of: String },
    /// Rows that some work makes.
    Made(Made),
}

/// A table that is made of something else than the objects of one kind.
pub struct Made {
    /// What its rows are, in the plural.
    pub name: &'static str,
    /// What they are of, for the title.
    pub of: String,
    /// The command that opens it again.
    pub command: Option<String>,
    /// Which actions make sense, beside those of every table.
    pub scopes: Scopes,
    /// Names of the actions to hint at.
    pub hints: &'static [&'static str],
    /// Rows have namespaces and follow those that are shown.
    pub namespaced: bool,
    /// The column it is sorted by at first, and whether backwards.
    pub sort: Option<(&'static str, bool)>,
    /// What makes the rows.
    pub work: Box<dyn Fn(&Shared) -> Work>,
}

impl Made {
    /// A table of `name`, opened by the command of the same name.
    pub fn new(name: &'static str, work: impl Fn(&Shared) -> Work + 'static) -> Self {
        Self {
            name,
            of: String::new(),
            command: Some(name.to_owned()),
            scopes: Scopes::NONE,
            hints: &["help", "command", "filter", "back"],
            namespaced: false,
            sort: None,
            work: Box::new(work),
        }
    }
}

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

    /// What its rows are, if it is made.
    pub fn made_name(&self) -> Option<&'static str> {
        match &self.choice {
            Choice::Made(made) => Some(made.name),
            _ => None,
        }
    }

    /// What its rows are of, if it is made.
    pub fn made_of(&self) -> &str {
        match &self.choice {
            Choice::Made(made) => &made.of,
            _ => "",
        }
    }

    /// The kind of its objects.
    pub fn kind(&self) -> &Arc<Kind> {
        &self.kind
    }

    /// The row under the cursor.
    pub fn row(&self) -> Option<&Row> {
        self.current()
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

    /// Headings and cells of the row under the cursor.
    pub fn cells(&self, now: jiff::Timestamp) -> Vec<(String, String)> {
        let Some(row) = self.current() else { return Vec::new() };
        self.rows.columns().iter().enumerate().map(|(index, column)| (column.name.clone(), row.shown(index, column, now))).collect()
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

    /// Columns of the kind, and whether each is shown.
    pub fn columns_shown(&self, shared: &Shared) -> Vec<(String, bool)> {
        let hidden = shared.hidden_columns.get(&self.kind.plural);
        let shown = |column: &Column| hidden.map_or(shared.wide || !column.wide, |hidden| !hidden.contains(&column.name));
        self.rows.columns().iter().map(|column| (column.name.clone(), shown(column))).collect()
    }

    /// The table as comma-separated values: what is visible, all columns.
    pub fn csv(&self, shared: &Shared) -> String {
        let quoted =
            |cell: &str| if cell.contains([',', '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() };
        let namespaces = self.kind.namespaced;
        let heads =
            namespaces.then(|| "NAMESPACE".to_owned()).into_iter().chain(self.rows.columns().iter().map(|column| quoted(&column.name)));
        let mut text = heads.collect::<Vec<_>>().join(",");
        text.push('\n');
        for row in self.rows.iter() {
            let cells = self.rows.columns().iter().enumerate().map(|(index, column)| quoted(&row.shown(index, column, shared.now)));
            let namespace = namespaces.then(|| quoted(row.namespace()));
            text.push_str(&namespace.into_iter().chain(cells).collect::<Vec<_>>().join(","));
            text.push('\n');
        }
        text
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

    fn query(&self, shared: &Shared) -> Query {
        let mut query = match &self.choice {
            Choice::Namespaces | Choice::Made(_) => Query::all(self.kind.clone(), shared.namespaces.single().map(str::to_owned)),
            Choice::Fixed { namespace, labels, fields, .. } => {
                Query { labels: labels.clone(), fields: fields.clone(), ..Query::all(self.kind.clone(), namespace.clone()) }
            }
        };
        query.columns = shared.config.columns(&self.kind, query.namespace.as_deref());
        query.revision.clone_from(&self.revision);
        query.measured = shared.is_measured() && self.revision.is_none();
        if let Some(labels) = &self.rows.filter().labels {
            query.labels = Some(match query.labels {
                Some(own) => format!("{own},{labels}"),
                None => labels.clone(),
            });
        }
        query
    }

    fn subscribe(&mut self, shared: &mut Shared) {
        shared.cancel(&mut self.sub);
        if let Choice::Made(made) = &self.choice {
            let work = (made.work)(shared);
            self.sub = Some(shared.subscribe(|sub| Effect::Work(sub, work)));
            return;
        }
        let query = self.query(shared);
        self.sub = Some(shared.subscribe(|sub| Effect::Watch(sub, query)));
    }

    fn shows_namespace(&self, shared: &Shared) -> bool {
        let many = match &self.choice {
            Choice::Namespaces | Choice::Made(_) => shared.namespaces.single().is_none(),
            Choice::Fixed { namespace, .. } => namespace.is_none(),
        };
        self.kind.namespaced && many
    }

    fn page(&self, shared: &Shared) -> usize {
        usize::from(shared.content().height.saturating_sub(1)).max(1)
    }

    /// After rows have come or gone: the cursor stays on its object, else where it was.
    fn settle(&mut self, shared: &mut Shared) {
        let before = (self.position, self.top);
        if let Some(position) = self.wanted.as_ref().and_then(|key| self.rows.position(key)) {
            self.wanted = None;
            self.position = position;
            self.selected = self.rows.at(position).map(|row| row.key.clone());
        }
        if let Some(position) = self.selected.as_ref().and_then(|key| self.rows.position(key)) {
            // what is under the cursor does not move on the screen
            self.top = (self.top + position).saturating_sub(self.position);
            self.position = position;
        }
        self.go(self.position, shared);
        if before != (self.position, self.top) {
            shared.dirty = true;
        }
    }

    fn go(&mut self, position: usize, shared: &Shared) {
        let page = self.page(shared);
        self.position = position.min(self.rows.visible().saturating_sub(1));
        self.selected = self.rows.at(self.position).map(|row| row.key.clone());
        if self.position < self.top {
            self.top = self.position;
        } else if self.position >= self.top + page {
            self.top = self.position + 1 - page;
        }
        self.top = self.top.min(self.rows.visible().saturating_sub(page));
    }

    fn current(&self) -> Option<&Row> {
        self.rows.at(self.position)
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

    fn take(&mut self, event: RowEvent, shared: &mut Shared) {
        match event {
            RowEvent::Listing(columns) => {
                if self.rows.columns() != columns {
                    let first = self.rows.columns().is_empty();
                    self.rows.set_columns(columns);
                    // what happened last is what one looks at events for
                    let sort = match &self.choice {
                        Choice::Made(made) => made.sort,
                        _ => (self.kind.kind == "Event").then_some(("LAST SEEN", false)),
                    };
                    let configured = shared.config.view(&self.kind, shared.namespaces.single()).and_then(|view| view.sort_column.clone());
                    let configured =
                        configured.as_deref().map(|text| text.rsplit_once(':').map_or((text, false), |(name, way)| (name, way == "desc")));
                    let sort = configured.or(sort);
                    if let Some((name, descending)) = sort.filter(|_| first) {
                        let column = self.rows.columns().iter().position(|column| column.name == name);
                        self.rows.set_sort(Sort { column, descending });
                    }
                    if let Err(message) = self.refilter(shared) {
                        shared.say(crate::shared::Level::Warning, format!("filter: {message}"));
                    }
                }
                self.rows.begin_listing();
                self.trouble = None;
                shared.dirty = true;
            }
            RowEvent::Changed(mut rows, gone) => {
                if let (Choice::Namespaces | Choice::Made(_), Namespaces::Some(_)) = (&self.choice, &shared.namespaces)
                    && self.kind.namespaced
                {
                    rows.retain(|row| shared.namespaces.contain(row.namespace()));
                }
                if self.is_measured() {
                    let filled = |row: Row| shared.usage.fill(&self.kind, self.rows.columns(), &row).unwrap_or(row);
                    rows = rows.into_iter().map(filled).collect();
                }
                if !rows.is_empty() || !gone.is_empty() {
                    self.change(rows, &gone, shared);
                }
            }
            RowEvent::Listed => {
                self.rows.end_listing();
                self.listed = true;
                shared.dirty = true;
                self.settle(shared);
            }
            RowEvent::Lost(fault) => {
                shared.dirty = true;
                if fault.is_connection() {
                    shared.probed(Err(fault.clone()));
                }
                self.trouble = Some(fault);
            }
            RowEvent::Back => {
                self.trouble = None;
                shared.dirty = true;
            }
        }
    }

    /// Whether its rows say what is used.
    fn is_measured(&self) -> bool {
        usage::columns(&self.kind).is_some() && self.rows.columns().iter().any(|column| column.name == "CPU")
    }

    fn change(&mut self, rows: Vec<Row>, gone: &[Arc<str>], shared: &mut Shared) {
        let counts = (self.rows.visible(), self.rows.total(), self.rows.faults());
        let window = self.top..self.top + self.page(shared);
        let shown = |view: &Self, keys: &[Arc<str>]| keys.iter().any(|key| view.rows.position(key).is_some_and(|at| window.contains(&at)));
        // only what is in the window, or in the header, is worth a frame
        let few = rows.len() + gone.len() < 64;
        let keys: Vec<Arc<str>> =
            if few { rows.iter().map(|row| row.key.clone()).chain(gone.iter().cloned()).collect() } else { Vec::new() };
        let before = !few || shown(self, &keys);
        self.rows.apply(rows, gone, shared.now);
        self.settle(shared);
        if before || shown(self, &keys) || counts != (self.rows.visible(), self.rows.total(), self.rows.faults()) {
            shared.dirty = true;
        }
    }

    /// Marks the row under the cursor, or takes its mark away, and goes on to the next.
    pub fn toggle_mark(&mut self, shared: &mut Shared) {
        if let Some(key) = self.selected.clone() {
            self.rows.set_mark(&key, |marked| !marked);
            self.last_mark = Some(key);
            self.go(self.position + 1, shared);
        }
    }

    /// Marks from the last mark to the cursor.
    pub fn mark_range(&mut self, _shared: &mut Shared) {
        let from = self.last_mark.as_ref().and_then(|key| self.rows.position(key)).unwrap_or(self.position);
        let (first, last) = (from.min(self.position), from.max(self.position));
        let keys: Vec<Arc<str>> = (first..=last).filter_map(|at| self.rows.at(at)).map(|row| row.key.clone()).collect();
        for key in keys {
            self.rows.set_mark(&key, |_| true);
        }
    }

    /// Takes all marks away.
    pub fn clear_marks(&mut self) {
        self.rows.clear_marks();
    }

    /// Picks the next column to the left or right for sorting.
    pub fn pick(&mut self, by: isize, shared: &Shared) {
        let shown = self.layout(usize::from(shared.content().width), shared);
        let at = self.picked.or(self.rows.sort().column).and_then(|picked| shown.iter().position(|(index, _)| *index == picked));
        let next = at.map_or(0, |at| (at.cast_signed() + by).rem_euclid(shown.len().max(1).cast_signed()).cast_unsigned());
        self.picked = shown.get(next).map(|(index, _)| *index);
    }

    /// Sorts by the picked column; again: backwards.
    pub fn sort_picked(&mut self) {
        self.sort_column(self.picked.or(self.rows.sort().column));
    }

    /// Sorts by the column of this name; again: backwards.
    pub fn sort_by(&mut self, name: &str) {
        let column = self.rows.columns().iter().position(|column| column.name == name);
        if column.is_some() {
            self.sort_column(column);
        }
    }

    /// Sorts by namespace, then by name; again: backwards.
    pub fn sort_by_namespace(&mut self) {
        self.sort_column(None);
    }

    fn sort_column(&mut self, column: Option<usize>) {
        let sort = self.rows.sort();
        let same = sort.column == column || (sort.column.is_none() && column == Some(0));
        self.rows.set_sort(Sort { column, descending: same && !sort.descending });
        if let Some(position) = self.selected.as_ref().and_then(|key| self.rows.position(key)) {
            self.position = position;
        }
        self.top = self.position.saturating_sub(self.position.min(10));
    }

    /// Shows only what is not well, or everything.
    pub fn toggle_faults(&mut self, shared: &mut Shared) {
        self.faults_only = !self.faults_only;
        let _ = self.refilter(shared);
    }

    /// Columns that fit, and how wide they are; what the namespace takes is left out.
    fn layout(&self, width: usize, shared: &Shared) -> Vec<(usize, usize)> {
        let (widths, namespace) = self.rows.widths();
        let taken = if self.shows_namespace(shared) { namespace.max(9) + 2 } else { 0 };
        let chosen = shared.hidden_columns.get(&self.kind.plural);
        let hides = |index: usize| chosen.is_some_and(|hidden| hidden.contains(&self.rows.columns()[index].name));
        fitting(self.rows.columns(), widths, shared.wide || chosen.is_some(), hides, width.saturating_sub(taken + 1))
    }

    fn draw_header(&self, buffer: &mut Buffer, area: Rect, layout: &[(usize, usize)], shared: &Shared) {
        let theme = &shared.theme;
        let sort = self.rows.sort();
        let mut x = area.x + 1;
        if self.shows_namespace(shared) {
            let width = self.rows.widths().1.max(9);
            put(buffer, x, area, "NAMESPACE", width, false, theme.style(Role::Columns));
            x += u16::try_from(width + 2).unwrap_or(u16::MAX);
        }
        for &(index, width) in layout {
            let Some(column) = self.rows.columns().get(index) else { continue };
            let sorted = sort.column == Some(index) || (sort.column.is_none() && column.name == "NAME");
            let arrow = if !sorted {
                ""
            } else if sort.descending {
                "↓"
            } else {
                "↑"
            };
            let mut style = theme.style(if sorted { Role::Sorted } else { Role::Columns });
            if self.picked == Some(index) {
                style = style.patch(theme.style(Role::Cursor));
            }
            put(buffer, x, area, &format!("{}{arrow}", column.name), width + usize::from(!arrow.is_empty()), column.is_right(), style);
            x = x.saturating_add(u16::try_from(width + 2).unwrap_or(u16::MAX));
        }
    }

    fn draw_row(&self, buffer: &mut Buffer, area: Rect, row: &Row, cursor: bool, layout: &[(usize, usize)], shared: &Shared) {
        let theme = &shared.theme;
        let mut base = theme.style(health_role(row.health));
        if row.health == Health::Fine {
            base = theme.style(Role::Text);
        }
        if row.marked {
            base = theme.style(Role::Marked);
        }
        if cursor {
            base = base.patch(theme.style(Role::Cursor));
            buffer.set_style(area, base);
        }
        let sign = match (cursor, row.marked, row.health) {
            (_, true, _) => "●",
            (true, ..) => "▶",
            (_, _, Health::Faulty) => "!",
            _ if self.is_forwarded(row, shared) => "⇄",
            _ => " ",
        };
        buffer.set_string(area.x, area.y, sign, base);
        let mut x = area.x + 1;
        if self.shows_namespace(shared) {
            let width = self.rows.widths().1.max(9);
            put(buffer, x, area, row.namespace(), width, false, base);
            x += u16::try_from(width + 2).unwrap_or(u16::MAX);
        }
        for &(index, width) in layout {
            let Some(column) = self.rows.columns().get(index) else { continue };
            put(
                buffer,
                x,
                area,
                &row.shown(index, column, shared.now),
                width,
                column.is_right(),
                self.cell_style(column, row, base, cursor, shared),
            );
            if let Some((rose, _)) = row.moved(index, shared.now) {
                let at = x.saturating_add(u16::try_from(width).unwrap_or(u16::MAX));
                put(buffer, at, area, if rose { "↑" } else { "↓" }, 1, false, base.patch(theme.style(Role::Warning)));
            }
            x = x.saturating_add(u16::try_from(width + 2).unwrap_or(u16::MAX));
        }
    }

    /// Whether a port of ours leads to it.
    fn is_forwarded(&self, row: &Row, shared: &Shared) -> bool {
        shared.forwards.live() > 0 && shared.forwards.lead_to(&format!("{}/{}", self.kind.plural, row.name()), row.namespace())
    }

    fn cell_style(&self, column: &Column, row: &Row, base: Style, cursor: bool, shared: &Shared) -> Style {
        if cursor || row.marked || row.health != Health::Fine {
            return base;
        }
        match column.name.as_str() {
            "STATUS" => shared.theme.style(Role::Fine),
            "AGE" | "IP" | "NODE" => shared.theme.style(Role::Dim),
            _ => base,
        }
    }

    fn empty_text(&self, shared: &Shared) -> String {
        match &self.trouble {
            Some(fault) => fault.message.clone(),
            None if !self.listed => format!("asking for {} …", self.kind.plural),
            None if self.rows.total() > 0 => {
                format!("none of {} {} passes the filter {}", self.rows.total(), self.kind.plural, self.shown_filter())
            }
            None if self.kind.namespaced && matches!(self.choice, Choice::Namespaces | Choice::Made(_)) => {
                let place = if shared.namespaces == Namespaces::All {
                    "any namespace".to_owned()
                } else {
                    format!("namespace {}", shared.namespaces.shown())
                };
                format!("no {} in {place}", self.kind.plural)
            }
            None => format!("no {}", self.kind.plural),
        }
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

/// Writes a cell, cut with an ellipsis where it is too wide.
fn put(buffer: &mut Buffer, x: u16, area: Rect, text: &str, width: usize, right: bool, style: Style) {
    let room = usize::from(area.right().saturating_sub(x));
    let width = width.min(room);
    if width == 0 {
        return;
    }
    let wide = cell_width(text);
    if wide <= width {
        let offset = if right { u16::try_from(width - wide).unwrap_or_default() } else { 0 };
        buffer.set_stringn(x + offset, area.y, text, width, style);
        return;
    }
    buffer.set_stringn(x, area.y, text, width - 1, style);
    buffer.set_string(x + u16::try_from(width - 1).unwrap_or_default(), area.y, "…", style);
}

/// A number with commas: `2,310`.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl View for TableView {
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
        let page = self.page(shared).cast_signed();
        let by = match motion {
            Motion::Rows(by) => by,
            Motion::Pages(by) => by * page,
            Motion::Top => return self.go(0, shared),
            Motion::Bottom => return self.go(usize::MAX, shared),
            Motion::Columns(by) => {
                self.shift = self.shift.saturating_add_signed(by);
                return;
            }
        };
        self.go(self.position.saturating_add_signed(by), shared);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(super::grouped(7), "7");
        assert_eq!(super::grouped(2_310), "2,310");
        assert_eq!(super::grouped(1_000_000), "1,000,000");
    }
}

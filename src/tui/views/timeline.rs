//! A timeline: a lane for each object, how it was when, what happened to it; below, the moments of the lane under the
//! cursor in words.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::action::Scopes;
use crate::age;
use crate::input::MouseKind;
use crate::kinds::Target;
use crate::message::{Effect, News, Sub};
use crate::shared::Shared;
use crate::source::fault::Fault;
use crate::source::timeline::{Lane, Moment};
use crate::source::work::Work;
use crate::table::Health;
use crate::table::rows::cell_width;
use crate::theme::Role;
use crate::view::{Cursor, Motion, View};
use crate::views::table::health_role;

/// What is told of a timeline; `None`: the object is no longer there.
pub type Told = Result<Option<Vec<Lane>>, Fault>;

type Teller = Box<dyn Fn(&Shared) -> Work>;

/// How much of the past is shown, in seconds, all of it first.
const REACHES: [i64; 4] = [i64::MAX, 3_600, 600, 60];

/// A timeline of an object and of what belongs to it.
pub struct TimelineView {
    of: Target,
    teller: Teller,
    sub: Option<Sub>,
    lanes: Vec<Lane>,
    cursor: Cursor,
    /// Which of the lane's moments is looked at.
    moment: usize,
    reach: usize,
    filter: String,
    told: bool,
    gone: bool,
    trouble: Option<String>,
}

impl TimelineView {
    /// The timeline of an object, as some work tells it.
    pub fn new(of: Target, teller: impl Fn(&Shared) -> Work + 'static) -> Self {
        Self {
            of,
            teller: Box::new(teller),
            sub: None,
            lanes: Vec::new(),
            cursor: Cursor::default(),
            moment: 0,
            reach: 0,
            filter: String::new(),
            told: false,
            gone: false,
            trouble: None,
        }
    }

    /// Shows less of the past, or all of it.
    pub fn zoom(&mut self, shared: &mut Shared) {
        self.reach = (self.reach + 1) % REACHES.len();
        self.moment = 0;
        shared.dirty = true;
    }

    fn lane(&self) -> Option<&Lane> {
        self.lanes.get(self.cursor.position)
    }

    /// From when on the lanes are shown.
    fn begins(&self, now: i64) -> i64 {
        let phases = self.lanes.iter().flat_map(|lane| &lane.phases).map(|phase| phase.from);
        let first = phases.chain(self.lanes.iter().flat_map(|lane| &lane.moments).map(|moment| moment.at)).min().unwrap_or(now);
        first.max(now.saturating_sub(REACHES[self.reach])).min(now - 1)
    }

    /// The moments of a lane that are shown, the latest first.
    fn moments<'a>(&'a self, lane: &'a Lane, begins: i64) -> impl Iterator<Item = &'a Moment> {
        let needle = self.filter.to_lowercase();
        let fits =
            move |moment: &&Moment| needle.is_empty() || format!("{} {}", moment.what, moment.message).to_lowercase().contains(&needle);
        lane.moments.iter().filter(move |moment| moment.at >= begins).filter(fits)
    }

    /// Rows for the lanes, of so many in all.
    fn rows_of_lanes(&self, height: usize) -> usize {
        self.lanes.len().min((height * 3 / 5).max(1)).min(height.saturating_sub(1))
    }

    fn labels(&self, width: u16) -> u16 {
        let label = |lane: &Lane| 2 * lane.depth + cell_width(&lane.label) + 2;
        let widest = self.lanes.iter().map(label).max().unwrap_or_default();
        u16::try_from(widest).unwrap_or(u16::MAX).min(width * 2 / 5).max(8)
    }

    fn draw_axis(&self, buffer: &mut Buffer, area: Rect, begins: i64, shared: &Shared) {
        let style = shared.theme.style(Role::Columns);
        buffer.set_style(area, style);
        let past = |part: i64| format!("{} ago", age::human((shared.now.as_second() - begins) * part / 4));
        for (part, quarter) in [(4, 0), (3, 1), (2, 2), (1, 3)] {
            let x = area.x + area.width * quarter / 4;
            buffer.set_stringn(x, area.y, format!("╵{}", past(part)), usize::from(area.width / 4).saturating_sub(1), style);
        }
        if area.width >= 20 {
            buffer.set_string(area.right() - 4, area.y, " now", style);
        }
    }

    fn draw_lane(&self, buffer: &mut Buffer, area: Rect, labels: u16, index: usize, begins: i64, shared: &Shared) {
        let Some(lane) = self.lanes.get(index) else { return };
        let chosen = index == self.cursor.position;
        let theme = &shared.theme;
        let now = shared.now.as_second();
        let health = lane.phases.last().map_or(Health::Fine, |phase| phase.health);
        let look = theme.style(if health == Health::Fine { Role::Text } else { health_role(health) });
        let look = if chosen { look.patch(theme.style(Role::Cursor)) } else { look };
        let label = format!("{}{}{}", if chosen { "▶" } else { " " }, "  ".repeat(lane.depth), lane.label);
        buffer.set_style(Rect { width: labels, ..area }, look);
        buffer.set_stringn(area.x, area.y, label, usize::from(labels.saturating_sub(1)), look);
        let width = area.width.saturating_sub(labels);
        let column = |at: i64| {
            let column = (at - begins).max(0) * i64::from(width.saturating_sub(1)) / (now - begins).max(1);
            labels + u16::try_from(column).unwrap_or(width).min(width.saturating_sub(1))
        };
        for phase in lane.phases.iter().filter(|phase| phase.until.is_none_or(|until| until > begins)) {
            let (bar, role) = bar_of(phase.health);
            for x in column(phase.from)..=column(phase.until.unwrap_or(now)) {
                buffer.set_string(area.x + x, area.y, bar, theme.style(role));
            }
        }
        // the oldest first: what came later lies above; what is bad lies above all
        let mut moments: Vec<(usize, &Moment)> = self.moments(lane, begins).enumerate().collect();
        moments.reverse();
        moments.sort_by_key(|(_, moment)| moment.health == Health::Faulty);
        for (index, moment) in &moments {
            let style = self.moment_style(moment, chosen && *index == self.moment, shared);
            buffer.set_string(area.x + column(moment.at), area.y, moment.sign.to_string(), style);
        }
        if let Some((_, moment)) = moments.iter().find(|(index, _)| chosen && *index == self.moment) {
            buffer.set_string(area.x + column(moment.at), area.y, moment.sign.to_string(), self.moment_style(moment, true, shared));
        }
    }

    fn moment_style(&self, moment: &Moment, chosen: bool, shared: &Shared) -> Style {
        let style = shared.theme.style(if moment.health == Health::Fine { Role::Text } else { health_role(moment.health) });
        if chosen { style.patch(shared.theme.style(Role::Cursor)) } else { style }
    }

    /// What the lane under the cursor is now, and its moments in words.
    fn draw_words(&self, buffer: &mut Buffer, area: Rect, lane: &Lane, begins: i64, shared: &Shared) {
        let (theme, now) = (&shared.theme, shared.now.as_second());
        let width = usize::from(area.width);
        let state = lane
            .phases
            .last()
            .filter(|phase| !phase.what.is_empty())
            .map_or_else(String::new, |phase| format!(": {} since {}", phase.what, age::human(now - phase.from)));
        let heading = format!("── {}{state} ", lane.label);
        let rule = "─".repeat(width.saturating_sub(cell_width(&heading)));
        buffer.set_stringn(area.x, area.y, format!("{heading}{rule}"), width, theme.style(Role::Border));
        let rows = usize::from(area.height.saturating_sub(1));
        let shown: Vec<&Moment> = self.moments(lane, begins).collect();
        if shown.is_empty() && rows > 0 {
            buffer.set_stringn(area.x, area.y + 1, " nothing happened in this time", width, theme.style(Role::Dim));
        }
        let what = shown.iter().map(|moment| cell_width(&moment.what)).max().unwrap_or_default().min(32);
        let top = (self.moment + 1).saturating_sub(rows);
        for (line, (index, moment)) in shown.iter().enumerate().skip(top).take(rows).enumerate() {
            let chosen = index == self.moment;
            let style = self.moment_style(moment, chosen, shared);
            let y = area.y + 1 + u16::try_from(line).unwrap_or_default();
            let pad = " ".repeat(what.saturating_sub(cell_width(&moment.what)));
            let text = format!(
                "{}{:>8}  {} {}{pad}  {}",
                if chosen { "▶" } else { " " },
                age::human(now - moment.at),
                moment.sign,
                moment.what,
                moment.message
            );
            buffer.set_style(Rect::new(area.x, y, area.width, 1), style);
            buffer.set_stringn(area.x, y, text, width, style);
        }
    }
}

/// How a health looks in a lane: colour never says it alone.
fn bar_of(health: Health) -> (&'static str, Role) {
    match health {
        Health::Fine => ("━", Role::Fine),
        Health::Done => ("·", Role::Done),
        Health::Pending => ("┄", Role::Pending),
        Health::Leaving => ("╌", Role::Leaving),
        Health::Faulty => ("▒", Role::Faulty),
    }
}

impl View for TimelineView {
    fn name(&self) -> &'static str {
        "timeline"
    }

    fn title(&self) -> String {
        let reach = if self.reach == 0 { String::new() } else { format!(" (last {})", age::human(REACHES[self.reach])) };
        let filter = if self.filter.is_empty() { String::new() } else { format!(" /{}", self.filter) };
        format!("timeline of {}{}{reach}{filter}", self.of.shown(), if self.gone { " (deleted)" } else { "" })
    }

    fn counts(&self) -> String {
        match self.lanes.len() {
            _ if !self.told => "…".to_owned(),
            1 => "1 lane".to_owned(),
            lanes => format!("{lanes} lanes"),
        }
    }

    fn scopes(&self) -> Scopes {
        let kind = self.target().map_or(Scopes::NONE, |target| Scopes::of_kind(&target.kind));
        Scopes::TIMELINE | Scopes::LIST | kind
    }

    fn hints(&self) -> &'static [&'static str] {
        &["help", "back", "timeline-zoom", "filter", "drill-in", "describe", "logs", "yaml", "why"]
    }

    fn target(&self) -> Option<Target> {
        Some(self.lane().map_or(&self.of, |lane| &lane.target).clone())
    }

    fn open(&mut self, shared: &mut Shared) {
        let work = (self.teller)(shared);
        self.sub = Some(shared.subscribe(|sub| Effect::Work(sub, work)));
    }

    fn close(&mut self, shared: &mut Shared) {
        shared.cancel(&mut self.sub);
    }

    fn news(&mut self, sub: Sub, news: &mut Option<News>, shared: &mut Shared) {
        if self.sub != Some(sub) {
            return;
        }
        let Some(News::Told(told)) = news.take() else { return };
        let Ok(told) = told.downcast::<Told>() else { return };
        shared.dirty = true;
        match *told {
            Ok(Some(lanes)) => {
                // the cursor stays on its lane
                let on = self.lane().map(|lane| (lane.target.clone(), lane.label.clone()));
                let again = lanes.iter().position(|lane| on.as_ref().is_some_and(|on| lane.target == on.0 && lane.label == on.1));
                self.cursor.position = again.unwrap_or(self.cursor.position).min(lanes.len().saturating_sub(1));
                (self.lanes, self.told, self.gone, self.trouble) = (lanes, true, false, None);
            }
            Ok(None) => (self.told, self.gone, self.trouble) = (true, true, None),
            Err(fault) => self.trouble = Some(fault.message),
        }
    }

    fn motion(&mut self, motion: Motion, shared: &mut Shared) {
        if let Motion::Columns(by) = motion {
            // to the left is earlier
            let last = self.lane().map_or(0, |lane| self.moments(lane, self.begins(shared.now.as_second())).count()).saturating_sub(1);
            self.moment = self.moment.saturating_add_signed(-by.signum()).min(last);
            return;
        }
        let before = self.cursor.position;
        let page = self.rows_of_lanes(usize::from(shared.content().height).saturating_sub(1));
        self.cursor.go(motion, self.lanes.len(), page);
        if before != self.cursor.position {
            self.moment = 0;
        }
    }

    fn mouse(&mut self, _kind: MouseKind, _column: u16, row: u16, shared: &mut Shared) -> bool {
        let rows = self.rows_of_lanes(usize::from(shared.content().height).saturating_sub(1));
        let Some(line) = usize::from(row).checked_sub(1).filter(|line| *line < rows) else { return false };
        self.moment = 0;
        self.cursor.click(line, self.lanes.len())
    }

    fn filter_text(&self) -> String {
        self.filter.clone()
    }

    fn set_filter(&mut self, text: &str, _shared: &mut Shared) -> Result<(), String> {
        text.clone_into(&mut self.filter);
        self.moment = 0;
        Ok(())
    }

    fn escape(&mut self, _shared: &mut Shared) -> bool {
        !std::mem::take(&mut self.filter).is_empty()
    }

    fn faults(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.phases.last().is_some_and(|phase| phase.health == Health::Faulty)).count()
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone().filter(|_| self.told)
    }

    fn next_change(&self, shared: &Shared) -> Option<i64> {
        let now = shared.now.as_second();
        let begins = self.begins(now);
        let lane = self.lane()?;
        let shown = self.moments(lane, begins).map(|moment| moment.at).chain(lane.phases.last().map(|phase| phase.from));
        shown.map(|at| age::next_change(now - at)).chain([age::next_change((now - begins) / 4)]).min()
    }

    fn draw(&self, frame: &mut Frame, area: Rect, shared: &Shared) {
        if area.is_empty() {
            return;
        }
        let buffer = frame.buffer_mut();
        let Some(lane) = self.lane() else {
            let text = match (&self.trouble, self.gone) {
                (Some(trouble), _) => trouble.clone(),
                (None, true) => format!("{} is not there any more", self.of.shown()),
                (None, false) => "asking …".to_owned(),
            };
            buffer.set_stringn(area.x + 1, area.y, text, usize::from(area.width.saturating_sub(1)), shared.theme.style(Role::Dim));
            return;
        };
        let begins = self.begins(shared.now.as_second());
        let labels = self.labels(area.width);
        let bars = Rect { x: area.x + labels, width: area.width.saturating_sub(labels), height: 1, ..area };
        self.draw_axis(buffer, bars, begins, shared);
        let rows = self.rows_of_lanes(usize::from(area.height).saturating_sub(1));
        let top = self.cursor.top.min(self.lanes.len().saturating_sub(rows));
        for line in 0..rows {
            let y = area.y + 1 + u16::try_from(line).unwrap_or_default();
            let row = Rect { y, height: 1, ..area };
            self.draw_lane(buffer, row, labels, top + line, begins, shared);
        }
        let used = u16::try_from(rows + 1).unwrap_or(u16::MAX);
        if area.height > used {
            let words = Rect { y: area.y + used, height: area.height - used, ..area };
            self.draw_words(buffer, words, lane, begins, shared);
        }
    }
}

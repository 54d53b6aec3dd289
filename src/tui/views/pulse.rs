//! The dashboard: how many objects of each kind are well, live.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph};

use crate::action::Scopes;
use crate::input::MouseKind;
use crate::message::{Effect, News, Sub};
use crate::shared::Shared;
use crate::source::watch::{Query, RowEvent};
use crate::table::Rows;
use crate::text::number::grouped;
use crate::theme::Role;
use crate::view::{Motion, View};

/// The kinds of the dashboard.
const KINDS: &[&str] = &[
    "pods",
    "deployments",
    "replicasets",
    "statefulsets",
    "daemonsets",
    "jobs",
    "cronjobs",
    "services",
    "ingresses",
    "persistentvolumeclaims",
    "persistentvolumes",
    "nodes",
    "namespaces",
    "configmaps",
    "events",
    "horizontalpodautoscalers",
];

struct Gauge {
    kind: String,
    rows: Rows,
    listed: bool,
    sub: Option<Sub>,
}

/// The dashboard.
#[derive(Default)]
pub struct PulseView {
    gauges: Vec<Gauge>,
    position: usize,
}

/// Width and height of a gauge.
const SIZE: (u16, u16) = (28, 4);

impl PulseView {
    /// The kind under the cursor.
    pub fn kind(&self) -> Option<&str> {
        self.gauges.get(self.position).map(|gauge| gauge.kind.as_str())
    }

    /// Goes to the next gauge.
    pub fn next(&mut self) {
        self.position = (self.position + 1) % self.gauges.len().max(1);
    }

    fn across(width: u16) -> usize {
        usize::from((width / SIZE.0).max(1))
    }
}

impl View for PulseView {
    fn name(&self) -> &'static str {
        "pulse"
    }

    fn title(&self) -> String {
        "pulse".to_owned()
    }

    fn counts(&self) -> String {
        format!("{} kinds", self.gauges.len())
    }

    fn scopes(&self) -> Scopes {
        Scopes::PULSE | Scopes::LIST
    }

    fn hints(&self) -> &'static [&'static str] {
        &["help", "back", "pulse-open", "pulse-next", "pick-namespaces", "all-namespaces"]
    }

    fn command(&self) -> Option<String> {
        Some("pulse".to_owned())
    }

    fn open(&mut self, shared: &mut Shared) {
        self.close(shared);
        let kinds: Vec<_> = KINDS.iter().filter_map(|plural| shared.kinds.find(plural)).filter(|kind| kind.can("watch")).collect();
        let namespace = shared.namespaces.single().map(str::to_owned);
        for kind in kinds {
            let query = Query::all(kind.clone(), namespace.clone());
            let sub = Some(shared.subscribe(|sub| Effect::Watch(sub, query)));
            self.gauges.push(Gauge { kind: kind.plural.clone(), rows: Rows::default(), listed: false, sub });
        }
        self.position = self.position.min(self.gauges.len().saturating_sub(1));
    }

    fn close(&mut self, shared: &mut Shared) {
        for mut gauge in self.gauges.drain(..) {
            shared.cancel(&mut gauge.sub);
        }
    }

    fn namespace_changed(&mut self, shared: &mut Shared) {
        self.open(shared);
    }

    fn news(&mut self, sub: Sub, news: &mut Option<News>, shared: &mut Shared) {
        let Some(gauge) = self.gauges.iter_mut().find(|gauge| gauge.sub == Some(sub)) else { return };
        let Some(News::Rows(event)) = news.take() else { return };
        let before = (gauge.rows.total(), gauge.rows.faults(), gauge.listed);
        match event {
            RowEvent::Listing(columns) => {
                gauge.rows.set_columns(columns);
                gauge.rows.begin_listing();
            }
            RowEvent::Changed(mut rows, gone) => {
                rows.retain(|row| row.namespace().is_empty() || shared.namespaces.contain(row.namespace()));
                gauge.rows.apply(rows, &gone, shared.now);
            }
            RowEvent::Listed => {
                gauge.rows.end_listing();
                gauge.listed = true;
            }
            RowEvent::Lost(fault) if fault.is_connection() => shared.probed(Err(fault)),
            RowEvent::Lost(_) | RowEvent::Back => {}
        }
        shared.dirty |= before != (gauge.rows.total(), gauge.rows.faults(), gauge.listed);
    }

    fn motion(&mut self, motion: Motion, shared: &mut Shared) {
        let across = Self::across(shared.content().width).cast_signed();
        let last = self.gauges.len().saturating_sub(1);
        self.position = match motion {
            Motion::Rows(by) => self.position.saturating_add_signed(by * across),
            Motion::Columns(by) => self.position.saturating_add_signed(by.signum()),
            Motion::Top => 0,
            Motion::Pages(by) if by < 0 => 0,
            Motion::Bottom | Motion::Pages(_) => last,
        }
        .min(last);
    }

    fn mouse(&mut self, _kind: MouseKind, column: u16, row: u16, shared: &mut Shared) -> bool {
        let across = Self::across(shared.content().width);
        let at = usize::from(row / SIZE.1) * across + usize::from(column / SIZE.0).min(across - 1);
        at < self.gauges.len() && std::mem::replace(&mut self.position, at) == at
    }

    fn faults(&self) -> usize {
        self.gauges.iter().filter(|gauge| gauge.kind != "events").map(|gauge| gauge.rows.faults()).sum()
    }

    fn draw(&self, frame: &mut Frame, area: Rect, shared: &Shared) {
        let theme = &shared.theme;
        let across = Self::across(area.width);
        let down = usize::from(area.height / SIZE.1).max(1);
        let first = (self.position / across + 1).saturating_sub(down) * across;
        for (at, gauge) in self.gauges.iter().enumerate().skip(first).take(across * down) {
            let place = at - first;
            let x = area.x + u16::try_from(place % across).unwrap_or_default() * SIZE.0;
            let y = area.y + u16::try_from(place / across).unwrap_or_default() * SIZE.1;
            let boxed = Rect::new(x, y, SIZE.0.min(area.right().saturating_sub(x)), SIZE.1).intersection(area);
            let (total, faults) = (gauge.rows.total(), gauge.rows.faults());
            let role = if faults > 0 { Role::Faulty } else { Role::Border };
            let mut block =
                Block::bordered().border_type(BorderType::Rounded).border_style(theme.style(role)).title(format!(" {} ", gauge.kind));
            if at == self.position {
                block = block.border_type(BorderType::Double).title_style(theme.style(Role::Cursor));
            }
            let inner = block.inner(boxed);
            frame.render_widget(block, boxed);
            let counts = match gauge.listed {
                false => Line::styled(" …", theme.style(Role::Dim)),
                true => Line::from(vec![
                    Span::styled(format!(" ✓ {}", grouped(total - faults)), theme.style(Role::Fine)),
                    Span::styled(if faults > 0 { format!("  ✗ {}", grouped(faults)) } else { String::new() }, theme.style(Role::Faulty)),
                ]),
            };
            let wide = usize::from(inner.width.saturating_sub(2));
            let bad = if total == 0 { 0 } else { (faults * wide).div_ceil(total).min(wide) };
            let bar = Line::from(vec![
                Span::styled(
                    format!(" {}", if total == 0 { "·".repeat(wide) } else { "━".repeat(wide - bad) }),
                    theme.style(if total == 0 { Role::Dim } else { Role::Fine }),
                ),
                Span::styled("╍".repeat(bad), theme.style(Role::Faulty)),
            ]);
            frame.render_widget(Paragraph::new(vec![counts, bar]), inner);
        }
    }
}

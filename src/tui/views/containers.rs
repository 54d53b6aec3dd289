//! The containers of a pod, live.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Cell, Row, Table};
use serde_json::Value;

use crate::action::Scopes;
use crate::age;
use crate::input::MouseKind;
use crate::keep::usage::{Amount, percent};
use crate::kinds::Target;
use crate::message::{Effect, News, Sub};
use crate::shared::Shared;
use crate::source::logs::PodChoice;
use crate::source::observe::{Seen, path_of};
use crate::source::printer::{moment, status_health};
use crate::table::rows::cell_width;
use crate::theme::Role;
use crate::view::{Motion, View};
use crate::views::logs::LogsView;
use crate::views::table::health_role;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Container {
    name: String,
    image: String,
    init: bool,
    ready: bool,
    state: String,
    restarts: i64,
    ports: String,
    /// Which probes there are: liveness, readiness, startup.
    probes: String,
    /// What is asked for and what is allowed.
    asked: Amount,
    limit: Amount,
    since: i64,
}

/// The containers of a pod.
pub struct ContainersView {
    target: Target,
    sub: Option<Sub>,
    containers: Vec<Container>,
    position: usize,
    trouble: Option<String>,
    gone: bool,
}

impl ContainersView {
    /// The containers of this pod.
    pub fn new(target: Target) -> Self {
        Self { target, sub: None, containers: Vec::new(), position: 0, trouble: None, gone: false }
    }

    /// Name and image of the container under the cursor.
    pub fn container(&self) -> Option<(String, String)> {
        self.containers.get(self.position).map(|container| (container.name.clone(), container.image.clone()))
    }

    /// The logs of the container under the cursor.
    pub fn logs(&self) -> Option<LogsView> {
        let container = self.containers.get(self.position)?.name.clone();
        Some(LogsView::new(self.target.clone(), PodChoice::Name(self.target.name.clone()), Some(container)))
    }
}

fn containers(pod: &Value) -> Vec<Container> {
    let mut found = Vec::new();
    for (list, statuses, init) in [
        ("/spec/initContainers", "/status/initContainerStatuses", true),
        ("/spec/containers", "/status/containerStatuses", false),
        ("/spec/ephemeralContainers", "/status/ephemeralContainerStatuses", false),
    ] {
        for container in pod.pointer(list).and_then(Value::as_array).into_iter().flatten() {
            let text = |field: &str| container.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            let name = text("name");
            let statuses = pod.pointer(statuses).and_then(Value::as_array);
            let status = statuses.and_then(|all| all.iter().find(|status| status.get("name").and_then(Value::as_str) == Some(&name)));
            let status = status.unwrap_or(&Value::Null);
            let (state, since) = state_of(status);
            let ports = container.get("ports").and_then(Value::as_array).into_iter().flatten();
            let ports: Vec<String> = ports.filter_map(|port| port.get("containerPort")).map(ToString::to_string).collect();
            found.push(Container {
                image: text("image"),
                init,
                ready: status.get("ready").and_then(Value::as_bool).unwrap_or_default(),
                state,
                restarts: status.get("restartCount").and_then(Value::as_i64).unwrap_or_default(),
                ports: ports.join(","),
                probes: [("livenessProbe", 'L'), ("readinessProbe", 'R'), ("startupProbe", 'S')]
                    .iter()
                    .map(|(probe, letter)| if container.get(*probe).is_some() { *letter } else { '·' })
                    .collect(),
                asked: Amount::of(container.pointer("/resources/requests")),
                limit: Amount::of(container.pointer("/resources/limits")),
                since,
                name,
            });
        }
    }
    found
}

/// The state in a word, and since when.
fn state_of(status: &Value) -> (String, i64) {
    let reason = |state: &str| status.pointer(&format!("/state/{state}/reason")).and_then(Value::as_str).map(str::to_owned);
    if status.pointer("/state/running").is_some() {
        return ("Running".to_owned(), moment(status, "/state/running/startedAt"));
    }
    if let Some(ended) = status.pointer("/state/terminated") {
        let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or_default();
        let shown = reason("terminated").unwrap_or_else(|| format!("ExitCode:{code}"));
        return (if code != 0 { format!("{shown} ({code})") } else { shown }, moment(status, "/state/terminated/finishedAt"));
    }
    (reason("waiting").unwrap_or_else(|| "Waiting".to_owned()), 0)
}

impl View for ContainersView {
    fn name(&self) -> &'static str {
        "containers"
    }

    fn title(&self) -> String {
        format!("containers of {}{}", self.target.name, if self.gone { " (deleted)" } else { "" })
    }

    fn counts(&self) -> String {
        self.containers.len().to_string()
    }

    fn scopes(&self) -> Scopes {
        Scopes::LIST | Scopes::PODS | Scopes::OBJECT
    }

    fn hints(&self) -> &'static [&'static str] {
        &["help", "back", "drill-in", "logs", "previous-logs", "shell", "attach", "port-forward", "describe", "yaml"]
    }

    fn target(&self) -> Option<Target> {
        Some(self.target.clone())
    }

    fn open(&mut self, shared: &mut Shared) {
        let path = path_of(&self.target);
        self.sub = Some(shared.subscribe(|sub| Effect::Observe(sub, path)));
    }

    fn close(&mut self, shared: &mut Shared) {
        shared.cancel(&mut self.sub);
    }

    fn news(&mut self, sub: Sub, news: &mut Option<News>, shared: &mut Shared) {
        if self.sub != Some(sub) {
            return;
        }
        match news.take() {
            Some(News::Seen(Seen::Now(pods))) => {
                self.gone = pods.is_empty();
                if let Some(pod) = pods.into_values().next() {
                    self.containers = containers(&pod);
                }
                self.trouble = None;
            }
            Some(News::Seen(Seen::Lost(fault))) => self.trouble = Some(fault.message),
            _ => {}
        }
        shared.dirty = true;
    }

    fn motion(&mut self, motion: Motion, _shared: &mut Shared) {
        let last = self.containers.len().saturating_sub(1);
        self.position = match motion {
            Motion::Rows(by) => self.position.saturating_add_signed(by).min(last),
            Motion::Pages(by) if by < 0 => 0,
            Motion::Top => 0,
            Motion::Pages(_) | Motion::Bottom => last,
            Motion::Columns(_) => self.position,
        };
    }

    fn mouse(&mut self, _kind: MouseKind, _column: u16, row: u16, _shared: &mut Shared) -> bool {
        let Some(position) = usize::from(row).checked_sub(1).filter(|&position| position < self.containers.len()) else { return false };
        std::mem::replace(&mut self.position, position) == position
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    fn usage_changed(&mut self, shared: &mut Shared) {
        shared.dirty = true;
    }

    fn next_change(&self, shared: &Shared) -> Option<i64> {
        self.containers.iter().filter(|c| c.since > 0).map(|c| age::next_change(shared.now.as_second() - c.since)).min()
    }

    fn draw(&self, frame: &mut Frame, area: Rect, shared: &Shared) {
        let theme = &shared.theme;
        // name, what it is, and from which width on it is shown
        let measured = shared.is_measured();
        let heads: Vec<(&str, u16)> = [
            ("", 0),
            ("NAME", 0),
            ("INIT", 60),
            ("READY", 0),
            ("STATE", 0),
            ("RESTARTS", 60),
            ("PROBES", 80),
            ("CPU", if measured { 80 } else { u16::MAX }),
            ("%CPU/R:L", if measured { 120 } else { u16::MAX }),
            ("MEM", if measured { 80 } else { u16::MAX }),
            ("%MEM/R:L", if measured { 120 } else { u16::MAX }),
            ("SINCE", 60),
            ("PORTS", 100),
            ("IMAGE", 0),
        ]
        .into_iter()
        .collect();
        let shown = |index: usize| heads.get(index).is_some_and(|(_, least)| *least <= area.width);
        let cells: Vec<Vec<String>> =
            self.containers.iter().enumerate().map(|(index, container)| self.cells(index, container, shared)).collect();
        let rows = self.containers.iter().zip(&cells).enumerate().map(|(index, (container, cells))| {
            let word = container.state.split(' ').next().unwrap_or_default();
            let mut style = theme.style(health_role(status_health(word)));
            if index == self.position {
                style = style.patch(theme.style(Role::Cursor));
            }
            let cells = cells.iter().enumerate().filter(|(column, _)| shown(*column)).map(|(_, cell)| Cell::from(cell.clone()));
            Row::new(cells.collect::<Vec<_>>()).style(style)
        });
        let width = |column: usize| {
            let widest = cells.iter().filter_map(|cells| cells.get(column)).map(|cell| cell_width(cell)).max().unwrap_or_default();
            let head = heads.get(column).map_or(0, |(head, _)| head.len());
            let most = if column == 1 { 80 } else { 40 };
            Constraint::Length(u16::try_from(widest.max(head)).unwrap_or(40).min(most))
        };
        let last = heads.len() - 1;
        let widths: Vec<Constraint> = (0..last).filter(|column| shown(*column)).map(width).chain([Constraint::Min(10)]).collect();
        let header: Vec<&str> = heads.iter().enumerate().filter(|(column, _)| shown(*column)).map(|(_, (head, _))| *head).collect();
        let header = Row::new(header).style(theme.style(Role::Columns));
        frame.render_widget(Table::new(rows, widths).header(header).column_spacing(1).style(theme.style(Role::Text)), area);
    }
}

impl ContainersView {
    fn cells(&self, index: usize, container: &Container, shared: &Shared) -> Vec<String> {
        let since = if container.since > 0 { age::human(shared.now.as_second() - container.since) } else { String::new() };
        let used = shared.usage.container(&self.target.namespace, &self.target.name, &container.name);
        let number = |of: fn(Amount) -> u64| used.map_or_else(|| "n/a".to_owned(), |used| of(used).to_string());
        let part = |of: fn(Amount) -> u64, whole: Amount| {
            used.and_then(|used| percent(of(used), of(whole))).map_or_else(|| "n/a".to_owned(), |part| part.to_string())
        };
        let both = |of: fn(Amount) -> u64| format!("{}:{}", part(of, container.asked), part(of, container.limit));
        vec![
            if index == self.position { "▶" } else { " " }.to_owned(),
            container.name.clone(),
            if container.init { "init" } else { "" }.to_owned(),
            container.ready.to_string(),
            container.state.clone(),
            container.restarts.to_string(),
            container.probes.clone(),
            number(|amount| amount.cpu),
            both(|amount| amount.cpu),
            number(Amount::mebibytes),
            both(Amount::mebibytes),
            since,
            container.ports.clone(),
            container.image.clone(),
        ]
    }
}

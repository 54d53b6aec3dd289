//! The containers of a pod, live.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Cell, Row, Table};
use serde_json::Value;

use crate::action::Scopes;
use crate::age;
use crate::input::MouseKind;
use crate::kinds::Target;
use crate::message::{Effect, News, Sub};
use crate::shared::Shared;
use crate::source::logs::PodChoice;
use crate::source::observe::{Seen, path_of};
use crate::source::printer::{moment, status_health};
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

    fn next_change(&self, shared: &Shared) -> Option<i64> {
        self.containers.iter().filter(|c| c.since > 0).map(|c| age::next_change(shared.now.as_second() - c.since)).min()
    }

    fn draw(&self, frame: &mut Frame, area: Rect, shared: &Shared) {
        let theme = &shared.theme;
        let rows = self.containers.iter().enumerate().map(|(index, container)| {
            let cursor = index == self.position;
            let word = container.state.split(' ').next().unwrap_or_default();
            let mut style = theme.style(health_role(status_health(word)));
            if cursor {
                style = style.patch(theme.style(Role::Cursor));
            }
            let since = if container.since > 0 { age::human(shared.now.as_second() - container.since) } else { String::new() };
            Row::new([
                Cell::from(if cursor { "▶" } else { " " }),
                Cell::from(container.name.clone()),
                Cell::from(if container.init { "init" } else { "" }),
                Cell::from(if container.ready { "true" } else { "false" }),
                Cell::from(container.state.clone()),
                Cell::from(container.restarts.to_string()),
                Cell::from(since),
                Cell::from(container.ports.clone()),
                Cell::from(container.image.clone()),
            ])
            .style(style)
        });
        let width = |of: fn(&Container) -> &str, least: usize| {
            let widest = self.containers.iter().map(|container| of(container).chars().count()).max().unwrap_or_default();
            Constraint::Length(u16::try_from(widest.max(least)).unwrap_or(40).min(40))
        };
        let widths = [
            Constraint::Length(1),
            width(|c| &c.name, 4),
            Constraint::Length(4),
            Constraint::Length(5),
            width(|c| &c.state, 5),
            Constraint::Length(8),
            Constraint::Length(6),
            width(|c| &c.ports, 5),
            Constraint::Min(10),
        ];
        let header =
            Row::new(["", "NAME", "INIT", "READY", "STATE", "RESTARTS", "SINCE", "PORTS", "IMAGE"]).style(theme.style(Role::Columns));
        frame.render_widget(Table::new(rows, widths).header(header).column_spacing(1).style(theme.style(Role::Text)), area);
    }
}

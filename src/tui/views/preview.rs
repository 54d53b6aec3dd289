//! The preview: what the cursor is on, in short: summary, events, end of the log. Live.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde_json::Value;

use crate::age;
use crate::kinds::Target;
use crate::message::{Effect, News, Sub};
use crate::shared::Shared;
use crate::source::call::encode;
use crate::source::describe::last_seen;
use crate::source::logs::{LogEvent, LogQuery, LogStart, PodChoice};
use crate::source::observe::{Seen, path_of};
use crate::source::printer::{moment, status_health};
use crate::theme::Role;
use crate::views::table::health_role;

/// How long the cursor must rest before what it is on is asked for.
const REST: std::time::Duration = std::time::Duration::from_millis(120);
/// Lines of the log that are kept.
const LOG: usize = 200;

/// A preview of an object.
#[derive(Default)]
pub struct Preview {
    target: Option<Target>,
    version: u64,
    rest: Option<Sub>,
    object_sub: Option<Sub>,
    events_sub: Option<Sub>,
    log_sub: Option<Sub>,
    object: Option<Value>,
    events: Vec<Value>,
    log: Vec<String>,
}

impl Preview {
    /// The cursor is on this now.
    pub fn follow(&mut self, target: Option<Target>, shared: &mut Shared) {
        if self.target == target {
            return;
        }
        self.close(shared);
        self.version += 1;
        *self = Self { target, version: self.version, ..Self::default() };
        if self.target.is_some() {
            let version = self.version;
            self.rest = Some(shared.subscribe(|sub| Effect::Pause(sub, version, REST)));
        }
        shared.dirty = true;
    }

    /// Ends what keeps it live.
    pub fn close(&mut self, shared: &mut Shared) {
        for sub in [&mut self.rest, &mut self.object_sub, &mut self.events_sub, &mut self.log_sub] {
            shared.cancel(sub);
        }
    }

    fn ask(&mut self, shared: &mut Shared) {
        let Some(target) = self.target.clone() else { return };
        let path = path_of(&target);
        self.object_sub = Some(shared.subscribe(|sub| Effect::Observe(sub, path)));
        let place = if target.namespace.is_empty() { String::new() } else { format!("/namespaces/{}", target.namespace) };
        let about = encode(&format!("involvedObject.name={},involvedObject.kind={}", target.name, target.kind.kind));
        let events = format!("/api/v1{place}/events?fieldSelector={about}");
        self.events_sub = Some(shared.subscribe(|sub| Effect::Observe(sub, events)));
        if target.kind.is("", "pods") {
            let query = LogQuery {
                namespace: target.namespace,
                pods: PodChoice::Name(target.name),
                container: None,
                previous: false,
                from: LogStart::Tail(50),
            };
            self.log_sub = Some(shared.subscribe(|sub| Effect::Logs(sub, query)));
        }
    }

    /// News of what it asked for.
    pub fn news(&mut self, sub: Sub, news: &mut Option<News>, shared: &mut Shared) {
        let own = [self.rest, self.object_sub, self.events_sub, self.log_sub].contains(&Some(sub));
        if !own {
            return;
        }
        shared.dirty = true;
        match news.take() {
            Some(News::Paused(version)) if version == self.version => self.ask(shared),
            Some(News::Seen(Seen::Now(objects))) if self.object_sub == Some(sub) => self.object = objects.into_values().next(),
            Some(News::Seen(Seen::Now(objects))) => {
                self.events = objects.into_values().collect();
                self.events.sort_by_key(|event| std::cmp::Reverse(last_seen(event)));
            }
            Some(News::Log(LogEvent::Lines(_, lines))) => {
                self.log.extend(lines.into_iter().map(|line| line.text));
                self.log.drain(..self.log.len().saturating_sub(LOG));
            }
            _ => {}
        }
    }

    /// Seconds until it changes by itself.
    pub fn next_change(&self, shared: &Shared) -> Option<i64> {
        let times = self
            .events
            .iter()
            .take(20)
            .map(last_seen)
            .chain(self.object.iter().map(|object| moment(object, "/metadata/creationTimestamp")));
        times.filter(|time| *time > 0).map(|time| age::next_change(shared.now.as_second() - time)).min()
    }

    fn summary(&self, object: &Value, shared: &Shared) -> Vec<Line<'static>> {
        let theme = &shared.theme;
        let text = |pointer: &str| object.pointer(pointer).map(crate::source::printer::shown).filter(|text| !text.is_empty());
        let created = moment(object, "/metadata/creationTimestamp");
        let mut parts = Vec::new();
        if created > 0 {
            parts.push(("age", age::human(shared.now.as_second() - created)));
        }
        for (name, pointer) in [
            ("node", "/spec/nodeName"),
            ("ip", "/status/podIP"),
            ("type", "/spec/type"),
            ("cluster ip", "/spec/clusterIP"),
            ("replicas", "/spec/replicas"),
            ("ready", "/status/readyReplicas"),
            ("revision", "/metadata/annotations/deployment.kubernetes.io~1revision"),
            ("schedule", "/spec/schedule"),
        ] {
            if let Some(value) = text(pointer) {
                parts.push((name, value));
            }
        }
        let mut lines = Vec::new();
        if let Some(phase) = text("/status/phase") {
            lines.push(Line::styled(format!(" {phase}"), theme.style(health_role(status_health(&phase)))));
        }
        let described = parts.into_iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(" · ");
        lines.push(Line::styled(format!(" {described}"), theme.style(Role::Text)));
        let specs = ["/spec/containers", "/spec/template/spec/containers"].iter().find_map(|path| object.pointer(path)?.as_array());
        for container in specs.into_iter().flatten() {
            let of = |field: &str| container.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            let statuses = object.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
            let status = statuses.into_iter().find(|status| status.get("name").and_then(Value::as_str) == Some(&of("name")));
            let restarts = status.and_then(|status| status.get("restartCount")?.as_i64()).unwrap_or_default();
            let state = status.and_then(|status| status.get("state")?.as_object()?.keys().next().cloned()).unwrap_or_default();
            let tail = if restarts > 0 { format!(" · {restarts} restarts") } else { String::new() };
            lines.push(Line::from(vec![
                Span::styled(format!(" {} ", of("name")), theme.style(Role::YamlKey)),
                Span::styled(format!("{} {state}{tail}", of("image")), theme.style(Role::Text)),
            ]));
        }
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        for condition in conditions.filter(|one| one["status"] == "False" && one.get("message").is_some_and(|message| message != "")) {
            let of = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
            lines.push(Line::styled(format!(" ! {}: {}", of("type"), of("message")), theme.style(Role::Warning)));
        }
        lines
    }

    /// Draws it.
    pub fn draw(&self, frame: &mut Frame, area: Rect, shared: &Shared) {
        let theme = &shared.theme;
        let rule = |text: String| {
            Line::styled(
                format!("── {text} {}", "─".repeat(usize::from(area.width).saturating_sub(text.chars().count() + 4))),
                theme.style(Role::Border),
            )
        };
        let Some(target) = &self.target else {
            return frame.render_widget(
                Paragraph::new(vec![rule("preview".to_owned()), Line::styled(" nothing to preview", theme.style(Role::Dim))]),
                area,
            );
        };
        let mut lines = vec![rule(target.shown())];
        match &self.object {
            Some(object) => lines.extend(self.summary(object, shared)),
            None => lines.push(Line::styled(" …", theme.style(Role::Dim))),
        }
        let height = usize::from(area.height);
        let room = height.saturating_sub(lines.len());
        let events = self.events.len().min(if self.log.is_empty() { room.saturating_sub(1) } else { (room / 2).saturating_sub(1) });
        if events > 0 {
            lines.push(rule("events".to_owned()));
            for event in self.events.iter().take(events) {
                let of = |field: &str| event.get(field).and_then(Value::as_str).unwrap_or_default();
                let role = if of("type") == "Warning" { Role::Warning } else { Role::Text };
                let since = age::human(shared.now.as_second() - last_seen(event));
                lines.push(Line::from(vec![
                    Span::styled(format!(" {since:>5} "), theme.style(Role::Dim)),
                    Span::styled(format!("{} ", of("reason")), theme.style(role)),
                    Span::styled(of("message").replace('\n', " "), theme.style(Role::Text)),
                ]));
            }
        }
        let room = height.saturating_sub(lines.len() + 1);
        if !self.log.is_empty() && room > 0 {
            lines.push(rule("log".to_owned()));
            let from = self.log.len().saturating_sub(room);
            lines.extend(self.log[from..].iter().map(|line| Line::styled(format!(" {line}"), theme.style(Role::Text))));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }
}

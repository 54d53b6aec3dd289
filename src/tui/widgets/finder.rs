//! Finds anything: every object of every kind in every namespace, by a few letters.

use nucleo::pattern::{CaseMatching, Normalization, Pattern};
use nucleo::{Config, Matcher, Utf32Str};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde_json::Value;

use super::boxed;
use super::input::LineInput;
use crate::input::{Key, KeyCode};
use crate::kinds::Target;
use crate::message::{News, Sub};
use crate::shared::{Namespaces, Shared};
use crate::source::call::Call;
use crate::table::rows::cell_width;
use crate::text::number::grouped;
use crate::theme::Role;
use crate::view::{Go, Layer, Taken};
use crate::views::table::TableView;

/// Kinds that are many and that nobody looks for by name.
const LEFT_OUT: &[&str] = &["events", "leases", "endpointslices", "endpoints", "controllerrevisions"];

/// The finder.
pub struct Finder {
    input: LineInput,
    sub: Sub,
    found: Vec<(String, Target)>,
    /// Kinds still to come.
    waiting: usize,
    /// The best, by their place in `found`.
    shown: Vec<usize>,
    position: usize,
}

/// Most matches that are shown.
const SHOWN: usize = 200;

impl Finder {
    /// A finder; what there is comes in kind by kind.
    pub fn open(shared: &mut Shared) -> Self {
        let kinds: Vec<_> = shared.kinds.all().iter().filter(|kind| !LEFT_OUT.contains(&kind.plural.as_str())).cloned().collect();
        let waiting = kinds.len();
        let sub = shared.work(move |outside| async move {
            use futures::StreamExt;
            let asks = kinds.into_iter().map(|kind| {
                let outside = outside.clone();
                async move {
                    let call = Call { path: format!("{}?limit=5000", kind.path(None)), ..Call::names(&kind, None) };
                    let answer = outside.ask(call).await.unwrap_or_default();
                    let text = |item: &Value, pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
                    let items = answer.get("items").and_then(Value::as_array).into_iter().flatten();
                    items
                        .map(|item| Target {
                            kind: kind.clone(),
                            namespace: text(item, "/metadata/namespace"),
                            name: text(item, "/metadata/name"),
                        })
                        .collect::<Vec<_>>()
                }
            });
            let mut answers = futures::stream::iter(asks).buffer_unordered(8);
            let mut all = Vec::new();
            while let Some(targets) = answers.next().await {
                all.push(targets);
            }
            outside.told(all);
        });
        Self { input: LineInput::default(), sub, found: Vec::new(), waiting, shown: Vec::new(), position: 0 }
    }

    fn search(&mut self) {
        self.position = 0;
        if self.input.text().is_empty() {
            self.shown = (0..self.found.len().min(SHOWN)).collect();
            return;
        }
        let pattern = Pattern::parse(self.input.text(), CaseMatching::Ignore, Normalization::Smart);
        let mut matcher = Matcher::new(Config::DEFAULT);
        let mut buffer = Vec::new();
        let mut scored: Vec<((u8, u32), usize, usize)> = self
            .found
            .iter()
            .enumerate()
            .filter_map(|(index, (text, target))| {
                let score = pattern.score(Utf32Str::new(text, &mut buffer), &mut matcher)?;
                // a match in the name alone comes before one in the namespace
                let own = pattern.score(Utf32Str::new(&target.name, &mut buffer), &mut matcher);
                Some((own.map_or((0, score), |own| (1, own)), target.name.len(), index))
            })
            .collect();
        scored.sort_by_key(|&(score, length, index)| (std::cmp::Reverse(score), length, index));
        self.shown = scored.into_iter().take(SHOWN).map(|(.., index)| index).collect();
    }
}

/// Shows an object in the table of its kind, the cursor on it.
fn go(app: &mut crate::app::App, target: Target) {
    if target.kind.namespaced && !app.shared.namespaces.contain(&target.namespace) {
        app.shared.set_namespaces(Namespaces::Some(vec![target.namespace.clone()]));
    }
    let mut view = TableView::of(target.kind.clone());
    view.select(&format!("{}/{}", target.namespace, target.name));
    app.push(Box::new(view));
}

impl Layer for Finder {
    fn name(&self) -> &'static str {
        "finder"
    }

    fn key(&mut self, key: Key, shared: &mut Shared) -> Taken {
        let last = self.shown.len().saturating_sub(1);
        match key.code {
            KeyCode::Esc => {
                shared.cancel(&mut Some(self.sub));
                return Taken::Close;
            }
            KeyCode::Up => self.position = self.position.saturating_sub(1),
            KeyCode::Down => self.position = (self.position + 1).min(last),
            KeyCode::PageUp => self.position = self.position.saturating_sub(10),
            KeyCode::PageDown => self.position = (self.position + 10).min(last),
            KeyCode::Enter => {
                if let Some((_, target)) = self.shown.get(self.position).and_then(|&index| self.found.get(index)).cloned() {
                    shared.go.push(Go::Do(Box::new(move |app| go(app, target))));
                }
                return Taken::Close;
            }
            _ => {
                if self.input.key(key) {
                    self.search();
                }
            }
        }
        Taken::Yes
    }

    fn paste(&mut self, text: &str, _shared: &mut Shared) {
        self.input.insert(text);
        self.search();
    }

    fn news(&mut self, sub: Sub, news: &mut Option<News>, shared: &mut Shared) {
        if self.sub != sub {
            return;
        }
        if let Some(News::Told(told)) = news.take()
            && let Ok(all) = told.downcast::<Vec<Vec<Target>>>()
        {
            self.waiting = 0;
            self.found = all
                .into_iter()
                .flatten()
                .map(|target| (format!("{} {} {}", target.name, target.kind.plural, target.namespace), target))
                .collect();
            self.found.sort_by(|a, b| a.0.cmp(&b.0));
            self.search();
            shared.dirty = true;
        }
    }

    fn draw(&self, frame: &mut Frame, screen: Rect, shared: &Shared) {
        let theme = &shared.theme;
        let title = if self.waiting > 0 {
            "find: asking …".to_owned()
        } else {
            format!("find: {} of {}", grouped(self.shown.len()), grouped(self.found.len()))
        };
        let inner = boxed(frame, screen, 100, screen.height.saturating_sub(4), &title, shared);
        let (before, after) = self.input.halves();
        let mut lines = vec![Line::styled(format!("> {before}▏{after}"), theme.style(Role::Prompt))];
        let room = usize::from(inner.height).saturating_sub(1).max(1);
        let top = (self.position + 1).saturating_sub(room);
        let names = self.shown.iter().skip(top).take(room).filter_map(|&index| self.found.get(index));
        let widest = names.map(|(_, target)| cell_width(&target.name)).max().unwrap_or_default().clamp(30, 60);
        for (at, &index) in self.shown.iter().enumerate().skip(top).take(room) {
            let Some((_, target)) = self.found.get(index) else { continue };
            let line = Line::from(vec![
                Span::styled(format!(" {:<widest$}", target.name), theme.style(Role::Text)),
                Span::styled(format!(" {:<24}", target.kind.plural), theme.style(Role::YamlKey)),
                Span::styled(format!(" {}", target.namespace), theme.style(Role::Dim)),
            ]);
            lines.push(if at == self.position { line.patch_style(theme.style(Role::Cursor)) } else { line });
        }
        frame.render_widget(Paragraph::new(lines), inner);
    }
}

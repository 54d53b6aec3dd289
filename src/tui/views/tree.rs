//! A tree of objects: what they own, select and refer to, with how they are.

use std::collections::HashSet;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::action::Scopes;
use crate::input::MouseKind;
use crate::kinds::Target;
use crate::message::{Effect, News, Sub};
use crate::shared::Shared;
use crate::source::fault::Fault;
use crate::source::work::Work;
use crate::table::Health;
use crate::theme::Role;
use crate::view::{Cursor, Motion, View};
use crate::views::table::health_role;

/// A line of a tree, parents before children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// How deep it is.
    pub depth: usize,
    /// What it is.
    pub label: String,
    /// How it is, in a few words.
    pub note: String,
    /// How well it is.
    pub health: Health,
    /// The object; `None` for one that is missing.
    pub target: Option<Target>,
}

/// What is told of a tree.
pub type Told = Result<Vec<Branch>, Fault>;

type Grower = Box<dyn Fn(&Shared) -> Work>;

/// A tree of objects.
pub struct TreeView {
    title: String,
    command: Option<String>,
    grower: Grower,
    sub: Option<Sub>,
    branches: Vec<Branch>,
    /// Paths of what is folded.
    folded: HashSet<String>,
    cursor: Cursor,
    filter: String,
    grown: bool,
    trouble: Option<String>,
}

impl TreeView {
    /// A tree that some work grows.
    pub fn new(title: String, command: Option<String>, grower: impl Fn(&Shared) -> Work + 'static) -> Self {
        Self {
            title,
            command,
            grower: Box::new(grower),
            sub: None,
            branches: Vec::new(),
            folded: HashSet::new(),
            cursor: Cursor::default(),
            filter: String::new(),
            grown: false,
            trouble: None,
        }
    }

    fn path(&self, index: usize) -> String {
        let mut path = Vec::new();
        let mut depth = usize::MAX;
        for branch in self.branches[..=index].iter().rev() {
            if branch.depth < depth {
                path.push(branch.label.as_str());
                depth = branch.depth;
            }
            if depth == 0 {
                break;
            }
        }
        path.reverse();
        path.join("\u{1}")
    }

    fn is_folded(&self, index: usize) -> bool {
        !self.folded.is_empty() && self.folded.contains(&self.path(index))
    }

    fn has_children(&self, index: usize) -> bool {
        self.branches.get(index + 1).is_some_and(|next| next.depth > self.branches[index].depth)
    }

    /// Indices of what is visible.
    fn visible(&self) -> Vec<usize> {
        let mut visible = Vec::new();
        let mut hidden_below = usize::MAX;
        let needle = self.filter.to_lowercase();
        for (index, branch) in self.branches.iter().enumerate() {
            if branch.depth > hidden_below {
                continue;
            }
            hidden_below = usize::MAX;
            if needle.is_empty() {
                if self.is_folded(index) {
                    hidden_below = branch.depth;
                }
                visible.push(index);
                continue;
            }
            // a line stays when it, or something below it, is what is looked for
            let below = self.branches[index + 1..].iter().take_while(|other| other.depth > branch.depth);
            let found = |branch: &Branch| format!("{} {}", branch.label, branch.note).to_lowercase().contains(&needle);
            if found(branch) || below.into_iter().any(found) {
                visible.push(index);
            }
        }
        visible
    }

    fn current(&self) -> Option<usize> {
        self.visible().get(self.cursor.position).copied()
    }

    /// Folds what is under the cursor, or unfolds it.
    pub fn fold(&mut self) {
        if let Some(index) = self.current() {
            let path = self.path(index);
            if !self.folded.remove(&path) && self.has_children(index) {
                self.folded.insert(path);
            }
        }
    }

    /// Folds everything, or unfolds it.
    pub fn fold_all(&mut self) {
        if self.folded.is_empty() {
            self.folded = (0..self.branches.len()).filter(|&index| self.has_children(index)).map(|index| self.path(index)).collect();
        } else {
            self.folded.clear();
        }
        self.cursor.position = 0;
    }
}

impl View for TreeView {
    fn name(&self) -> &'static str {
        "xray"
    }

    fn title(&self) -> String {
        let filter = if self.filter.is_empty() { String::new() } else { format!(" /{}", self.filter) };
        format!("{}{filter}", self.title)
    }

    fn counts(&self) -> String {
        self.branches.len().to_string()
    }

    fn scopes(&self) -> Scopes {
        let kind = self.target().map_or(Scopes::NONE, |target| Scopes::of_kind(&target.kind));
        Scopes::TREE | Scopes::LIST | kind
    }

    fn hints(&self) -> &'static [&'static str] {
        &["help", "back", "filter", "tree-open", "fold", "fold-all", "describe", "yaml", "why"]
    }

    fn command(&self) -> Option<String> {
        self.command.clone()
    }

    fn target(&self) -> Option<Target> {
        self.branches.get(self.current()?)?.target.clone()
    }

    fn open(&mut self, shared: &mut Shared) {
        shared.cancel(&mut self.sub);
        let work = (self.grower)(shared);
        self.sub = Some(shared.subscribe(|sub| Effect::Work(sub, work)));
    }

    fn close(&mut self, shared: &mut Shared) {
        shared.cancel(&mut self.sub);
    }

    fn namespace_changed(&mut self, shared: &mut Shared) {
        if self.command.is_some() {
            self.open(shared);
        }
    }

    fn news(&mut self, sub: Sub, news: &mut Option<News>, shared: &mut Shared) {
        if self.sub != Some(sub) {
            return;
        }
        let Some(News::Told(told)) = news.take() else { return };
        let Ok(told) = told.downcast::<Told>() else { return };
        match *told {
            Ok(branches) => (self.branches, self.grown, self.trouble) = (branches, true, None),
            Err(fault) => self.trouble = Some(fault.message),
        }
        self.cursor.position = self.cursor.position.min(self.visible().len().saturating_sub(1));
        shared.dirty = true;
    }

    fn motion(&mut self, motion: Motion, shared: &mut Shared) {
        let lines = self.visible().len();
        self.cursor.go(motion, lines, usize::from(shared.content().height));
    }

    fn mouse(&mut self, _kind: MouseKind, _column: u16, row: u16, _shared: &mut Shared) -> bool {
        let lines = self.visible().len();
        self.cursor.click(usize::from(row), lines)
    }

    fn filter_text(&self) -> String {
        self.filter.clone()
    }

    fn set_filter(&mut self, text: &str, _shared: &mut Shared) -> Result<(), String> {
        text.clone_into(&mut self.filter);
        self.cursor = Cursor::default();
        Ok(())
    }

    fn escape(&mut self, _shared: &mut Shared) -> bool {
        !std::mem::take(&mut self.filter).is_empty()
    }

    fn faults(&self) -> usize {
        self.branches.iter().filter(|branch| branch.health == Health::Faulty).count()
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    fn draw(&self, frame: &mut Frame, area: Rect, shared: &Shared) {
        let theme = &shared.theme;
        if self.branches.is_empty() {
            let text = match (&self.trouble, self.grown) {
                (Some(trouble), _) => trouble.as_str(),
                (None, true) => "nothing",
                (None, false) => "asking …",
            };
            return frame.render_widget(Paragraph::new(format!(" {text}")).style(theme.style(Role::Dim)), area);
        }
        let visible = self.visible();
        let lines: Vec<Line> = visible
            .iter()
            .enumerate()
            .skip(self.cursor.top)
            .take(usize::from(area.height))
            .map(|(at, &index)| {
                let branch = &self.branches[index];
                let sign = match (self.has_children(index), self.is_folded(index) && self.filter.is_empty()) {
                    (false, _) => "  ",
                    (true, true) => "▸ ",
                    (true, false) => "▾ ",
                };
                let cursor = if at == self.cursor.position { "▶" } else { " " };
                let well = if branch.health == Health::Faulty { "✗ " } else { "" };
                let line = Line::from(vec![
                    Span::styled(format!("{cursor}{}{sign}", "│ ".repeat(branch.depth)), theme.style(Role::Dim)),
                    Span::styled(
                        format!("{well}{}", branch.label),
                        theme.style(if branch.health == Health::Fine { Role::Text } else { health_role(branch.health) }),
                    ),
                    Span::styled(format!("  {}", branch.note), theme.style(Role::Dim)),
                ]);
                if at == self.cursor.position { line.patch_style(theme.style(Role::Cursor)) } else { line }
            })
            .collect();
        frame.render_widget(Paragraph::new(lines), area);
    }
}

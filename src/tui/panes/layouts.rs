//! Layouts of panes, kept under names.

use serde::{Deserialize, Serialize};

use super::tree::Tree;
use crate::app::App;

/// A tree of panes with commands in place of panes, to be kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kept {
    View(String),
    Beside(Box<Kept>, Box<Kept>),
    Below(Box<Kept>, Box<Kept>),
    /// Like the two above, with the percent the first one has.
    Shared(u16, Box<Kept>),
}

impl App {
    fn kept(&self, tree: &Tree) -> Kept {
        match tree {
            Tree::Leaf(pane) => {
                let stack = if *pane == self.panes.focus { Some(&self.stack) } else { self.panes.others.get(pane).map(|pane| &pane.stack) };
                let command = stack.and_then(|stack| stack.iter().rev().find_map(|view| view.command()));
                Kept::View(command.unwrap_or_else(|| "pods".to_owned()))
            }
            Tree::Split { beside, share, first, second } => {
                let (first, second) = (Box::new(self.kept(first)), Box::new(self.kept(second)));
                let split = if *beside { Kept::Beside(first, second) } else { Kept::Below(first, second) };
                if *share == 50 { split } else { Kept::Shared(*share, Box::new(split)) }
            }
        }
    }

    /// Keeps how the panes are laid out under a name.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save_layout(&mut self, name: &str) -> Result<(), String> {
        let path = self.shared.kept("layouts")?.join(format!("{}.json", name.replace('/', "_")));
        let text = serde_json::to_string_pretty(&self.kept(&self.panes.tree)).map_err(|error| error.to_string())?;
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Lays the panes out as they were kept under a name.
    ///
    /// # Errors
    /// There is no such layout.
    pub fn load_layout(&mut self, name: &str) -> Result<(), String> {
        let path = self.shared.kept("layouts")?.join(format!("{}.json", name.replace('/', "_")));
        let text = std::fs::read_to_string(&path).map_err(|_| format!("no layout is called {name}"))?;
        let kept: Kept = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let preview = self.panes.preview.take();
        self.close_panes();
        self.panes.preview = preview;
        self.lay_out(&kept);
        Ok(())
    }

    fn lay_out(&mut self, kept: &Kept) {
        let (share, kept) = match kept {
            Kept::Shared(share, kept) => ((*share).clamp(10, 90), kept.as_ref()),
            kept => (50, kept),
        };
        match kept {
            Kept::Shared(..) => {}
            Kept::View(command) => crate::command::run(self, command),
            Kept::Beside(first, second) | Kept::Below(first, second) => {
                let corner = self.panes.focus;
                self.open_pane(matches!(kept, Kept::Beside(..)), share, "pods");
                let fresh = self.panes.focus;
                self.focus(corner);
                self.lay_out(first);
                self.focus(fresh);
                self.lay_out(second);
            }
        }
    }
}

//! How panes lie beside and below each other, and where that is on the screen.

use ratatui::layout::{Constraint, Layout, Rect};

/// How panes lie beside and below each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree {
    Leaf(usize),
    /// `share` percent for the first.
    Split {
        beside: bool,
        share: u16,
        first: Box<Tree>,
        second: Box<Tree>,
    },
}

impl Tree {
    pub(super) fn leaves(&self) -> Vec<usize> {
        match self {
            Self::Leaf(pane) => vec![*pane],
            Self::Split { first, second, .. } => [first.leaves(), second.leaves()].concat(),
        }
    }

    pub(super) fn areas(&self, area: Rect, found: &mut Vec<(usize, Rect)>) {
        match self {
            Self::Leaf(pane) => found.push((*pane, area)),
            Self::Split { beside, share, first, second } => {
                let parts = [Constraint::Fill(*share), Constraint::Fill(100 - *share)];
                let [a, b] = if *beside { Layout::horizontal(parts).spacing(1).areas(area) } else { Layout::vertical(parts).areas(area) };
                first.areas(a, found);
                second.areas(b, found);
            }
        }
    }

    /// The split whose divider is at a place: the sides on the way there, and its own area.
    pub(super) fn divider(&self, area: Rect, column: u16, row: u16) -> Option<(Vec<bool>, Rect)> {
        let Self::Split { beside, share, first, second } = self else { return None };
        let parts = [Constraint::Fill(*share), Constraint::Fill(100 - *share)];
        let [a, b] = if *beside { Layout::horizontal(parts).spacing(1).areas(area) } else { Layout::vertical(parts).areas(area) };
        let here = if *beside {
            column == a.right() && area.y <= row && row < area.bottom()
        } else {
            row == b.y && b.x <= column && column < b.right()
        };
        if here {
            return Some((Vec::new(), area));
        }
        let way = |side: bool, found: Option<(Vec<bool>, Rect)>| {
            found.map(|(mut path, area)| {
                path.insert(0, side);
                (path, area)
            })
        };
        way(false, first.divider(a, column, row)).or_else(|| way(true, second.divider(b, column, row)))
    }

    /// Gives the first side of the split at the end of a way so many percent.
    pub(super) fn set_share(&mut self, path: &[bool], to: u16) {
        let Self::Split { share, first, second, .. } = self else { return };
        match path.split_first() {
            None => *share = to.clamp(10, 90),
            Some((false, rest)) => first.set_share(rest, to),
            Some((true, rest)) => second.set_share(rest, to),
        }
    }

    pub(super) fn is_beside(&self, path: &[bool]) -> bool {
        match (self, path.split_first()) {
            (Self::Split { beside, .. }, None) => *beside,
            (Self::Split { first, .. }, Some((false, rest))) => first.is_beside(rest),
            (Self::Split { second, .. }, Some((true, rest))) => second.is_beside(rest),
            (Self::Leaf(_), _) => false,
        }
    }

    pub(super) fn replace(&mut self, pane: usize, with: impl FnOnce() -> Tree) -> bool {
        match self {
            Self::Leaf(own) if *own == pane => {
                *self = with();
                true
            }
            Self::Leaf(_) => false,
            Self::Split { first, second, .. } => {
                let side = if first.leaves().contains(&pane) { first } else { second };
                side.replace(pane, with)
            }
        }
    }

    pub(super) fn without(self, pane: usize) -> Option<Tree> {
        match self {
            Self::Leaf(own) => (own != pane).then_some(Self::Leaf(own)),
            Self::Split { beside, share, first, second } => match (first.without(pane), second.without(pane)) {
                (Some(first), Some(second)) => Some(Self::Split { beside, share, first: Box::new(first), second: Box::new(second) }),
                (one, other) => one.or(other),
            },
        }
    }
}

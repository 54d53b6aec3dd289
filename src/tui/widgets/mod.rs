//! What lies over the views, and what frames them.

pub mod activity;
pub mod dialog;
pub mod diff;
pub mod finder;
pub mod help;
pub mod input;
pub mod menu;
pub mod picker;
pub mod prompt;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::widgets::{Block, BorderType, Clear};

use crate::shared::Shared;
use crate::theme::Role;

/// A framed box in the middle of the screen, cleared; the inner area is returned.
pub fn boxed(frame: &mut Frame, screen: Rect, width: u16, height: u16, title: &str, shared: &Shared) -> Rect {
    let (width, height) = (width.min(screen.width), height.min(screen.height));
    let area = Rect::new(screen.x + (screen.width - width) / 2, screen.y + (screen.height - height) / 2, width, height);
    framed(frame, area, title, shared)
}

/// A framed box, cleared; the inner area is returned.
pub fn framed(frame: &mut Frame, area: Rect, title: &str, shared: &Shared) -> Rect {
    frame.render_widget(Clear, area);
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(shared.theme.style(Role::Border))
        .title(format!(" {title} "))
        .style(shared.theme.style(Role::Text));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

//! How a table looks.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Choice, TableView, health_role};
use crate::shared::{Namespaces, Shared};
use crate::table::columns::fitting;
use crate::table::rows::cell_width;
use crate::table::{Column, Health, Row};
use crate::theme::Role;

impl TableView {
    /// Columns that fit, and how wide they are; what the namespace takes is left out.
    pub(super) fn layout(&self, width: usize, shared: &Shared) -> Vec<(usize, usize)> {
        let (widths, namespace) = self.rows.widths();
        let taken = if self.shows_namespace(shared) { namespace.max(9) + 2 } else { 0 };
        let chosen = shared.hidden_columns.get(&self.kind.plural);
        let hides = |index: usize| chosen.is_some_and(|hidden| hidden.contains(&self.rows.columns()[index].name));
        fitting(self.rows.columns(), widths, shared.wide || chosen.is_some(), hides, width.saturating_sub(taken + 1))
    }

    pub(super) fn draw_header(&self, buffer: &mut Buffer, area: Rect, layout: &[(usize, usize)], shared: &Shared) {
        let theme = &shared.theme;
        let sort = self.rows.sort();
        let mut x = area.x + 1;
        if self.shows_namespace(shared) {
            let width = self.rows.widths().1.max(9);
            put(buffer, x, area, "NAMESPACE", width, false, theme.style(Role::Columns));
            x += u16::try_from(width + 2).unwrap_or(u16::MAX);
        }
        for &(index, width) in layout {
            let Some(column) = self.rows.columns().get(index) else { continue };
            let sorted = sort.column == Some(index) || (sort.column.is_none() && column.name == "NAME");
            let arrow = if !sorted {
                ""
            } else if sort.descending {
                "↓"
            } else {
                "↑"
            };
            let mut style = theme.style(if sorted { Role::Sorted } else { Role::Columns });
            if self.picked == Some(index) {
                style = style.patch(theme.style(Role::Cursor));
            }
            put(buffer, x, area, &format!("{}{arrow}", column.name), width + usize::from(!arrow.is_empty()), column.is_right(), style);
            x = x.saturating_add(u16::try_from(width + 2).unwrap_or(u16::MAX));
        }
    }

    pub(super) fn draw_row(&self, buffer: &mut Buffer, area: Rect, row: &Row, cursor: bool, layout: &[(usize, usize)], shared: &Shared) {
        let theme = &shared.theme;
        let mut base = theme.style(health_role(row.health));
        if row.health == Health::Fine {
            base = theme.style(Role::Text);
        }
        if row.marked {
            base = theme.style(Role::Marked);
        }
        if cursor {
            base = base.patch(theme.style(Role::Cursor));
            buffer.set_style(area, base);
        }
        let sign = match (cursor, row.marked, row.health) {
            (_, true, _) => "●",
            (true, ..) => "▶",
            (_, _, Health::Faulty) => "!",
            _ if self.is_forwarded(row, shared) => "⇄",
            _ => " ",
        };
        buffer.set_string(area.x, area.y, sign, base);
        let mut x = area.x + 1;
        if self.shows_namespace(shared) {
            let width = self.rows.widths().1.max(9);
            put(buffer, x, area, row.namespace(), width, false, base);
            x += u16::try_from(width + 2).unwrap_or(u16::MAX);
        }
        for &(index, width) in layout {
            let Some(column) = self.rows.columns().get(index) else { continue };
            put(
                buffer,
                x,
                area,
                &row.shown(index, column, shared.now),
                width,
                column.is_right(),
                self.cell_style(column, row, base, cursor, shared),
            );
            if let Some((rose, _)) = row.moved(index, shared.now) {
                let at = x.saturating_add(u16::try_from(width).unwrap_or(u16::MAX));
                put(buffer, at, area, if rose { "↑" } else { "↓" }, 1, false, base.patch(theme.style(Role::Warning)));
            }
            x = x.saturating_add(u16::try_from(width + 2).unwrap_or(u16::MAX));
        }
    }

    /// Whether a port of ours leads to it.
    pub(super) fn is_forwarded(&self, row: &Row, shared: &Shared) -> bool {
        shared.forwards.live() > 0 && shared.forwards.lead_to(&format!("{}/{}", self.kind.plural, row.name()), row.namespace())
    }

    pub(super) fn cell_style(&self, column: &Column, row: &Row, base: Style, cursor: bool, shared: &Shared) -> Style {
        if cursor || row.marked || row.health != Health::Fine {
            return base;
        }
        match column.name.as_str() {
            "STATUS" => shared.theme.style(Role::Fine),
            "AGE" | "IP" | "NODE" => shared.theme.style(Role::Dim),
            _ => base,
        }
    }

    pub(super) fn empty_text(&self, shared: &Shared) -> String {
        match &self.trouble {
            Some(fault) => fault.message.clone(),
            None if !self.listed => format!("asking for {} …", self.kind.plural),
            None if self.rows.total() > 0 => {
                format!("none of {} {} passes the filter {}", self.rows.total(), self.kind.plural, self.shown_filter())
            }
            None if self.kind.namespaced && matches!(self.choice, Choice::Namespaces | Choice::Made(_)) => {
                let place = if shared.namespaces == Namespaces::All {
                    "any namespace".to_owned()
                } else {
                    format!("namespace {}", shared.namespaces.shown())
                };
                format!("no {} in {place}", self.kind.plural)
            }
            None => format!("no {}", self.kind.plural),
        }
    }
}

/// Writes a cell, cut with an ellipsis where it is too wide.
fn put(buffer: &mut Buffer, x: u16, area: Rect, text: &str, width: usize, right: bool, style: Style) {
    let room = usize::from(area.right().saturating_sub(x));
    let width = width.min(room);
    if width == 0 {
        return;
    }
    let wide = cell_width(text);
    if wide <= width {
        let offset = if right { u16::try_from(width - wide).unwrap_or_default() } else { 0 };
        buffer.set_stringn(x + offset, area.y, text, width, style);
        return;
    }
    buffer.set_stringn(x, area.y, text, width - 1, style);
    buffer.set_string(x + u16::try_from(width - 1).unwrap_or_default(), area.y, "…", style);
}

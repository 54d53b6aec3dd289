//! A frame as a picture: SVG, for the README and for bug reports.

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use crate::table::rows::cell_width;
use crate::theme::{Role, Theme};

/// Width and height of a character, and how far its foot is below its top.
const CELL: (f32, f32, f32) = (8.4, 18.0, 13.5);
/// Around the frame.
const MARGIN: f32 = 10.0;

/// The sixteen colours of a terminal, and what they look like where nobody has changed them.
const SIXTEEN: [u32; 16] = [
    0x1e1e1e, 0xcd3131, 0x0dbc79, 0xe5e510, 0x2472c8, 0xbc3fbc, 0x11a8cd, 0xe5e5e5, 0x666666, 0xf14c4c, 0x23d18b, 0xf5f543, 0x3b8eea,
    0xd670d6, 0x29b8db, 0xffffff,
];

fn rgb(color: Color) -> Option<u32> {
    let index = match color {
        Color::Reset => return None,
        Color::Rgb(r, g, b) => return Some(u32::from(r) << 16 | u32::from(g) << 8 | u32::from(b)),
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 8,
        Color::LightRed => 9,
        Color::LightGreen => 10,
        Color::LightYellow => 11,
        Color::LightBlue => 12,
        Color::LightMagenta => 13,
        Color::LightCyan => 14,
        Color::White => 15,
        Color::Indexed(index) => index,
    };
    Some(match index {
        0..=15 => SIXTEEN[usize::from(index)],
        16..=231 => {
            let level = |n: u8| if n == 0 { 0 } else { 55 + u32::from(n) * 40 };
            let n = index - 16;
            level(n / 36) << 16 | level(n / 6 % 6) << 8 | level(n % 6)
        }
        232..=255 => (8 + u32::from(index - 232) * 10) * 0x01_01_01,
    })
}

fn hex(color: u32) -> String {
    format!("#{color:06x}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The look of a cell: letters, ground, and how the letters are.
#[derive(PartialEq, Clone, Copy)]
struct Look {
    letters: u32,
    ground: u32,
    modifier: Modifier,
}

/// A frame as SVG, in the colours it was drawn with.
pub fn svg(buffer: &Buffer, theme: &Theme) -> String {
    let plain = theme.style(Role::Text);
    let letters = plain.fg.and_then(rgb).unwrap_or(0xd4d4d4);
    let ground = plain.bg.and_then(rgb).unwrap_or(0x1e1e1e);
    let (width, height) = (f32::from(buffer.area.width) * CELL.0 + 2.0 * MARGIN, f32::from(buffer.area.height) * CELL.1 + 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\">\n\
         <style>text{{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:14px;white-space:pre}}</style>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{}\"/>\n",
        hex(ground)
    );
    for y in 0..buffer.area.height {
        row(buffer, y, (letters, ground), &mut out);
    }
    out.push_str("</svg>\n");
    out
}

fn row(buffer: &Buffer, y: u16, (letters, ground): (u32, u32), out: &mut String) {
    let top = MARGIN + f32::from(y) * CELL.1;
    let mut runs: Vec<(u16, String, Look, u16)> = Vec::new();
    let mut x = 0;
    while x < buffer.area.width {
        let Some(cell) = buffer.cell((x, y)) else { break };
        let (mut fore, mut back) = (rgb(cell.fg).unwrap_or(letters), rgb(cell.bg).unwrap_or(ground));
        if cell.modifier.contains(Modifier::REVERSED) {
            std::mem::swap(&mut fore, &mut back);
        }
        let look = Look { letters: fore, ground: back, modifier: cell.modifier & (Modifier::BOLD | Modifier::UNDERLINED | Modifier::DIM) };
        let wide = u16::try_from(cell_width(cell.symbol()).max(1)).unwrap_or(1);
        match runs.last_mut() {
            // wide characters stand alone: fonts do not agree on their width
            Some((_, text, known, length)) if *known == look && wide == 1 && text.chars().count() == usize::from(*length) => {
                text.push_str(cell.symbol());
                *length += 1;
            }
            _ => runs.push((x, cell.symbol().to_owned(), look, wide)),
        }
        x += wide;
    }
    for (x, text, look, length) in runs {
        let (left, wide) = (MARGIN + f32::from(x) * CELL.0, f32::from(length) * CELL.0);
        if look.ground != ground {
            out.push_str(&format!(
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{:.1}\" fill=\"{}\"/>\n",
                CELL.1,
                hex(look.ground)
            ));
        }
        if text.trim().is_empty() {
            continue;
        }
        let mut how = String::new();
        for (modifier, says) in [
            (Modifier::BOLD, " font-weight=\"bold\""),
            (Modifier::UNDERLINED, " text-decoration=\"underline\""),
            (Modifier::DIM, " opacity=\"0.6\""),
        ] {
            if look.modifier.contains(modifier) {
                how.push_str(says);
            }
        }
        out.push_str(&format!(
            "<text x=\"{left:.1}\" y=\"{:.1}\" textLength=\"{wide:.1}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{}\"{how}>{}</text>\n",
            top + CELL.2,
            hex(look.letters),
            escaped(&text)
        ));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;
    use crate::theme::ColorDepth;

    #[test]
    fn text_keeps_its_place_and_colour_and_is_escaped() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 12, 1));
        buffer.set_string(0, 0, "a<b", Style::new().fg(Color::Rgb(1, 2, 3)));
        buffer.set_string(4, 0, "船x", Style::new().bg(Color::Indexed(196)));
        let theme = Theme::load("dark", ColorDepth::True).unwrap();
        let svg = svg(&buffer, &theme);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("fill=\"#010203\">a&lt;b"), "{svg}");
        assert!(svg.contains("fill=\"#ff0000\"/>") && svg.contains(">船</text>") && svg.contains(">x"), "{svg}");
    }
}

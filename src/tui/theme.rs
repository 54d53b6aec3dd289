//! Themes: what each part of the screen looks like. A theme is a TOML file in `themes/`; it may inherit another.

use std::collections::BTreeMap;

use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;

macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident $name:literal,)*) => {
        /// A part of the screen with a look of its own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Role { $($(#[$doc])* $role,)* }
        const ROLES: &[(Role, &str)] = &[$((Role::$role, $name),)*];
    };
}

roles! {
    /// Everything else.
    Text "text",
    /// What matters less.
    Dim "dim",
    /// The header row.
    Header "header",
    /// What the header is about.
    HeaderAccent "header-accent",
    /// Headings of columns.
    Columns "columns",
    /// The heading sorted by.
    Sorted "sorted",
    /// The row under the cursor.
    Cursor "cursor",
    /// A marked row.
    Marked "marked",
    /// Well.
    Fine "fine",
    /// Ended well.
    Done "done",
    /// On its way.
    Pending "pending",
    /// Going away.
    Leaving "leaving",
    /// Not as it should be.
    Faulty "faulty",
    /// Borders of dialogs.
    Border "border",
    /// A key in a hint.
    Key "key",
    /// What a key does.
    Hint "hint",
    /// The prompt.
    Prompt "prompt",
    /// What was searched for.
    Match "match",
    /// A line that is added.
    Added "added",
    /// A line that goes.
    Removed "removed",
    /// An error.
    Error "error",
    /// A warning.
    Warning "warning",
    /// A message that all went well.
    Success "success",
    /// Keys in YAML.
    YamlKey "yaml-key",
    /// Strings in YAML.
    YamlString "yaml-string",
    /// Numbers in YAML.
    YamlNumber "yaml-number",
    /// true, false, null in YAML.
    YamlConstant "yaml-constant",
    /// Comments.
    Comment "comment",
    /// First colour of log sources; six follow each other.
    Source1 "source-1",
    /// A log source.
    Source2 "source-2",
    /// A log source.
    Source3 "source-3",
    /// A log source.
    Source4 "source-4",
    /// A log source.
    Source5 "source-5",
    /// A log source.
    Source6 "source-6",
}

/// Colours of log sources, in turn.
pub const SOURCES: [Role; 6] = [Role::Source1, Role::Source2, Role::Source3, Role::Source4, Role::Source5, Role::Source6];

/// The themes that come with the program.
const BUILT_IN: &[(&str, &str)] = &[
    ("dark", include_str!("../../themes/dark.toml")),
    ("light", include_str!("../../themes/light.toml")),
    ("high-contrast", include_str!("../../themes/high-contrast.toml")),
    ("monochrome", include_str!("../../themes/monochrome.toml")),
    ("catppuccin", include_str!("../../themes/catppuccin.toml")),
    ("dracula", include_str!("../../themes/dracula.toml")),
    ("gruvbox", include_str!("../../themes/gruvbox.toml")),
    ("nord", include_str!("../../themes/nord.toml")),
    ("one-dark", include_str!("../../themes/one-dark.toml")),
    ("rose-pine", include_str!("../../themes/rose-pine.toml")),
    ("solarized-dark", include_str!("../../themes/solarized-dark.toml")),
    ("solarized-light", include_str!("../../themes/solarized-light.toml")),
];

/// How many colours the terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorDepth {
    /// None: `NO_COLOR`.
    None,
    /// The 16 of ANSI.
    Ansi,
    /// 256.
    Indexed,
    /// All.
    #[default]
    True,
}

impl ColorDepth {
    /// From `NO_COLOR`, `COLORTERM` and `TERM`.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let term = variable("TERM").unwrap_or_default();
        if variable("NO_COLOR").is_some_and(|value| !value.is_empty()) || term == "dumb" {
            return Self::None;
        }
        match variable("COLORTERM").as_deref() {
            Some("truecolor" | "24bit") => Self::True,
            _ if term.contains("direct") || term.contains("kitty") || term.contains("alacritty") => Self::True,
            _ if term.contains("256") => Self::Indexed,
            _ => Self::Ansi,
        }
    }
}

/// A theme, ready to draw with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Theme {
    /// What it is called.
    pub name: String,
    styles: Vec<Style>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    inherits: Option<String>,
    styles: BTreeMap<String, String>,
}

/// Names of the themes that come with the program.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

impl Theme {
    /// A theme that comes with the program.
    ///
    /// # Errors
    /// No theme has this name, or its file is wrong.
    pub fn load(name: &str, depth: ColorDepth) -> Result<Self, String> {
        let mut styles = vec![Style::default(); ROLES.len()];
        fill(name, depth, &mut styles, 0)?;
        Ok(Self { name: name.to_owned(), styles })
    }

    /// A theme from the text of its file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(name: &str, text: &str, depth: ColorDepth) -> Result<Self, String> {
        let mut styles = vec![Style::default(); ROLES.len()];
        read(name, text, depth, &mut styles, 0)?;
        Ok(Self { name: name.to_owned(), styles })
    }

    /// The look of a part.
    pub fn style(&self, role: Role) -> Style {
        self.styles.get(role as usize).copied().unwrap_or_default()
    }
}

fn fill(name: &str, depth: ColorDepth, styles: &mut [Style], level: u8) -> Result<(), String> {
    let Some((_, source)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
        return Err(format!("no theme is called {name}; there are {}", names().collect::<Vec<_>>().join(", ")));
    };
    read(name, source, depth, styles, level)
}

fn read(name: &str, source: &str, depth: ColorDepth, styles: &mut [Style], level: u8) -> Result<(), String> {
    let file: File = toml::from_str(source).map_err(|error| format!("theme {name}: {error}"))?;
    if let Some(parent) = &file.inherits
        && level < 4
    {
        fill(parent, depth, styles, level + 1)?;
    }
    for (role, text) in &file.styles {
        let Some(&(known, _)) = ROLES.iter().find(|(_, name)| name == role) else {
            return Err(format!("theme {name}: nothing on the screen is called {role}"));
        };
        styles[known as usize] = style(text, depth).ok_or_else(|| format!("theme {name}: {role} = {text:?} is no style"))?;
    }
    Ok(())
}

/// Reads `bold #ffffff on blue`.
fn style(text: &str, depth: ColorDepth) -> Option<Style> {
    let mut style = Style::default();
    let mut background = false;
    for word in text.split_whitespace() {
        match word {
            "bold" => style = style.add_modifier(Modifier::BOLD),
            "dim" => style = style.add_modifier(Modifier::DIM),
            "italic" => style = style.add_modifier(Modifier::ITALIC),
            "underlined" => style = style.add_modifier(Modifier::UNDERLINED),
            "reversed" => style = style.add_modifier(Modifier::REVERSED),
            "on" => background = true,
            color => {
                let color = reduce(color.parse::<Color>().ok().or((color == "default").then_some(Color::Reset))?, depth);
                match (color, std::mem::take(&mut background)) {
                    (None, _) => {}
                    (Some(color), true) => style = style.bg(color),
                    (Some(color), false) => style = style.fg(color),
                }
            }
        }
    }
    Some(style)
}

/// The nearest colour the terminal has.
fn reduce(color: Color, depth: ColorDepth) -> Option<Color> {
    let Color::Rgb(r, g, b) = color else { return (depth != ColorDepth::None).then_some(color) };
    match depth {
        ColorDepth::None => None,
        ColorDepth::True => Some(color),
        ColorDepth::Indexed => {
            let gray = r.abs_diff(g) < 8 && g.abs_diff(b) < 8;
            if gray && (8..248).contains(&r) {
                return Some(Color::Indexed(232 + ((u16::from(r) - 8) / 10).min(23) as u8));
            }
            let level = |c: u8| {
                if c < 48 {
                    0
                } else if c < 115 {
                    1
                } else {
                    (c - 35) / 40
                }
            };
            Some(Color::Indexed(16 + 36 * level(r) + 6 * level(g) + level(b)))
        }
        ColorDepth::Ansi => {
            let bright = r.max(g).max(b);
            if bright < 60 {
                return Some(Color::Black);
            }
            let on = |c: u8| u16::from(c) * 100 > u16::from(bright) * 62;
            Some(match (on(r), on(g), on(b), bright > 170) {
                (true, true, true, true) => Color::White,
                (true, true, true, false) => Color::DarkGray,
                (true, true, false, _) => Color::Yellow,
                (true, false, true, _) => Color::Magenta,
                (false, true, true, _) => Color::Cyan,
                (true, false, false, _) => Color::Red,
                (false, true, false, _) => Color::Green,
                (false, false, true, _) => Color::Blue,
                (false, false, false, _) => Color::Gray,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn every_theme_loads_at_every_depth_and_names_every_part() {
        for name in names() {
            for depth in [ColorDepth::None, ColorDepth::Ansi, ColorDepth::Indexed, ColorDepth::True] {
                let theme = Theme::load(name, depth).unwrap();
                // colour never carries meaning alone: without any, the cursor still shows
                assert_ne!(theme.style(Role::Cursor), theme.style(Role::Text), "{name} {depth:?}");
            }
        }
        assert!(Theme::load("none", ColorDepth::True).unwrap_err().contains("dark"));
    }

    #[test]
    fn no_color_means_no_color() {
        let theme = Theme::load("dark", ColorDepth::None).unwrap();
        assert!(theme.styles.iter().all(|style| style.fg.is_none() && style.bg.is_none()));
    }

    #[test]
    fn the_terminal_says_how_many_colours_it_has() {
        let depth = |pairs: &[(&str, &str)]| {
            ColorDepth::from_environment(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(depth(&[("TERM", "xterm-256color")]), ColorDepth::Indexed);
        assert_eq!(depth(&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")]), ColorDepth::True);
        assert_eq!(depth(&[("TERM", "linux")]), ColorDepth::Ansi);
        assert_eq!(depth(&[("COLORTERM", "truecolor"), ("NO_COLOR", "1")]), ColorDepth::None);
    }
}

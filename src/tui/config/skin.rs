//! k9s skins: YAML with a colour for each part of its screen, taken for the parts of ours that they come nearest to.

use serde_json::Value;

use crate::theme::{ColorDepth, Theme};

/// Our part, and the parts of a skin whose colours it takes: text, and what is behind it.
const PARTS: &[(&str, &str, &str, &str)] = &[
    ("text", "", "body.fgColor", "body.bgColor"),
    ("dim", "", "frame.status.completedColor", "body.bgColor"),
    ("header", "", "info.fgColor", "body.bgColor"),
    ("header-accent", "bold", "info.sectionColor", "body.bgColor"),
    ("columns", "bold", "views.table.header.fgColor", "views.table.header.bgColor"),
    ("sorted", "bold", "views.table.header.sorterColor", "views.table.header.bgColor"),
    ("marked", "bold", "views.table.markColor", ""),
    ("fine", "", "frame.status.addColor", ""),
    ("done", "", "frame.status.completedColor", ""),
    ("pending", "", "frame.status.pendingColor", ""),
    ("leaving", "", "frame.status.killColor", ""),
    ("faulty", "bold", "frame.status.errorColor", ""),
    ("border", "", "frame.border.fgColor", ""),
    ("key", "bold", "frame.menu.keyColor", ""),
    ("hint", "", "frame.menu.fgColor", ""),
    ("prompt", "", "prompt.fgColor", "prompt.bgColor"),
    ("match", "bold reversed", "frame.title.filterColor", ""),
    ("added", "", "frame.status.addColor", ""),
    ("removed", "", "frame.status.errorColor", ""),
    ("error", "bold", "frame.status.errorColor", ""),
    ("warning", "", "frame.status.pendingColor", ""),
    ("success", "", "frame.status.addColor", ""),
    ("yaml-key", "", "views.yaml.keyColor", ""),
    ("yaml-string", "", "views.yaml.valueColor", ""),
    ("yaml-number", "", "views.yaml.valueColor", ""),
    ("yaml-constant", "", "views.yaml.valueColor", ""),
    ("comment", "italic", "frame.status.completedColor", ""),
    ("source-1", "", "frame.status.newColor", ""),
    ("source-2", "", "frame.status.addColor", ""),
    ("source-3", "", "frame.status.modifyColor", ""),
    ("source-4", "", "frame.status.highlightColor", ""),
    ("source-5", "", "frame.status.pendingColor", ""),
    ("source-6", "", "frame.menu.keyColor", ""),
];

/// The theme that a skin comes to.
pub(super) fn theme(name: &str, text: &str, depth: ColorDepth) -> Result<Theme, String> {
    let skin: Value = serde_yaml::from_str(text).map_err(|error| format!("skin {name}: {error}"))?;
    let root = skin.get("k9s").ok_or_else(|| format!("skin {name}: it has no field k9s"))?;
    let color = |path: &str| {
        let found = root.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_str)?;
        let plain = found.to_lowercase();
        Some(if found.starts_with('#') { plain } else { web_color(&plain).map_or(plain.clone(), str::to_owned) })
    };
    let mut toml = String::from("inherits = \"dark\"\n[styles]\n");
    for (part, look, front, back) in PARTS {
        let front = color(front).or_else(|| color("body.fgColor"));
        let back = color(back).map(|color| format!(" on {color}")).unwrap_or_default();
        if let Some(front) = front {
            toml.push_str(&format!("{part} = \"{look} {front}{back}\"\n"));
        }
    }
    if let (Some(front), Some(back)) = (color("views.table.cursorFgColor"), color("views.table.cursorBgColor")) {
        toml.push_str(&format!("cursor = \"{front} on {back}\"\n"));
    }
    Theme::parse(name, &toml, depth)
}

/// Names of the web that terminals do not know, as skins use them.
fn web_color(name: &str) -> Option<&'static str> {
    const COLORS: &[(&str, &str)] = &[
        ("aliceblue", "#f0f8ff"),
        ("antiquewhite", "#faebd7"),
        ("aqua", "#00ffff"),
        ("aquamarine", "#7fffd4"),
        ("azure", "#f0ffff"),
        ("beige", "#f5f5dc"),
        ("blueviolet", "#8a2be2"),
        ("brown", "#a52a2a"),
        ("cadetblue", "#5f9ea0"),
        ("chartreuse", "#7fff00"),
        ("chocolate", "#d2691e"),
        ("coral", "#ff7f50"),
        ("cornflowerblue", "#6495ed"),
        ("crimson", "#dc143c"),
        ("darkblue", "#00008b"),
        ("darkcyan", "#008b8b"),
        ("darkgray", "#a9a9a9"),
        ("darkgreen", "#006400"),
        ("darkmagenta", "#8b008b"),
        ("darkorange", "#ff8c00"),
        ("darkred", "#8b0000"),
        ("darkseagreen", "#8fbc8f"),
        ("darkslateblue", "#483d8b"),
        ("darkslategray", "#2f4f4f"),
        ("darkturquoise", "#00ced1"),
        ("deeppink", "#ff1493"),
        ("deepskyblue", "#00bfff"),
        ("dimgray", "#696969"),
        ("dodgerblue", "#1e90ff"),
        ("firebrick", "#b22222"),
        ("forestgreen", "#228b22"),
        ("fuchsia", "#ff00ff"),
        ("gold", "#ffd700"),
        ("goldenrod", "#daa520"),
        ("grey", "#808080"),
        ("greenyellow", "#adff2f"),
        ("hotpink", "#ff69b4"),
        ("indianred", "#cd5c5c"),
        ("indigo", "#4b0082"),
        ("ivory", "#fffff0"),
        ("khaki", "#f0e68c"),
        ("lavender", "#e6e6fa"),
        ("lawngreen", "#7cfc00"),
        ("lightcoral", "#f08080"),
        ("lightskyblue", "#87cefa"),
        ("lightslategray", "#778899"),
        ("lightsteelblue", "#b0c4de"),
        ("lime", "#00ff00"),
        ("limegreen", "#32cd32"),
        ("maroon", "#800000"),
        ("mediumaquamarine", "#66cdaa"),
        ("mediumpurple", "#9370db"),
        ("mediumseagreen", "#3cb371"),
        ("mediumspringgreen", "#00fa9a"),
        ("mediumturquoise", "#48d1cc"),
        ("mediumvioletred", "#c71585"),
        ("midnightblue", "#191970"),
        ("navajowhite", "#ffdead"),
        ("navy", "#000080"),
        ("olive", "#808000"),
        ("olivedrab", "#6b8e23"),
        ("orange", "#ffa500"),
        ("orangered", "#ff4500"),
        ("orchid", "#da70d6"),
        ("palegreen", "#98fb98"),
        ("paleturquoise", "#afeeee"),
        ("papayawhip", "#ffefd5"),
        ("peachpuff", "#ffdab9"),
        ("peru", "#cd853f"),
        ("pink", "#ffc0cb"),
        ("plum", "#dda0dd"),
        ("powderblue", "#b0e0e6"),
        ("purple", "#800080"),
        ("rebeccapurple", "#663399"),
        ("rosybrown", "#bc8f8f"),
        ("royalblue", "#4169e1"),
        ("salmon", "#fa8072"),
        ("sandybrown", "#f4a460"),
        ("seagreen", "#2e8b57"),
        ("sienna", "#a0522d"),
        ("silver", "#c0c0c0"),
        ("skyblue", "#87ceeb"),
        ("slateblue", "#6a5acd"),
        ("slategray", "#708090"),
        ("springgreen", "#00ff7f"),
        ("steelblue", "#4682b4"),
        ("tan", "#d2b48c"),
        ("teal", "#008080"),
        ("thistle", "#d8bfd8"),
        ("tomato", "#ff6347"),
        ("turquoise", "#40e0d0"),
        ("violet", "#ee82ee"),
        ("wheat", "#f5deb3"),
        ("whitesmoke", "#f5f5f5"),
        ("yellowgreen", "#9acd32"),
    ];
    COLORS.iter().find(|(known, _)| *known == name).map(|(_, color)| *color)
}

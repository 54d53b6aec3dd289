//! The pictures of the README: frames as they are drawn, in colour. `CORACLE_WRITE_DOCS=1` draws them anew.

use std::path::Path;

use coracle_tui::Options;

/// Name, size, keys.
const PICTURES: &[(&str, (u16, u16), &str)] = &[
    ("pods", (120, 26), "/58v<enter><esc><down><down>\\"),
    ("editor", (120, 26), ":deploy<enter>e<ctrl-f>image:<enter><end><enter>imagePu"),
    ("panes", (120, 26), ":xray deploy<enter>|:pulse<enter>"),
];

#[tokio::test]
async fn the_pictures_of_the_readme_are_what_is_drawn() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pictures");
    for (name, (width, height), keys) in PICTURES {
        let fake = crate::actions::cluster();
        fake.measure();
        let mut ui = fake.ui_with(Options { theme: "dark".into(), ..Options::default() }, *width, *height).await;
        ui.until(|text| text.contains("cpu ▃ 25 %")).await.unwrap();
        ui.press(keys).await.unwrap();
        // what the preview asks for comes when the cursor has rested
        if *name == "pods" {
            ui.until(|text| text.contains("── log")).await.unwrap();
        }
        let svg = ui.svg();
        let path = folder.join(format!("{name}.svg"));
        if std::env::var_os("CORACLE_WRITE_DOCS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &svg).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == svg, "{name} is drawn otherwise: CORACLE_WRITE_DOCS=1 cargo test -p coracle-tui --test ui pictures");
    }
}

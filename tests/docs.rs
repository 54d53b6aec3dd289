//! The README says what the code says, and the list of the conformance suite's rows what the tests show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "conformance/rows.rs"]
mod rows;

use std::fs;
use std::path::Path;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap_or_default()
}

/// What stands between `<!-- name -->` and `<!-- /name -->`.
fn section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<!-- {name} -->\n"))?;
    Some(rest.split_once(&format!("<!-- /{name} -->"))?.0)
}

/// `CORACLE_WRITE_DOCS=1 cargo test --test docs` brings the README up to date.
#[test]
fn generated_sections_are_up_to_date() {
    for (name, wanted) in [("keys", coracle_tui::key_table()), ("missing", rows::missing_table())] {
        let text = readme();
        let found = section(&text, name).unwrap_or_default();
        if found != wanted && std::env::var_os("CORACLE_WRITE_DOCS").is_some() {
            let updated = text.replace(&format!("<!-- {name} -->\n{found}"), &format!("<!-- {name} -->\n{wanted}"));
            fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"), updated).unwrap();
            continue;
        }
        assert_eq!(found, wanted, "run CORACLE_WRITE_DOCS=1 cargo test --test docs");
    }
}

#[test]
fn every_room_is_in_the_readme() {
    let text = readme();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().join("Cargo.toml").exists() {
            assert!(text.contains(&format!("`{name}`")), "room {name}");
        }
    }
}

/// Every `coracle …` line of the README's blocks names a command and options that exist.
#[test]
fn commands_in_the_readme_exist() {
    let text = readme();
    let blocks = text.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("coracle "));
    let mut seen = 0;
    for line in lines {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_coracle")).args(&words).arg("--help").output().unwrap();
        assert!(output.status.success(), "coracle {line}: {}", String::from_utf8_lossy(&output.stderr));
        seen += 1;
    }
    assert!(seen >= 3, "{seen} commands found");
}

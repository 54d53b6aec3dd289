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

/// Every test that the table of promises names is there.
#[test]
fn promises_have_their_tests() {
    let mut functions = std::collections::BTreeSet::new();
    let mut folders = ["src", "tests"].map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).to_vec();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let mut lines = text.lines().map(str::trim);
                // an attribute, more attributes, and the function
                while lines.by_ref().any(|line| ["#[test]", "#[rstest]"].contains(&line) || line.starts_with("#[tokio::test")) {
                    let function = lines.by_ref().find_map(|line| Some(line.split_once("fn ")?.1.split_once('(')?.0.to_owned()));
                    functions.extend(function);
                }
            }
        }
    }
    let text = readme();
    let table = section(&text, "promises").unwrap();
    let named: Vec<&str> =
        table.lines().skip(2).filter_map(|row| row.split('|').nth(2)).flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 30, "{} tests are named", named.len());
    for name in named {
        assert!(functions.contains(name), "there is no test {name}");
    }
}

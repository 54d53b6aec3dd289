//! Every row of the conformance suite has a test that bears its name, or is knowingly missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The reason of rows that are missing for now only.
const LATER: &str = "not written yet";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder(name: &str) -> PathBuf {
    root().join("tests/conformance").join(name)
}

fn lines(name: &str) -> Vec<String> {
    fs::read_to_string(folder(name)).unwrap().lines().map(str::to_owned).collect()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Rows named by the doc comments of the test functions of a file, with their line; a name that stands anywhere else is an error.
fn named(text: &str) -> Vec<(usize, Result<String, String>)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let names = lines.iter().enumerate().filter_map(|(at, line)| Some((at, line.strip_prefix("/// [sig-")?)));
    let above_a_test = |at: usize| {
        let mut below = lines[at..].iter().skip_while(|line| line.starts_with("///"));
        let attributes: Vec<&&str> = below.by_ref().take_while(|line| line.starts_with("#[")).collect();
        attributes.iter().any(|line| line.contains("test"))
    };
    names
        .map(|(at, name)| {
            let name = format!("[sig-{name}");
            (at + 1, if above_a_test(at) { Ok(name) } else { Err(name) })
        })
        .collect()
}

/// Reasons of the rows that are missing.
fn missing() -> BTreeMap<String, String> {
    let split = |line: String| line.split_once('\t').map(|(row, reason)| (row.to_owned(), reason.to_owned()));
    lines("missing.txt").into_iter().map(|line| split(line.clone()).unwrap_or_else(|| panic!("missing.txt: no tab in {line:?}"))).collect()
}

#[test]
fn every_row_has_a_test_or_a_reason() {
    let rows: BTreeSet<String> = lines("rows.txt").into_iter().collect();
    let mut faults = Vec::new();
    let mut shown = BTreeSet::new();
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("tests"), &mut files);
    for file in files.iter().filter(|file| !file.ends_with("conformance/rows.rs")) {
        for (line, name) in named(&fs::read_to_string(file).unwrap()) {
            let place = format!("{}:{line}", file.display());
            match name {
                Ok(name) if rows.contains(&name) => drop(shown.insert(name)),
                Ok(name) => faults.push(format!("{place}: rows.txt has no such row: {name}")),
                Err(name) => faults.push(format!("{place}: not above a test function: {name}")),
            }
        }
    }
    if std::env::var_os("CORACLE_WRITE_DOCS").is_some() {
        let kept = missing().into_iter().filter(|(row, _)| !shown.contains(row));
        let text: String = kept.map(|(row, reason)| format!("{row}\t{reason}\n")).collect();
        fs::write(folder("missing.txt"), text).unwrap();
    }
    let missing = missing();
    for row in missing.keys().filter(|row| !rows.contains(*row)) {
        faults.push(format!("missing.txt: rows.txt has no such row: {row}"));
    }
    for row in missing.keys().filter(|row| shown.contains(*row)) {
        faults.push(format!("missing.txt: a test shows this row, take the line out: {row}"));
    }
    for row in rows.iter().filter(|row| !shown.contains(*row) && !missing.contains_key(*row)) {
        faults.push(format!("neither a test nor a line of missing.txt: {row}"));
    }
    let sorted = lines("missing.txt");
    if !sorted.is_sorted() {
        faults.push("missing.txt is not sorted".to_owned());
    }
    assert!(faults.is_empty(), "CORACLE_WRITE_DOCS=1 cargo test --test docs mends missing.txt\n{}", faults.join("\n"));
}

#[test]
fn a_name_counts_only_above_a_test() {
    let text = "/// [sig-a] one [Conformance]\n/// [sig-a] two\n#[tokio::test]\nasync fn f() {}\n\n/// [sig-a] three\nfn g() {}\n";
    let found: Vec<_> = named(text).into_iter().map(|(_, name)| name).collect();
    let (one, two, three) = ("[sig-a] one [Conformance]".to_owned(), "[sig-a] two".to_owned(), "[sig-a] three".to_owned());
    assert_eq!(found, [Ok(one), Ok(two), Err(three)]);
}

/// The README's section: reasons, and how many rows of which area.
pub(crate) fn missing_table() -> String {
    let mut reasons: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for (row, reason) in missing() {
        let area = row.trim_start_matches('[').split(']').next().unwrap_or_default().to_owned();
        *reasons.entry(reason).or_default().entry(area).or_default() += 1;
    }
    let mut table = "| why | rows |\n|---|---|\n".to_owned();
    for (reason, areas) in reasons {
        // not counted: it would change with every test
        let all = if reason == LATER {
            "some".to_owned()
        } else {
            areas.iter().map(|(area, count)| format!("{area} {count}")).collect::<Vec<_>>().join(" · ")
        };
        table.push_str(&format!("| {reason} | {all} |\n"));
    }
    table
}

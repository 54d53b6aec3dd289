#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

fn one(text: &str) -> Value {
    let mut all = documents(text);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0).unwrap().value
}

#[rstest]
#[case("yes", json!(true))]
#[case("Off", json!(false))]
#[case("y", json!(true))]
#[case("0644", json!(420))]
#[case("0o644", json!(420))]
#[case("0x1F", json!(31))]
#[case("0b11", json!(3))]
#[case("-0x1f", json!(-31))]
#[case("08", json!(8))]
#[case("1_000", json!(1000))]
#[case("1.50", json!(1.5))]
#[case("3.0", json!(3))]
#[case("1e3", json!(1000))]
#[case(".5", json!(0.5))]
#[case("18446744073709551615", json!(18_446_744_073_709_551_615u64))]
#[case("-9223372036854775808", json!(i64::MIN))]
#[case("~", json!(null))]
#[case("1:30", json!("1:30"))]
#[case("2024-01-02", json!("2024-01-02"))]
#[case("'yes'", json!("yes"))]
#[case("\"0644\"", json!("0644"))]
#[case("!!str 12", json!("12"))]
#[case("!!int 12", json!(12))]
#[case("-", json!([null]))]
#[case("+", json!("+"))]
#[case("- 1-", json!(["1-"]))]
#[case("|\n  a\n  b\n", json!("a\nb\n"))]
#[case("100m", json!("100m"))]
fn scalars_are_yaml_1_1(#[case] text: &str, #[case] expected: Value) {
    let text =
        if text.starts_with('-') && (text.len() == 1 || text.starts_with("- ")) { format!("k:\n{text}\n") } else { format!("k: {text}\n") };
    assert_eq!(one(&text)["k"], expected, "{text}");
}

#[test]
fn keys_become_text() {
    assert_eq!(one("on: 1\n2: a\n1.5: b\n~: c\n"), json!({"true": 1, "2": "a", "1.5": "b", "null": "c"}));
}

#[test]
fn merge_keys_and_anchors() {
    let text = "base: &b {a: 1, b: 2}\nother: &o {b: 3, c: 4}\none:\n  <<: *b\n  b: 9\ntwo:\n  <<: [*b, *o]\n";
    let value = one(text);
    assert_eq!(value["one"], json!({"a": 1, "b": 9}));
    assert_eq!(value["two"], json!({"a": 1, "b": 2, "c": 4}));
}

#[test]
fn duplicate_keys_are_reported_and_the_last_counts() {
    let document = documents("a: 1\nb: 2\na: 3\n").remove(0).unwrap();
    assert_eq!(document.value, json!({"a": 3, "b": 2}));
    assert_eq!(document.duplicates, [YamlError { line: 3, column: 1, message: "key \"a\" already set in map".into() }]);
}

#[test]
fn documents_have_lines_and_empty_ones_do_not_count() {
    let all = documents("# only a comment\n---\n---\na: 1\n---\n# b\n\nb: 2\n...\n");
    let lines: Vec<(usize, usize, Value)> = all.into_iter().map(|d| d.unwrap()).map(|d| (d.index, d.line, d.value)).collect();
    assert_eq!(lines, [(0, 4, json!({"a": 1})), (1, 8, json!({"b": 2}))]);
}

#[test]
fn a_broken_document_does_not_hide_the_next() {
    let all = documents("a: 1\n---\na: b: c\n---\nc: 3\n");
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!(all[1].as_ref().unwrap_err().line, 3);
    assert_eq!(all[2].as_ref().unwrap().value, json!({"c": 3}));
    assert_eq!(all[2].as_ref().unwrap().index, 2);
}

#[rstest]
#[case("a:\n\tb: 1\n", 2)]
#[case("a: [1, 2\nb: 3\n", 1)]
#[case("a: *nothing\n", 1)]
#[case("a: .inf\n", 1)]
#[case("? [a]\n: 1\n", 1)]
fn errors_have_positions(#[case] text: &str, #[case] line: usize) {
    let error = documents(text).remove(0).unwrap_err();
    assert!(error.line >= line && error.column >= 1 && !error.message.is_empty(), "{error}");
}

#[test]
fn json_is_accepted_one_after_another() {
    let all = documents("{\"a\": \"\\ud83d\\ude00\\/\"}\n{\"b\": [1, null]}\n");
    let values: Vec<(usize, Value)> = all.into_iter().map(|d| d.unwrap()).map(|d| (d.line, d.value)).collect();
    assert_eq!(values, [(1, json!({"a": "😀/"})), (2, json!({"b": [1, null]}))]);
}

#[test]
fn aliases_cannot_blow_up() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    let error = documents(&text).remove(0).unwrap_err();
    assert_eq!(error.message, "document contains excessive aliasing");
    let cycle = documents("a: &a\n  b: *a\n").remove(0);
    assert!(cycle.is_err(), "{cycle:?}");
}

#[test]
fn deep_nesting_is_refused() {
    let mut text = format!("a: {}1{}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert!(documents(&text)[0].is_err());
    text = (0..2000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(documents(&text)[0].is_err());
}

#[rstest]
#[case("spec.containers[1].image", (8, 5))]
#[case("spec.containers[0].image", (6, 5))]
#[case("spec.containers[0].ports[0]", (5, 5))]
#[case("metadata.labels[a.b/c]", (2, 21))]
#[case("spec.missing", (3, 1))]
#[case("", (1, 1))]
fn fields_are_located(#[case] path: &str, #[case] expected: (usize, usize)) {
    let text =
        "apiVersion: v1\nmetadata: {labels: {a.b/c: d}}\nspec:\n  containers:\n  - name: a\n    image: b\n  - name: c\n    image: d\n";
    assert_eq!(locate(text, 0, path), Some(expected));
    assert_eq!(locate(text, 1, path), None);
}

#[rstest]
#[case(json!("plain text"), "plain text")]
#[case(json!(""), "\"\"")]
#[case(json!("yes"), "\"yes\"")]
#[case(json!("1.0"), "\"1.0\"")]
#[case(json!("0644"), "\"0644\"")]
#[case(json!("null"), "\"null\"")]
#[case(json!("2024-01-02T03:04:05Z"), "\"2024-01-02T03:04:05Z\"")]
#[case(json!("1:30"), "\"1:30\"")]
#[case(json!("a: b"), "'a: b'")]
#[case(json!("it's"), "it's")]
#[case(json!("- a"), "'- a'")]
#[case(json!("a #b"), "'a #b'")]
#[case(json!("*"), "'*'")]
#[case(json!("{x}"), "'{x}'")]
#[case(json!(" a"), "' a'")]
#[case(json!("tab\there"), "\"tab\\there\"")]
#[case(json!("10.0.0.1:80"), "10.0.0.1:80")]
#[case(json!("25%"), "25%")]
#[case(json!("😀"), "\"\\U0001F600\"")]
#[case(json!("ä"), "ä")]
#[case(json!(null), "null")]
#[case(json!({}), "{}")]
#[case(json!([]), "[]")]
#[case(json!(1.5), "1.5")]
#[case(json!("a\nb\n"), "|\n  a\n  b")]
#[case(json!("a\nb"), "|-\n  a\n  b")]
#[case(json!("a\n\n"), "|+\n  a\n")]
#[case(json!("  a\nb"), "|2-\n    a\n  b")]
#[case(json!("a \nb"), "\"a \\nb\"")]
fn scalars_are_written_as_kubectl_does(#[case] value: Value, #[case] expected: &str) {
    assert_eq!(to_string(&json!({"k": value})), format!("k: {expected}\n"));
}

#[test]
fn structure_is_written_as_kubectl_does() {
    let value = json!({"b": [{"x": 1, "a": [1, [2, 3]]}, [], "s"], "a": {"z10": 1, "z9": 2, "A": 3, "_": 4}});
    let expected = "a:\n  _: 4\n  A: 3\n  z9: 2\n  z10: 1\nb:\n- a:\n  - 1\n  - - 2\n    - 3\n  x: 1\n- []\n- s\n";
    assert_eq!(to_string(&value), expected);
}

#[test]
fn long_lines_are_folded_after_eighty_columns() {
    let words = "word ".repeat(30);
    let text = to_string(&json!({"message": words.trim()}));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() > 1 && lines[1].starts_with("  word"), "{text}");
    assert!(lines[0].len() > 80 && lines[0].len() <= 85, "{text}");
    assert_eq!(one(&text), json!({"message": words.trim()}));
}

#[test]
fn a_key_that_looks_like_a_merge_is_quoted() {
    let value = json!({"<<": null, "a": "<<"});
    assert_eq!(to_string(&value), "\"<<\": null\na: \"<<\"\n");
    assert_eq!(one(&to_string(&value)), value);
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[ -~]{0,100}", "[a-z \n\t:#'\"-]{0,30}", "\\PC{0,10}", "[0-9.:+_eExTZ-]{0,12}"];
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from), text.prop_map(Value::from)];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[ -~]{0,20}|[a-z\n]{1,5}|.{130}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in value()) {
        let value = json!({"k": value});
        let text = to_string(&value);
        prop_assert_eq!(one(&text), value, "{}", text);
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,200}|[a-z0-9:&*<>{}\\[\\]|'\"# \n-]{0,200}") {
        let all = documents(&text);
        for index in 0..=all.len() {
            let _ = locate(&text, index, &text);
        }
    }
}

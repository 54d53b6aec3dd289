#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use serde_json::json;

use super::*;

fn environment() -> Environment {
    let object = Type::object(
        "Thing",
        [
            ("name".to_owned(), Type::String(10)),
            ("ports".to_owned(), Type::List(Arc::new(Type::Int), 5)),
            ("labels".to_owned(), Type::map(Type::STRING)),
        ],
    );
    Environment::new().with("self", object).with("any", Type::Dyn).with("when", Type::Timestamp)
}

fn evaluate(source: &str) -> Result<serde_json::Value, String> {
    let program = environment().compile(source).map_err(|error| error.to_string())?;
    let thing = json!({"name": "web", "ports": [80, 443, 8080], "labels": {"a": "1", "b": "2"}});
    let variables = BTreeMap::from([
        ("self", Value::from_json(&thing)),
        ("any", Value::from_json(&json!({"x": [1, 2.5, "t", null], "deep": {"y": true}}))),
        ("when", Value::Timestamp("2026-03-01T12:30:45Z".parse().unwrap())),
    ]);
    program.evaluate(&variables, &Budget::new(RUNTIME_BUDGET)).map(|value| value.to_json()).map_err(|error| error.to_string())
}

#[test]
fn expressions_have_values() {
    for (source, wanted) in [
        ("self.name == 'web' && size(self.ports) == 3", json!(true)),
        ("self.ports.all(p, p > 0) && self.ports.exists(p, p == 443) && self.ports.exists_one(p, p > 8000)", json!(true)),
        ("self.ports.map(p, p + 1)", json!([81, 444, 8081])),
        ("self.ports.filter(p, p < 1000).map(p, string(p))", json!(["80", "443"])),
        ("self.labels.map(k, self.labels[k])", json!(["1", "2"])),
        ("self.labels.all(k, v, k != v) && self.ports.exists(i, p, i == 1 && p == 443)", json!(true)),
        ("self.labels.transformMap(k, v, v + k)", json!({"a": "1a", "b": "2b"})),
        ("self.ports.transformList(i, p, i > 0, p)", json!([443, 8080])),
        ("any.x.exists(i, i > 2)", json!(true)),
        ("has(any.deep.y) && !has(any.deep.z) && 'deep' in any", json!(true)),
        ("any.?nothing.orValue('none') + any.?deep.?z.orValue('!')", json!("none!")),
        ("any[?'deep'].hasValue() && optional.of(1).value() == 1", json!(true)),
        ("any.nothing == 1 || true", json!(true)),
        ("'a,b,c'.split(',').join('-').upperAscii()", json!("A-B-C")),
        ("'hello'.substring(1, 3) + 'x'.replace('x', 'y') + 'hello'.charAt(4)", json!("elyo")),
        ("'tacocat'.indexOf('c') + 'tacocat'.lastIndexOf('c')", json!(6)),
        ("'%s is %d, %.1f or %x'.format(['it', 7, 1.25, 255])", json!("it is 7, 1.2 or ff")),
        ("'abc 123'.find('[0-9]+') + '1,2'.findAll('[0-9]')[1]", json!("1232")),
        ("'abc'.matches('^a.c$')", json!(true)),
        ("[1, 2, 3].sum() + [3, 1].min() + [1, 2].indexOf(2)", json!(8)),
        ("[1, 2].isSorted() && sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 2], [2, 1, 1])", json!(true)),
        ("1 < 1.5 && 2u > 1 && 7 / 2 == 3 && -7 % 3 == -1 && 2 in [1, 2]", json!(true)),
        ("type(1) == int && type('') != int && type([]) == list", json!(true)),
        ("when.getFullYear() == 2026 && when.getHours('America/New_York') == 7 && when.getDayOfWeek() == 0", json!(true)),
        ("string(duration('1h30m')) + string(when + duration('15s'))", json!("5400s2026-03-01T12:31:00Z")),
        ("timestamp('2026-03-01T13:30:45Z') - when == duration('60m')", json!(true)),
        ("quantity('1.5Gi').isGreaterThan(quantity('1G')) && quantity('2k').asInteger() == 2000", json!(true)),
        ("ip('192.168.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3') && !isIP('10.1')", json!(true)),
        ("url('https://a.b:80/x?k=v').getHost() == 'a.b:80' && url('/p?k=v').getQuery()['k'] == ['v']", json!(true)),
        ("semver('1.10.0').isGreaterThan(semver('1.9.9')) && semver('v1.2', true).minor() == 2", json!(true)),
        (
            "format.dns1123Label().validate('A').hasValue() && !format.named('uuid').value().validate('x').orValue([]).isSorted()",
            json!(false),
        ),
        ("self.ports.size() > 2 ? 'many' : 'few'", json!("many")),
        ("{'a': 1}.a + {'b': 2}['b']", json!(3)),
    ] {
        assert_eq!(evaluate(source), Ok(wanted), "{source}");
    }
}

#[test]
fn failures_are_told_in_upstreams_words() {
    for (source, wanted) in [
        ("any.nothing", "no such key: nothing"),
        ("self.ports[3]", "index out of bounds: 3"),
        ("1 / (size(self.ports) - 3)", "division by zero"),
        ("any.deep + 1", "no such overload"),
        ("quantity('many')", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
    ] {
        assert_eq!(evaluate(source), Err(wanted.to_owned()), "{source}");
    }
}

#[test]
fn what_is_no_expression_is_refused_at_its_place() {
    for (source, wanted) in [
        ("self.nothing == 1", "ERROR: <input>:1:5: undefined field 'nothing'\n | self.nothing == 1\n | ....^"),
        ("nobody == 1", "ERROR: <input>:1:1: undeclared reference to 'nobody' (in container '')\n | nobody == 1\n | ^"),
        (
            "self.name + 1",
            "ERROR: <input>:1:11: found no matching overload for '_+_' applied to '(string, int)'\n | self.name + 1\n | ..........^",
        ),
        (
            "self.name.startsWith(1)",
            "ERROR: <input>:1:21: found no matching overload for 'startsWith' applied to 'string.(int)'\n | self.name.startsWith(1)\n | \
             ....................^",
        ),
        ("nofun(1)", "ERROR: <input>:1:6: undeclared reference to 'nofun' (in container '')\n | nofun(1)\n | .....^"),
    ] {
        let error = environment().compile(source).unwrap_err().to_string();
        assert_eq!(error, format!("compilation failed: {wanted}"), "{source}");
    }
    let error = environment().compile("self = 42").unwrap_err().to_string();
    assert!(error.contains("Syntax error: token recognition error at: '= '"), "{error}");
    let error = environment().compile_as("size(self.ports)", &[Type::Bool]).unwrap_err().to_string();
    assert_eq!(error, "must evaluate to bool");
}

#[test]
fn cost_is_estimated_from_bounds_and_spent_step_by_step() {
    let bounded = environment().compile("self.ports.all(p, p > 0)").unwrap();
    assert!(bounded.estimated_cost() < 100, "{}", bounded.estimated_cost());
    let unbounded = environment().compile("self.labels.all(k, self.labels.all(l, k != l))").unwrap();
    assert!(unbounded.estimated_cost() > ESTIMATED_RULE_LIMIT);
    let endless = Environment::new().compile("lists.range(1000).all(a, lists.range(1000).all(b, a + b >= 0))").unwrap();
    let budget = Budget::new(RUNTIME_BUDGET);
    assert_eq!(endless.evaluate(&BTreeMap::new(), &budget), Err(Error::OverBudget));
    assert!(budget.left() >= RUNTIME_BUDGET - PER_CALL_LIMIT);
}

#[test]
fn lists_of_sets_and_maps_do_not_look_at_order() {
    let list =
        |items: &[i64], list_type| Value::List(Arc::new(List { items: items.iter().map(|item| Value::Int(*item)).collect(), list_type }));
    assert_eq!(list(&[1, 2], ListType::Set), list(&[2, 1], ListType::Set));
    assert_ne!(list(&[1, 2], ListType::Atomic), list(&[2, 1], ListType::Atomic));
}

#[test]
fn what_is_wrong_everywhere_is_told_a_hundred_times_and_what_is_too_long_not_read() {
    let errors = |source: &str| environment().compile(source).unwrap_err();
    for source in ["$ ".repeat(250) + "1", format!("[{}]", vec!["nobody"; 150].join(", "))] {
        let told = errors(&source).to_string();
        assert_eq!(told.matches("ERROR: <input>").count(), 100, "{told}");
        assert!(told.ends_with(" more errors were truncated"), "{told}");
    }
    assert_eq!(errors(&"$".repeat(LONGEST + 1)), CompileError::TooLong);
    assert_ne!(errors(&"a".repeat(LONGEST)), CompileError::TooLong);
}

#[test]
fn what_is_nested_too_deeply_is_refused_and_nothing_else_happens() {
    let nested = |open: &str, close: &str, depth: usize| format!("{}true{}", open.repeat(depth), close.repeat(depth));
    for source in [
        nested("(", ")", 2_000),
        nested("[1].all(x, ", ")", 800),
        nested("[", "]", 5_000),
        nested("{1: ", "}", 2_000),
        nested("!(", ")", 2_000),
        nested("(", "", 10_000),
        nested("true ? true : ", "", 700),
        format!("0 == 1{}", "+ 1".repeat(3_000)),
        format!("any{}", ".x".repeat(5_000)),
        format!("any{}", "[0]".repeat(3_000)),
        format!("[1]{}", ".map(x, x)".repeat(1_000)),
    ] {
        let error = environment().compile(&source).unwrap_err().to_string();
        assert!(error.contains("expression recursion limit exceeded: 90"), "{}: {error}", &source[..30]);
    }
    for source in [nested("(", ")", 80), nested("[1].all(x, ", ")", 20), format!("81 == 1{}", "+ 1".repeat(80))] {
        assert_eq!(evaluate(&source), Ok(json!(true)), "{}", &source[..30]);
    }
    let flat = vec!["self.name.startsWith('w')"; 350].join(" && ");
    assert!(environment().compile(&flat).is_ok());
}

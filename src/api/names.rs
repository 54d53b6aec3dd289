//! What names, label values, ports and the like must look like, with upstream's words
//! (`k8s.io/apimachinery/pkg/util/validation`). Every check answers with the list of what is wrong; an empty list is good.

use std::net::IpAddr;

use rand::{Rng, RngExt};

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// Most characters in a DNS label, a label value and the name part of a qualified name.
pub const MAX_LABEL: usize = 63;
/// Most characters in a DNS subdomain.
pub const MAX_SUBDOMAIN: usize = 253;

/// A message with the pattern that was not matched and examples that do.
fn pattern(message: &str, format: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{format}')");
    }
    let examples = examples.iter().map(|e| format!("'{e}', ")).collect::<Vec<_>>().join(" or ");
    format!("{message} (e.g. {examples}regex used for validation is '{format}')")
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

const EMPTY: &str = "must be non-empty";

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(&first), Some(&last)) => {
            is_lower_alphanumeric(first) && is_lower_alphanumeric(last) && bytes.iter().all(|&b| is_lower_alphanumeric(b) || b == b'-')
        }
        _ => false,
    }
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            first.is_ascii_alphanumeric()
                && last.is_ascii_alphanumeric()
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        }
        _ => false,
    }
}

/// Label of RFC 1123: `my-name`.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > MAX_LABEL {
        out.push(too_long(MAX_LABEL));
    }
    if !is_label(text) {
        out.push(if is_subdomain(text) {
            "must not contain dots".to_owned()
        } else {
            pattern(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an \
                 alphanumeric character",
                LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    out
}

/// Subdomain of RFC 1123: `example.com`.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > MAX_SUBDOMAIN {
        out.push(too_long(MAX_SUBDOMAIN));
    }
    if !is_subdomain(text) {
        out.push(pattern(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with \
             an alphanumeric character",
            SUBDOMAIN,
            &["example.com"],
        ));
    }
    out
}

/// Label of RFC 1035, which begins with a letter: names of services.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > MAX_LABEL {
        out.push(too_long(MAX_LABEL));
    }
    if !is_label(text) || !text.as_bytes().first().is_some_and(u8::is_ascii_lowercase) {
        out.push(pattern(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with \
             an alphanumeric character",
            DNS1035,
            &["my-name", "abc-123"],
        ));
    }
    out
}

/// Wildcard subdomain: `*.example.com`.
pub fn wildcard_dns1123_subdomain(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > MAX_SUBDOMAIN {
        out.push(too_long(MAX_SUBDOMAIN));
    }
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        out.push(pattern(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case \
             alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!(r"\*\.{SUBDOMAIN}"),
            &["*.example.com"],
        ));
    }
    out
}

/// Name with an optional DNS subdomain before a slash: keys of labels and annotations, names of resources and finalizers.
pub fn qualified_name(text: &str) -> Vec<String> {
    const MESSAGE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    const EXAMPLES: &[&str] = &["MyName", "my.name", "123-abc"];
    let mut out = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                out.push(format!("prefix part {EMPTY}"));
            } else {
                out.extend(dns1123_subdomain(prefix).into_iter().map(|m| format!("prefix part {m}")));
            }
            *name
        }
        _ => {
            let message = pattern(MESSAGE, QUALIFIED, EXAMPLES);
            return vec![format!("a qualified name {message} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")];
        }
    };
    if name.is_empty() {
        out.push(format!("name part {EMPTY}"));
    } else if name.len() > MAX_LABEL {
        out.push(format!("name part {}", too_long(MAX_LABEL)));
    }
    if !is_qualified_part(name) {
        out.push(format!("name part {}", pattern(MESSAGE, QUALIFIED, EXAMPLES)));
    }
    out
}

/// Value of a label; may be empty.
pub fn label_value(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > MAX_LABEL {
        out.push(too_long(MAX_LABEL));
    }
    if !text.is_empty() && !is_qualified_part(text) {
        out.push(pattern(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
             an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    out
}

/// Identifier of the C language.
pub fn c_identifier(text: &str) -> Vec<String> {
    let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if starts && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Vec::new();
    }
    vec![pattern(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// Name of an environment variable: printable ASCII without `=`.
pub fn env_var_name(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec![format!("environment variable name {EMPTY}")];
    }
    if text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// Key in the data of a ConfigMap or Secret.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > MAX_SUBDOMAIN {
        out.push(too_long(MAX_SUBDOMAIN));
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        out.push(pattern(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match text {
        "." | ".." => out.push(format!("must not be '{text}'")),
        _ if text.starts_with("..") => out.push("must not start with '..'".to_owned()),
        _ => {}
    }
    out
}

/// Name of an HTTP header.
pub fn http_header_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![pattern("a valid HTTP header must consist of alphanumeric characters or '-'", "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// Name of a port, an IANA service name.
pub fn port_name(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 15 {
        out.push(too_long(15));
    }
    if text.is_empty() || !text.bytes().all(|b| is_lower_alphanumeric(b) || b == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

/// Number of a port.
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) { Vec::new() } else { vec![range(1, 65535)] }
}

/// `low <= value <= high`.
pub fn in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) { Vec::new() } else { vec![range(low, high)] }
}

/// Percentage: `25%`.
pub fn percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or("");
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Vec::new();
    }
    vec![pattern("a valid percent string must be a numeric string followed by an ending '%'", "[0-9]+%", &["1%", "93%"])]
}

/// IPv4 or IPv6 address.
pub fn ip(text: &str) -> Vec<String> {
    if text.parse::<IpAddr>().is_ok() {
        return Vec::new();
    }
    vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()]
}

/// Network with its prefix length: `10.0.0.0/8`.
pub fn cidr(text: &str) -> Vec<String> {
    let good = text.split_once('/').is_some_and(|(address, bits)| {
        let max = match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        bits.parse::<u8>().is_ok_and(|b| b <= max)
    });
    if good { Vec::new() } else { vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()] }
}

/// Name that can be one segment of a path: what RBAC kinds and others with free names ask for.
pub fn path_segment(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"].into_iter().filter(|c| text.contains(c)).map(|c| format!("may not contain '{c}'")).collect()
}

const RANDOM: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const RANDOM_LENGTH: usize = 5;

/// `length` characters that make no words, as upstream's `rand.String`.
pub fn random_suffix(length: usize, rng: &mut impl Rng) -> String {
    (0..length).map(|_| char::from(RANDOM[rng.random_range(0..RANDOM.len())])).collect()
}

/// A name made of `metadata.generateName`: `prefix`, cut so that the whole has at most 63 characters, and five random ones.
pub fn generate_name(prefix: &str, rng: &mut impl Rng) -> String {
    let mut end = prefix.len().min(MAX_LABEL - RANDOM_LENGTH);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &prefix[..end], random_suffix(RANDOM_LENGTH, rng))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(dns1123_label, &["a", "a-b", "1a", "x123"], &["", "-a", "a-", "A", "a.b", "a_b", "ä"])]
    #[case(dns1123_subdomain, &["a", "a.b-c.1"], &["", ".a", "a..b", "a.", "a b", "A.b"])]
    #[case(dns1035_label, &["a", "a-1"], &["", "1a", "a-", "a.b"])]
    #[case(qualified_name, &["a", "A_b.c", "example.com/a", "1"], &["", "/a", "a/", "a/b/c", "-a", "Ex/a", "a b"])]
    #[case(label_value, &["", "a", "A_1.b"], &["-a", "a-", "not ok!", "a/b"])]
    #[case(c_identifier, &["_a", "A1"], &["", "1a", "a-b"])]
    #[case(env_var_name, &["A", "a.b", "1 x", "!"], &["", "a=b", "a\n", "ä"])]
    #[case(config_map_key, &["a", ".a", "a..b", "A-_."], &["", ".", "..", "..a", "a/b", "a b"])]
    #[case(port_name, &["http", "p1", "1-a"], &["", "1", "a--b", "-a", "Http", "waytoolongportname"])]
    #[case(percent, &["1%", "100%"], &["", "%", "1", "-1%", "1.5%"])]
    #[case(ip, &["10.0.0.1", "::1"], &["", "10.0.0", "10.0.0.01", "a"])]
    #[case(cidr, &["10.0.0.0/8", "::/0"], &["10.0.0.0", "10.0.0.0/33", "x/8"])]
    #[case(path_segment, &["a:b", "A"], &[".", "..", "a/b", "a%b"])]
    fn accepts_and_refuses(#[case] check: fn(&str) -> Vec<String>, #[case] good: &[&str], #[case] bad: &[&str]) {
        for text in good {
            assert_eq!(check(text), Vec::<String>::new(), "{text:?} should be accepted");
        }
        for text in bad {
            assert!(!check(text).is_empty(), "{text:?} should be refused");
        }
    }

    #[test]
    fn messages_are_upstreams() {
        assert_eq!(
            label_value("not ok!"),
            ["a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                 with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
                 '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"]
        );
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
    }

    #[test]
    fn generated_names_fit_and_keep_the_prefix() {
        let mut rng = rand::rng();
        let name = generate_name("web-", &mut rng);
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
        let long = generate_name(&"a".repeat(80), &mut rng);
        assert_eq!(long.len(), 63);
        assert!(long.bytes().skip(58).all(|b| RANDOM.contains(&b)), "{long}");
        assert_eq!(generate_name(&"ä".repeat(40), &mut rng).chars().count(), 29 + 5);
    }
}

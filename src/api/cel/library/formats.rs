//! Named formats of texts: Kubernetes' format library, and what schemas call `format`.

use std::str::FromStr;

use super::super::Value;
use super::Cost::{Bytes, One};
use super::{Row, optional, text, texts};
use crate::{names, time};

/// A format with a name.
pub struct NamedFormat {
    /// As `format.named` finds it.
    pub name: &'static str,
    check: fn(&str) -> Vec<String>,
}

fn unless(fine: bool, message: &str) -> Vec<String> {
    if fine { Vec::new() } else { vec![message.to_owned()] }
}

/// A prefix of a name may end in a dash.
fn prefix(text: &str, check: fn(&str) -> Vec<String>) -> Vec<String> {
    check(&match text.strip_suffix('-') {
        Some(before) => format!("{before}a"),
        None => text.to_owned(),
    })
}

const FORMATS: &[NamedFormat] = &[
    NamedFormat { name: "dns1123Label", check: names::dns1123_label },
    NamedFormat { name: "dns1123Subdomain", check: names::dns1123_subdomain },
    NamedFormat { name: "dns1035Label", check: names::dns1035_label },
    NamedFormat { name: "qualifiedName", check: names::qualified_name },
    NamedFormat { name: "dns1123LabelPrefix", check: |text| prefix(text, names::dns1123_label) },
    NamedFormat { name: "dns1123SubdomainPrefix", check: |text| prefix(text, names::dns1123_subdomain) },
    NamedFormat { name: "dns1035LabelPrefix", check: |text| prefix(text, names::dns1035_label) },
    NamedFormat { name: "labelValue", check: names::label_value },
    NamedFormat { name: "uri", check: |text| unless(is_format("uri", text), "must be a valid URI") },
    NamedFormat { name: "uuid", check: |text| unless(is_format("uuid", text), "does not match the UUID format") },
    NamedFormat { name: "byte", check: |text| unless(is_format("byte", text), "invalid base64") },
    NamedFormat { name: "date", check: |text| unless(is_format("date", text), "invalid date") },
    NamedFormat { name: "datetime", check: |text| unless(is_format("date-time", text), "invalid datetime") },
];

fn named(name: &str) -> Option<Value> {
    FORMATS.iter().find(|format| format.name == name).map(Value::Format)
}

fn validate(arguments: &[Value]) -> Result<Value, String> {
    let Value::Format(format) = &arguments[0] else { return Err("no such overload".to_owned()) };
    let wrong = (format.check)(text(arguments, 1));
    Ok(optional((!wrong.is_empty()).then(|| texts(wrong))))
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_uuid(text: &str, version: Option<u8>) -> bool {
    let plain: String = text.chars().filter(|ch| *ch != '-').collect();
    uuid::Uuid::from_str(text).is_ok()
        && plain.len() == 32
        && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        && version.is_none_or(|version| plain.as_bytes().get(12) == Some(&(b'0' + version)))
}

/// Whether a text has the format a schema names; formats nobody knows fit everything.
pub fn is_format(format: &str, text: &str) -> bool {
    use base64::Engine;
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).count();
    match format {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "uri" => url::Url::parse(text).is_ok() || text.starts_with('/'),
        "email" => {
            text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !text.contains(char::is_whitespace))
        }
        "hostname" => text.len() <= 255 && text.trim_end_matches('.').split('.').all(is_host_label),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => text.parse::<ipnet::IpNet>().is_ok(),
        "mac" => {
            text.split([':', '-']).count() == 6
                && text.split([':', '-']).all(|part| part.len() == 2 && u8::from_str_radix(part, 16).is_ok())
        }
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some(3)),
        "uuid4" => is_uuid(text, Some(4)),
        "uuid5" => is_uuid(text, Some(5)),
        "isbn" => matches!(digits(text), 9 | 10 | 13),
        "isbn10" => matches!(digits(text), 9 | 10),
        "isbn13" => digits(text) == 13,
        "creditcard" => (13..=19).contains(&digits(text)),
        "ssn" => digits(text) == 9 && text.split(['-', ' ']).count() == 3,
        "hexcolor" => {
            let hex = text.strip_prefix('#').unwrap_or(text);
            matches!(hex.len(), 3 | 6) && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        }
        "rgbcolor" => text
            .strip_prefix("rgb(")
            .and_then(|rest| rest.strip_suffix(')'))
            .is_some_and(|parts| parts.split(',').count() == 3 && parts.split(',').all(|part| part.trim().parse::<u8>().is_ok())),
        "byte" => !text.is_empty() && base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "date-time" | "datetime" => time::parse(text).is_some(),
        "duration" => super::go_duration(text).is_some() || spelled_duration(text),
        "k8s-short-name" => names::dns1123_label(text).is_empty(),
        "k8s-long-name" => names::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

/// `2 days`, `1 week`: what upstream's library reads as a duration besides Go's form.
fn spelled_duration(text: &str) -> bool {
    let (number, unit) = text.split_at(text.find(|ch: char| !ch.is_ascii_digit()).unwrap_or(text.len()));
    let unit = unit.trim().trim_end_matches('s');
    !number.is_empty()
        && matches!(unit, "d" | "w" | "day" | "week" | "hour" | "hr" | "minute" | "min" | "second" | "sec" | "milli" | "micro" | "nano")
}

macro_rules! functions {
    ($($name:literal),*) => {
        &[
            $((concat!("format.", $name, "() -> kubernetes.NamedFormat"), One, |_| named($name).ok_or_else(|| "no such format".to_owned())),)*
            ("format.named(string) -> optional(kubernetes.NamedFormat)", One, |args| Ok(optional(named(text(args, 0))))),
            ("kubernetes.NamedFormat::validate(string) -> optional(list(string))", Bytes, validate),
        ]
    };
}

pub(super) const ROWS: &[Row] = functions!(
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime"
);

//! Which form and encoding an answer takes, and which a body has, as upstream's negotiation decides it.

use coracle_api::protobuf::MEDIA_TYPE;
use coracle_api::status::Status;
use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, USER_AGENT};

/// What an answer shows of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The object.
    Object,
    /// A row of a table.
    Table,
    /// Metadata alone.
    Metadata,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Protocol buffers, of built-in kinds.
    Protobuf,
}

/// What the client accepts and the server gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Form of the answer.
    pub form: Form,
    /// Encoding of the answer.
    pub encoding: Encoding,
}

impl Accepted {
    /// Objects as JSON.
    pub const JSON: Self = Self { form: Form::Object, encoding: Encoding::Json };
}

/// One clause of an `Accept` header.
pub(crate) struct Clause<'a> {
    /// Media type without parameters.
    pub(crate) media_type: &'a str,
    parameters: &'a str,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let (media_type, parameters) = text.split_once(';').unwrap_or((text, ""));
        Self { media_type: media_type.trim(), parameters }
    }

    /// The value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.split(';').find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
        })
    }

    fn quality(&self) -> f32 {
        self.parameter("q").and_then(|q| q.parse().ok()).unwrap_or(1.0)
    }

    pub(crate) fn encoding(&self, protobuf: bool) -> Option<Encoding> {
        match self.media_type {
            "application/json" | "application/*" | "*/*" => Some(Encoding::Json),
            "application/yaml" => Some(Encoding::Yaml),
            // Tables have no message.
            MEDIA_TYPE if protobuf && self.form() != Some(Form::Table) => Some(Encoding::Protobuf),
            _ => None,
        }
    }

    fn form(&self) -> Option<Form> {
        let target = (self.parameter("g"), self.parameter("v"));
        match (self.parameter("as"), target) {
            (None, _) => Some(Form::Object),
            (Some("Table"), (Some("meta.k8s.io"), Some("v1"))) => Some(Form::Table),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), (Some("meta.k8s.io"), Some("v1"))) => Some(Form::Metadata),
            _ => None,
        }
    }
}

/// The clauses of the `Accept` headers, the preferred first.
pub(crate) fn clauses(headers: &HeaderMap) -> Vec<Clause<'_>> {
    let mut clauses: Vec<_> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|text| !text.trim().is_empty())
        .map(Clause::parse)
        .collect();
    clauses.sort_by(|a, b| b.quality().total_cmp(&a.quality()));
    clauses
}

/// Decides form and encoding of an answer, or 406. Only built-in kinds are written as `protobuf`.
pub fn accepted(headers: &HeaderMap, protobuf: bool) -> Result<Accepted, Status> {
    let clauses = clauses(headers);
    if clauses.is_empty() {
        return Ok(Accepted::JSON);
    }
    let found = clauses.iter().find_map(|clause| Some(Accepted { form: clause.form()?, encoding: clause.encoding(protobuf)? }));
    let more = if protobuf { ", application/vnd.kubernetes.protobuf" } else { "" };
    found.ok_or_else(|| not_acceptable(&format!("application/json, application/yaml{more}")))
}

/// How a client that accepts this is told what went wrong.
pub(crate) fn of_errors(headers: &HeaderMap) -> Encoding {
    let other =
        headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|text| text.contains("protobuf") || text.contains("yaml")));
    if !other {
        return Encoding::Json;
    }
    accepted(headers, true).map_or(Encoding::Json, |accepted| accepted.encoding)
}

/// 406, naming what is accepted.
pub(crate) fn not_acceptable(types: &str) -> Status {
    Status::new(406, "NotAcceptable", format!("only the following media types are accepted: {types}"))
}

/// A header's text, or nothing.
pub(crate) fn header(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The media type of a body, without parameters and in lower case; empty where none is given.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    header(headers, CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyEncoding {
    Json,
    Yaml,
    Protobuf,
}

/// The encoding of a body that holds an object, or 415. Objects of custom resources are not sent as `protobuf`.
pub(crate) fn body_encoding(content_type: &str, protobuf: bool) -> Result<BodyEncoding, Status> {
    let types = if protobuf { ", application/vnd.kubernetes.protobuf" } else { "" };
    match content_type {
        "" | "application/json" | "*/*" => Ok(BodyEncoding::Json),
        "application/yaml" | "application/x-yaml" => Ok(BodyEncoding::Yaml),
        MEDIA_TYPE if protobuf => Ok(BodyEncoding::Protobuf),
        _ => Err(Status::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml{types}"
        ))),
    }
}

/// Whether the client reads gzip.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    header(headers, ACCEPT_ENCODING).split(',').any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim() == "gzip" && parameters.trim() != "q=0"
    })
}

/// Who writes, for `managedFields`, where the request does not say: the client program's name.
pub(crate) fn manager_from_user_agent(headers: &HeaderMap) -> String {
    let agent = header(headers, USER_AGENT);
    let name: String = agent.split('/').next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(128).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", true, Some(BodyEncoding::Json))]
    #[case("application/json", false, Some(BodyEncoding::Json))]
    #[case("application/yaml", true, Some(BodyEncoding::Yaml))]
    #[case("application/vnd.kubernetes.protobuf", true, Some(BodyEncoding::Protobuf))]
    #[case("application/vnd.kubernetes.protobuf", false, None)]
    #[case("application/cbor", true, None)]
    fn bodies(#[case] content_type: &str, #[case] protobuf: bool, #[case] wanted: Option<BodyEncoding>) {
        let got = body_encoding(content_type, protobuf);
        assert_eq!(got.as_ref().ok(), wanted.as_ref());
        if let Err(status) = got {
            assert_eq!((status.code, status.message.ends_with("protobuf")), (415, protobuf));
        }
    }

    #[rstest]
    #[case("", Some((Form::Object, Encoding::Json)))]
    #[case("*/*", Some((Form::Object, Encoding::Json)))]
    #[case("application/yaml", Some((Form::Object, Encoding::Yaml)))]
    #[case("application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Some((Form::Table, Encoding::Json)))]
    #[case("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Some((Form::Object, Encoding::Json)))]
    #[case("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", Some((Form::Metadata, Encoding::Json)))]
    #[case("application/vnd.kubernetes.protobuf,application/json", Some((Form::Object, Encoding::Protobuf)))]
    #[case("application/json,application/vnd.kubernetes.protobuf", Some((Form::Object, Encoding::Json)))]
    #[case("application/vnd.kubernetes.protobuf;q=0.5,*/*;q=0.4", Some((Form::Object, Encoding::Protobuf)))]
    #[case("application/vnd.kubernetes.protobuf;stream=watch", Some((Form::Object, Encoding::Protobuf)))]
    #[case("application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Some((Form::Metadata, Encoding::Protobuf)))]
    #[case("application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json;as=Table;g=meta.k8s.io;v=v1", Some((Form::Table, Encoding::Json)))]
    #[case("application/json;q=0.2, application/yaml", Some((Form::Object, Encoding::Yaml)))]
    #[case("text/html", None)]
    fn accept(#[case] header: &str, #[case] wanted: Option<(Form, Encoding)>) {
        let mut headers = HeaderMap::new();
        if !header.is_empty() {
            headers.insert(ACCEPT, header.parse().unwrap());
        }
        let got = accepted(&headers, true);
        assert_eq!(got.as_ref().ok().map(|accepted| (accepted.form, accepted.encoding)), wanted);
        if let Err(status) = got {
            assert_eq!((status.code, status.message.ends_with("protobuf")), (406, true));
        }
        assert_ne!(accepted(&headers, false).map(|accepted| accepted.encoding).ok(), Some(Encoding::Protobuf), "no custom resource");
    }
}

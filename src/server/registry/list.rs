//! The objects of a kind, in a namespace or in all.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use bytes::{BufMut, BytesMut};
use coracle_api::kinds::Kind;
use coracle_api::protobuf::{List, METADATA};
use coracle_api::status::Status;
use coracle_store::{Entry, ListOptions as StoreOptions, ReadError};
use http::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::selection::Selection;
use super::{Call, put_metadata, read_error, too_large_revision};
use crate::http::body::Body;
use crate::negotiate::{Encoding, Form};
use crate::options::{ListOptions, Match};
use crate::{answer, codec, table};

/// Where the next page begins.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    #[serde(rename = "v")]
    version: String,
    /// The revision of the first page; negative where consistency was given up.
    #[serde(rename = "rv")]
    revision: i64,
    /// Namespace and name of the last object given.
    start: String,
}

/// As lenient as Go's.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
);

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

impl Token {
    fn encode(revision: i64, start: &str) -> String {
        let token = Self { version: TOKEN_VERSION.to_owned(), revision, start: start.to_owned() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    fn decode(text: &str) -> Result<Self, Status> {
        let bad = |why: String| Status::bad_request(format!("invalid continue token: {why}"));
        let bytes = LENIENT
            .decode(text.trim_end_matches('='))
            .map_err(|_| bad("continue key is not valid: illegal base64 data at input byte 0".to_owned()))?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|_| {
            let first = bytes.first().map(|byte| char::from(*byte)).unwrap_or_default();
            let shown = if first.is_control() { format!("\\u{:04x}", u32::from(first)) } else { first.to_string() };
            bad(format!("continue key is not valid: invalid character '{shown}' looking for beginning of value"))
        })?;
        if token.version != TOKEN_VERSION {
            return Err(bad(format!("continue key is not valid: server does not recognize this encoded version {:?}", token.version)));
        }
        if token.start.is_empty() || token.revision == 0 {
            return Err(bad("continue key is not valid: encoded continue token has no start or resourceVersion".to_owned()));
        }
        Ok(token)
    }
}

/// One page.
pub(crate) struct Page {
    pub(crate) revision: u64,
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) next: Option<String>,
    pub(crate) remaining: Option<usize>,
}

/// Answers a LIST.
pub(crate) async fn answer(call: &Call) -> Result<Response<Body>, Status> {
    let options = ListOptions::parse(&call.query, false)?;
    let selection = Selection::parse(&call.kind, &call.query)?;
    let accepted = call.accepted()?;
    let page = match page(call, &options, &selection).await {
        Err(Failed::Status(status)) => return Err(status),
        Err(Failed::TooOldToken { token }) => return Ok(too_old_token(&token)),
        Ok(page) => page,
    };
    if accepted.form == Form::Table {
        return table::many(call, &page, accepted.encoding);
    }
    if accepted.encoding == Encoding::Protobuf {
        return in_protobuf(&call.kind, accepted.form, &page);
    }
    if accepted.form == Form::Object && accepted.encoding == Encoding::Json && call.kind.is_storage_version() {
        return Ok(answer::json_body(200, stored(&call.kind, page)));
    }
    let mut out = BytesMut::new();
    opening(&mut out, &call.kind, accepted.form, &page);
    for (at, entry) in page.entries.iter().enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        match accepted.form {
            Form::Metadata => put_metadata(&mut out, entry)?,
            _ => codec::put_item(&mut out, &call.kind, entry)?,
        }
    }
    out.put_slice(CLOSING);
    Ok(answer::encoded(200, out.freeze(), accepted.encoding))
}

fn in_protobuf(kind: &Kind, form: Form, page: &Page) -> Result<Response<Body>, Status> {
    let (schema, version, name) = match form {
        Form::Metadata => (METADATA, "meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList"),
        _ => (&*kind.schema, kind.api_version(), &*kind.list_kind),
    };
    let mut list = List::new(schema, &page.metadata());
    for entry in &page.entries {
        list.push(&codec::decode(kind, entry)?);
    }
    Ok(answer::protobuf(200, list.finish(&version, name)))
}

/// What ends a list.
const CLOSING: &[u8] = b"]}";
/// Bytes of a list that are put together at a time.
const PART: usize = 64 << 10;

/// A list of stored objects as they are stored.
fn stored(kind: &Kind, page: Page) -> Body {
    let mut head = BytesMut::new();
    opening(&mut head, kind, Form::Object, &page);
    let commas = page.entries.len().saturating_sub(1);
    let size = head.len() + page.entries.iter().map(|entry| codec::item_size(entry)).sum::<usize>() + commas + CLOSING.len();
    let mut entries = page.entries.into_iter().peekable();
    let mut ended = false;
    Body::made(size as u64, move || {
        if ended {
            return None;
        }
        let mut out = std::mem::take(&mut head);
        let first = entries.peek().map_or(0, |entry| codec::item_size(entry));
        out.reserve(PART.max(first) + 1 + CLOSING.len());
        let mut fits = true;
        while let Some(entry) = entries.next_if(|_| fits) {
            codec::put_stored_item(&mut out, &entry);
            if let Some(next) = entries.peek() {
                out.put_u8(b',');
                fits = out.len() + codec::item_size(next) < PART;
            }
        }
        if entries.peek().is_none() {
            out.put_slice(CLOSING);
            ended = true;
        }
        Some(out.freeze())
    })
}

/// Appends a list up to its first item.
fn opening(out: &mut BytesMut, kind: &Kind, form: Form, page: &Page) {
    let (version, name) = match form {
        Form::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList"),
        _ => (kind.api_version(), &*kind.list_kind),
    };
    let head = json!({"apiVersion": version, "kind": name, "metadata": page.metadata()}).to_string();
    out.put_slice(head.trim_end_matches('}').as_bytes());
    // The metadata's own brace went with the object's.
    out.put_slice(b"},\"items\":[");
}

impl Page {
    /// A list's metadata.
    pub(crate) fn metadata(&self) -> serde_json::Value {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if let Some(next) = &self.next {
            metadata["continue"] = json!(next);
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        metadata
    }
}

/// Why there is no page.
pub(crate) enum Failed {
    Status(Status),
    /// The first page's revision is gone; the new token goes on without consistency.
    TooOldToken {
        token: String,
    },
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// 410 with the token that goes on all the same.
fn too_old_token(token: &str) -> Response<Body> {
    let status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue \
         parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided \
         token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was \
         returned and now may show up in the list.",
    );
    let mut value = status.to_value();
    value["metadata"] = json!({"continue": token});
    answer::object(410, &value, Encoding::Json)
}

/// Reads one page.
pub(crate) async fn page(call: &Call, options: &ListOptions, selection: &Selection) -> Result<Page, Failed> {
    let store = &call.server.0.store;
    let prefix = codec::prefix(&call.kind, call.namespace());
    let (mut after, mut at) = (None, None);
    if let Some(token) = &options.token {
        let token = Token::decode(token)?;
        after = Some(format!("{}{}", codec::prefix(&call.kind, ""), token.start));
        at = u64::try_from(token.revision).ok();
    } else if let Some(revision) = options.revision.filter(|revision| *revision > 0) {
        let exact = match options.matching {
            Some(matching) => matching == Match::Exact,
            None => options.limit > 0,
        };
        if exact {
            at = Some(revision);
        } else if revision > store.revision() {
            return Err(too_large_revision(revision, store.revision()).into());
        }
    }
    // "Any" revision without a limit of its own: upstream serves it whole from its cache.
    let limit = if options.revision == Some(0) && options.matching.is_none() { 0 } else { options.limit };
    let gone = |error: ReadError| match (&options.token, &after, error) {
        (Some(_), Some(after), ReadError::TooOld { .. }) => {
            let start = after.strip_prefix(&codec::prefix(&call.kind, "")).unwrap_or_default();
            Failed::TooOldToken { token: Token::encode(-1, start) }
        }
        (_, _, error) => Failed::Status(read_error(error, at.unwrap_or_default())),
    };
    if selection.is_everything() {
        let list = store.list(&prefix, &StoreOptions { after: after.clone(), limit: (limit > 0).then_some(limit), at }).map_err(gone)?;
        let next = (list.remaining > 0).then(|| list.entries.last()).flatten().map(|last| token_after(call, list.revision, last));
        let remaining = next.is_some().then_some(list.remaining);
        let entries = call.server.0.customs.present(&call.kind, list.entries).await?;
        return Ok(Page { revision: list.revision, entries, next, remaining });
    }
    let list = store.list(&prefix, &StoreOptions { after: after.clone(), limit: None, at }).map_err(gone)?;
    let mut page = Page { revision: list.revision, entries: Vec::new(), next: None, remaining: None };
    for entry in call.server.0.customs.present(&call.kind, list.entries).await? {
        if !selection.matches(&call.kind, &entry)? {
            continue;
        }
        if limit > 0 && page.entries.len() == limit {
            page.next = page.entries.last().map(|last| token_after(call, page.revision, last));
            break;
        }
        page.entries.push(entry);
    }
    Ok(page)
}

fn token_after(call: &Call, revision: u64, last: &Entry) -> String {
    let start = last.key.strip_prefix(&codec::prefix(&call.kind, "")).unwrap_or_default();
    Token::encode(i64::try_from(revision).unwrap_or(-1), start)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn tokens() {
        let token = Token::decode(&Token::encode(7, "ns/a")).unwrap();
        assert_eq!((token.revision, token.start.as_str()), (7, "ns/a"));
        let refused = Token::decode("garbage").unwrap_err();
        assert_eq!(
            refused.message,
            "invalid continue token: continue key is not valid: invalid character '\\u0081' looking for beginning of value"
        );
    }
}

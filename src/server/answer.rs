//! Answers: status codes, headers, encodings.

use bytes::Bytes;
use coracle_api::protobuf::{self, MEDIA_TYPE};
use coracle_api::status::Status;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, RETRY_AFTER, VARY, WARNING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::Value;
use std::io::Write;

use crate::http::body::Body;
use crate::negotiate::Encoding;

/// Answers smaller than this are not compressed.
const GZIP_FROM: u64 = 128 << 10;

fn response(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// JSON bytes.
pub(crate) fn json(code: u16, bytes: Bytes) -> Response<Body> {
    response(code, "application/json", Body::full(bytes))
}

/// JSON that is made while it is sent.
pub(crate) fn json_body(code: u16, body: Body) -> Response<Body> {
    response(code, "application/json", body)
}

/// A document that a client may have kept.
pub(crate) fn document(headers: &HeaderMap, content_type: &'static str, body: Bytes, etag: Option<String>) -> Response<Body> {
    let tag = etag.and_then(|etag| HeaderValue::try_from(etag).ok());
    let known = tag.as_ref().is_some_and(|tag| headers.get(IF_NONE_MATCH).is_some_and(|known| known == tag));
    let mut response = if known { response(304, content_type, Body::empty()) } else { response(200, content_type, Body::full(body)) };
    if let Some(tag) = tag {
        response.headers_mut().insert(ETAG, tag);
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    }
    response
}

/// Plain text.
pub(crate) fn text(code: u16, text: impl Into<String>) -> Response<Body> {
    let mut response = response(code, "text/plain; charset=utf-8", Body::full(text.into()));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// Bytes of some type as they come.
pub(crate) fn stream(content_type: &'static str, body: Body) -> Response<Body> {
    response(200, content_type, body)
}

/// JSON bytes in the encoding asked for.
pub(crate) fn encoded(code: u16, bytes: Bytes, encoding: Encoding) -> Response<Body> {
    if encoding == Encoding::Json {
        return json(code, bytes);
    }
    match serde_json::from_slice(&bytes) {
        Ok(value) => object(code, &value, encoding),
        Err(problem) => error(&Status::internal(problem)),
    }
}

/// A body in protocol buffers.
pub(crate) fn protobuf(code: u16, bytes: Vec<u8>) -> Response<Body> {
    response(code, MEDIA_TYPE, Body::full(bytes))
}

/// An object.
pub(crate) fn object(code: u16, value: &Value, encoding: Encoding) -> Response<Body> {
    match encoding {
        Encoding::Yaml => return response(code, "application/yaml", Body::full(crate::vocabulary::to_yaml(value))),
        Encoding::Protobuf => {
            if let Some(bytes) = protobuf::encode(value) {
                return protobuf(code, bytes);
            }
        }
        Encoding::Json => {}
    }
    match serde_json::to_vec(value) {
        Ok(bytes) => json(code, bytes.into()),
        Err(problem) => error(&Status::internal(problem)),
    }
}

/// A status as the answer to a request that succeeded or failed.
pub(crate) fn error(status: &Status) -> Response<Body> {
    error_in(status, Encoding::Json)
}

/// A status in the encoding that the client reads.
pub(crate) fn error_in(status: &Status, encoding: Encoding) -> Response<Body> {
    let mut response = object(status.code, &status.to_value(), encoding);
    let headers = response.headers_mut();
    if status.code == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = status.details.get("retryAfterSeconds").and_then(Value::as_u64) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Adds `Warning` headers.
pub(crate) fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    for text in warnings {
        let mut quoted = String::with_capacity(text.len() + 10);
        quoted.push_str("299 - \"");
        for character in text.chars().filter(|c| !c.is_control()) {
            if matches!(character, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(character);
        }
        quoted.push('"');
        if let Ok(value) = HeaderValue::from_bytes(quoted.as_bytes()) {
            headers.append(WARNING, value);
        }
    }
}

/// Compresses a large answer whose bytes are all there.
pub(crate) async fn compress(response: Response<Body>) -> Response<Body> {
    let large = response.body().size_hint().exact().is_some_and(|size| size > GZIP_FROM);
    if !large || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return error(&Status::internal("the answer was lost"));
    };
    let plain = bytes.clone();
    let zipped = tokio::task::spawn_blocking(move || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 6), Compression::fast());
        encoder.write_all(&plain).and_then(|()| encoder.finish())
    });
    let Ok(Ok(zipped)) = zipped.await else { return Response::from_parts(parts, Body::full(bytes)) };
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    Response::from_parts(parts, Body::full(zipped))
}

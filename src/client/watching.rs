//! The events of a watch as they come over the wire, without what no actor reads.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use kube::api::{WatchEvent, WatchParams};
use kube::client::Body;
use kube::core::{Request, Status};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::informers::Watchable;

/// One watch of all objects of a kind.
pub(crate) struct Events {
    body: Body,
    /// What came after the last whole line.
    rest: BytesMut,
    /// Whole lines not yet given.
    lines: Bytes,
}

impl Events {
    /// Opens a watch of `K` after the revision `from`.
    pub(crate) async fn of<K: Watchable>(client: &kube::Client, from: &str) -> Result<Self, kube::Error> {
        let request = Request::new(K::url_path(&(), None)).watch(&WatchParams::default(), from).map_err(kube::Error::BuildRequest)?;
        let response = client.send(request.map(Body::from)).await?;
        let (parts, body) = response.into_parts();
        if !parts.status.is_success() {
            let text = body.collect().await?.to_bytes();
            let status = serde_json::from_slice::<Status>(&text).unwrap_or_else(|_| {
                Status::failure(&String::from_utf8_lossy(&text), "the answer to a watch is no Status").with_code(parts.status.as_u16())
            });
            return Err(kube::Error::Api(status.boxed()));
        }
        Ok(Self { body, rest: BytesMut::new(), lines: Bytes::new() })
    }

    /// The next event; `None` at the end of the watch.
    pub(crate) async fn next<K: Watchable>(&mut self) -> Option<Result<WatchEvent<K>, kube::Error>> {
        loop {
            if let Some(end) = self.lines.iter().position(|byte| *byte == b'\n') {
                let line = self.lines.split_to(end + 1);
                return Some(serde_json::from_slice(&without_managed_fields(&line)).map_err(kube::Error::SerdeError));
            }
            let data = match self.body.frame().await? {
                Ok(frame) => frame.into_data().unwrap_or_default(),
                Err(error) => return Some(Err(error)),
            };
            self.take(data);
        }
    }

    fn take(&mut self, mut data: Bytes) {
        let Some(last) = data.iter().rposition(|byte| *byte == b'\n') else { return self.rest.extend_from_slice(&data) };
        let after = data.split_off(last + 1);
        self.lines = if self.rest.is_empty() {
            data
        } else {
            self.rest.extend_from_slice(&data);
            self.rest.split().freeze()
        };
        self.rest.extend_from_slice(&after);
    }
}

/// An event whose object has no `metadata.managedFields`: the bookkeeping of server-side apply is a third of an object, the
/// costliest part to decode, and no actor reads it.
fn without_managed_fields(event: &[u8]) -> Cow<'_, [u8]> {
    let Ok(Outline { object: Object { metadata: Metadata { managed_fields: Some(fields) } } }) = serde_json::from_slice(event) else {
        return Cow::Borrowed(event);
    };
    let start = fields.get().as_ptr().addr() - event.as_ptr().addr();
    let end = start + fields.get().len();
    Cow::Owned([&event[..start], b"null", &event[end..]].concat())
}

#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    object: Object<'a>,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, rename = "managedFields")]
    managed_fields: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::transport::in_process;
    use coracle_api::identity::Identity;
    use futures::StreamExt;
    use http::Response;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use k8s_openapi::api::core::v1::ConfigMap;
    use std::convert::Infallible;
    use std::sync::Arc;

    #[test]
    fn only_the_objects_own_managed_fields_go() {
        let table = [
            (
                r#"{"type":"ADDED","object":{"metadata":{"name":"a","managedFields":[{"f":{"k:{\"]\"}":1}}],"uid":"u"},"spec":{"managedFields":[1]}}}"#,
                r#"{"type":"ADDED","object":{"metadata":{"name":"a","managedFields":null,"uid":"u"},"spec":{"managedFields":[1]}}}"#,
            ),
            (r#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#, r#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#),
            (r#"{"type":"ERROR","object":{"code":410}}"#, r#"{"type":"ERROR","object":{"code":410}}"#),
            ("no event", "no event"),
        ];
        for (event, expected) in table {
            assert_eq!(std::str::from_utf8(&without_managed_fields(event.as_bytes())).unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn lines_may_come_in_pieces() {
        let pieces = [
            "{\"type\":\"ADDED\",\"obj",
            "ect\":{\"metadata\":{\"name\":\"a\"}}}",
            "\n",
            "",
            "{\"type\":\"DELETED\",\"object\":{\"metadata\":{\"name\":\"b\"}}}\n{\"type\":\"ADD",
        ];
        let service = tower::service_fn(move |_| async move {
            let frames = futures::stream::iter(pieces).map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
        });
        let client = in_process(service, Arc::new(|_| tokio::io::duplex(1).0), Identity::admin());
        let mut events = Events::of::<ConfigMap>(&client, "1").await.unwrap();
        let mut seen = Vec::new();
        while let Some(event) = events.next::<ConfigMap>().await {
            match event.unwrap() {
                WatchEvent::Added(map) => seen.push(("added", map.metadata.name.unwrap())),
                WatchEvent::Deleted(map) => seen.push(("deleted", map.metadata.name.unwrap())),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, [("added", "a".to_owned()), ("deleted", "b".to_owned())]);
    }
}

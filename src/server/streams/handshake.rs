//! The answer 101: which protocol the client asks for and which of its forms both sides know.

use coracle_api::status::Status;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::answer;
use crate::http::body::Body;
use crate::negotiate;

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const SPDY: &str = "SPDY/3.1";

/// What a request wants its connection to become.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// A WebSocket, with the client's key.
    WebSocket { accept: String, offered: Vec<String> },
    /// SPDY/3.1.
    Spdy { offered: Vec<String> },
}

/// A protocol both sides know, and the answer that says so.
pub(super) struct Agreed {
    pub(super) protocol: &'static str,
    pub(super) answer: Response<Body>,
}

fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

impl Upgrade {
    /// Reads a request's headers.
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self, Status> {
        let wanted = list(headers, &CONNECTION).iter().any(|one| one.eq_ignore_ascii_case("upgrade"));
        if !wanted {
            return Err(Status::bad_request("Upgrade request required"));
        }
        let to = negotiate::header(headers, UPGRADE);
        if to.eq_ignore_ascii_case("websocket") {
            let key = negotiate::header(headers, SEC_WEBSOCKET_KEY);
            if key.is_empty() || negotiate::header(headers, SEC_WEBSOCKET_VERSION) != "13" {
                return Err(Status::bad_request("unable to upgrade websocket connection: missing or bad WebSocket key or version"));
            }
            let accept = derive_accept_key(key.as_bytes());
            return Ok(Self::WebSocket { accept, offered: list(headers, &SEC_WEBSOCKET_PROTOCOL) });
        }
        if to.to_ascii_lowercase().contains("spdy/3.1") {
            return Ok(Self::Spdy { offered: list(headers, &STREAM_PROTOCOL) });
        }
        Err(Status::bad_request(format!("unable to upgrade: missing upgrade headers in request: {to:?} is neither SPDY/3.1 nor websocket")))
    }

    /// Picks the first form the client offers that is served; the error is the answer that says which are. `plain` is the
    /// form a WebSocket client gets that offers none.
    pub(super) fn agree(&self, served: &[&'static str], plain: Option<&'static str>) -> Result<Agreed, Box<Response<Body>>> {
        let (Self::WebSocket { offered, .. } | Self::Spdy { offered }) = self;
        let found = offered.iter().find_map(|one| served.iter().find(|served| *served == one)).copied();
        let protocol = found.or_else(|| plain.filter(|_| offered.is_empty() && matches!(self, Self::WebSocket { .. })));
        let Some(protocol) = protocol else { return Err(Box::new(self.refusal(served))) };
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        match self {
            Self::WebSocket { accept, .. } => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                if let Ok(accept) = HeaderValue::from_str(accept) {
                    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
                }
                if found.is_some() {
                    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
                }
            }
            Self::Spdy { .. } => {
                headers.insert(UPGRADE, HeaderValue::from_static(SPDY));
                headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
            }
        }
        Ok(Agreed { protocol, answer })
    }

    fn refusal(&self, served: &[&'static str]) -> Response<Body> {
        let served_text = served.join(" ");
        match self {
            Self::WebSocket { offered, .. } => {
                let offered = offered.join(" ");
                answer::text(403, format!("requested protocol(s) are not supported: [{offered}]; supports [{served_text}]\n"))
            }
            Self::Spdy { offered } if offered.is_empty() => answer::text(400, "unable to upgrade: X-Stream-Protocol-Version is required\n"),
            Self::Spdy { offered } => {
                let offered = offered.join(" ");
                let text = format!(
                    "unable to upgrade: unable to negotiate protocol: client supports [{offered}], server accepts [{served_text}]\n"
                );
                let mut answer = answer::text(403, text);
                for one in served {
                    answer.headers_mut().append(ACCEPTED_PROTOCOLS, HeaderValue::from_static(one));
                }
                answer
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn without_upgrade() {
        for pairs in [&[][..], &[("upgrade", "websocket")], &[("connection", "keep-alive"), ("upgrade", "SPDY/3.1")]] {
            let status = Upgrade::parse(&headers(pairs)).unwrap_err();
            assert_eq!((status.code, &*status.message), (400, "Upgrade request required"));
        }
    }

    #[test]
    fn web_socket_accepts_with_the_key_of_rfc_6455() {
        let upgrade = Upgrade::parse(&headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v9.channel.k8s.io, v4.channel.k8s.io"),
        ]))
        .unwrap();
        let agreed = upgrade.agree(&["v5.channel.k8s.io", "v4.channel.k8s.io"], None).ok().unwrap();
        assert_eq!(agreed.protocol, "v4.channel.k8s.io");
        assert_eq!(agreed.answer.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(upgrade.agree(&["none"], Some("none")).err().unwrap().status(), 403);
    }

    #[test]
    fn spdy_says_what_it_accepts() {
        let upgrade = Upgrade::parse(&headers(&[
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "v3.channel.k8s.io"),
        ]))
        .unwrap();
        let agreed = upgrade.agree(&["v3.channel.k8s.io", "v4.channel.k8s.io"], None).ok().unwrap();
        assert_eq!(agreed.answer.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
        let refused = upgrade.agree(&["portforward.k8s.io"], None).err().unwrap();
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["x-accepted-stream-protocol-versions"]),
            (403, &HeaderValue::from_static("portforward.k8s.io"))
        );
    }
}

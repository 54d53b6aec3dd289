//! One HTTP/2 connection over TLS, with a bearer token.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Failure;

/// A connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    /// Of every request: made once, since this end must not be what is measured.
    headers: HeaderMap,
}

impl Connection {
    pub async fn open(address: &str, host: &str, tls: Arc<rustls::ClientConfig>, token: Option<String>) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(tls).connect(ServerName::try_from(host.to_owned())?, stream).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(4 << 20).initial_connection_window_size(64 << 20).max_frame_size(1 << 18);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // its end is seen by those who use it
            let _ = connection.await;
        });
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::from_iter([(ACCEPT, json.clone()), (CONTENT_TYPE, json)]);
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse()?);
        }
        Ok(Self { sender, host: address.to_owned(), headers })
    }

    /// Sends a request; the answer's body is the caller's to read.
    pub async fn open_stream(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = format!("https://{}{path}", self.host).try_into()?;
        request.headers_mut().clone_from(&self.headers);
        let mut sender = self.sender.clone();
        sender.ready().await?;
        Ok(sender.send_request(request).await?)
    }

    /// Sends a request and reads the answer; an answer that is no success is a failure.
    pub async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let response = self.open_stream(method, path, body).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() || status == StatusCode::NO_CONTENT {
            return Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(body)
    }

    pub async fn get(&self, path: &str) -> Result<Bytes, Failure> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// Reads an answer and counts its bytes.
    pub async fn count(&self, path: &str) -> Result<usize, Failure> {
        let mut body = self.open_stream(Method::GET, path, Bytes::new()).await?.into_body();
        let mut count = 0;
        while let Some(frame) = body.frame().await {
            count += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(count)
    }

    pub async fn post(&self, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        self.send(Method::POST, path, body).await
    }
}

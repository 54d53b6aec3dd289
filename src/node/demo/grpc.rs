//! `grpc.health.v1.Health/Check` of the demo web server, over HTTP/2 without TLS.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::TcpListener;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// Serves until the process ends.
pub(super) fn serve(listener: TcpListener, healthy: impl Fn() -> bool + Clone + Send + 'static) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let healthy = healthy.clone();
            let service = service_fn(move |request: http::Request<_>| ready(Ok::<_, Infallible>(answer(request.uri().path(), healthy()))));
            tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
        }
    })
}

/// The answer to a call, its status in the trailers.
fn answer(path: &str, healthy: bool) -> Response<impl Body<Data = Bytes, Error = Infallible> + Send + use<>> {
    let (frame, status) = match path {
        // a frame of two bytes: HealthCheckResponse { status: SERVING or NOT_SERVING }
        "/grpc.health.v1.Health/Check" => (vec![0, 0, 0, 0, 2, 0x08, if healthy { 1 } else { 2 }], "0"),
        _ => (Vec::new(), "12"),
    };
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static(status))]);
    let mut answer = Response::new(Full::new(Bytes::from(frame)).with_trailers(ready(Some(Ok(trailers)))));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    answer
}

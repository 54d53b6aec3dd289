//! Calls to the running cluster's control paths.

use coracle_cluster::CONTROL_PATH;
use serde_json::Value;

use super::arguments::Global;
use super::failure::Failure;
use super::home;

/// A client of the cluster that runs on the data directory.
pub(crate) async fn running(global: &Global) -> Result<kube::Client, Failure> {
    let directory = home::data_directory(global)?;
    if directory.holder().is_none() {
        return Err(Failure::plain(format!("no cluster is running on {}", directory.path().display()))
            .hint("start one with `coracle up`, or with the terminal UI: `coracle`"));
    }
    let remote = coracle_client::from_kubeconfig(Some(&directory.kubeconfig()), Some("coracle")).await.map_err(Failure::of)?;
    Ok(remote.client)
}

/// Makes a call; `path` is below the control path.
pub(crate) async fn call(client: &kube::Client, method: &str, path: &str, body: Vec<u8>) -> Result<Value, Failure> {
    let uri = format!("{CONTROL_PATH}{path}");
    let request =
        http::Request::builder().method(method).uri(&uri).header("content-type", "application/json").body(kube::client::Body::from(body));
    let request = request.map_err(|error| Failure::new(format!("the call {method} {uri}"), error))?;
    let failed = |error: &dyn std::error::Error| Failure::plain(format!("the cluster did not answer {method} {uri}: {error}"));
    let answer = client.send(request).await.map_err(|error| failed(&error))?;
    let status = answer.status();
    let bytes = answer.into_body().collect_bytes().await.map_err(|error| failed(&error))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
    if status.is_success() {
        return Ok(value);
    }
    Err(Failure::plain(value["message"].as_str().unwrap_or("the cluster refused").to_owned()))
}

/// A byte of a query value.
pub(crate) fn encoded(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    }
}

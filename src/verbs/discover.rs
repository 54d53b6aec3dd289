//! What kinds a server knows.

use serde_json::Value;

use crate::call::Call;
use crate::fault::Fault;
use crate::kinds::{Kind, aggregated, plain};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// Asks for the aggregated form and falls back to the plain one.
///
/// # Errors
/// Why the server could not be asked. A group that does not answer is left out.
pub async fn discover(client: &kube::Client) -> Result<Vec<Kind>, Fault> {
    let ask = |path: &str| Call { accept: AGGREGATED, ..Call::get(path) };
    let (core, groups) = (ask("/api"), ask("/apis"));
    let (core, groups) = futures::join!(core.send(client), groups.send(client));
    let (core, groups) = (core?, groups?);
    let mut kinds = Vec::new();
    match is_aggregated(&core) {
        true => kinds.extend(aggregated(&core)),
        false => kinds.extend(plain(&Call::get("/api/v1").send(client).await?)),
    }
    if is_aggregated(&groups) {
        kinds.extend(aggregated(&groups));
        return Ok(kinds);
    }
    for group in groups.get("groups").and_then(Value::as_array).into_iter().flatten() {
        let Some(version) = group.pointer("/preferredVersion/groupVersion").and_then(Value::as_str) else { continue };
        if let Ok(answer) = Call::get(format!("/apis/{version}")).send(client).await {
            kinds.extend(plain(&answer));
        }
    }
    Ok(kinds)
}

fn is_aggregated(answer: &Value) -> bool {
    answer.get("kind").and_then(Value::as_str) == Some("APIGroupDiscoveryList")
}

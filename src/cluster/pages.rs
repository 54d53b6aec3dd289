//! What the start took and a running cluster does not need is given back.

use std::time::Duration;

/// How long after its start a cluster has settled.
const SETTLED: Duration = Duration::from_secs(5);

/// Lets go of the program's code once the cluster has settled: most of what is mapped by then only ran to start it.
pub(crate) async fn give_back() {
    tokio::time::sleep(SETTLED).await;
    if let Err(error) = tokio::task::spawn_blocking(coracle_node::shim::unmap_files).await {
        tracing::debug!(%error, "the code of the start stays mapped");
    }
}

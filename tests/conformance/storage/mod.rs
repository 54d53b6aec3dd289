//! Rows of `[sig-storage]`.

mod directories;
mod files;
mod kinds;
mod persistent;
mod updates;

use serde_json::{Value, json};

use super::here::Here;
use super::pods;

/// A pod that runs a script to its end.
fn pod(name: &str, volumes: &Value, mounts: &Value, script: &str) -> Value {
    pods::pod(name, script, json!({"volumes": volumes}), json!({"volumeMounts": mounts}))
}

/// A config map `map` and a secret `secret` of the same data.
async fn objects(here: &Here) {
    let data = json!({"data-1": "value-1", "data-2": "value-2"});
    let map = json!({"metadata": {"name": "map"}, "data": data, "binaryData": {"binary": "3q0="}});
    here.post(&here.path("v1", "configmaps"), &map).await.ok();
    here.post(&here.path("v1", "secrets"), &json!({"metadata": {"name": "secret"}, "stringData": data})).await.ok();
}

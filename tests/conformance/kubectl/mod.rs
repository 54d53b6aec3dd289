//! Every verb and generator of `kubectl`, the oldest and the newest of this machine.

mod apply;
mod change;
mod create;
mod look;

use serde_json::Value;

use super::harness::{Need, kubectl};
use super::here::{Here, row};

/// Runs a story with the oldest and the newest `kubectl`, each in a namespace of its own.
fn with_each(name: &str, needs: &[Need], story: impl AsyncFn(&Here) + Send + Clone + 'static) {
    let programs = kubectl::programs();
    let mut chosen: Vec<_> = programs.first().into_iter().chain(programs.last()).collect();
    chosen.dedup();
    if chosen.is_empty() {
        return row(name, &[Need::Kubectl], async |_| {});
    }
    for program in chosen {
        let version = program.extension().and_then(|minor| minor.to_str()).unwrap_or_default();
        let story = story.clone();
        row(&format!("{name} {version}"), needs, async move |here| story(&here.with_kubectl(program)).await);
    }
}

/// An object as kubectl shows it.
fn shown(here: &Here, what: &str) -> Value {
    let text = here.kubectl(&["get", what, "-o", "json"]).ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

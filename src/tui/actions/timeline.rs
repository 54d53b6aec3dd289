//! The timeline of the object under the cursor and of all that belongs to it, live.

use std::time::Duration;

use serde_json::Value;

use super::object::target;
use crate::app::App;
use crate::kinds::{Kinds, Target};
use crate::source::call::Call;
use crate::source::fault::{Fault, FaultKind};
use crate::source::graph::{Object, gather};
use crate::source::observe::{Seen, observe, path_of};
use crate::source::timeline::{Lane, lanes};
use crate::source::work::{Outside, work};
use crate::views::timeline::{TimelineView, Told};

/// The timeline of the object under the cursor.
pub fn show(app: &mut App) {
    let Some(target) = target(app) else { return };
    let about = target.clone();
    app.push(Box::new(TimelineView::new(about, move |shared| {
        let (kinds, target) = (shared.kinds.clone(), target.clone());
        work(move |outside| follow(outside, kinds, target))
    })));
}

/// Shows less of the past, or all of it.
pub fn zoom(app: &mut App) {
    app.with(TimelineView::zoom);
}

async fn follow(outside: Outside, kinds: Kinds, target: Target) {
    let Ok(client) = outside.client() else { return };
    let namespace = Some(target.namespace.clone()).filter(|namespace| !namespace.is_empty());
    let place = namespace.as_ref().map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
    // pods change when anything below the object does
    let paths = [path_of(&target), format!("/api/v1{place}/pods"), format!("/api/v1{place}/events")];
    let watching = futures::future::join_all(paths.into_iter().enumerate().map(|(index, path)| {
        let sender = sender.clone();
        observe(client.clone(), path, move |seen| sender.send((index, seen)).is_ok())
    }));
    let telling = async {
        let mut heard = [false; 3];
        let mut events: Vec<Value> = Vec::new();
        while let Some(first) = changes.recv().await {
            for (index, seen) in std::iter::once(first).chain(std::iter::from_fn(|| changes.try_recv().ok())) {
                heard[index] = true;
                match seen {
                    Seen::Now(found) if index == 2 => events = found.into_values().collect(),
                    Seen::Now(_) => {}
                    Seen::Lost(fault) if fault.is_connection() => drop(outside.told(Told::Err(fault))),
                    // events that may not be read are not in the lanes
                    Seen::Lost(_) => {}
                }
            }
            if heard != [true; 3] {
                continue;
            }
            if !outside.told(drawn_up(&outside, &kinds, &target, namespace.as_deref(), &events).await) {
                return;
            }
            // at most twice a second
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        _ = watching => {}
        () = telling => {}
    }
}

async fn drawn_up(
    outside: &Outside,
    kinds: &Kinds,
    target: &Target,
    namespace: Option<&str>,
    events: &[Value],
) -> Result<Option<Vec<Lane>>, Fault> {
    let value = match outside.ask(Call::read(target)).await {
        Ok(value) => value,
        Err(fault) if fault.kind == FaultKind::NotFound => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let all = gather(outside, kinds, namespace).await?;
    Ok(Some(lanes(&Object { target: target.clone(), value }, &all, events)))
}

//! Events are forgotten an hour after they were last written.

use std::time::Duration;

use coracle_api::identity::Identity;
use coracle_client::is_not_found;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Preconditions};

use crate::Context;
use crate::wiring::{Run, name_of, namespace_of};

const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// Between two looks, at least.
const PAUSE: Duration = Duration::from_secs(60);
const AFTER_FAILURE: Duration = Duration::from_secs(30);
const PAGE: u32 = 500;

/// The server's own upkeep; upstream's server does it itself, so there is no service account for it.
pub(crate) async fn run(context: Context) -> Run {
    let client = context.clients.as_identity(Identity::new("system:coracle:event-expiry", &["system:masters"]));
    loop {
        let now = context.clock.now();
        let pause = match expire(&client, now).await {
            Ok(next) => Duration::try_from(next.duration_since(now)).unwrap_or_default().max(PAUSE),
            Err(error) => {
                tracing::debug!(%error, "events were not expired");
                AFTER_FAILURE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Deletes what is too old, page by page; answers when the next event will be. An event written meanwhile lives an hour.
async fn expire(client: &kube::Client, now: Timestamp) -> Result<Timestamp, kube::Error> {
    let api = Api::<Event>::all(client.clone());
    let mut page = ListParams::default().limit(PAGE);
    let mut next = now + LIFETIME;
    loop {
        let events = api.list(&page).await?;
        for event in &events.items {
            let ends = last_written(event).map_or(now, |written| written + LIFETIME);
            if ends > now {
                next = next.min(ends);
            } else {
                delete(client, event).await?;
            }
        }
        match events.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(next),
        }
    }
}

/// One that is counted again meanwhile stays.
async fn delete(client: &kube::Client, event: &Event) -> Result<(), kube::Error> {
    let unchanged = Preconditions { uid: event.metadata.uid.clone(), resource_version: event.metadata.resource_version.clone() };
    let parameters = DeleteParams { preconditions: Some(unchanged), ..DeleteParams::default() };
    match Api::<Event>::namespaced(client.clone(), namespace_of(event)).delete(name_of(event), &parameters).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) if !is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

/// When the event was last counted, or made.
fn last_written(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let made = event.metadata.creation_timestamp.as_ref().map(|time| time.0);
    [series, last, made].into_iter().flatten().max()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_count_is_what_counts() {
        let event: Event = serde_json::from_value(json!({"involvedObject": {}, "lastTimestamp": "2024-01-01T02:00:00Z",
            "metadata": {"creationTimestamp": "2024-01-01T01:00:00Z"}}))
        .unwrap();
        assert_eq!(last_written(&event).unwrap().to_string(), "2024-01-01T02:00:00Z");
    }
}

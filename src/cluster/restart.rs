//! Workloads are restarted when an image they use was made anew under the same name: no manifest changes then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_node::runtime::{Image, Runtime};
use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// How often the runtimes are asked for their images.
const PERIOD: Duration = Duration::from_secs(2);

/// Restarts the users of images that change, until this is aborted.
pub(crate) async fn follow(client: Client, runtimes: Vec<Arc<dyn Runtime>>) {
    let mut known: Option<HashMap<String, String>> = None;
    loop {
        let mut now = HashMap::new();
        let mut complete = true;
        for runtime in &runtimes {
            match runtime.images().await {
                Ok(images) => now.extend(by_name(&images)),
                Err(error) => {
                    tracing::debug!(%error, "the images are not known");
                    complete = false;
                }
            }
        }
        if complete {
            let changed = known.as_ref().map(|known| changed(known, &now)).unwrap_or_default();
            match restart(&client, &changed).await {
                Ok(()) => known = Some(now),
                // the same change is found again
                Err(error) => tracing::warn!(%error, ?changed, "not all users of new images were restarted"),
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

fn by_name(images: &[Image]) -> impl Iterator<Item = (String, String)> + '_ {
    images.iter().flat_map(|image| image.tags.iter().map(|tag| (full_name(tag), image.id.clone())))
}

/// Names that lead to another image than before.
fn changed(before: &HashMap<String, String>, now: &HashMap<String, String>) -> Vec<String> {
    now.iter().filter(|(name, id)| before.get(*name).is_some_and(|known| known != *id)).map(|(name, _)| name.clone()).collect()
}

/// An image's name with its tag, without the registry that is meant where none is named.
fn full_name(name: &str) -> String {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

async fn restart(client: &Client, names: &[String]) -> Result<(), kube::Error> {
    if names.is_empty() {
        return Ok(());
    }
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind));
        let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        for workload in all.list(&ListParams::default()).await?.items.iter().filter(|workload| uses(&workload.data, names)) {
            let (name, namespace) = (workload.metadata.name.as_deref(), workload.metadata.namespace.as_deref());
            let (name, namespace) = (name.unwrap_or_default(), namespace.unwrap_or_default());
            let annotations = json!({"kubectl.kubernetes.io/restartedAt": coracle_api::time::seconds(Timestamp::now())});
            let patch = Patch::Merge(json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}));
            let own: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
            match own.patch(name, &PatchParams::default(), &patch).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                patched => drop(patched?),
            }
            tracing::info!(kind, namespace, name, "restarted: its image is a new one");
        }
    }
    Ok(())
}

fn uses(workload: &Value, names: &[String]) -> bool {
    let containers = ["containers", "initContainers"].map(|list| workload.pointer(&format!("/spec/template/spec/{list}")));
    let mut images = containers.into_iter().flatten().filter_map(Value::as_array).flatten().filter_map(|one| one["image"].as_str());
    images.any(|image| names.contains(&full_name(image)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_elsewhere_is_a_change() {
        let images = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, id)| (full_name(name), (*id).to_owned())).collect::<HashMap<_, _>>();
        let before = images(&[("a", "1"), ("docker.io/library/b:2", "1"), ("gone", "1")]);
        let now = images(&[("a:latest", "1"), ("b:2", "2"), ("new", "1")]);
        assert_eq!(changed(&before, &now), ["b:2"]);
        let workload = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"image": image}]}}}});
        assert!(uses(&workload("docker.io/library/b:2"), &["b:2".to_owned()]));
        assert!(!uses(&workload("b:3"), &["b:2".to_owned()]));
        assert!(uses(&workload("registry.example:5000/c"), &["registry.example:5000/c:latest".to_owned()]));
    }
}

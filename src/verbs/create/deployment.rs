//! A deployment.

use serde_json::{Value, json};

use crate::making::object;

/// The last part of an image's name, as kubectl calls its container.
fn container_name(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split([':', '@']).next().unwrap_or(name).replace(['_', '.'], "-")
}

pub(super) fn of(name: &str, images: &[String], replicas: u32, port: Option<u16>, command: &[String]) -> Value {
    let container = |image: &String| {
        let mut container = json!({"name": container_name(image), "image": image, "resources": {}});
        if let Some(port) = port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        if !command.is_empty() {
            container["command"] = json!(command);
        }
        container
    };
    let containers: Vec<Value> = images.iter().map(container).collect();
    let labels = json!({"app": name});
    let spec = json!({
        "replicas": replicas, "selector": {"matchLabels": labels}, "strategy": {},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
    });
    let mut deployment = object("apps/v1", "Deployment", name, json!({"spec": spec, "status": {}}));
    deployment["metadata"]["labels"] = labels;
    deployment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_called_after_their_image() {
        for (image, name) in [("registry.example/a/kubia:1.0", "kubia"), ("nginx", "nginx"), ("a/my_app@sha256:00", "my-app")] {
            assert_eq!(container_name(image), name);
        }
    }
}

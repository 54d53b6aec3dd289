//! Pods without room for more: there are more of them than of all else, and a list of one is decoded with room for four.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus, Volume};

/// Takes from a pod the memory that its lists have to spare.
pub(crate) fn compact(pod: &mut Pod) {
    tight(&mut pod.metadata.finalizers);
    tight(&mut pod.metadata.owner_references);
    if let Some(spec) = &mut pod.spec {
        compact_spec(spec);
    }
    if let Some(status) = &mut pod.status {
        compact_status(status);
    }
}

fn compact_spec(spec: &mut PodSpec) {
    spec.containers.shrink_to_fit();
    spec.containers.iter_mut().for_each(compact_container);
    each(&mut spec.init_containers, compact_container);
    each(&mut spec.volumes, compact_volume);
    tight(&mut spec.tolerations);
    tight(&mut spec.readiness_gates);
    tight(&mut spec.image_pull_secrets);
    tight(&mut spec.topology_spread_constraints);
}

fn compact_container(container: &mut Container) {
    tight(&mut container.args);
    tight(&mut container.command);
    tight(&mut container.env);
    tight(&mut container.ports);
    tight(&mut container.volume_mounts);
}

fn compact_volume(volume: &mut Volume) {
    each(volume.projected.as_mut().map_or(&mut None, |projected| &mut projected.sources), |source| {
        tight(source.config_map.as_mut().map_or(&mut None, |map| &mut map.items));
        tight(source.downward_api.as_mut().map_or(&mut None, |fields| &mut fields.items));
    });
}

fn compact_status(status: &mut PodStatus) {
    tight(&mut status.conditions);
    tight(&mut status.host_ips);
    tight(&mut status.pod_ips);
    each(&mut status.container_statuses, compact_container_status);
    each(&mut status.init_container_statuses, compact_container_status);
}

fn compact_container_status(status: &mut ContainerStatus) {
    tight(&mut status.volume_mounts);
}

fn tight<T>(list: &mut Option<Vec<T>>) {
    each(list, |_| {});
}

fn each<T>(list: &mut Option<Vec<T>>, act: impl FnMut(&mut T)) {
    if let Some(list) = list {
        list.shrink_to_fit();
        list.iter_mut().for_each(act);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_compact_pod_is_the_same_pod() {
        let text = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "finalizers": ["a/b"],
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}]},
            "spec": {
                "containers": [{"name": "c", "args": ["a"], "command": ["b"], "env": [{"name": "E"}], "ports": [{"containerPort": 1}],
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
                "initContainers": [{"name": "i", "args": ["a"]}],
                "tolerations": [{"operator": "Exists"}],
                "volumes": [{"name": "v", "projected": {"sources": [
                    {"configMap": {"name": "m", "items": [{"key": "k", "path": "p"}]}},
                    {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}],
            },
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "hostIPs": [{"ip": "10.0.0.1"}], "podIPs": [{"ip": "10.0.0.2"}],
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
        })
        .to_string();
        let decoded: Pod = serde_json::from_str(&text).unwrap();
        let mut pod: Pod = serde_json::from_str(&text).unwrap();
        assert!(decoded.spec.as_ref().unwrap().tolerations.as_ref().unwrap().capacity() > 1, "decoding leaves no room any more");
        compact(&mut pod);
        assert_eq!(pod, decoded);
        let Pod { metadata, spec: Some(spec), status: Some(status) } = &pod else { panic!("{pod:?}") };
        let container = &spec.containers[0];
        let sources = spec.volumes.as_ref().unwrap()[0].projected.as_ref().unwrap().sources.as_ref().unwrap();
        let statuses = status.container_statuses.as_ref().unwrap();
        let capacities = [
            metadata.finalizers.as_ref().unwrap().capacity(),
            metadata.owner_references.as_ref().unwrap().capacity(),
            spec.containers.capacity(),
            spec.init_containers.as_ref().unwrap().capacity(),
            spec.tolerations.as_ref().unwrap().capacity(),
            spec.volumes.as_ref().unwrap().capacity(),
            container.args.as_ref().unwrap().capacity(),
            container.command.as_ref().unwrap().capacity(),
            container.env.as_ref().unwrap().capacity(),
            container.ports.as_ref().unwrap().capacity(),
            container.volume_mounts.as_ref().unwrap().capacity(),
            sources[0].config_map.as_ref().unwrap().items.as_ref().unwrap().capacity(),
            sources[1].downward_api.as_ref().unwrap().items.as_ref().unwrap().capacity(),
            status.conditions.as_ref().unwrap().capacity(),
            status.host_ips.as_ref().unwrap().capacity(),
            status.pod_ips.as_ref().unwrap().capacity(),
            statuses.capacity(),
            statuses[0].volume_mounts.as_ref().unwrap().capacity(),
        ];
        assert_eq!(capacities, [1; 18]);
        assert_eq!(sources.capacity(), 2);
    }
}

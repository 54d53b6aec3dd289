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
                "imagePullSecrets": [{"name": "s"}], "readinessGates": [{"conditionType": "a/b"}], "tolerations": [{"operator": "Exists"}],
                "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "DoNotSchedule"}],
                "volumes": [{"name": "v", "projected": {"sources": [
                    {"configMap": {"name": "m", "items": [{"key": "k", "path": "p"}]}},
                    {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}],
            },
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "hostIPs": [{"ip": "10.0.0.1"}], "podIPs": [{"ip": "10.0.0.2"}],
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
                "initContainerStatuses": [{"name": "i", "image": "i", "imageID": "", "ready": true, "restartCount": 0}]},
        });
        let decoded: Pod = serde_json::from_str(&text.to_string()).unwrap();
        let mut pod: Pod = serde_json::from_str(&text.to_string()).unwrap();
        assert!(spare(&decoded) > 30, "decoding leaves no room any more: {}", spare(&decoded));
        compact(&mut pod);
        assert_eq!((spare(&pod), &pod), (0, &decoded));
    }

    /// How many more items the lists of a pod have room for.
    fn spare(pod: &Pod) -> usize {
        fn of<T>(list: Option<&Vec<T>>) -> usize {
            list.map_or(0, |list| list.capacity() - list.len())
        }
        let (spec, status) = (pod.spec.as_ref().unwrap(), pod.status.as_ref().unwrap());
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let statuses = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let sources: Vec<_> = spec.volumes.iter().flatten().filter_map(|volume| volume.projected.as_ref()).collect();
        let inside = sources.iter().flat_map(|projected| projected.sources.iter().flatten());
        [
            of(pod.metadata.finalizers.as_ref()),
            of(pod.metadata.owner_references.as_ref()),
            of(Some(&spec.containers)),
            of(spec.init_containers.as_ref()),
            of(spec.image_pull_secrets.as_ref()),
            of(spec.readiness_gates.as_ref()),
            of(spec.tolerations.as_ref()),
            of(spec.topology_spread_constraints.as_ref()),
            of(spec.volumes.as_ref()),
            of(status.conditions.as_ref()),
            of(status.host_ips.as_ref()),
            of(status.pod_ips.as_ref()),
            of(status.container_statuses.as_ref()),
            of(status.init_container_statuses.as_ref()),
        ]
        .into_iter()
        .chain(containers.map(|container| {
            of(container.args.as_ref())
                + of(container.command.as_ref())
                + of(container.env.as_ref())
                + of(container.ports.as_ref())
                + of(container.volume_mounts.as_ref())
        }))
        .chain(statuses.map(|status| of(status.volume_mounts.as_ref())))
        .chain(sources.iter().map(|projected| of(projected.sources.as_ref())))
        .chain(inside.map(|source| {
            of(source.config_map.as_ref().and_then(|map| map.items.as_ref()))
                + of(source.downward_api.as_ref().and_then(|fields| fields.items.as_ref()))
        }))
        .sum()
    }
}

"""What programs do with the client library for Python: list, watch, patch, exec, custom objects."""
import sys

from kubernetes import client, config, watch
from kubernetes.stream import stream

namespace, image = sys.argv[1:]
config.load_kube_config()
core, apps, custom = client.CoreV1Api(), client.AppsV1Api(), client.CustomObjectsApi()

# Objects of many kinds are read into their classes.
assert {"default", "kube-system"} <= {item.metadata.name for item in core.list_namespace().items}
assert client.VersionApi().get_code().major == "1"
assert any(group.name == "apps" for group in client.ApisApi().get_api_versions().groups)

# Conflicts and faults come as exceptions that say why.
try:
    core.read_namespaced_config_map("none", namespace)
    raise SystemExit("found what is not there")
except client.ApiException as error:
    assert error.status == 404 and "not found" in error.body

metadata = client.V1ObjectMeta(name="settings", labels={"made-by": "python"})
core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=metadata, data={"k": "v"}))
patched = core.patch_namespaced_config_map("settings", namespace, {"data": {"more": "w"}})
assert patched.data == {"k": "v", "more": "w"}

# A watch from a list on sees each change once.
listed = core.list_namespaced_config_map(namespace, label_selector="made-by=python")
assert [item.metadata.name for item in listed.items] == ["settings"]
core.delete_namespaced_config_map("settings", namespace)
version = listed.metadata.resource_version
for event in watch.Watch().stream(
    core.list_namespaced_config_map, namespace, label_selector="made-by=python", resource_version=version, timeout_seconds=60
):
    assert (event["type"], event["object"].metadata.name) == ("DELETED", "settings")
    break

# A deployment is scaled.
labels = {"app": "python"}
template = client.V1PodTemplateSpec(
    metadata=client.V1ObjectMeta(labels=labels),
    spec=client.V1PodSpec(
        containers=[client.V1Container(name="c", image=image, ports=[client.V1ContainerPort(container_port=8080)])],
        termination_grace_period_seconds=0,
    ),
)
spec = client.V1DeploymentSpec(replicas=1, selector=client.V1LabelSelector(match_labels=labels), template=template)
apps.create_namespaced_deployment(namespace, client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec))
scale = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 2}})
assert scale.spec.replicas == 2

# Its pods are watched until one runs; a command runs in it.
running = None
for event in watch.Watch().stream(core.list_namespaced_pod, namespace, label_selector="app=python", timeout_seconds=120):
    if event["object"].status.phase == "Running":
        running = event["object"].metadata.name
        break
assert running, "no pod ran"
said = stream(
    core.connect_get_namespaced_pod_exec, running, namespace, command=["sh", "-c", "echo out; echo err >&2"],
    stdin=False, stdout=True, stderr=True, tty=False,
)
assert sorted(said.split()) == ["err", "out"], said
assert core.connect_get_namespaced_pod_proxy_with_path(f"{running}:8080", namespace, "healthz") is not None

# Custom objects have no class: they are dictionaries.
group, plural = f"{namespace}.example.com", "boats"
schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
client.ApiextensionsV1Api().create_custom_resource_definition({
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{group}"},
    "spec": {
        "group": group, "scope": "Namespaced", "names": {"plural": plural, "singular": "boat", "kind": "Boat"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
    },
})
definitions = watch.Watch().stream(client.ApiextensionsV1Api().list_custom_resource_definition, timeout_seconds=60)
for event in definitions:
    conditions = event["object"].status.conditions or []
    if event["object"].metadata.name == f"{plural}.{group}" and any(c.type == "Established" and c.status == "True" for c in conditions):
        break
boat = {"apiVersion": f"{group}/v1", "kind": "Boat", "metadata": {"name": "coracle"}, "spec": {"seats": 1}}
custom.create_namespaced_custom_object(group, "v1", namespace, plural, boat)
custom.patch_namespaced_custom_object(group, "v1", namespace, plural, "coracle", {"spec": {"seats": 2}})
fleet = custom.list_namespaced_custom_object(group, "v1", namespace, plural)
assert [item["spec"]["seats"] for item in fleet["items"]] == [2]
for event in watch.Watch().stream(custom.list_namespaced_custom_object, group, "v1", namespace, plural, timeout_seconds=60):
    assert event["object"]["spec"]["seats"] == 2
    break
client.ApiextensionsV1Api().delete_custom_resource_definition(f"{plural}.{group}")

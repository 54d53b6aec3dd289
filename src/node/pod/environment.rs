//! A container's environment: what the pod sets, what config maps and secrets give, and the addresses of services.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret, Service};

use super::expand::expand;
use super::fields::{Facts, field, resource};
use super::{namespace, spec};

/// Config maps and secrets that a container names; `None`: looked for, not there.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    pub(crate) config_maps: BTreeMap<String, Option<Arc<ConfigMap>>>,
    pub(crate) secrets: BTreeMap<String, Option<Arc<Secret>>>,
}

/// Names of config maps and of secrets that the container's environment needs.
pub(crate) fn references(container: &Container) -> (Vec<String>, Vec<String>) {
    let (mut config_maps, mut secrets) = (Vec::new(), Vec::new());
    for from in container.env_from.iter().flatten() {
        config_maps.extend(from.config_map_ref.iter().map(|source| source.name.clone()));
        secrets.extend(from.secret_ref.iter().map(|source| source.name.clone()));
    }
    for from in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        config_maps.extend(from.config_map_key_ref.iter().map(|source| source.name.clone()));
        secrets.extend(from.secret_key_ref.iter().map(|source| source.name.clone()));
    }
    (config_maps, secrets)
}

/// Variables in order, later ones replacing earlier ones.
#[derive(Debug, Default)]
struct Variables {
    order: Vec<(String, String)>,
    index: HashMap<String, usize>,
}

impl Variables {
    fn set(&mut self, name: &str, value: String) {
        if let Some(&at) = self.index.get(name) {
            self.order[at].1 = value;
        } else {
            self.index.insert(name.to_owned(), self.order.len());
            self.order.push((name.to_owned(), value));
        }
    }

    fn get(&self, name: &str) -> Option<&String> {
        self.index.get(name).map(|&at| &self.order[at].1)
    }
}

/// The environment that the pod gives a container; the error's text is what the container waits with.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    lookup: &Lookup,
    services: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, String> {
    let mut variables = Variables::default();
    from_sources(container, lookup, &mut variables)?;
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(text), _) if !text.is_empty() => expand(text, |name| variables.get(name).or_else(|| services.get(name)).cloned()),
            (_, Some(from)) => match value_from(pod, container, facts, lookup, from)? {
                Some(value) => value,
                None => continue,
            },
            _ => String::new(),
        };
        variables.set(&variable.name, value);
    }
    for (name, value) in services {
        if variables.get(name).is_none() {
            variables.set(name, value.clone());
        }
    }
    Ok(variables.order)
}

fn from_sources(container: &Container, lookup: &Lookup, variables: &mut Variables) -> Result<(), String> {
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(source) = &from.config_map_ref {
            match lookup.config_maps.get(&source.name).and_then(Option::as_ref) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        variables.set(&format!("{prefix}{key}"), value.clone());
                    }
                }
                None if source.optional == Some(true) => {}
                None => return Err(format!("configmap \"{}\" not found", source.name)),
            }
        }
        if let Some(source) = &from.secret_ref {
            match lookup.secrets.get(&source.name).and_then(Option::as_ref) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        variables.set(&format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
                    }
                }
                None if source.optional == Some(true) => {}
                None => return Err(format!("secret \"{}\" not found", source.name)),
            }
        }
    }
    Ok(())
}

fn value_from(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    lookup: &Lookup,
    from: &k8s_openapi::api::core::v1::EnvVarSource,
) -> Result<Option<String>, String> {
    if let Some(selector) = &from.field_ref {
        return field(pod, facts, selector).map(Some).ok_or_else(|| format!("unsupported fieldPath: {}", selector.field_path));
    }
    if let Some(selector) = &from.resource_field_ref {
        return resource(pod, facts, Some(container), selector)
            .map(Some)
            .ok_or_else(|| format!("unsupported container resource : {}", selector.resource));
    }
    if let Some(key) = &from.config_map_key_ref {
        let optional = key.optional == Some(true);
        let Some(map) = lookup.config_maps.get(&key.name).and_then(Option::as_ref) else {
            return if optional { Ok(None) } else { Err(format!("configmap \"{}\" not found", key.name)) };
        };
        return match map.data.as_ref().and_then(|data| data.get(&key.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {} in ConfigMap {}/{}", key.key, namespace(pod), key.name)),
        };
    }
    if let Some(key) = &from.secret_key_ref {
        let optional = key.optional == Some(true);
        let Some(secret) = lookup.secrets.get(&key.name).and_then(Option::as_ref) else {
            return if optional { Ok(None) } else { Err(format!("secret \"{}\" not found", key.name)) };
        };
        return match secret.data.as_ref().and_then(|data| data.get(&key.key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {} in Secret {}/{}", key.key, namespace(pod), key.name)),
        };
    }
    Ok(None)
}

/// Variables that name the services a pod sees: those of its namespace (with `enableServiceLinks`) and the API server's.
pub(crate) fn service_variables(pod: &Pod, services: &[Arc<Service>]) -> BTreeMap<String, String> {
    let links = spec(pod).enable_service_links.unwrap_or(true);
    let mut out = BTreeMap::new();
    // The API server's last: it wins over a service of the same name in the pod's namespace only when links are off.
    let is_api = |service: &Service| {
        service.metadata.name.as_deref() == Some("kubernetes") && service.metadata.namespace.as_deref() == Some("default")
    };
    for service in services.iter().filter(|service| is_api(service)) {
        variables_of(service, &mut out);
    }
    if links {
        for service in services.iter().filter(|service| service.metadata.namespace.as_deref() == Some(namespace(pod))) {
            variables_of(service, &mut out);
        }
    }
    out
}

fn variables_of(service: &Service, out: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let Some(address) = spec.cluster_ip.as_deref().filter(|address| !address.is_empty() && *address != "None") else { return };
    let Some(ports) = spec.ports.as_ref().filter(|ports| !ports.is_empty()) else { return };
    let upper = |text: &str| text.to_uppercase().replace('-', "_");
    let prefix = upper(service.metadata.name.as_deref().unwrap_or_default());
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    out.insert(format!("{prefix}_SERVICE_HOST"), address.to_owned());
    out.insert(format!("{prefix}_SERVICE_PORT"), ports[0].port.to_string());
    for (index, port) in ports.iter().enumerate() {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            out.insert(format!("{prefix}_SERVICE_PORT_{}", upper(name)), port.port.to_string());
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            out.insert(format!("{prefix}_PORT"), url.clone());
        }
        let one = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        out.insert(one.clone(), url);
        out.insert(format!("{one}_PROTO"), protocol.to_lowercase());
        out.insert(format!("{one}_PORT"), port.port.to_string());
        out.insert(format!("{one}_ADDR"), address.to_owned());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn container(value: serde_json::Value) -> Container {
        let mut value = value;
        value["name"] = json!("c");
        serde_json::from_value(value).unwrap()
    }

    fn pod() -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"containers": []}})).unwrap()
    }

    fn lookup() -> Lookup {
        let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "x"}, "data": {"a": "1", "b": "2"}})).unwrap();
        let secret: Secret = serde_json::from_value(json!({"metadata": {"name": "s"}, "data": {"k": "c2VjcmV0"}})).unwrap();
        Lookup {
            config_maps: BTreeMap::from([("x".into(), Some(Arc::new(map))), ("none".into(), None)]),
            secrets: BTreeMap::from([("s".into(), Some(Arc::new(secret))), ("none".into(), None)]),
        }
    }

    fn run(value: serde_json::Value) -> Result<String, String> {
        let services = BTreeMap::from([("WEB_SERVICE_HOST".to_owned(), "10.96.0.9".to_owned())]);
        environment(&pod(), &container(value), &Facts::default(), &lookup(), &services)
            .map(|list| list.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn order_expansion_and_sources() {
        let text = run(json!({
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "x"}}, {"secretRef": {"name": "s"}}],
            "env": [
                {"name": "A", "value": "one"},
                {"name": "B", "value": "$(A)-$(P_a)-$(WEB_SERVICE_HOST)-$(NONE)-$$(A)"},
                {"name": "P_b", "value": "mine"},
                {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "GONE", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "zz", "optional": true}}},
                {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
        }));
        let expected = "P_a=1 P_b=mine k=secret A=one B=one-1-10.96.0.9-$(NONE)-$(A) S=secret N=p WEB_SERVICE_HOST=10.96.0.9";
        assert_eq!(text.unwrap(), expected);
    }

    #[test]
    fn what_is_missing_is_named() {
        let key = json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "zz"}}}]});
        assert_eq!(run(key).unwrap_err(), "couldn't find key zz in ConfigMap ns/x");
        let map = json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "zz"}}}]});
        assert_eq!(run(map).unwrap_err(), "configmap \"none\" not found");
        let secret = json!({"envFrom": [{"secretRef": {"name": "none"}}]});
        assert_eq!(run(secret).unwrap_err(), "secret \"none\" not found");
    }

    #[test]
    fn services_are_variables() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "my-web", "namespace": "ns"},
            "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
        }))
        .unwrap();
        let headless: Service = serde_json::from_value(json!({
            "metadata": {"name": "h", "namespace": "ns"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]},
        }))
        .unwrap();
        let variables = service_variables(&pod(), &[Arc::new(service), Arc::new(headless)]);
        let text: Vec<_> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            text,
            [
                "MY_WEB_PORT=tcp://10.96.0.9:80",
                "MY_WEB_PORT_80_TCP=tcp://10.96.0.9:80",
                "MY_WEB_PORT_80_TCP_ADDR=10.96.0.9",
                "MY_WEB_PORT_80_TCP_PORT=80",
                "MY_WEB_PORT_80_TCP_PROTO=tcp",
                "MY_WEB_SERVICE_HOST=10.96.0.9",
                "MY_WEB_SERVICE_PORT=80",
                "MY_WEB_SERVICE_PORT_HTTP=80",
            ]
        );
    }
}

//! The APIs that figures come from: of resources, custom ones, external ones. Each is served by who registered it, or by
//! nobody; what goes wrong is told in the words of upstream's clients.

use k8s_openapi::api::autoscaling::v2::{CrossVersionObjectReference, MetricIdentifier};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{GroupVersionKind, Selector};
use serde_json::Value;

use super::metrics::{Sample, Usage, milli_of};
use crate::ownership::as_go_prints;

const CUSTOM: &str = "custom.metrics.k8s.io";
const EXTERNAL: &str = "external.metrics.k8s.io";
/// Versions of the custom metrics API that are understood.
const VERSIONS: [&str; 2] = ["v1beta2", "v1beta1"];
/// The reason that kube gives to an answer that is no status.
const NO_STATUS: &str = "Failed to parse error data";

pub(super) struct Sources(pub kube::Client);

impl Sources {
    /// What the pods use of a resource.
    pub(super) async fn usage(&self, namespace: &str, selector: &str, resource: &str) -> Result<Usage, String> {
        let unable = |error: &str| format!("unable to get metrics for resource {resource}: {error}");
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods{}", query(&[("labelSelector", selector)]));
        let items = self.items(&path, "get pods.metrics.k8s.io").await;
        let items = items.map_err(|error| unable(&format!("unable to fetch metrics from resource metrics API: {error}")))?;
        let usage: Usage = items.iter().filter_map(|pod| of_resource(pod, resource)).collect();
        if usage.is_empty() { Err(unable("no metrics returned from resource metrics API")) } else { Ok(usage) }
    }

    /// What a custom metric says of each of the pods.
    pub(super) async fn of_pods(&self, namespace: &str, selector: &str, metric: &MetricIdentifier) -> Result<Usage, String> {
        let unable = |error: &str| format!("unable to get metric {}: {error}", metric.name);
        let narrowed = [("labelSelector", selector), ("metricLabelSelector", &text_of(metric.selector.as_ref()))];
        let place = format!("{namespace}/pods/*/{}{}", escaped(&metric.name), query(&narrowed));
        let items = self.custom(&place, &format!("get pods.{CUSTOM} *")).await.map_err(|error| unable(&error))?;
        let usage: Usage = items.iter().filter_map(of_metric).collect();
        if usage.is_empty() { Err(unable("no metrics returned from custom metrics API")) } else { Ok(usage) }
    }

    /// Thousandths of what a custom metric says of an object.
    pub(super) async fn of_object(
        &self,
        namespace: &str,
        object: &CrossVersionObjectReference,
        metric: &MetricIdentifier,
    ) -> Result<i64, String> {
        // Upstream's text has the object and the error in this order.
        let unable =
            |error: String| format!("unable to get metric {}: {} on {namespace} {}/{error}", metric.name, object.kind, object.name);
        let (place, request) = self.place_of(namespace, object, metric).await.map_err(unable)?;
        let items = self.custom(&place, &request).await.map_err(unable)?;
        match items.as_slice() {
            [one] => Ok(milli_of(&one["value"])),
            several => {
                let count = several.len();
                let error = format!("the custom metrics API server returned {count} results when we asked for exactly one");
                Err(unable(format!("unable to fetch metrics from custom metrics API: {error}")))
            }
        }
    }

    /// Thousandths of the sum of an external metric's values.
    pub(super) async fn external(&self, namespace: &str, metric: &MetricIdentifier) -> Result<i64, String> {
        let (name, selector) = (&metric.name, metric.selector.as_ref());
        let unable = |error: String| format!("unable to get external metric {namespace}/{name}/{}: {error}", as_go_prints(selector));
        let narrowed = query(&[("labelSelector", &text_of(selector))]);
        let path = format!("/apis/{EXTERNAL}/v1beta1/namespaces/{namespace}/{}{narrowed}", escaped(name));
        let items = self.items(&path, &format!("get {name}.{EXTERNAL}")).await;
        let items = items.map_err(|error| unable(format!("unable to fetch metrics from external metrics API: {error}")))?;
        if items.is_empty() {
            return Err(unable("no metrics returned from external metrics API".to_owned()));
        }
        Ok(items.iter().map(|item| milli_of(&item["value"])).sum())
    }

    /// Where a metric of the object is asked for, and how errors call that.
    async fn place_of(
        &self,
        namespace: &str,
        object: &CrossVersionObjectReference,
        metric: &MetricIdentifier,
    ) -> Result<(String, String), String> {
        let version = object.api_version.as_deref().unwrap_or("v1");
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let end = format!("{}{}", escaped(&metric.name), query(&[("metricLabelSelector", &text_of(metric.selector.as_ref()))]));
        if group.is_empty() && object.kind == "Namespace" {
            // The namespace it is in, whatever its name: nobody looks into another one.
            return Ok((format!("{namespace}/metrics/{end}"), format!("get metrics.{CUSTOM} {}", metric.name)));
        }
        let kind = GroupVersionKind::gvk(group, version, &object.kind);
        let (resource, _) = kube::discovery::pinned_kind(&self.0, &kind).await.map_err(|_| {
            format!(
                "unable to fetch metrics from custom metrics API: unable to map kind {} to resource: {}",
                no_dot(&kind),
                no_match(&kind)
            )
        })?;
        let plural = if group.is_empty() { resource.plural } else { format!("{}.{group}", resource.plural) };
        Ok((format!("{namespace}/{plural}/{}/{end}", object.name), format!("get {plural}.{CUSTOM} {}", object.name)))
    }

    async fn custom(&self, place: &str, request: &str) -> Result<Vec<Value>, String> {
        let items = async {
            let version = self.custom_version().await?;
            self.items(&format!("/apis/{CUSTOM}/{version}/namespaces/{place}"), request).await
        };
        items.await.map_err(|error| format!("unable to fetch metrics from custom metrics API: {error}"))
    }

    /// The version the API prefers, if it is understood, or else one that is.
    async fn custom_version(&self) -> Result<String, String> {
        let group = match self.get(&format!("/apis/{CUSTOM}")).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Err(format!("no custom metrics API ({CUSTOM}) registered")),
            answer => answer.map_err(|error| said(error, &format!("get {CUSTOM}")))?,
        };
        let offered = group["versions"].as_array().into_iter().flatten();
        let names = std::iter::once(&group["preferredVersion"]).chain(offered).filter_map(|one| one["version"].as_str());
        let known = names.filter(|name| VERSIONS.contains(name)).map(str::to_owned).next();
        known.ok_or_else(|| "no known available metric versions found".to_owned())
    }

    async fn items(&self, path: &str, request: &str) -> Result<Vec<Value>, String> {
        let mut list = self.get(path).await.map_err(|error| said(error, request))?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Result<Value, kube::Error> {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.0.request(request).await
    }
}

/// A kind that nobody serves, in the words of upstream's mapper.
pub(super) fn no_match(kind: &GroupVersionKind) -> String {
    match kind.group.as_str() {
        "" => format!("no matches for kind {:?} in version {:?}", kind.kind, kind.version),
        group => format!("no matches for kind {:?} in group {group:?}", kind.kind),
    }
}

fn no_dot(kind: &GroupVersionKind) -> String {
    if kind.group.is_empty() { kind.kind.clone() } else { format!("{}.{}", kind.kind, kind.group) }
}

/// An error as client-go words it: as the server says it, or what the code means where the answer says nothing.
fn said(error: kube::Error, request: &str) -> String {
    let kube::Error::Api(status) = error else { return error.to_string() };
    if status.reason != NO_STATUS {
        return status.message;
    }
    let meaning = match status.code {
        404 => "the server could not find the requested resource".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        500 => format!("an error on the server ({:?}) has prevented the request from succeeding", status.message),
        503 => "the server is currently unable to handle the request".to_owned(),
        code => format!("the server responded with the status code {code} but did not return more information"),
    };
    format!("{meaning} ({request})")
}

/// Name and sample of an object of the resource metrics API.
fn of_resource(pod: &Value, resource: &str) -> Option<(String, Sample)> {
    let of_container = |container: &Value| {
        let used = container["usage"].get(resource)?;
        Some((container["name"].as_str()?.to_owned(), milli_of(used)))
    };
    let containers = pod["containers"].as_array()?.iter().filter_map(of_container).collect();
    let at = pod["timestamp"].as_str().and_then(|text| text.parse().ok());
    let window = pod["window"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
    Some((pod["metadata"]["name"].as_str()?.to_owned(), Sample { at, window, containers }))
}

/// Name and figure of an object of the custom metrics API.
fn of_metric(item: &Value) -> Option<(String, Sample)> {
    let containers = [(String::new(), milli_of(&item["value"]))].into();
    Some((item["describedObject"]["name"].as_str()?.to_owned(), Sample { containers, ..Sample::default() }))
}

/// The selector as a request writes it; empty for none.
fn text_of(selector: Option<&LabelSelector>) -> String {
    selector.and_then(|selector| Selector::try_from(selector.clone()).ok()).map(|selector| selector.to_string()).unwrap_or_default()
}

fn query(parameters: &[(&str, &str)]) -> String {
    let given = parameters.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<String> = given.map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::BTreeMap;
    use std::convert::Infallible;
    use std::sync::Arc;

    use coracle_api::identity::Identity;
    use jiff::SignedDuration;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// An API server that answers these paths with objects, and all others with a plain 404.
    pub(in crate::autoscaler) fn served(answers: Value) -> Sources {
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let path = request.uri().path_and_query().unwrap().to_string();
            let known = answers.get(&path).cloned();
            async move {
                let (code, body) = match known {
                    Some(Value::String(text)) => (503, text),
                    Some(answer) => (answer["code"].as_u64().unwrap_or(200), answer.to_string()),
                    None => (404, format!("404 page not found: {path}")),
                };
                let answer = http::Response::builder().status(u16::try_from(code).unwrap());
                Ok::<_, Infallible>(answer.body(Body::from(body.into_bytes())).unwrap())
            }
        });
        Sources(coracle_client::in_process(service, Arc::new(|_| tokio::io::duplex(1).0), Identity::admin()))
    }

    fn metric(name: &str, labels: Value) -> MetricIdentifier {
        let selector = labels.as_object().map(|_| serde_json::from_value(json!({"matchLabels": labels})).unwrap());
        MetricIdentifier { name: name.to_owned(), selector }
    }

    fn object(version: Option<&str>, kind: &str) -> CrossVersionObjectReference {
        CrossVersionObjectReference { api_version: version.map(str::to_owned), kind: kind.to_owned(), name: "web".to_owned() }
    }

    fn group(versions: &[&str]) -> Value {
        let versions: Vec<_> =
            versions.iter().map(|version| json!({"groupVersion": format!("{CUSTOM}/{version}"), "version": version})).collect();
        json!({"kind": "APIGroup", "name": CUSTOM, "versions": versions, "preferredVersion": versions[0]})
    }

    #[tokio::test]
    async fn what_the_apis_say_is_read() {
        let core = json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [
            {"name": "services", "singularName": "service", "namespaced": true, "kind": "Service", "verbs": ["get"]}]});
        let sources = served(json!({
            "/api/v1": core,
            "/apis/custom.metrics.k8s.io": group(&["v1", "v1beta1"]),
            "/apis/metrics.k8s.io/v1beta1/namespaces/n/pods?labelSelector=a%3Db": {"items": [
                {"metadata": {"name": "p"}, "timestamp": "2024-05-01T10:00:00Z", "window": "15s", "containers": [{"name": "a", "usage": {"cpu": "20m"}}]}]},
            "/apis/custom.metrics.k8s.io/v1beta1/namespaces/n/pods/*/hits?labelSelector=a%3Db&metricLabelSelector=verb%3DGET": {"items": [
                {"describedObject": {"kind": "Pod", "name": "p"}, "value": "1500m"}, {"describedObject": {"kind": "Pod", "name": "q"}, "value": "2"}]},
            "/apis/custom.metrics.k8s.io/v1beta1/namespaces/n/services/web/hits": {"items": [{"describedObject": {}, "value": "2k"}]},
            "/apis/custom.metrics.k8s.io/v1beta1/namespaces/n/metrics/hits": {"items": [{"describedObject": {}, "value": "7"}]},
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/n/queue?labelSelector=q%3Dx": {"items": [{"value": "3"}, {"value": "4500m"}]},
        }));
        assert_eq!(sources.usage("n", "a=b", "cpu").await.unwrap()["p"].containers, BTreeMap::from([("a".to_owned(), 20)]));
        let hits = sources.of_pods("n", "a=b", &metric("hits", json!({"verb": "GET"}))).await.unwrap();
        let hits: Vec<_> = hits.iter().map(|(name, sample)| (name.as_str(), sample.containers[""])).collect();
        assert_eq!(hits, [("p", 1500), ("q", 2000)]);
        let hits = metric("hits", Value::Null);
        assert_eq!(sources.of_object("n", &object(Some("v1"), "Service"), &hits).await.unwrap(), 2_000_000);
        assert_eq!(sources.of_object("n", &object(None, "Namespace"), &hits).await.unwrap(), 7000);
        assert_eq!(sources.external("n", &metric("queue", json!({"q": "x"}))).await.unwrap(), 7500);
    }

    #[tokio::test]
    async fn what_they_do_not_say_is_told_in_upstreams_words() {
        let (nobody, hits) = (served(json!({})), metric("hits", Value::Null));
        assert_eq!(
            nobody.usage("n", "a=b", "cpu").await.unwrap_err(),
            "unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested \
             resource (get pods.metrics.k8s.io)"
        );
        assert_eq!(
            nobody.of_pods("n", "a=b", &hits).await.unwrap_err(),
            "unable to get metric hits: unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered"
        );
        assert_eq!(
            nobody.of_object("n", &object(Some("v1"), "Namespace"), &hits).await.unwrap_err(),
            "unable to get metric hits: Namespace on n web/unable to fetch metrics from custom metrics API: no custom metrics API \
             (custom.metrics.k8s.io) registered"
        );
        assert_eq!(
            nobody.external("n", &metric("queue", json!({"q": "x"}))).await.unwrap_err(),
            "unable to get external metric n/queue/&LabelSelector{MatchLabels:map[string]string{q: x,},\
             MatchExpressions:[]LabelSelectorRequirement{},}: unable to fetch metrics from external metrics API: the server could not find the \
             requested resource (get queue.external.metrics.k8s.io)"
        );
        let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
            "message": "the server could not find the metric hits for pods"});
        let silent = served(json!({
            "/apis/custom.metrics.k8s.io": group(&["v1beta2"]),
            "/apis/custom.metrics.k8s.io/v1beta2/namespaces/n/pods/*/hits?labelSelector=a%3Db": missing,
            "/apis/custom.metrics.k8s.io/v1beta2/namespaces/n/metrics/hits": {"items": []},
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/n/queue": {"items": []},
            "/apis/metrics.k8s.io/v1beta1/namespaces/n/pods?labelSelector=a%3Db": "service unavailable",
        }));
        let of_pods = silent.of_pods("n", "a=b", &hits).await.unwrap_err();
        assert!(of_pods.ends_with("custom metrics API: the server could not find the metric hits for pods"), "{of_pods}");
        let of_object = silent.of_object("n", &object(None, "Namespace"), &hits).await.unwrap_err();
        assert!(of_object.ends_with("the custom metrics API server returned 0 results when we asked for exactly one"), "{of_object}");
        let external = silent.external("n", &metric("queue", Value::Null)).await.unwrap_err();
        assert_eq!(external, "unable to get external metric n/queue/nil: no metrics returned from external metrics API");
        let usage = silent.usage("n", "a=b", "cpu").await.unwrap_err();
        assert!(usage.ends_with("the server is currently unable to handle the request (get pods.metrics.k8s.io)"), "{usage}");
        let unknown = served(json!({"/apis/custom.metrics.k8s.io": group(&["v3"])})).of_pods("n", "a=b", &hits).await.unwrap_err();
        assert!(unknown.ends_with("no known available metric versions found"), "{unknown}");
    }

    #[test]
    fn a_sample_has_its_time_and_window() {
        let pod = json!({"metadata": {"name": "p"}, "timestamp": "2024-05-01T10:00:00Z", "window": "1m15.5s", "containers": [
            {"name": "a", "usage": {"cpu": "1500000n", "memory": "4Ki"}}, {"name": "b", "usage": {"cpu": "2m"}}]});
        let (name, sample) = of_resource(&pod, "cpu").unwrap();
        assert_eq!((name.as_str(), sample.window), ("p", SignedDuration::from_millis(75_500)));
        assert!(sample.at.is_some());
        assert_eq!(sample.containers, BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 2)]));
        assert_eq!(of_resource(&pod, "memory").unwrap().1.containers["a"], 4_096_000);
    }
}

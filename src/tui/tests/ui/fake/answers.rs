//! What the server answers.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt;
use http::Response;
use http_body_util::StreamBody;
use serde_json::{Value, json};

use super::documents::{discovery, openapi, to_table};
use super::{Fake, Frames, KINDS, decode, status};

impl Fake {
    pub(super) fn answer(&self, parts: &http::request::Parts, body: &[u8]) -> Response<StreamBody<Frames>> {
        let path = parts.uri.path();
        let query: BTreeMap<String, String> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), decode(value)))
            .collect();
        self.state.lock().requests.push(format!("{} {}", parts.method, parts.uri));
        let as_table = parts.headers.get("accept").is_some_and(|accept| accept.to_str().unwrap().contains("as=Table"));
        match path {
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews" => {
                return match self.state.lock().rules.clone() {
                    Some(rules) => reply(201, &json!({"status": {"resourceRules": rules, "nonResourceRules": [], "incomplete": false}})),
                    None => reply(404, &status(404, "NotFound", "no reviews here")),
                };
            }
            "/openapi/v3" => {
                let paths = json!({"apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1?hash=1"}});
                return reply(200, &json!({"paths": paths}));
            }
            "/openapi/v3/apis/apps/v1" => return reply(200, &openapi()),
            "/apis/metrics.k8s.io/v1beta1/pods" if self.state.lock().measures => {
                let pod = json!({"metadata": {"name": "web-58vhc", "namespace": "default"},
                    "containers": [{"name": "main", "usage": {"cpu": "31250000n", "memory": "33Mi"}}]});
                return reply(200, &json!({"items": [pod]}));
            }
            "/apis/metrics.k8s.io/v1beta1/nodes" if self.state.lock().measures => {
                let node = json!({"metadata": {"name": "laptop"}, "usage": {"cpu": "1", "memory": "1Gi"}});
                return reply(200, &json!({"items": [node]}));
            }
            "/coracle/v1/status" => {
                let queue = json!({"ready": 2, "delayed": 1, "inWork": 4, "adds": 90, "retries": 7});
                let fine = json!({"name": "job-controller", "state": "running", "restarts": 0, "queue": queue});
                let bad = json!({"name": "scheduler", "state": "failed", "restarts": 3, "lastFailure": "panic: out of luck"});
                let watch = json!({"group": "apps", "resource": "deployments", "synced": true, "objects": 12, "lag": 5, "unread": 0});
                return reply(200, &json!({"actors": [fine, bad], "watches": [watch]}));
            }
            "/version" => return reply(200, &json!({"gitVersion": "v1.36.0"})),
            "/api" => return reply(200, &discovery(|version| !version.contains('/'))),
            "/apis" => {
                let mut found = discovery(|version| version.contains('/'));
                if self.state.lock().measures {
                    let of =
                        |plural: &str, kind: &str| json!({"resource": plural, "responseKind": {"kind": kind}, "verbs": ["get", "list"]});
                    let resources = [of("pods", "PodMetrics"), of("nodes", "NodeMetrics")];
                    found["items"].as_array_mut().unwrap().push(
                        json!({"metadata": {"name": "metrics.k8s.io"}, "versions": [{"version": "v1beta1", "resources": resources}]}),
                    );
                }
                return reply(200, &found);
            }
            _ => {}
        }
        if let Some(version) =
            path.strip_prefix("/apis/").or(path.strip_prefix("/api/")).filter(|version| KINDS.iter().any(|kind| kind.0 == *version))
        {
            let resources: Vec<Value> = KINDS
                .iter()
                .filter(|kind| kind.0 == version)
                .map(|(_, kind, plural, namespaced, _)| {
                    json!({"name": plural, "singularName": kind.to_lowercase(), "kind": kind, "namespaced": namespaced, "verbs": ["get", "list", "patch"]})
                })
                .collect();
            return reply(200, &json!({"kind": "APIResourceList", "groupVersion": version, "resources": resources}));
        }
        let trimmed = path.trim_start_matches("/apis/").trim_start_matches("/api/");
        let known = KINDS.iter().find_map(|kind| Some((kind.0, trimmed.strip_prefix(kind.0)?.strip_prefix('/')?)));
        let Some((version, rest)) = known else {
            return reply(404, &status(404, "NotFound", "the server could not find the requested resource"));
        };
        let words: Vec<&str> = rest.split('/').collect();
        let (namespace, words) = match words.as_slice() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            words => ("", words),
        };
        let plural = words[0];
        if !KINDS.iter().any(|kind| kind.2 == plural) {
            return reply(404, &status(404, "NotFound", "the server could not find the requested resource"));
        }
        match (parts.method.as_str(), &words[1..]) {
            ("GET", []) if query.contains_key("watch") => self.watch(version, plural, namespace, &query, as_table),
            ("GET", []) => self.list(version, plural, namespace, &query, as_table),
            ("GET", [name, "log"]) => self.logs(name, query.contains_key("follow")),
            ("GET", [name, "scale"]) => {
                let object = self.get(&format!("{plural}/{namespace}/{name}")).unwrap();
                reply(200, &json!({"kind": "Scale", "spec": {"replicas": object["spec"]["replicas"]}}))
            }
            ("GET", [name]) if self.state.lock().hidden.contains(&format!("{plural}/{namespace}/{name}")) => {
                reply(403, &status(403, "Forbidden", "it may not be read"))
            }
            ("GET", [name]) => match self.get(&format!("{plural}/{namespace}/{name}")) {
                Some(object) => reply(200, &object),
                None => reply(404, &status(404, "NotFound", &format!("{plural} \"{name}\" not found"))),
            },
            ("POST", []) => {
                let mut object: Value = serde_json::from_slice(body).unwrap();
                if !namespace.is_empty() {
                    object["metadata"]["namespace"] = namespace.into();
                }
                let key = format!("{plural}/{namespace}/{}", object["metadata"]["name"].as_str().unwrap_or_default());
                if self.get(&key).is_some() {
                    return reply(409, &status(409, "AlreadyExists", &format!("{key} already exists")));
                }
                object["metadata"]["uid"] = format!("uid-made-{}", self.state.lock().revision).into();
                self.put(object);
                reply(201, &self.get(&key).unwrap())
            }
            ("POST", [name, "eviction"]) => {
                self.remove(&format!("{plural}/{namespace}/{name}"));
                reply(201, &json!({"kind": "Status", "status": "Success"}))
            }
            ("DELETE", [name]) => {
                let wanted = serde_json::from_slice::<Value>(body).unwrap_or_default()["preconditions"].take();
                let now = self.get(&format!("{plural}/{namespace}/{name}")).unwrap_or_default();
                if ["uid", "resourceVersion"].iter().any(|field| !wanted[field].is_null() && wanted[field] != now["metadata"][field]) {
                    return reply(409, &status(409, "Conflict", "the preconditions do not hold"));
                }
                self.remove(&format!("{plural}/{namespace}/{name}"));
                let uid = now["metadata"]["uid"].clone();
                if self.state.lock().remakes {
                    let mut again = now;
                    again["metadata"]["uid"] = "uid-again".into();
                    self.put(again);
                }
                reply(200, &json!({"kind": "Status", "status": "Success", "details": {"name": name, "kind": plural, "uid": uid}}))
            }
            ("PATCH", [name, ..]) => self.patch(&format!("{plural}/{namespace}/{name}"), body, query.contains_key("dryRun")),
            _ => reply(405, &status(405, "MethodNotAllowed", "no")),
        }
    }

    fn patch(&self, key: &str, body: &[u8], dry_run: bool) -> Response<StreamBody<Frames>> {
        if let Some(status) = self.state.lock().refused.clone() {
            return reply(u16::try_from(status["code"].as_u64().unwrap()).unwrap(), &status);
        }
        let patch: Value = serde_json::from_slice(body).unwrap();
        let Some(mut object) = self.get(key) else { return reply(404, &status(404, "NotFound", "there is nothing to patch")) };
        for step in patch.as_array().into_iter().flatten() {
            *object.pointer_mut(step["path"].as_str().unwrap()).unwrap() = step["value"].clone();
        }
        let asked = patch.pointer("/metadata/resourceVersion");
        if asked.is_some_and(|revision| *revision != object["metadata"]["resourceVersion"]) {
            return reply(409, &status(409, "Conflict", "the object has been modified"));
        }
        if patch.pointer("/metadata/uid").is_some_and(|uid| *uid != object["metadata"]["uid"]) {
            return reply(409, &status(409, "Conflict", "it is another object"));
        }
        if patch.is_object() {
            merge(&mut object, &patch);
        }
        if !dry_run {
            self.put(object.clone());
        }
        reply(200, &object)
    }

    fn selected(version: &str, plural: &str, namespace: &str, query: &BTreeMap<String, String>, key: &str, object: &Value) -> bool {
        let _ = version;
        let mut words = key.split('/');
        let selects = |selector: &str, of: &dyn Fn(&str) -> Value| {
            selector.split(',').all(|term| term.split_once('=').is_none_or(|(field, value)| of(field) == value))
        };
        words.next() == Some(plural)
            && words.next().is_some_and(|own| namespace.is_empty() || own == namespace)
            && query.get("fieldSelector").is_none_or(|text| {
                selects(text, &|field| object.pointer(&format!("/{}", field.replace('.', "/"))).cloned().unwrap_or_default())
            })
            && query.get("labelSelector").is_none_or(|text| selects(text, &|label| object["metadata"]["labels"][label].clone()))
    }

    fn list(
        &self,
        version: &str,
        plural: &str,
        namespace: &str,
        query: &BTreeMap<String, String>,
        table: bool,
    ) -> Response<StreamBody<Frames>> {
        let state = self.state.lock();
        let limit: usize = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
        let after = query.get("continue").cloned().unwrap_or_default();
        let exact = query.get("resourceVersion").filter(|_| query.contains_key("resourceVersionMatch")).map(|text| text.parse().unwrap());
        let then = exact.map(|at: u64| {
            let mut objects: BTreeMap<String, Value> = BTreeMap::new();
            for (_, kind, key, object) in state.history.iter().filter(|change| change.0 <= at) {
                match kind.as_str() {
                    "DELETED" => drop(objects.remove(key)),
                    _ => drop(objects.insert(key.clone(), object.clone())),
                }
            }
            objects
        });
        let mut found = then
            .as_ref()
            .unwrap_or(&state.objects)
            .iter()
            .filter(|(key, object)| Self::selected(version, plural, namespace, query, key, object) && **key > after);
        let page: Vec<(&String, &Value)> = found.by_ref().take(limit).collect();
        let more = found.next().map(|_| page.last().unwrap().0.clone());
        let items: Vec<Value> = page.into_iter().map(|(_, object)| object.clone()).collect();
        let metadata = json!({"resourceVersion": state.revision.to_string(), "continue": more});
        let kind = KINDS.iter().find(|kind| kind.2 == plural).unwrap().1;
        if table {
            return reply(200, &to_table(plural, &items, metadata));
        }
        reply(200, &json!({"kind": format!("{kind}List"), "apiVersion": version, "metadata": metadata, "items": items}))
    }

    fn watch(
        &self,
        version: &str,
        plural: &str,
        namespace: &str,
        query: &BTreeMap<String, String>,
        table: bool,
    ) -> Response<StreamBody<Frames>> {
        let (version, plural, namespace, query) = (version.to_owned(), plural.to_owned(), namespace.to_owned(), query.clone());
        let from: u64 = query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default();
        // what changed between the list and now comes first
        let missed: Vec<(String, String, Value)> = {
            let state = self.state.lock();
            let since = state.history.iter().filter(|change| change.0 > from);
            since.map(|(_, kind, key, object)| (kind.clone(), key.clone(), object.clone())).collect()
        };
        let (changes, cut) = (self.changes.subscribe(), self.cut.subscribe());
        let stream = futures::stream::iter(missed).chain(futures::stream::unfold((changes, cut), |(mut changes, mut cut)| async move {
            tokio::select! {
                // who lags behind watches again from where he was
                change = changes.recv() => change.ok().map(|change| (change, (changes, cut))),
                _ = cut.recv() => None,
            }
        }));
        let frames = stream.filter_map(move |(kind, key, object)| {
            let selected = Self::selected(&version, &plural, &namespace, &query, &key, &object);
            let object = if table { to_table(&plural, &[object], json!({})) } else { object };
            let line = format!("{}\n", json!({"type": kind, "object": object}));
            async move { selected.then(|| Ok(http_body::Frame::data(Bytes::from(line)))) }
        });
        Response::new(StreamBody::new(frames.boxed()))
    }

    fn logs(&self, pod: &str, follow: bool) -> Response<StreamBody<Frames>> {
        let text = self.state.lock().logs.get(pod).cloned().unwrap_or_default();
        let first = futures::stream::iter([Ok(http_body::Frame::data(Bytes::from(text)))]);
        Response::new(StreamBody::new(if follow { first.chain(futures::stream::pending()).boxed() } else { first.boxed() }))
    }
}

fn reply(code: u16, value: &Value) -> Response<StreamBody<Frames>> {
    let frames = futures::stream::iter([Ok(http_body::Frame::data(Bytes::from(value.to_string())))]).boxed();
    Response::builder().status(code).body(StreamBody::new(frames)).unwrap()
}

fn merge(target: &mut Value, patch: &Value) {
    for (field, value) in patch.as_object().unwrap() {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(field);
        } else if value.is_object() && target[field].is_object() {
            merge(&mut target[field], value);
        } else {
            target[field] = value.clone();
        }
    }
}

//! What a request is about, read from its method, path and query as upstream's `RequestInfoFactory` does.

use http::Method;

use crate::http::query::{Query, decode_segment};

/// A request in the words of authorization: a verb on a resource, or on a path that names none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path names a resource.
    pub is_resource: bool,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for other paths the method in lower case.
    pub verb: String,
    /// The path as it came.
    pub path: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Version in the group.
    pub version: String,
    /// Plural name of the resource.
    pub resource: String,
    /// Subresource; may be empty.
    pub subresource: String,
    /// Namespace; may be empty. For a namespace itself, its name.
    pub namespace: String,
    /// Name of the object; may be empty.
    pub name: String,
    /// What follows the subresource in the path, as `proxy` subresources have it.
    pub rest: String,
}

impl RequestInfo {
    /// Reads a request. `None` when the path is not well-formed (a percent sign that encodes nothing).
    pub fn parse(method: &Method, path: &str, query: &Query) -> Option<Self> {
        let mut info = Self { path: path.to_owned(), verb: method.as_str().to_ascii_lowercase(), ..Self::default() };
        let segments: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode_segment).collect::<Option<_>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let parts = match segments.as_slice() {
            ["api", version, parts @ ..] if !parts.is_empty() => {
                info.version = (*version).to_owned();
                parts
            }
            ["apis", group, version, parts @ ..] if !parts.is_empty() => {
                info.group = (*group).to_owned();
                info.version = (*version).to_owned();
                parts
            }
            _ => return Some(info),
        };
        info.is_resource = true;
        let (parts, watch_path) = match parts {
            ["watch", parts @ ..] if !parts.is_empty() => (parts, true),
            parts => (parts, false),
        };
        info.name_parts(parts, path);
        info.verb = info.resource_verb(method, query, watch_path).to_owned();
        Some(info)
    }

    fn name_parts(&mut self, parts: &[&str], path: &str) {
        let parts = match parts {
            ["namespaces", namespace, rest @ ..] => {
                self.namespace = (*namespace).to_owned();
                match rest {
                    ["status" | "finalize", ..] | [] => parts,
                    rest => rest,
                }
            }
            parts => parts,
        };
        let part = |at: usize| parts.get(at).map(|part| (*part).to_owned()).unwrap_or_default();
        (self.resource, self.name, self.subresource) = (part(0), part(1), part(2));
        if parts.len() > 3 {
            self.rest = parts[3..].join("/");
            if path.ends_with('/') {
                self.rest.push('/');
            }
        }
    }

    fn resource_verb(&mut self, method: &Method, query: &Query, watch_path: bool) -> &'static str {
        let verb = match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD => "get",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        };
        let watch = watch_path || query.flag("watch");
        match verb {
            "get" if watch_path => "watch",
            "get" if self.name.is_empty() => {
                // A list of one name may be allowed to who may read only that name.
                if let Some(name) = query.get("fieldSelector").and_then(single_name) {
                    self.name = name.to_owned();
                }
                if watch { "watch" } else { "list" }
            }
            "delete" if self.name.is_empty() => "deletecollection",
            verb => verb,
        }
    }

    /// What authorization is asked about this request.
    pub fn attributes(&self) -> Attributes<'_> {
        Attributes {
            verb: &self.verb,
            group: &self.group,
            version: &self.version,
            resource: &self.resource,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name: &self.name,
            path: &self.path,
        }
    }

    /// Whether the request may stay open for long.
    pub fn is_long_running(&self) -> bool {
        self.verb == "watch" || matches!(self.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy")
    }

    /// Whether the request may change something.
    pub fn is_mutating(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch" | "head")
    }
}

/// What authorization is asked. A request for an API object names a resource; any other only has a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// As [`RequestInfo::verb`].
    pub verb: &'a str,
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Version in the group.
    pub version: &'a str,
    /// Plural name; empty where the request is about a path.
    pub resource: &'a str,
    /// Subresource; may be empty.
    pub subresource: &'a str,
    /// Namespace; empty at cluster scope and for lists of all namespaces.
    pub namespace: &'a str,
    /// Name; may be empty.
    pub name: &'a str,
    /// The path of the request.
    pub path: &'a str,
}

impl<'a> Attributes<'a> {
    /// A request for a path outside of the API objects.
    pub fn path(verb: &'a str, path: &'a str) -> Self {
        Self { verb, path, ..Self::default() }
    }

    /// Whether an API object or a list of them is asked for.
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }
}

/// The name a field selector picks, where it picks exactly one.
fn single_name(selector: &str) -> Option<&str> {
    selector.split(',').find_map(|term| {
        let (field, value) = term.split_once('=')?;
        (field == "metadata.name").then(|| value.strip_prefix('=').unwrap_or(value)).filter(|name| !name.is_empty())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn paths() {
        // Verb, group, resource, namespace, name, subresource.
        let cases = [
            ("GET", "/api/v1/namespaces/a/pods/p/log", ["get", "", "pods", "a", "p", "log"]),
            ("GET", "/api/v1/namespaces/a/pods?watch=1", ["watch", "", "pods", "a", "", ""]),
            ("GET", "/api/v1/namespaces/a/pods?watch=0", ["list", "", "pods", "a", "", ""]),
            ("GET", "/api/v1/watch/namespaces/a/pods", ["watch", "", "pods", "a", "", ""]),
            ("DELETE", "/apis/apps/v1/namespaces/a/deployments", ["deletecollection", "apps", "deployments", "a", "", ""]),
            ("GET", "/api/v1/namespaces/a", ["get", "", "namespaces", "a", "a", ""]),
            ("PUT", "/api/v1/namespaces/a/finalize", ["update", "", "namespaces", "a", "a", "finalize"]),
            ("PATCH", "/api/v1/nodes/n/status", ["patch", "", "nodes", "", "n", "status"]),
            ("GET", "/api/v1/secrets?fieldSelector=metadata.name%3Dx", ["list", "", "secrets", "", "x", ""]),
            (
                "GET",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                ["get", "rbac.authorization.k8s.io", "clusterroles", "", "system:node", ""],
            ),
        ];
        for (method, path, wanted) in cases {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let info = RequestInfo::parse(&method.parse().unwrap(), path, &Query::parse(query)).unwrap();
            assert!(info.is_resource);
            let got = [&*info.verb, &*info.group, &*info.resource, &*info.namespace, &*info.name, &*info.subresource];
            assert_eq!(got, wanted, "{path}");
        }
    }

    #[test]
    fn other_paths() {
        for path in ["/version", "/apis", "/apis/apps/v1", "/api/v1", "/healthz/ping", "/"] {
            let info = RequestInfo::parse(&Method::GET, path, &Query::default()).unwrap();
            assert!(!info.is_resource, "{path}");
            assert_eq!(info.verb, "get");
        }
        assert_eq!(RequestInfo::parse(&Method::GET, "/api/v1/pods/%zz", &Query::default()), None);
    }
}

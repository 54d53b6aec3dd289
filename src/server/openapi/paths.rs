//! The paths of a group version, from its kinds.

use coracle_api::kinds::{self, Kind, Subresource};
use serde_json::{Map, Value, json};

use super::operation::{Operation, Target, meta};
use super::parameters;

/// Methods of a path: name in the document and operation.
type Methods<'a> = Vec<(&'static str, Operation<'a>)>;

/// `paths` of the document of a group version.
pub(super) fn of(group: &str, version: &str, customs: &[&Kind]) -> Value {
    let mut out = Map::new();
    let root = format!("/{}/", super::name(group, version));
    let resources = Operation {
        action: "",
        id: format!("get{}APIResources", Names::of(group, version).prefix),
        tag: Names::of(group, version).tag,
        target: Target { group, version, kind: "APIResourceList" },
        parameters: Vec::new(),
        body: String::new(),
        answer: String::new(),
    };
    let mut resources = resources.to_value();
    if let Some(fields) = resources.as_object_mut() {
        fields.retain(|name, _| !name.starts_with("x-kubernetes"));
        fields.insert("description".to_owned(), json!("get available resources"));
    }
    out.insert(root.clone(), json!({"get": resources}));
    let builtin = kinds::builtin().iter().filter(|kind| kind.group == group && kind.version == version);
    for kind in builtin.chain(customs.iter().copied()) {
        Resource { kind, names: Names::of(group, version) }.write(&root, &mut out);
    }
    Value::Object(out)
}

/// How a group version is called in operation ids and tags.
struct Names {
    /// `RbacAuthorizationV1`.
    prefix: String,
    /// `rbacAuthorization_v1`.
    tag: String,
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

impl Names {
    fn of(group: &str, version: &str) -> Self {
        let short = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
        let camel: String = short.split('.').map(capital).collect();
        let mut letters = camel.chars();
        let lower: String = letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default();
        Self { prefix: format!("{camel}{}", capital(version)), tag: format!("{lower}_{version}") }
    }
}

struct Resource<'a> {
    kind: &'a Kind,
    names: Names,
}

impl<'a> Resource<'a> {
    fn write(&self, root: &str, out: &mut Map<String, Value>) {
        let kind = self.kind;
        let namespaced = if kind.namespaced { "namespaces/{namespace}/" } else { "" };
        let collection = format!("{root}{namespaced}{}", kind.plural);
        let item = format!("{collection}/{{name}}");
        self.path(out, collection.clone(), self.collection());
        self.path(out, item.clone(), self.item());
        for part in &kind.subresources {
            let methods = self.subresource(part);
            self.path(out, format!("{item}/{}", part.name), methods);
            if part.name == "proxy" {
                self.path(out, format!("{item}/proxy/{{path}}"), self.connect(part, "WithPath"));
            }
        }
        if kind.namespaced && kind.has_verb("list") {
            let mut all = self.operation("list", "list", "", "ForAllNamespaces", self.target());
            all.id = format!("list{}{}ForAllNamespaces", self.names.prefix, kind.kind);
            all.parameters = parameters::list();
            all.answer = format!("{}List", kind.schema);
            self.path(out, format!("{root}{}", kind.plural), vec![("get", all)]);
        }
    }

    /// Adds a path with the parameters that are in it.
    fn path(&self, out: &mut Map<String, Value>, path: String, methods: Methods<'_>) {
        if methods.is_empty() {
            return;
        }
        let mut item: Map<String, Value> = methods.iter().map(|(method, operation)| ((*method).to_owned(), operation.to_value())).collect();
        let mut parts = Vec::new();
        if path.contains("{name}") {
            parts.push(parameters::path("name", &format!("name of the {}", self.kind.kind)));
        }
        if path.contains("{namespace}") {
            parts.push(parameters::path("namespace", "object name and auth scope, such as for teams and projects"));
        }
        if path.contains("{path}") {
            parts.push(parameters::path("path", "path to the resource"));
        }
        parts.push(parameters::pretty());
        item.insert("parameters".to_owned(), json!(parts));
        out.insert(path, Value::Object(item));
    }

    fn target(&self) -> Target<'a> {
        Target { group: &self.kind.group, version: &self.kind.version, kind: &self.kind.kind }
    }

    fn operation(&self, action: &'static str, verb: &str, middle: &str, suffix: &str, target: Target<'a>) -> Operation<'a> {
        let scope = if self.kind.namespaced { "Namespaced" } else { "" };
        Operation {
            action,
            id: format!("{verb}{}{middle}{scope}{}{suffix}", self.names.prefix, self.kind.kind),
            tag: self.names.tag.clone(),
            target,
            parameters: Vec::new(),
            body: String::new(),
            answer: self.kind.schema.to_string(),
        }
    }

    fn collection(&self) -> Methods<'a> {
        let kind = self.kind;
        let mut methods = Methods::new();
        if kind.has_verb("list") {
            let list = self.operation("list", "list", "", "", self.target());
            methods.push(("get", Operation { parameters: parameters::list(), answer: format!("{}List", kind.schema), ..list }));
        }
        if kind.has_verb("create") {
            let post = self.operation("post", "create", "", "", self.target());
            methods.push(("post", Operation { parameters: parameters::write(), body: kind.schema.to_string(), ..post }));
        }
        if kind.has_verb("deletecollection") {
            let delete = self.operation("deletecollection", "delete", "Collection", "", self.target());
            let mut all = parameters::list();
            all.retain(|parameter| !matches!(parameter["name"].as_str(), Some("allowWatchBookmarks" | "watch")));
            all.extend(parameters::delete());
            methods.push(("delete", Operation { parameters: all, body: meta("DeleteOptions"), answer: meta("Status"), ..delete }));
        }
        methods
    }

    fn item(&self) -> Methods<'a> {
        let kind = self.kind;
        let mut methods = Methods::new();
        if kind.has_verb("get") {
            methods.push(("get", self.operation("get", "read", "", "", self.target())));
        }
        if kind.has_verb("update") {
            let put = self.operation("put", "replace", "", "", self.target());
            methods.push(("put", Operation { parameters: parameters::write(), body: kind.schema.to_string(), ..put }));
        }
        if kind.has_verb("patch") {
            let patch = self.operation("patch", "patch", "", "", self.target());
            methods.push(("patch", Operation { parameters: parameters::patch(), body: meta("Patch"), ..patch }));
        }
        if kind.has_verb("delete") {
            let delete = self.operation("delete", "delete", "", "", self.target());
            let answer = meta("Status");
            methods.push(("delete", Operation { parameters: parameters::delete(), body: meta("DeleteOptions"), answer, ..delete }));
        }
        methods
    }

    fn subresource(&self, part: &'a Subresource) -> Methods<'a> {
        if part.schema.is_empty() && part.name != "log" {
            return self.connect(part, "");
        }
        let target = Target { group: &part.group, version: &part.version, kind: &part.kind };
        let suffix = capital(&part.name);
        let has = |verb: &str| part.verbs.iter().any(|own| own == verb);
        let operation = |action, verb| Operation { answer: part.schema.to_string(), ..self.operation(action, verb, "", &suffix, target) };
        let mut methods = Methods::new();
        if has("get") {
            methods.push(("get", operation("get", "read")));
        }
        for (verb, method, action, name) in [("create", "post", "post", "create"), ("update", "put", "put", "replace")] {
            if has(verb) {
                let write = operation(action, name);
                methods.push((method, Operation { parameters: parameters::write(), body: part.schema.to_string(), ..write }));
            }
        }
        if has("patch") {
            let patch = operation("patch", "patch");
            methods.push(("patch", Operation { parameters: parameters::patch(), body: meta("Patch"), ..patch }));
        }
        methods
    }

    /// Streams: exec, attach, port-forward, proxy.
    fn connect(&self, part: &'a Subresource, suffix: &str) -> Methods<'a> {
        let target = Target { group: &part.group, version: &part.version, kind: &part.kind };
        let verbs = [
            ("create", "post", "Post"),
            ("delete", "delete", "Delete"),
            ("get", "get", "Get"),
            ("patch", "patch", "Patch"),
            ("update", "put", "Put"),
        ];
        verbs
            .into_iter()
            .filter(|(verb, ..)| part.verbs.iter().any(|own| own == verb))
            .map(|(_, method, word)| {
                let suffix = format!("{}{suffix}", capital(&part.name));
                let mut operation = self.operation("connect", "connect", word, &suffix, target);
                operation.answer = String::new();
                (method, operation)
            })
            .collect()
    }
}

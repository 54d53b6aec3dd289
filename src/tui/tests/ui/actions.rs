//! Every action of the table, by its keys: the request it makes, or what it shows.

use base64::Engine;
use coracle_tui::action::{ACTIONS, Scopes, by_name};
use coracle_tui::{Headless, Options};
use serde_json::{Value, json};

use crate::fake::{Fake, deployment};

/// Action, the keys that lead to it and press it, and what comes of it:
/// `text` is on the screen, `!text` is not, `?regex` is, `>text` is in a request, `=text` is on the clipboard, `~text` is in a
/// file kept, `@quit` is asked for. They hold on the server of these tests and on a real cluster alike.
pub const CASES: &[(&str, &str, &[&str])] = &[
    ("manifest-open", ":watch FOLDER<enter><down><enter>", &["describe deployment web"]),
    ("manifest-edit", ":watch FOLDER<enter>e", &["edit file web.yaml", "replicas: 2"]),
    ("manifest-view", ":watch FOLDER<enter><down>y", &["yaml deployment web"]),
    ("manifest-apply", ":watch FOLDER<enter>a", &["is applied again"]),
    ("manifest-pause", ":watch FOLDER<enter><space>", &["⏸ paused", "what is saved is not applied"]),
    (
        "manifest-recreate",
        ":watch FOLDER<enter><down>r<enter>",
        &[">DELETE /apis/apps/v1/namespaces/default/deployments/web", "is deleted and made again"],
    ),
    ("manifest-delete", ":watch FOLDER<enter><down>D<enter>", &[">DELETE /apis/apps/v1/namespaces/default/deployments/web"]),
    ("use-context", ":ctx<enter>/other<enter><enter>", &["other ▸ default", "pods"]),
    ("rename-context", ":ctx<enter>/other<enter>r<ctrl-u>new<enter>", &["context other is called new now"]),
    ("delete-context", ":ctx<enter>/other<enter><ctrl-d><enter>", &["context other is out of the kubeconfig"]),
    ("stop-forward", "/58v<enter>F<tab><ctrl-u>0<enter>:pf<enter><ctrl-d>", &["is stopped", "port-forwards 0"]),
    ("start-forward", "/58v<enter>F<tab><ctrl-u>0<enter>:pf<enter><enter>", &["stopped"]),
    (
        "bench-forward",
        "/58v<enter>F<tab><ctrl-u>0<enter>:pf<enter>b<tab><ctrl-u>3<enter>",
        &[">GET /api/v1/namespaces/default/pods/web-58vhc:8080/proxy/"],
    ),
    ("helm-history", ":helm<enter><enter>", &["helm revisions of shop", "superseded", "deployed"]),
    ("helm-values", ":helm<enter>v", &["values of shop revision 2", "replicas: 2"]),
    ("helm-manifest", ":helm<enter>y", &["manifest of shop revision 2", "two: \"yes\""]),
    ("helm-notes", ":helm<enter>d", &["notes of shop revision 2", "Enjoy"]),
    ("helm-revision", ":helm<enter><enter><down><enter>", &["values of shop revision 1", "replicas: 1"]),
    (
        "helm-rollback",
        ":helm<enter><enter><down>r<enter>",
        &[
            "rolled back to revision 1, as revision 3",
            ">POST /api/v1/namespaces/default/secrets",
            ">PATCH /api/v1/namespaces/default/configmaps/shop",
        ],
    ),
    ("rollout", ":deploy<enter>H", &["revisions of deployment web", "current", "kubia:0.9"]),
    ("revision-diff", ":deploy<enter>H<down><enter>", &["-   - image: coracle.local/kubia:1.0", "+   - image: coracle.local/kubia:0.9"]),
    (
        "rollback",
        ":deploy<enter>H<down>r<enter>",
        &["rolled back to revision 1", ">PATCH /apis/apps/v1/namespaces/default/deployments/web"],
    ),
    ("pause-rollout", ":deploy<enter>HP", &["deployment web paused", ">PATCH /apis/apps/v1/namespaces/default/deployments/web"]),
    ("history", ":deploy<enter>T", &["versions of deployment web", "created"]),
    ("version-diff", ":deploy<enter>s<ctrl-u>5<enter>T/spec.replicas<enter><enter>", &["-   replicas: 2", "+   replicas: 5"]),
    ("version-yaml", ":deploy<enter>Ty", &["deployment web at revision", "replicas: 2"]),
    ("restore", ":deploy<enter>s<ctrl-u>5<enter>TGr<enter>", &["deployment web restored"]),
    ("version-table", ":deploy<enter>Tt", &["deployments at revision", "web"]),
    ("undo", ":deploy<enter>s<ctrl-u>5<enter>U", &["undone: deployment web scaled 2 → 5"]),
    ("redo", ":deploy<enter>s<ctrl-u>5<enter>UR", &["done again: deployment web scaled 2 → 5"]),
    ("draft-edit", ":drafts<enter><enter>", &["edit deployment web", "# from before"]),
    ("draft-forget", ":drafts<enter><ctrl-d><enter>", &["deployments.default.web.yaml deleted", "drafts 0"]),
    ("save", "<ctrl-s>", &["saved to", "~NAME,READY,STATUS"]),
    ("dump-open", "<ctrl-s>:sd<enter><enter>", &["NAME,READY,STATUS"]),
    ("dump-delete", "<ctrl-s>:sd<enter><ctrl-d><enter>", &["screen-dumps 0"]),
    ("aliases", "<ctrl-a>", &["aliases", "deploy"]),
    ("alias-open", "<ctrl-a>/boats<enter><enter>", &["boats 1"]),
    ("use-theme", ":themes<enter>/nord<enter><enter>:theme<enter>", &["themes"]),
    ("rules", ":clusterroles<enter>/^reader<enter><enter>", &["rules of clusterrole reader", "✓"]),
    ("subject-rules", ":users<enter>/^ada<enter><enter>", &["rules of user ada", "pods", "read"]),
    ("xray", ":deploy<enter>X", &["xray of deployment web", "replicaset web-2", "pod web-58vhc"]),
    ("fold", ":deploy<enter>X<space>", &["▸ deployment web", "!replicaset web-2"]),
    ("fold-all", ":deploy<enter>Xx", &["▸ deployment web", "!replicaset web-2"]),
    ("tree-open", ":deploy<enter>X<enter>", &["pods of deployment web"]),
    ("pulse-open", ":pulse<enter><enter>", &["pods 4"]),
    ("pulse-next", ":pulse<enter><tab><enter>", &["deployments 1"]),
    ("cordon", ":no<enter>c", &[">PATCH /api/v1/nodes/laptop", "node laptop cordoned"]),
    ("uncordon", ":no<enter>u", &[">PATCH /api/v1/nodes/laptop", "node laptop uncordoned"]),
    ("drain", ":no<enter>r<up><up><space><enter>", &[">POST /api/v1/namespaces/default/pods/web-58vhc/eviction", "node laptop drained"]),
    ("node-shell", ":no<enter>s<enter>", &[">POST /api/v1/namespaces/default/pods"]),
    ("use-namespace", ":ns<enter>/shop<enter>u", &["coracle ▸ shop"]),
    ("drill-in", "/58v<enter><enter>", &["containers of web-58vhc", "kubia:1.0"]),
    ("describe", "/58v<enter>d", &["describe pod web-58vhc", "Node:"]),
    ("yaml", "/58v<enter>y", &["kind: Pod"]),
    ("edit", ":deploy<enter>e", &["edit deployment web", "replicas: 2"]),
    ("edit-outside", ":deploy<enter>E", &["~kind: Deployment"]),
    ("why", "/api<enter>W", &["why pod api-ppq9", "CrashLoopBackOff"]),
    ("used-by", ":cm<enter>/settings<enter>u", &["users of configmap settings", "web-58vhc"]),
    ("timeline", ":deploy<enter>t", &["timeline of deployment web", "created"]),
    ("timeline-zoom", ":deploy<enter>tz", &["timeline of deployment web (last 60m)"]),
    ("object-events", "/58v<enter>v", &["events of pod web-58vhc", "Scheduled"]),
    ("logs", "/58v<enter>l", &["Kubia server starting", ">/pods/web-58vhc/log"]),
    ("previous-logs", "/58v<enter>p", &[">previous=true"]),
    ("shell", "/58v<enter>s", &[">GET /api/v1/namespaces/default/pods/web-58vhc/exec", ">container=main"]),
    ("attach", "/58v<enter>a", &[">GET /api/v1/namespaces/default/pods/web-58vhc/attach"]),
    ("debug", "/58v<enter>D<enter>", &[">PATCH /api/v1/namespaces/default/pods/web-58vhc/ephemeralcontainers"]),
    ("transfer", "/58v<enter>t<tab><ctrl-u>/etc/hosts<enter>", &[">/pods/web-58vhc/exec", ">command=tar"]),
    ("sanitize", "z<enter>", &[">DELETE /api/v1/namespaces/default/pods/job-seed"]),
    ("port-forward", "/58v<enter>F<tab><ctrl-u>0<enter>", &["goes to port 8080 of pod web-58vhc", "⇄ 1"]),
    ("show-forwards", "/58v<enter>F<tab><ctrl-u>0<enter>f", &["port-forwards of pod web-58vhc", "active"]),
    ("bench", ":svc<enter>/^web<enter>b<tab><ctrl-u>3<enter>", &[">GET /api/v1/namespaces/default/services/web:80/proxy/"]),
    ("replicasets", ":deploy<enter>z", &["replicasets of deployment web", "web-1", "web-2"]),
    ("rollback-to", ":rs<enter>/web-1<enter><ctrl-l><enter>", &["deployment web rolled back to revision 1"]),
    ("trigger", ":cronjobs<enter>t", &[">POST /apis/batch/v1/namespaces/default/jobs", "started"]),
    ("suspend", ":cronjobs<enter>s", &[">PATCH /apis/batch/v1/namespaces/default/cronjobs/tick", "cronjob tick suspended"]),
    ("scale", ":deploy<enter>s<ctrl-u>5<enter>", &[">PATCH /apis/apps/v1/namespaces/default/deployments/web/scale", "scaled 2 → 5"]),
    ("restart", ":deploy<enter>r<enter>", &["deployment web restarted"]),
    ("set-image", ":deploy<enter>i<ctrl-u>kubia:2<enter>", &["image of deployment web set"]),
    ("decode-secret", ":secrets<enter>/token<enter>x", &["yaml secret token", "password: hello"]),
    ("label", "/58v<enter>Ltier=front<enter>", &["pod web-58vhc labelled"]),
    ("delete", "/58v<enter><ctrl-d><enter>", &[">DELETE /api/v1/namespaces/default/pods/web-58vhc"]),
    ("kill", "/58v<enter><ctrl-k><enter>", &["pod web-58vhc killed"]),
    ("owner", "/58v<enter>J", &["replicasets of web-2"]),
    ("node", "/58v<enter>o", &["nodes of web-58vhc", "laptop"]),
    ("copy-name", "/58v<enter>c", &["=web-58vhc"]),
    ("copy-namespace", "/58v<enter>n", &["=default"]),
    ("warp", "0/cart<enter>w", &["coracle ▸ shop"]),
    ("menu", "/58v<enter>m", &["keys here", "describe"]),
    ("mark", "<space>", &["●api-ppq9"]),
    ("mark-range", "<space><down><ctrl-space>", &["●api-ppq9", "●job-seed", "●web-58vhc"]),
    ("clear-marks", "<space><ctrl-\\>", &["!●"]),
    ("sort-left", "<shift-left><shift-left>O", &["AGE"]),
    ("sort-right", "<shift-right><shift-right>O", &["READY↑"]),
    ("sort", "<shift-right><shift-right>OO", &["READY↓"]),
    ("sort-name", "N", &["NAME↓"]),
    ("sort-age", "A", &["AGE↑"]),
    ("sort-status", "S", &["STATUS↑"]),
    ("sort-namespace", "P", &["NAME↓"]),
    ("faults", "<ctrl-z>", &["api-ppq9", "!web-58vhc"]),
    ("wide", "<ctrl-w>", &["NOMINATED NODE"]),
    ("columns", "C/<space><esc>Cready<space><enter>", &["!READY"]),
    ("clear-filter", "/web<enter><ctrl-u>", &["api-ppq9"]),
    ("next-match", "/58v<enter>y/name<enter>n", &["match 2/"]),
    ("previous-match", "/58v<enter>y/name<enter>nN", &["match 1/"]),
    ("managed-fields", ":deploy<enter>ym", &["managedFields:"]),
    ("decode", ":secrets<enter>/token<enter>yx", &["password: hello"]),
    ("copy-text", "/58v<enter>yc", &["=kind: Pod"]),
    ("edit-this", ":deploy<enter>ye", &["edit deployment web"]),
    ("follow", "/58v<enter>ls", &["standing still"]),
    ("timestamps", "/58v<enter>lt", &[r"?\d\d:\d\d:\d\d\.\d{3} Kubia"]),
    ("all-containers", "/58v<enter><enter><enter>a", &["logs of pod web-58vhc"]),
    ("histogram", "/58v<enter>li", &[r"?\d\d:\d\d:\d\d .*█"]),
    ("wrap", "/58v<enter>l<right>w", &["Kubia server starting"]),
    ("column-lock", "/58v<enter>lL<right>", &["ver starting"]),
    ("log-previous", "/58v<enter>lp", &["previous logs of pod web-58vhc", ">previous=true"]),
    ("log-fold", "/58v<enter>lz", &["stack traces are shown"]),
    ("yaml-fold", "/58v<enter>yz", &["⋯", "!containerPort"]),
    ("log-search", "/58v<enter>l<ctrl-f>received<enter>", &["?received", "Kubia server starting"]),
    ("log-mark", "/58v<enter>lm", &["──────────"]),
    ("log-tail", "/58v<enter>l10", &["(tail 500)"]),
    ("log-beginning", "/58v<enter>l1", &["(from the beginning)"]),
    ("log-1m", "/58v<enter>l2", &[">sinceSeconds=60"]),
    ("log-5m", "/58v<enter>l3", &[">sinceSeconds=300"]),
    ("log-15m", "/58v<enter>l4", &[">sinceSeconds=900"]),
    ("log-30m", "/58v<enter>l5", &[">sinceSeconds=1800"]),
    ("log-1h", "/58v<enter>l6", &[">sinceSeconds=3600"]),
    ("clear", "/58v<enter>lC", &["!Kubia server"]),
    ("edit-complete", ":deploy<enter>e<ctrl-f>replicas<enter><end><enter>minr<ctrl-space>", &["minReadySeconds", "integer"]),
    ("edit-fold", ":deploy<enter>e<ctrl-f>template<enter><alt-f>", &["⋯", "!containers:"]),
    ("edit-indent", ":deploy<enter>e<alt-right>", &["edit deployment web ●"]),
    ("edit-outdent", ":deploy<enter>e<ctrl-f>replicas<enter><alt-left>", &["edit deployment web ●"]),
    ("edit-comment", ":deploy<enter>e<ctrl-_>", &["# apiVersion"]),
    ("edit-search", ":deploy<enter>e<ctrl-f>repl", &["/repl"]),
    ("edit-next", ":deploy<enter>e<ctrl-f>name<enter><ctrl-n>", &[r"?edit deployment web +(?:[2-9]|\d\d):\d+"]),
    ("edit-undo", ":deploy<enter>exx<ctrl-z><ctrl-z>", &["edit deployment web", "!●"]),
    ("edit-redo", ":deploy<enter>ex<ctrl-z><ctrl-y>", &["edit deployment web ●"]),
    ("apply", ":deploy<enter>e<ctrl-f>replicas<enter><end><backspace>3<ctrl-s><enter>", &["deployment web applied"]),
    ("drop-edit", ":deploy<enter>ex<ctrl-q>", &["!edit deployment", "deployments 1"]),
    ("type-again", "/58v<enter>s<enter>", &["shell in web-58vhc/main"]),
    ("split-right", "|", &["▸pods", " pods", "│"]),
    ("split-below", "_", &["▸pods", " pods"]),
    ("next-pane", "|:deploy<enter><tab>", &["▸pods", " deployments"]),
    ("close-pane", "|:deploy<enter><ctrl-x>", &["!deployments"]),
    ("zoom", "|:deploy<enter>Z", &["deployments 1", "!│"]),
    ("preview", "/58v<enter>\\", &["── pod web-58vhc", "── events", "Scheduled", "── log", "Kubia server"]),
    ("command", ":", &[":"]),
    ("filter", "/web", &["/web", "2/4"]),
    ("find", "<ctrl-o>cart<enter>", &["coracle ▸ shop", "▶cart-1"]),
    ("help", "?", &["help: pods", "describe"]),
    ("back", "/58v<enter>d<esc>", &["!describe pod", "web-58vhc"]),
    ("last-view", ":deploy<enter>-", &["pods 4"]),
    ("history-back", ":deploy<enter>[", &["pods 4"]),
    ("history-forward", ":deploy<enter>[]", &["deployments 1"]),
    ("activity", ":nonsense<enter>!", &["activity", "nonsense"]),
    ("header", "<ctrl-e>", &["!coracle ▸"]),
    ("pick-namespaces", "<ctrl-n>shop<enter>", &["coracle ▸ shop"]),
    ("all-namespaces", "0/cart<enter>", &["cart-1", "NAMESPACE"]),
    ("events", ":events<enter>", &["Scheduled"]),
    ("manifests", ":manifests<enter>", &["no folder is watched"]),
    ("redraw", "<ctrl-r>", &["@redraw"]),
    ("up", "Gk", &["▶web-58vhc"]),
    ("down", "j", &["▶job-seed"]),
    ("left", "/58v<enter>l<right><left>", &["Kubia server starting"]),
    ("right", "/58v<enter>l<right>", &["ver starting"]),
    ("page-up", "G<pageup>", &["▶api-ppq9"]),
    ("page-down", "<pagedown>", &["▶web-p449x"]),
    ("top", "Gg", &["▶api-ppq9"]),
    ("bottom", "G", &["▶web-p449x"]),
    ("quit", "<ctrl-c>", &["@quit"]),
];

/// A release as helm keeps it.
pub fn release(version: u32, status: &str) -> Value {
    let manifest = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: shop\ndata:\n  {}: \"yes\"\n",
        if version == 1 { "one" } else { "two" }
    );
    let release = json!({"name": "shop", "version": version, "namespace": "default", "manifest": manifest, "config": {"replicas": version},
        "chart": {"metadata": {"name": "shop", "version": "0.1.0", "appVersion": "1.2"}},
        "info": {"status": status, "notes": "Enjoy", "description": "Install complete", "last_deployed": "2026-11-21T11:00:00Z"}});
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
        "metadata": {"name": format!("sh.helm.release.v1.shop.v{version}"), "namespace": "default",
            "labels": {"owner": "helm", "name": "shop", "status": status, "version": version.to_string()}},
        "data": {"release": encode(encode(release.to_string().as_bytes()).as_bytes())}})
}

pub fn cluster() -> Fake {
    let fake = Fake::new();
    for (name, status, restarts) in
        [("web-58vhc", "Running", 0), ("web-p449x", "Running", 2), ("api-ppq9", "CrashLoopBackOff", 41), ("job-seed", "Succeeded", 0)]
    {
        let mut pod = crate::fake::pod("default", name, status, restarts);
        pod["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-2", "uid": "uid-web-2", "controller": true}]);
        if name == "web-58vhc" {
            pod["spec"]["volumes"] = json!([{"name": "s", "configMap": {"name": "settings"}}]);
        }
        if name == "api-ppq9" {
            pod["status"]["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}});
        }
        fake.put(pod);
    }
    fake.pod("shop", "cart-1", "Pending", 0);
    let mut web = deployment("web", 2);
    web["metadata"]["uid"] = "uid-deployment".into();
    fake.put(web.clone());
    for (name, revision, image) in [("web-1", "1", "coracle.local/kubia:0.9"), ("web-2", "2", "coracle.local/kubia:1.0")] {
        let mut template = web["spec"]["template"].clone();
        template["spec"]["containers"][0]["image"] = image.into();
        fake.put(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"},
            "annotations": {"deployment.kubernetes.io/revision": revision},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "uid-deployment", "controller": true}]},
            "spec": {"replicas": if revision == "2" { 2 } else { 0 }, "selector": {"matchLabels": {"app": "web"}}, "template": template}, "status": {"replicas": 2, "readyReplicas": 2}}));
    }
    fake.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}));
    fake.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "laptop"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}));
    fake.put(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"}, "data": {"a": "b"}}),
    );
    fake.put(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop", "namespace": "default"}, "data": {"two": "yes"}}),
    );
    fake.put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": "default"}, "data": {"password": "aGVsbG8="}}));
    fake.put(release(1, "superseded"));
    fake.put(release(2, "deployed"));
    fake.put(json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick", "namespace": "default"},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}}}));
    fake.put(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]}));
    fake.put(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "read"},
        "roleRef": {"kind": "ClusterRole", "name": "reader"}, "subjects": [{"kind": "User", "name": "ada"}]}));
    fake.put(json!({"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "coracle", "namespace": "default"}, "spec": {"crew": 1}}));
    fake.put(json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "web.1", "namespace": "default"}, "type": "Normal",
        "reason": "Scheduled", "message": "assigned to laptop", "lastTimestamp": "2026-11-21T11:42:00Z", "source": {"component": "scheduler"},
        "involvedObject": {"kind": "Pod", "name": "web-58vhc", "uid": "uid-web-58vhc"}}));
    fake.log("web-58vhc", "2026-11-21T11:42:05Z Kubia server starting...\n2026-11-21T11:42:09.5Z Received request for / from 10.244.0.1\n");
    fake
}

/// A UI whose files are below `dir`, with a draft, a folder of manifests and a second context.
pub async fn ui(fake: &Fake, dir: &std::path::Path, width: u16, height: u16) -> Headless {
    draft(dir, "default");
    let options = Options { state_dir: Some(dir.to_owned()), contexts: fake.contexts(), ..Options::default() };
    fake.ui_with(options, width, height).await
}

/// Keeps a draft from before.
pub fn draft(dir: &std::path::Path, namespace: &str) {
    let drafts = dir.join("drafts/coracle");
    std::fs::create_dir_all(&drafts).unwrap();
    let draft = drafts.join(format!("deployments.{namespace}.web.yaml"));
    std::fs::write(&draft, "# from before\nkind: Deployment\n").unwrap();
    let before = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_795_258_800);
    std::fs::File::options().append(true).open(&draft).unwrap().set_modified(before).unwrap();
}

fn files(dir: &std::path::Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => text.push_str(&files(&entry.path())),
            false => text.push_str(&std::fs::read_to_string(entry.path()).unwrap_or_default()),
        }
    }
    text
}

/// A UI, and what a case is told of it.
pub struct Stage<'a> {
    pub ui: Headless,
    pub dir: &'a std::path::Path,
    pub requests: &'a (dyn Fn() -> Vec<String> + Sync),
}

/// Presses the keys of a case and waits for what it wants; what did not come about.
pub async fn play(mut stage: Stage<'_>, name: &str, keys: &str, wanted: &[String]) -> Option<String> {
    let ui = &mut stage.ui;
    // a folder is read before its rows are used
    let watched = keys.strip_prefix(":watch ").and_then(|keys| keys.find("<enter>")).map_or(0, |at| ":watch <enter>".len() + at);
    if watched > 0 {
        ui.press(&keys[..watched]).await.unwrap();
        ui.until(|text| text.contains("web.yaml") && text.contains("Deployment ")).await.unwrap();
    }
    ui.press(&keys[watched..]).await.unwrap();
    for part in wanted {
        let (sign, rest) = part.split_at(part.chars().next().map_or(0, char::len_utf8));
        let held = |ui: &mut Headless, text: &str| match sign {
            "!" => !text.contains(rest),
            ">" => (stage.requests)().iter().any(|request| request.contains(rest)),
            "?" => regex::Regex::new(rest).unwrap().is_match(text),
            "=" => ui.app.shared.clipboard.as_deref().is_some_and(|text| text.contains(rest)),
            "@" => {
                if rest == "quit" {
                    ui.app.quit
                } else {
                    ui.app.shared.redraw
                }
            }
            "~" => files(stage.dir).contains(rest),
            _ => text.contains(part),
        };
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let text = ui.text();
            if held(ui, &text) {
                break;
            }
            if tokio::time::Instant::now() > deadline {
                let asked = (stage.requests)();
                let asked: Vec<&String> = asked.iter().rev().filter(|request| *request != "GET /version").take(6).collect();
                return Some(format!("{name}: {part} did not come about after {keys}:\n{text}\n{asked:#?}"));
            }
            ui.wait(std::time::Duration::from_millis(100)).await;
        }
    }
    None
}

/// Writes the folder of manifests a case may watch.
pub fn folder(dir: &std::path::Path, namespace: &str) -> std::path::PathBuf {
    let folder = dir.join("manifests");
    std::fs::create_dir_all(&folder).unwrap();
    let mut web = deployment("web", 2);
    web["metadata"] = json!({"name": "web", "namespace": namespace});
    web.as_object_mut().unwrap().remove("status");
    std::fs::write(folder.join("web.yaml"), coracle_api::yaml::to_string(&web)).unwrap();
    folder
}

async fn check(name: &str, keys: &str, wanted: &[&str]) -> Option<String> {
    let fake = cluster();
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(dir.path(), "default");
    let ui = ui(&fake, dir.path(), 160, 45).await;
    // a draft is only in the way of the others
    if !name.starts_with("draft") {
        std::fs::remove_dir_all(dir.path().join("drafts")).unwrap();
    }
    let wanted: Vec<String> = wanted.iter().map(|&part| part.to_owned()).collect();
    let stage = Stage { ui, dir: dir.path(), requests: &|| fake.requests() };
    play(stage, name, &keys.replace("FOLDER", &folder.display().to_string()), &wanted).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_action_does_what_it_says() {
    use futures::StreamExt;
    let checks = futures::stream::iter(CASES.iter().map(|(name, keys, wanted)| check(name, keys, wanted)));
    let failed: Vec<String> = checks.buffer_unordered(4).collect::<Vec<_>>().await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n\n"));
}

#[test]
fn every_action_has_a_case() {
    let missing: Vec<&str> = ACTIONS.iter().map(|action| action.name).filter(|name| !CASES.iter().any(|case| case.0 == *name)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
    let unknown: Vec<&str> = CASES.iter().map(|case| case.0).filter(|name| by_name(name).is_none()).collect();
    assert!(unknown.is_empty(), "no action {unknown:?}");
}

#[test]
fn what_k9s_has_is_ours_or_has_its_reason() {
    let mut seen = std::collections::HashSet::new();
    for line in include_str!("../../k9s.tsv").lines().filter(|line| !line.starts_with('#')) {
        let [view, key, ours, reason] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{line:?} has not four columns"));
        assert!(seen.insert((view, key)), "{view} {key} twice");
        match by_name(ours) {
            Some(action) => assert!(!action.scopes.meet(Scopes::NONE)),
            None => assert!(ours == "-" && !reason.is_empty(), "{line:?}: {ours} is no action, and there is no reason"),
        }
    }
    assert!(seen.len() > 150);
}

#[tokio::test]
async fn every_command_of_k9s_is_one_of_ours() {
    let fake = cluster();
    let dir = tempfile::tempdir().unwrap();
    for line in include_str!("../../k9s-commands.tsv").lines().filter(|line| !line.starts_with('#')) {
        let [theirs, ours, reason] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{line:?} has not three columns"));
        if ours == "-" {
            assert!(!reason.is_empty(), "{line:?}");
            continue;
        }
        let mut ui = ui(&fake, dir.path(), 120, 30).await;
        ui.press(&format!(":{theirs}<enter>")).await.unwrap();
        let text = ui.text();
        assert!(!text.contains("no kind and no command"), "{theirs}: {text}");
    }
}

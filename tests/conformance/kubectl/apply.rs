//! `apply` in all its forms, `diff`, `edit`, `replace`, `delete`.

use serde_json::json;

use super::{shown, with_each};
use crate::harness::Need;
use crate::here::Here;

fn map(name: &str, data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  labels: {{set: mine}}\ndata: {data}\n---\n")
}

fn apply(here: &Here, options: &[&str], text: &str) -> String {
    here.kubectl_with(&[&["apply", "-f", "-"], options].concat(), text.as_bytes()).ok()
}

#[test]
fn objects_are_applied() {
    with_each("apply", &[Need::Kubectl], async |here| {
        on_the_client(here);
        on_the_server(here);
        managers_change(here);
        pruned(here);
    });
}

fn on_the_client(here: &Here) {
    for (data, says) in [("{a: '1', b: '2'}", "created"), ("{a: '1', b: '2'}", "unchanged"), ("{a: '3'}", "configured")] {
        assert_eq!(apply(here, &[], &map("c", data)), format!("configmap/c {says}\n"));
    }
    assert_eq!(shown(here, "cm/c")["data"], json!({"a": "3"}), "a key that is no longer wished is gone");
    let last = here.kubectl(&["apply", "view-last-applied", "cm/c", "-o", "json"]).ok();
    assert!(last.contains("\"a\": \"3\""), "{last}");
    let different = here.kubectl_with(&["diff", "-f", "-"], map("c", "{a: '4'}").as_bytes());
    assert_eq!(different.code, Some(1), "{}", different.said());
    assert!(different.text().contains("-  a: \"3\"\n+  a: \"4\""), "{}", different.said());
    let served = here.kubectl_with(&["diff", "--server-side", "--force-conflicts", "-f", "-"], map("c", "{a: '4'}").as_bytes());
    assert_eq!(served.code, Some(1), "{}", served.said());
    here.kubectl_with(&["diff", "-f", "-"], map("c", "{a: '3'}").as_bytes()).ok();
    here.kubectl(&["create", "cm", "old", "--from-literal=a=1"]).ok();
    let adopted = here.kubectl_with(&["apply", "-f", "-"], map("old", "{a: '1'}").as_bytes());
    assert!(adopted.stderr.contains("missing the kubectl.kubernetes.io/last-applied-configuration annotation"), "{}", adopted.said());
    here.kubectl_with(&["apply", "set-last-applied", "--create-annotation", "-f", "-"], map("old", "{a: '1'}").as_bytes()).ok();
}

fn on_the_server(here: &Here) {
    let one = ["--server-side", "--field-manager=one"];
    apply(here, &one, &map("s", "{a: '1', b: '1'}"));
    apply(here, &["--server-side", "--field-manager=two"], &map("s", "{c: '2'}"));
    let refused = here.kubectl_with(&["apply", "--server-side", "--field-manager=two", "-f", "-"], map("s", "{a: '2'}").as_bytes());
    assert!(refused.failed(1).contains("conflict with \"one\": .data.a"), "{}", refused.said());
    apply(here, &["--server-side", "--field-manager=two", "--force-conflicts"], &map("s", "{a: '2'}"));
    assert_eq!(shown(here, "cm/s")["data"], json!({"a": "2", "b": "1"}), "two no longer wishes c");
    apply(here, &one, &map("s", "{b: '3'}"));
    assert_eq!(shown(here, "cm/s")["data"], json!({"a": "2", "b": "3"}));
    let dry = apply(here, &["--server-side", "--field-manager=one", "--dry-run=server"], &map("s", "{b: '4'}"));
    assert!(dry.contains("serverside-applied (server dry run)"), "{dry}");
    assert_eq!(shown(here, "cm/s")["data"]["b"], "3");
}

/// From client-side to server-side: kubectl's own fields are taken over, and what is no longer wished goes.
fn managers_change(here: &Here) {
    apply(here, &[], &map("moves", "{a: '1', b: '1'}"));
    apply(here, &["--server-side"], &map("moves", "{a: '2'}"));
    assert_eq!(shown(here, "cm/moves")["data"], json!({"a": "2"}));
}

fn pruned(here: &Here) {
    let both = format!("{}{}", map("p1", "{a: '1'}"), map("p2", "{a: '1'}"));
    let select = ["--prune", "-l", "set=mine", "--prune-allowlist=core/v1/ConfigMap"];
    apply(here, &select, &both);
    let said = apply(here, &select, &map("p1", "{a: '1'}"));
    assert!(said.contains("configmap/p2 pruned"), "{said}");
    here.kubectl(&["get", "cm", "p2"]).failed(1);
    let set = here.kubectl_command(&[]).env("KUBECTL_APPLYSET", "true").get_envs().count();
    assert!(set > 0);
    let apply_set = |text: &str| {
        let mut command = here.kubectl_command(&["apply", "-f", "-", "--server-side", "--prune", "--applyset=mine"]);
        crate::harness::run::run(command.env("KUBECTL_APPLYSET", "true"), text.as_bytes(), std::time::Duration::from_secs(60)).ok()
    };
    apply_set(&format!("{}{}", map("q1", "{a: '1'}"), map("q2", "{a: '1'}")));
    let said = apply_set(&map("q1", "{a: '1'}"));
    assert!(said.contains("configmap/q2 pruned"), "{said}");
    assert!(shown(here, "secret/mine")["metadata"]["labels"]["applyset.kubernetes.io/id"].is_string());
}

#[test]
fn objects_are_edited_replaced_and_deleted() {
    with_each("edit", &[Need::Kubectl], async |here| {
        edited(here);
        replaced(here);
        deleted(here).await;
    });
}

fn edited(here: &Here) {
    apply(here, &[], &map("e", "{a: '1'}"));
    let edit = |script: &str| {
        let mut command = here.kubectl_command(&["edit", "cm", "e"]);
        command.env("KUBE_EDITOR", format!("sed -i {script}"));
        crate::harness::run::run(&mut command, b"", std::time::Duration::from_secs(60))
    };
    edit("/^..a:/s/1/2/").shows(&["configmap/e edited"]);
    assert_eq!(shown(here, "cm/e")["data"]["a"], "2");
    let same = edit("s/nothing/nothing/");
    assert!(same.stderr.contains("Edit cancelled, no changes made"), "{}", same.said());
}

fn replaced(here: &Here) {
    here.kubectl_with(&["replace", "-f", "-"], map("none", "{}").as_bytes()).failed(1);
    apply(here, &[], &map("r", "{a: '1'}"));
    here.kubectl_with(&["replace", "-f", "-"], map("r", "{b: '1'}").as_bytes()).shows(&["configmap/r replaced"]);
    assert_eq!(shown(here, "cm/r")["data"], json!({"b": "1"}));
    let before = shown(here, "cm/r")["metadata"]["uid"].clone();
    here.kubectl_with(&["replace", "--force", "-f", "-"], map("r", "{c: '1'}").as_bytes()).shows(&["replaced"]);
    assert_ne!(shown(here, "cm/r")["metadata"]["uid"], before);
}

/// The modes of cascading, and the ways to say what goes.
async fn deleted(here: &Here) {
    for (mode, stays) in [("background", false), ("foreground", false), ("orphan", true)] {
        let name = format!("d-{mode}");
        here.kubectl(&["create", "deployment", &name, "--image=i:1", "--replicas=0"]).ok();
        let (selector, label) = (format!("app={name}"), format!("labelSelector=app%3D{name}"));
        let sets = here.path("apps/v1", &format!("replicasets?{label}"));
        let count = async |wanted: usize| {
            here.until(&format!("{wanted} replica sets of {name}"), async || {
                let list = here.get(&sets).await.ok();
                if list["items"].as_array().is_some_and(|items| items.len() == wanted) { Ok(list) } else { Err(list) }
            })
            .await
        };
        count(1).await;
        here.kubectl(&["delete", "deployment", &name, &format!("--cascade={mode}")]).shows(&["deleted"]);
        let left = count(usize::from(stays)).await;
        if stays {
            assert!(left["items"][0]["metadata"]["ownerReferences"].is_null(), "{left}");
            here.kubectl(&["delete", "rs", "-l", &selector]).shows(&["deleted"]);
        }
    }
    for name in ["x1", "x2"] {
        here.kubectl(&["create", "cm", name]).ok();
    }
    here.kubectl(&["delete", "cm", "x1", "x2", "--wait=false"]).shows(&["\"x1\" deleted", "\"x2\" deleted"]);
    here.kubectl(&["delete", "cm", "none", "--ignore-not-found"]).ok();
    here.kubectl(&["delete", "cm", "none"]).failed(1);
    here.kubectl(&["delete", "cm", "--field-selector=metadata.name=e"]).shows(&["\"e\" deleted"]);
    here.kubectl(&["delete", "cm", "--raw=/none"]).code.unwrap();
}

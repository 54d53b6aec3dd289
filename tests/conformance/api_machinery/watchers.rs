//! Watches.

use serde_json::{Value, json};

use crate::here::{Here, MERGE, row};
use crate::operations::version;

async fn make(here: &Here, name: &str, label: &str) -> Value {
    here.post(&here.path("v1", "configmaps"), &json!({"metadata": {"name": name, "labels": {"watched": label}}})).await.ok()
}

/// Patches the data; the new revision.
async fn mutate(here: &Here, name: &str, mutation: &str) -> String {
    let path = here.path("v1", &format!("configmaps/{name}"));
    version(&here.patch(&path, MERGE, &json!({"data": {"mutation": mutation}})).await.ok())
}

async fn relabel(here: &Here, name: &str, label: &str) {
    let path = here.path("v1", &format!("configmaps/{name}"));
    here.patch(&path, MERGE, &json!({"metadata": {"labels": {"watched": label}}})).await.ok();
}

async fn remove(here: &Here, name: &str) {
    here.delete(&here.path("v1", &format!("configmaps/{name}"))).await.ok();
}

/// Config maps of these labels, from a revision on.
fn watched(here: &Here, labels: &str, revision: &str) -> String {
    here.path("v1", &format!("configmaps?labelSelector=watched+in+({labels})&resourceVersion={revision}"))
}

async fn now(here: &Here) -> String {
    version(&here.get(&here.path("v1", "configmaps")).await.ok())
}

/// [sig-api-machinery] Watchers should observe add, update, and delete watch notifications on configmaps [Conformance]
#[test]
fn watchers_see_what_they_select() {
    row("watch selection", &[], async |here| {
        let start = now(here).await;
        let mut a = here.watch(&watched(here, "a", &start)).await;
        let mut b = here.watch(&watched(here, "b", &start)).await;
        let mut both = here.watch(&watched(here, "a,b", &start)).await;
        make(here, "one", "a").await;
        mutate(here, "one", "1").await;
        mutate(here, "one", "2").await;
        remove(here, "one").await;
        make(here, "two", "b").await;
        remove(here, "two").await;
        // what comes next is all there is between: a watcher that saw something else would fail here
        for watch in [&mut a, &mut both] {
            assert_eq!(watch.expect("ADDED").await["metadata"]["name"], "one");
            assert_eq!(watch.expect("MODIFIED").await["data"]["mutation"], "1");
            assert_eq!(watch.expect("MODIFIED").await["data"]["mutation"], "2");
            assert_eq!(watch.expect("DELETED").await["metadata"]["name"], "one");
        }
        for watch in [&mut b, &mut both] {
            assert_eq!(watch.expect("ADDED").await["metadata"]["name"], "two");
            assert_eq!(watch.expect("DELETED").await["metadata"]["name"], "two");
        }
        make(here, "three", "a").await;
        assert_eq!(a.expect("ADDED").await["metadata"]["name"], "three");
    });
}

/// [sig-api-machinery] Watchers should be able to start watching from a specific resource version [Conformance]
#[test]
fn a_watch_starts_in_the_past() {
    row("watch past", &[], async |here| {
        make(here, "one", "v").await;
        let first = mutate(here, "one", "1").await;
        let second = mutate(here, "one", "2").await;
        remove(here, "one").await;
        let mut watch = here.watch(&watched(here, "v", &first)).await;
        let modified = watch.expect("MODIFIED").await;
        assert_eq!((modified["data"]["mutation"].as_str(), version(&modified)), (Some("2"), second));
        watch.expect("DELETED").await;
    });
}

/// [sig-api-machinery] Watchers should be able to restart watching from the last resource version observed by the previous watch [Conformance]
#[test]
fn a_watch_goes_on_where_another_ended() {
    row("watch restart", &[], async |here| {
        let mut first = here.watch(&watched(here, "r", &now(here).await)).await;
        make(here, "one", "r").await;
        mutate(here, "one", "1").await;
        first.expect("ADDED").await;
        let last = version(&first.expect("MODIFIED").await);
        drop(first);
        mutate(here, "one", "2").await;
        remove(here, "one").await;
        let mut second = here.watch(&watched(here, "r", &last)).await;
        assert_eq!(second.expect("MODIFIED").await["data"]["mutation"], "2");
        second.expect("DELETED").await;
    });
}

/// [sig-api-machinery] Watchers should observe an object deletion if it stops meeting the requirements of the selector [Conformance]
#[test]
fn an_object_leaves_and_enters_a_selection() {
    row("watch leaving", &[], async |here| {
        let mut watch = here.watch(&watched(here, "in", &now(here).await)).await;
        make(here, "one", "in").await;
        mutate(here, "one", "1").await;
        relabel(here, "one", "out").await;
        mutate(here, "one", "2").await;
        relabel(here, "one", "in").await;
        mutate(here, "one", "3").await;
        remove(here, "one").await;
        watch.expect("ADDED").await;
        watch.expect("MODIFIED").await;
        let left = watch.expect("DELETED").await;
        assert_eq!(left["data"]["mutation"], "1");
        let entered = watch.expect("ADDED").await;
        assert_eq!((&entered["data"]["mutation"], &entered["metadata"]["labels"]["watched"]), (&json!("2"), &json!("in")));
        assert_eq!(watch.expect("MODIFIED").await["data"]["mutation"], "3");
        assert_eq!(watch.expect("DELETED").await["data"]["mutation"], "3");
    });
}

/// [sig-api-machinery] Watchers should receive events on concurrent watches in same order [Conformance]
#[test]
fn watches_from_every_revision_see_the_same_order() {
    row("watch order", &[], async |here| {
        let start = now(here).await;
        let writes = async {
            for number in 0..40 {
                let name = format!("map-{}", number % 7);
                match number % 3 {
                    0 => drop(here.post(&here.path("v1", "configmaps"), &json!({"metadata": {"name": name}})).await),
                    1 => drop(
                        here.patch(&here.path("v1", &format!("configmaps/{name}")), MERGE, &json!({"data": {"n": number.to_string()}}))
                            .await,
                    ),
                    _ => drop(here.delete(&here.path("v1", &format!("configmaps/{name}"))).await),
                }
            }
            here.post(&here.path("v1", "configmaps"), &json!({"metadata": {"name": "last"}})).await.ok();
        };
        let reads = async {
            let mut first = here.watch(&here.path("v1", &format!("configmaps?resourceVersion={start}"))).await;
            let mut others = Vec::new();
            let mut order = Vec::new();
            loop {
                let event = first.next().await;
                let revision = version(&event["object"]);
                others.push(here.watch(&here.path("v1", &format!("configmaps?resourceVersion={revision}"))).await);
                order.push(revision);
                if event["object"]["metadata"]["name"] == "last" {
                    return (order, others);
                }
            }
        };
        let ((), (order, mut others)) = tokio::join!(writes, reads);
        assert!(order.len() > 15, "{order:?}");
        for (at, other) in others.iter_mut().enumerate() {
            for revision in &order[at + 1..] {
                assert_eq!(&version(&other.next().await["object"]), revision);
            }
        }
    });
}

//! Persistent volumes and the claims to them.

use serde_json::{Value, json};

use crate::here::{Here, MERGE, row};
use crate::operations;

/// A volume and a claim that are made for each other, by the names of their test.
struct Pair<'a> {
    here: &'a Here,
    volume: String,
    claim: String,
}

impl<'a> Pair<'a> {
    async fn new(here: &'a Here, name: &str) -> Self {
        let class = format!("{}-{name}", here.namespace);
        let labels = json!({"test": here.namespace});
        let volume = json!({"metadata": {"name": class, "labels": labels}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": class, "volumeMode": "Filesystem",
            "csi": {"driver": "e2e-driver", "volumeHandle": class}}});
        let claim = json!({"metadata": {"name": name, "labels": labels}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": {"requests": {"storage": "1Gi"}}}});
        here.post("/api/v1/persistentvolumes", &volume).await.ok();
        let pair = Self {
            here,
            volume: format!("/api/v1/persistentvolumes/{class}"),
            claim: here.path("v1", &format!("persistentvolumeclaims/{name}")),
        };
        here.remove_later(&pair.volume);
        here.post(&here.path("v1", "persistentvolumeclaims"), &claim).await.ok();
        for path in [&pair.claim, &pair.volume] {
            here.until_object("volume and claim are bound", path, |object| object["status"]["phase"] == "Bound").await;
        }
        pair
    }

    async fn until_gone(&self) {
        self.here.until_gone(&self.claim).await;
        self.here.until_gone(&self.volume).await;
    }
}

/// Collections of the volumes and claims of a test.
fn collections(here: &Here) -> [String; 2] {
    let selector = format!("labelSelector=test%3D{}", here.namespace);
    [here.path("v1", &format!("persistentvolumeclaims?{selector}")), format!("/api/v1/persistentvolumes?{selector}")]
}

/// Reads an object, changes it and writes it back.
async fn update(here: &Here, path: &str, change: impl Fn(&mut Value)) -> Value {
    here.until("the object is updated", async || {
        let mut object = here.get(path).await.ok();
        change(&mut object);
        here.put(path, &object).await.try_ok()
    })
    .await
}

/// [sig-storage] PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC [Conformance]
#[test]
fn a_volume_and_its_claim() {
    row("volumes and claims", &[], async |here| {
        let first = Pair::new(here, "first").await;
        for collection in collections(here) {
            assert_eq!(here.get(&collection).await.ok()["items"].as_array().unwrap().len(), 1);
        }
        for path in [&first.claim, &first.volume] {
            let read = here.get(path).await.ok();
            let patched = here.patch(path, MERGE, &json!({"metadata": {"labels": {"patched": "true"}}})).await.ok();
            assert_eq!(
                (&patched["metadata"]["labels"]["patched"], &patched["metadata"]["uid"]),
                (&json!("true"), &read["metadata"]["uid"])
            );
        }
        here.delete(&first.claim).await.ok();
        here.until_gone(&first.claim).await;
        here.until_object("the volume is released", &first.volume, |volume| volume["status"]["phase"] == "Released").await;
        here.delete(&first.volume).await.ok();
        first.until_gone().await;

        let second = Pair::new(here, "second").await;
        for path in [&second.claim, &second.volume] {
            let updated = update(here, path, |object| object["metadata"]["labels"]["updated"] = json!("true")).await;
            assert_eq!(updated["metadata"]["labels"]["updated"], "true");
        }
        for collection in collections(here) {
            here.delete(&collection).await.ok();
        }
        second.until_gone().await;
    });
}

/// [sig-storage] PersistentVolumes CSI Conformance should apply changes to a pv/pvc status [Conformance]
#[test]
fn statuses_of_a_volume_and_its_claim() {
    row("volume status", &[], async |here| {
        let pair = Pair::new(here, "claim").await;
        let (claim, volume) = (format!("{}/status", pair.claim), format!("{}/status", pair.volume));
        for path in [&claim, &volume] {
            assert_eq!(here.get(path).await.ok()["status"]["phase"], "Bound");
        }
        let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Test", "message": "set by the test"});
        let patched = here.patch(&claim, MERGE, &json!({"status": {"conditions": [condition("StatusPatched")]}})).await.ok();
        assert_eq!(patched["status"]["conditions"][0]["type"], "StatusPatched");
        let updated = update(here, &claim, |claim| claim["status"]["conditions"] = json!([condition("StatusUpdated")])).await;
        assert_eq!(updated["status"]["conditions"][0]["type"], "StatusUpdated");
        let words = |status: &Value| (status["message"].clone(), status["reason"].clone());
        let patched = here.patch(&volume, MERGE, &json!({"status": {"message": "StatusPatched", "reason": "Test"}})).await.ok();
        assert_eq!(words(&patched["status"]), (json!("StatusPatched"), json!("Test")));
        let updated = update(here, &volume, |volume| volume["status"]["message"] = json!("StatusUpdated")).await;
        assert_eq!(words(&updated["status"]), (json!("StatusUpdated"), json!("Test")));
        assert_eq!(operations::names(&here.get(&collections(here)[0]).await.ok()), ["claim"]);
    });
}

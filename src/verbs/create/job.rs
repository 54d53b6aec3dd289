//! A job.

use serde_json::{Value, json};

use crate::error::VerbError;
use crate::making::object;
use crate::session::Session;

/// One that runs an image to its end.
pub(super) fn of_image(name: &str, image: &str, command: &[String]) -> Value {
    let mut container = json!({"name": name, "image": image, "resources": {}});
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    let template = json!({"metadata": {}, "spec": {"containers": [container], "restartPolicy": "Never"}});
    object("batch/v1", "Job", name, json!({"spec": {"template": template}, "status": {}}))
}

/// What a cron job, as `cronjob/NAME`, makes when its time has come.
pub(super) async fn of_cron_job(session: &Session, name: &str, from: &str) -> Result<Value, VerbError> {
    let cron = session.one(&[from.to_owned()]).await?;
    if !cron.kind.is("batch", "cronjobs") {
        return Err(VerbError::wrong(format!("unknown object type {}: only cronjob is supported", cron.kind.kind)));
    }
    let cron = session.read(cron.path()).await?;
    let template = &cron["spec"]["jobTemplate"];
    let mut job = object("batch/v1", "Job", name, json!({"spec": template["spec"]}));
    let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": cron["metadata"]["name"], "uid": cron["metadata"]["uid"]});
    let mut annotations = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert("cronjob.kubernetes.io/instantiate".to_owned(), "manual".into());
    job["metadata"]["annotations"] = annotations.into();
    job["metadata"]["labels"] = template["metadata"]["labels"].clone();
    job["metadata"]["ownerReferences"] = json!([owner]);
    Ok(job)
}

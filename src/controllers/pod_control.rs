//! Creating and deleting the pods of a workload, with the events that tell of it.

use coracle_client::{EventRecorder, EventType, is_not_found};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource};
use serde_json::Value;

use crate::ownership::controller_reference;
use crate::wiring::{name_of, namespace_of};

/// The hands of a controller.
#[derive(Clone)]
pub(crate) struct PodControl {
    pub client: kube::Client,
    pub recorder: EventRecorder,
}

impl PodControl {
    pub(crate) async fn create<O: Resource<DynamicType = ()>>(&self, owner: &O, pod: &Pod) -> Result<Pod, kube::Error> {
        let created = self.api(owner).create(&PostParams::default(), pod).await;
        match &created {
            Ok(pod) => self.tell(owner, EventType::Normal, "SuccessfulCreate", format!("Created pod: {}", name_of(pod))),
            Err(error) if !is_ending(error) => {
                self.tell(owner, EventType::Warning, "FailedCreate", format!("Error creating: {}", message_of(error)));
            }
            Err(_) => {}
        }
        created
    }

    /// A pod that is gone already is no error.
    pub(crate) async fn delete<O: Resource<DynamicType = ()>>(&self, owner: &O, pod: &Pod) -> Result<(), kube::Error> {
        match self.api(owner).delete(name_of(pod), &same_pod(pod)).await {
            Ok(_) => self.tell(owner, EventType::Normal, "SuccessfulDelete", format!("Deleted pod: {}", name_of(pod))),
            Err(error) if is_not_found(&error) => {}
            Err(error) => {
                self.tell(owner, EventType::Warning, "FailedDelete", format!("Error deleting: {}", message_of(&error)));
                return Err(error);
            }
        }
        Ok(())
    }

    /// A pod that is gone, or another of its name, is no error.
    pub(crate) async fn patch<O: Resource<DynamicType = ()>>(&self, owner: &O, pod: &Pod, patch: Value) -> Result<(), kube::Error> {
        match self.api(owner).patch(name_of(pod), &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => Ok(()),
            answer => answer.map(drop),
        }
    }

    pub(crate) fn tell<O: Resource<DynamicType = ()>>(&self, owner: &O, kind: EventType, reason: &str, message: String) {
        self.recorder.event(&owner.object_ref(&()), kind, reason, message);
    }

    fn api<O: Resource<DynamicType = ()>>(&self, owner: &O) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace_of(owner))
    }
}

/// Deletes this very pod, not another one of its name.
pub(crate) fn same_pod(pod: &Pod) -> DeleteParams {
    let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

/// A pod of a template that `owner` controls, without a name.
pub(crate) fn from_template<O: Resource<DynamicType = ()>>(owner: &O, template: &PodTemplateSpec) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            namespace: Some(namespace_of(owner).to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// The namespace is being deleted: nothing can be created, and nothing needs to be.
pub(crate) fn is_ending(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.details.as_ref()
        .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")))
}

pub(crate) fn message_of(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

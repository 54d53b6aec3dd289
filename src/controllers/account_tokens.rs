//! Tokens in secrets of type `kubernetes.io/service-account-token`: made when the secret asks for one, gone with the
//! service account.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_client::{Change, Informer, Queue};
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};

use crate::Context;
use crate::wiring::{Key, Outcome, Run, follow, follow_latest, name_of, namespace_of, uid_of, unless_gone, work};

const NAME: &str = "tokens-controller";
const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// The longest a token may last: as good as for ever. It ends with the secret.
const SECONDS: i64 = 1 << 32;

struct Controller {
    client: kube::Client,
    secrets: Informer<Secret>,
    accounts: Informer<ServiceAccount>,
    root_ca: String,
}

pub(crate) async fn run(context: Context) -> Run {
    let controller = Arc::new(Controller {
        client: context.client(NAME),
        secrets: context.informers.of(),
        accounts: context.informers.of(),
        root_ca: context.root_ca.clone(),
    });
    controller.secrets.synced().await;
    controller.accounts.synced().await;
    let queue = Queue::new();
    let secrets = follow_latest(controller.secrets.clone(), |secret| {
        if secret.type_.as_deref() == Some(TYPE) {
            queue.add(Key::of(secret.as_ref()));
        }
    });
    let known = controller.secrets.clone();
    let accounts = follow(controller.accounts.clone(), |change| {
        let (Change::Added(account) | Change::Deleted(account)) = &change else { return };
        let of_account = |secret: &&Arc<Secret>| {
            secret.type_.as_deref() == Some(TYPE)
                && namespace_of(&***secret) == namespace_of(&**account)
                && annotation(secret, ACCOUNT) == name_of(&**account)
        };
        known.list().iter().filter(of_account).for_each(|secret| queue.add(Key::of(secret.as_ref())));
    });
    let reconciler = controller.clone();
    let workers = work(queue.clone(), 1, move |key: Key| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(secrets, accounts, workers).2
}

fn annotation<'a>(secret: &'a Secret, key: &str) -> &'a str {
    secret.metadata.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str).unwrap_or_default()
}

/// What is to be done about a secret.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    /// The account it is of is not there.
    Delete,
    /// It lacks something.
    Fill {
        token: bool,
    },
}

fn plan(secret: &Secret, account: Option<&ServiceAccount>, root_ca: &str) -> Plan {
    if secret.type_.as_deref() != Some(TYPE) || secret.metadata.deletion_timestamp.is_some() {
        return Plan::Nothing;
    }
    let uid = annotation(secret, ACCOUNT_UID);
    let Some(account) = account.filter(|account| uid.is_empty() || uid == uid_of(*account)) else { return Plan::Delete };
    let has = |key: &str, wanted: Option<&str>| {
        let value = secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.as_slice()).unwrap_or_default();
        wanted.map_or(!value.is_empty(), |wanted| value == wanted.as_bytes())
    };
    let token = !has("token", None);
    let rest = has("ca.crt", Some(root_ca)) && has("namespace", Some(namespace_of(secret))) && uid == uid_of(account);
    if token || !rest { Plan::Fill { token } } else { Plan::Nothing }
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(secret) = self.secrets.get(&key.namespace, &key.name) else { return Ok(None) };
        let name = annotation(&secret, ACCOUNT);
        // The cache may not have seen an account that was made just before its secret.
        let account = match self.accounts.get(&key.namespace, name) {
            Some(account) => Some((*account).clone()),
            None if name.is_empty() => None,
            None => Api::<ServiceAccount>::namespaced(self.client.clone(), &key.namespace).get_opt(name).await?,
        };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let done = match (plan(&secret, account.as_ref(), &self.root_ca), account) {
            (Plan::Delete, _) => {
                let preconditions = Some(Preconditions { uid: secret.metadata.uid.clone(), resource_version: None });
                api.delete(&key.name, &DeleteParams { preconditions, ..DeleteParams::default() }).await.map(|_| ())
            }
            (Plan::Fill { token }, Some(account)) => self.fill(&api, &secret, &account, token).await,
            _ => Ok(()),
        };
        unless_gone(done).map(|()| None)
    }

    async fn fill(&self, api: &Api<Secret>, secret: &Secret, account: &ServiceAccount, token: bool) -> Result<(), kube::Error> {
        let mut secret = secret.clone();
        let mut data: BTreeMap<String, ByteString> = secret.data.take().unwrap_or_default();
        data.insert("ca.crt".to_owned(), ByteString(self.root_ca.clone().into_bytes()));
        data.insert("namespace".to_owned(), ByteString(namespace_of(&secret).as_bytes().to_vec()));
        if token {
            let made = self.token(&secret, account).await?;
            data.insert("token".to_owned(), ByteString(made.into_bytes()));
        }
        secret.data = Some(data);
        secret.metadata.annotations.get_or_insert_default().insert(ACCOUNT_UID.to_owned(), uid_of(account).to_owned());
        api.replace(name_of(&secret), &PostParams::default(), &secret).await.map(|_| ())
    }

    /// A token that is good as long as the secret is there.
    async fn token(&self, secret: &Secret, account: &ServiceAccount) -> Result<String, kube::Error> {
        let reference = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            name: secret.metadata.name.clone(),
            uid: secret.metadata.uid.clone(),
        };
        let spec = TokenRequestSpec { bound_object_ref: Some(reference), expiration_seconds: Some(SECONDS), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace_of(account));
        let made = api.create_token_request(name_of(account), &PostParams::default(), &request).await?;
        Ok(made.status.and_then(|status| status.token).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_is_filled_or_goes() {
        let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}})).unwrap();
        let secret = |uid: &str, data: serde_json::Value| -> Secret {
            let annotations = json!({ACCOUNT: "a", ACCOUNT_UID: uid});
            serde_json::from_value(
                json!({"type": TYPE, "metadata": {"name": "s", "namespace": "n", "annotations": annotations}, "data": data}),
            )
            .unwrap()
        };
        let full = json!({"token": "eA==", "ca.crt": "Q0E=", "namespace": "bg=="});
        assert_eq!(plan(&secret("", json!({})), Some(&account), "CA"), Plan::Fill { token: true });
        assert_eq!(plan(&secret("u", full.clone()), Some(&account), "CA"), Plan::Nothing);
        assert_eq!(plan(&secret("u", full.clone()), Some(&account), "NEW"), Plan::Fill { token: false });
        assert_eq!(plan(&secret("other", full.clone()), Some(&account), "CA"), Plan::Delete);
        assert_eq!(plan(&secret("u", full), None, "CA"), Plan::Delete);
        let plain: Secret = serde_json::from_value(json!({"type": "Opaque"})).unwrap();
        assert_eq!(plan(&plain, None, "CA"), Plan::Nothing);
    }
}

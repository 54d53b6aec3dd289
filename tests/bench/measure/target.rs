//! A cluster that load is sent to: how to reach it, with a token of an account that may do everything.

use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{DeleteParams, PostParams};
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Failure;
use crate::connection::Connection;

/// The account's name, and its binding's.
const ACCOUNT: &str = "load-generator";

/// Where load is sent.
#[derive(Clone)]
pub struct Target {
    pub client: Client,
    address: String,
    host: String,
    tls: Arc<rustls::ClientConfig>,
}

impl Target {
    pub async fn of_kubeconfig(file: &Path) -> Result<Self, Failure> {
        let kubeconfig = Kubeconfig::read_from(file)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config.clone())?;
        let host = config.cluster_url.host().unwrap_or("127.0.0.1").to_owned();
        let address = format!("{host}:{}", config.cluster_url.port_u16().unwrap_or(443));
        // the load comes with a token, not with the certificate
        config.auth_info = kube::config::AuthInfo::default();
        let mut tls = config.rustls_client_config()?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { client, address, host, tls: Arc::new(tls) })
    }

    /// A connection without a token.
    pub async fn connect_anonymously(&self) -> Result<Connection, Failure> {
        Connection::open(&self.address, &self.host, self.tls.clone(), None).await
    }

    /// A connection with a token of an account that may do everything.
    pub async fn connect(&self, namespace: &str) -> Result<Connection, Failure> {
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), namespace);
        if accounts.get_opt(ACCOUNT).await?.is_none() {
            accounts.create(&PostParams::default(), &object(json!({"metadata": {"name": ACCOUNT}}))?).await?;
            let binding = object::<ClusterRoleBinding>(json!({
                "metadata": {"name": binding(namespace)},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": ACCOUNT}],
            }))?;
            Api::all(self.client.clone()).create(&PostParams::default(), &binding).await?;
        }
        let request: TokenRequest = object(json!({"metadata": {}, "spec": {"audiences": [], "expirationSeconds": 3600}}))?;
        let answer = accounts.create_token_request(ACCOUNT, &PostParams::default(), &request).await?;
        let token = answer.status.and_then(|status| status.token);
        Connection::open(&self.address, &self.host, self.tls.clone(), token).await
    }

    /// Makes a namespace, and waits until the account is let in.
    pub async fn make_namespace(&self, name: &str) -> Result<(), Failure> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.create(&PostParams::default(), &object(json!({"metadata": {"name": name}}))?).await?;
        Ok(())
    }

    /// Deletes what was made for the load.
    pub async fn delete_namespace(&self, name: &str) -> Result<(), Failure> {
        let options = DeleteParams::default();
        Api::<ClusterRoleBinding>::all(self.client.clone()).delete(&binding(name), &options).await?;
        Api::<Namespace>::all(self.client.clone()).delete(name, &options).await?;
        Ok(())
    }

    /// Deletes a namespace, and waits until it is gone with all that was in it.
    pub async fn remove_namespace(&self, name: &str) -> Result<(), Failure> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.delete(name, &DeleteParams::default()).await?;
        while namespaces.get_opt(name).await?.is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

fn binding(namespace: &str) -> String {
    format!("{ACCOUNT}-{namespace}")
}

/// An object of a type, from its JSON.
pub fn object<K: DeserializeOwned>(value: Value) -> Result<K, Failure> {
    Ok(serde_json::from_value(value)?)
}

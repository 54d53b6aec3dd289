//! Who asks: the user a request is made as.

use std::collections::BTreeMap;

/// An authenticated user. In-process callers carry it as a request extension; over the network the
/// server derives it from a client certificate or a bearer token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// User name, as `system:serviceaccount:default:default`.
    pub user: String,
    /// Unique id behind the name; may be empty.
    pub uid: String,
    /// Groups, `system:authenticated` among them.
    pub groups: Vec<String>,
    /// Extra attributes, as the name of the pod a token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// A user in the given groups and in `system:authenticated`.
    pub fn new(user: impl Into<String>, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
        groups.push("system:authenticated".to_owned());
        Self { user: user.into(), groups, ..Self::default() }
    }

    /// The node agent of node `name`, as the kubelet's certificate says it.
    pub fn node(name: &str) -> Self {
        Self::new(format!("system:node:{name}"), &["system:nodes"])
    }

    /// A controller's service account in `kube-system`.
    pub fn controller(name: &str) -> Self {
        Self::new(format!("system:serviceaccount:kube-system:{name}"), &["system:serviceaccounts", "system:serviceaccounts:kube-system"])
    }

    /// The cluster's administrator.
    pub fn admin() -> Self {
        Self::new("kubernetes-admin", &["system:masters"])
    }
}

//! Acting as somebody else, with the headers `Impersonate-…`, where RBAC lets one.

use std::collections::BTreeMap;

use coracle_api::identity::Identity;
use coracle_api::status::Status;
use http::HeaderMap;

use super::{account_groups, split_account};
use crate::authz::{Attributes, Authorizer};

/// Whom a request wants to act as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Impersonation {
    /// `Impersonate-User`.
    pub user: String,
    /// `Impersonate-Uid`.
    pub uid: String,
    /// Each `Impersonate-Group`.
    pub groups: Vec<String>,
    /// Each `Impersonate-Extra-KEY`.
    pub extra: BTreeMap<String, Vec<String>>,
}

const EXTRA: &str = "impersonate-extra-";

impl Impersonation {
    /// Reads the headers; `None` if there are none.
    ///
    /// # Errors
    /// 500 for groups, uid or extra without a user, as upstream answers.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, Status> {
        let one = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let mut wanted = Self {
            user: one("impersonate-user"),
            uid: one("impersonate-uid"),
            groups: headers.get_all("impersonate-group").iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect(),
            extra: BTreeMap::new(),
        };
        for (name, value) in headers {
            if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) {
                wanted.extra.entry(unescape(key)).or_default().push(value.to_owned());
            }
        }
        if wanted == Self::default() {
            return Ok(None);
        }
        if wanted.user.is_empty() {
            return Err(Status::internal("requested impersonation of groups, uid or extra without impersonating a user"));
        }
        Ok(Some(wanted))
    }
}

/// Percent-decodes a header's key.
fn unescape(key: &str) -> String {
    let bytes = key.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = (byte == b'%').then(|| key.get(at + 1..at + 3)).flatten();
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The identity to go on with.
///
/// # Errors
/// 403 for the first thing the caller may not impersonate.
pub fn impersonate(authorizer: &Authorizer, caller: &Identity, wanted: Impersonation) -> Result<Identity, Status> {
    let check = |group: &str, version: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let request = Attributes { verb: "impersonate", group, version, resource, subresource, namespace, name, path: "" };
        authorizer.authorize(caller, &request)
    };
    let account = split_account(&wanted.user);
    match account {
        Some((namespace, name)) => check("", "v1", "serviceaccounts", "", namespace, name)?,
        None => check("", "v1", "users", "", "", &wanted.user)?,
    }
    for group in &wanted.groups {
        check("", "v1", "groups", "", "", group)?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            check("authentication.k8s.io", "v1", "userextras", key, "", value)?;
        }
    }
    if !wanted.uid.is_empty() {
        check("authentication.k8s.io", "v1", "uids", "", "", &wanted.uid)?;
    }

    let mut groups = wanted.groups;
    if groups.is_empty()
        && let Some((namespace, _)) = account
    {
        groups.extend(account_groups(namespace));
    }
    let everybody = if wanted.user == "system:anonymous" { "system:unauthenticated" } else { "system:authenticated" };
    if !groups.iter().any(|group| group == everybody) {
        groups.push(everybody.to_owned());
    }
    Ok(Identity { user: wanted.user, uid: wanted.uid, groups, extra: wanted.extra })
}

//! What a request asks for, in authorization's words.

/// A request as the authorizer sees it. A request for an API object names a resource; any other only has a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; without a resource the HTTP method in lower case.
    pub verb: &'a str,
    /// API group; empty for the core group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Plural name of the resource; empty for a path outside of the API objects.
    pub resource: &'a str,
    /// Subresource; may be empty.
    pub subresource: &'a str,
    /// Namespace; empty at cluster scope and for lists of all namespaces.
    pub namespace: &'a str,
    /// Name of the object; may be empty.
    pub name: &'a str,
    /// Path of the request.
    pub path: &'a str,
}

impl<'a> Attributes<'a> {
    /// A request for a path outside of the API objects.
    pub fn path(verb: &'a str, path: &'a str) -> Self {
        Self { verb, path, ..Self::default() }
    }

    /// Whether an API object or a list of them is asked for.
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }
}

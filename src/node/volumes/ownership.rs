//! `fsGroup`: a volume's files belong to the pod's group.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use crate::pod::{Role, members, spec};
use crate::rootless::has_group;

/// The pod's `fsGroup`.
pub(super) fn group(pod: &Pod) -> Option<u32> {
    spec(pod).security_context.as_ref().and_then(|context| context.fs_group).and_then(|group| u32::try_from(group).ok())
}

/// The user that all containers of the pod run as, if they agree on one.
pub(super) fn user(pod: &Pod) -> Option<u32> {
    let pod_wide = spec(pod).security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = members(pod).filter(|member| member.role != Role::Ephemeral).map(|member| {
        let own = member.spec.security_context.as_ref().and_then(|context| context.run_as_user);
        own.or(pod_wide)
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

/// Gives everything below `path` to `group`, readable (and unless `read_only`, writable) for it; directories hand it on.
pub(super) fn give(path: &Path, group: u32, read_only: bool) -> std::io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    // a plain user may lack the group; then his containers run as the owner
    if has_group(group) {
        std::os::unix::fs::lchown(path, None, Some(group))?;
    }
    if meta.file_type().is_symlink() {
        return Ok(());
    }
    let mut mode = meta.mode() & 0o7777 | if read_only { 0o440 } else { 0o660 };
    if meta.is_dir() {
        mode |= 0o2110;
        for entry in std::fs::read_dir(path)? {
            give(&entry?.path(), group, read_only)?;
        }
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

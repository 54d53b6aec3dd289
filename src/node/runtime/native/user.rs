//! Which user and groups a container's process has, from the pod's settings, the image's, and its /etc/passwd and
//! /etc/group.

use super::spec::User;
use crate::rootless::{has_group, has_user, is_rootless, sets_groups};
use crate::runtime::Security;

/// The image names a user or group that it does not have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnknownUser {
    /// No such user.
    #[error("failed to create containerd container: no users found")]
    User(String),
    /// No such group.
    #[error("failed to create containerd container: no groups found")]
    Group(String),
    /// A plain user's node does not have this one.
    #[error(
        "this node runs as a plain user and has no {what} {id}; ranges in /etc/subuid and /etc/subgid, and newuidmap, would give it more"
    )]
    Unmapped {
        /// `user` or `group`.
        what: &'static str,
        /// Its number.
        id: u32,
    },
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some(Account { name, uid, gid: fields.next()?.parse().ok()? })
    })
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Group { name, gid, members: fields.next().unwrap_or_default().split(',').collect() })
    })
}

/// Resolves user and groups. Groups that the image's /etc/group gives the user are merged with the pod's, unless
/// `supplementalGroupsPolicy` is `Strict`.
pub fn resolve(security: &Security, image_user: &str, passwd: &str, group: &str) -> Result<User, UnknownUser> {
    let (user_part, group_part) = match (security.run_as_user, image_user.split_once(':')) {
        (Some(uid), _) => (uid.to_string(), None),
        (None, Some((user, group))) => (user.to_owned(), Some(group).filter(|group| !group.is_empty())),
        (None, None) => (image_user.to_owned(), None),
    };
    let user_part = if user_part.is_empty() { "0".to_owned() } else { user_part };
    let number = user_part.parse::<u32>().ok();
    let account = accounts(passwd).find(|account| account.name == user_part).or_else(|| accounts(passwd).find(|a| Some(a.uid) == number));
    let uid = account.as_ref().map(|account| account.uid).or(number).ok_or_else(|| UnknownUser::User(user_part.clone()))?;
    let given = match (security.run_as_group, group_part) {
        (Some(gid), _) => u32::try_from(gid).ok(),
        (None, Some(name)) => {
            let found = groups(group).find(|group| group.name == name).map(|group| group.gid);
            Some(found.or_else(|| name.parse().ok()).ok_or_else(|| UnknownUser::Group(name.to_owned()))?)
        }
        (None, None) => None,
    };
    let gid = given.unwrap_or_else(|| account.as_ref().map_or(0, |account| account.gid));
    let mut all = vec![gid];
    if let Some(account) = account.filter(|_| !security.strict_groups) {
        all.extend(groups(group).filter(|group| group.members.contains(&account.name)).map(|group| group.gid));
    }
    all.extend(security.supplemental_groups.iter().filter_map(|gid| u32::try_from(*gid).ok()));
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|gid| seen.insert(*gid));
    Ok(User { uid, gid, groups: all })
}

/// The user as this node can have him: a plain user's node may lack him, and his further groups.
pub fn available(mut user: User) -> Result<User, UnknownUser> {
    let rootless = is_rootless();
    if rootless && !has_user(user.uid) {
        return Err(UnknownUser::Unmapped { what: "user", id: user.uid });
    }
    if rootless && !has_group(user.gid) {
        return Err(UnknownUser::Unmapped { what: "group", id: user.gid });
    }
    user.groups.retain(|group| !rootless || (sets_groups() && has_group(*group)));
    Ok(user)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root\nweb:x:34:\nlogs:x:4:web,other\n";

    #[test]
    fn users_and_groups() {
        let user = |uid, gid, groups: &[u32]| User { uid, gid, groups: groups.to_vec() };
        let with = |run_as_user, run_as_group, more: &[i64]| Security {
            run_as_user,
            run_as_group,
            supplemental_groups: more.to_vec(),
            ..Security::default()
        };
        let cases = [
            (with(None, None, &[]), "", user(0, 0, &[0, 10])),
            (with(None, None, &[]), "web", user(33, 34, &[34, 4])),
            (with(None, None, &[]), "33", user(33, 34, &[34, 4])),
            (with(None, None, &[]), "web:wheel", user(33, 10, &[10, 4])),
            (with(None, None, &[]), "1000:2000", user(1000, 2000, &[2000])),
            (with(Some(1000), None, &[]), "web", user(1000, 0, &[0])),
            (with(Some(1000), Some(3), &[7, 3]), "web", user(1000, 3, &[3, 7])),
            (with(None, Some(5), &[]), "web:wheel", user(33, 5, &[5, 4])),
        ];
        for (security, image, expected) in cases {
            assert_eq!(resolve(&security, image, PASSWD, GROUP).unwrap(), expected, "{security:?} {image}");
        }
        let strict = Security { strict_groups: true, ..with(None, None, &[7]) };
        assert_eq!(resolve(&strict, "web", PASSWD, GROUP).unwrap(), user(33, 34, &[34, 7]));
        let security = Security::default();
        assert_eq!(resolve(&security, "nope", PASSWD, GROUP), Err(UnknownUser::User("nope".to_owned())));
        assert_eq!(resolve(&security, "web:nope", PASSWD, GROUP), Err(UnknownUser::Group("nope".to_owned())));
    }
}

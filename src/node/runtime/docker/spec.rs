//! What the engine is asked to make: pure functions from our configurations to its.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, DeviceMapping, HealthConfig, HostConfig, HostConfigLogConfig, Mount as EngineMount,
    MountBindOptions, MountBindOptionsPropagationEnum as Propagation, MountImageOptions, MountType,
};

use super::pause::PAUSE;
use super::record::SandboxRecord;
use crate::runtime::{AppArmor, ContainerConfig, Limits, Mount, NamespaceMode, SandboxConfig, Seccomp};

/// Microseconds of a scheduling period.
const PERIOD: i64 = 100_000;
/// What a sandbox's own process gets: the kernel takes it last.
const SANDBOX_OOM_SCORE: i32 = -998;
/// No engine ever has as large a log of its own as ours, which is the one that is read.
const LOG_OPTIONS: [(&str, &str); 2] = [("max-size", "20m"), ("max-file", "2")];

/// The control group of a pod for an engine that makes directories, or slices of systemd.
pub(super) fn cgroup_parent(root: &Path, pod: &str, systemd: bool) -> String {
    let path = root.join(pod.trim_start_matches('/'));
    if !systemd {
        return path.display().to_string();
    }
    let names = path.components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name.to_string_lossy().replace('-', "_")),
        _ => None,
    });
    format!("{}.slice", names.collect::<Vec<_>>().join("-"))
}

/// A sandbox: the pause program in namespaces that the pod's containers join.
pub(super) fn sandbox(
    config: &SandboxConfig,
    cgroup_parent: String,
    oom_floor: i32,
    labels: HashMap<String, String>,
) -> ContainerCreateBody {
    let host = |mode: NamespaceMode| mode == NamespaceMode::Node;
    ContainerCreateBody {
        hostname: Some(config.hostname.clone()).filter(|name| !name.is_empty()),
        image: Some(PAUSE.to_owned()),
        entrypoint: Some(vec!["/pause".to_owned()]),
        labels: Some(labels),
        host_config: Some(HostConfig {
            network_mode: Some(if config.host_network { "host" } else { "none" }.to_owned()),
            ipc_mode: Some(if host(config.ipc) { "host" } else { "shareable" }.to_owned()),
            pid_mode: host(config.pid).then(|| "host".to_owned()),
            cgroup_parent: Some(cgroup_parent),
            sysctls: Some(config.sysctls.clone().into_iter().collect()),
            oom_score_adj: Some(SANDBOX_OOM_SCORE.max(oom_floor).into()),
            readonly_rootfs: Some(true),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// The user as the engine takes it; `None`: the image's.
fn user(config: &ContainerConfig, image_user: &str) -> Option<String> {
    let security = &config.security;
    let user = security.run_as_user.map(|user| user.to_string());
    match (user, security.run_as_group) {
        (Some(user), Some(group)) => Some(format!("{user}:{group}")),
        (Some(user), None) => Some(user),
        (None, Some(group)) => {
            let own = image_user.split(':').next().filter(|user| !user.is_empty()).unwrap_or("0");
            Some(format!("{own}:{group}"))
        }
        (None, None) => None,
    }
}

/// The variables that the pod sets, each once, the last value in the first one's place.
fn environment(config: &ContainerConfig, hostname: &str) -> Vec<String> {
    let mut all: Vec<(&str, &str)> = Vec::new();
    let host = (!hostname.is_empty()).then_some(("HOSTNAME", hostname));
    for (name, value) in host.into_iter().chain(config.env.iter().map(|(name, value)| (name.as_str(), value.as_str()))) {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => all.push((name, value)),
        }
    }
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn mount(mount: &Mount) -> EngineMount {
    let text = |path: &Path| Some(path.display().to_string());
    if let Some(image) = &mount.image {
        let subpath = Some(mount.source.display().to_string()).filter(|path| !path.is_empty());
        return EngineMount {
            typ: Some(MountType::IMAGE),
            source: Some(image.clone()),
            target: text(&mount.destination),
            image_options: Some(MountImageOptions { subpath }),
            ..EngineMount::default()
        };
    }
    let propagation = match mount.propagation.as_str() {
        "rslave" | "HostToContainer" => Propagation::RSLAVE,
        "rshared" | "Bidirectional" => Propagation::RSHARED,
        _ => Propagation::RPRIVATE,
    };
    EngineMount {
        typ: Some(MountType::BIND),
        source: text(&mount.source),
        target: text(&mount.destination),
        read_only: Some(mount.read_only),
        bind_options: Some(MountBindOptions { propagation: Some(propagation), ..MountBindOptions::default() }),
        ..EngineMount::default()
    }
}

/// Options in the engine's words; `profile` is the text of a profile of the node's own.
fn security_options(config: &ContainerConfig, profile: Option<String>) -> Vec<String> {
    let mut options = Vec::new();
    if config.security.no_new_privileges {
        options.push("no-new-privileges:true".to_owned());
    }
    match (&config.security.seccomp, profile) {
        _ if config.security.privileged => {}
        (Seccomp::Unconfined, _) => options.push("seccomp=unconfined".to_owned()),
        // The engine's own profile is its default.
        (Seccomp::RuntimeDefault, _) => {}
        (Seccomp::Localhost(_), profile) => options.extend(profile.map(|text| format!("seccomp={text}"))),
    }
    match &config.security.apparmor {
        AppArmor::RuntimeDefault => {}
        AppArmor::Unconfined => options.push("apparmor=unconfined".to_owned()),
        AppArmor::Localhost(profile) => options.push(format!("apparmor={profile}")),
    }
    options
}

fn positive(value: i64) -> Option<i64> {
    (value > 0).then_some(value)
}

/// What a privileged container has, from an engine that itself lacks capabilities and would ask for them: everything but
/// these, and a writable /sys. `ALL` are those that the engine has heard of, be it older than the kernel.
fn nearly_privileged(host: &mut HostConfig, lacking: Vec<String>) {
    host.privileged = Some(false);
    host.cap_add = Some(vec!["ALL".to_owned()]);
    host.cap_drop = Some(lacking);
    let options = ["seccomp=unconfined", "apparmor=unconfined", "label=disable"].map(str::to_owned);
    host.security_opt.get_or_insert_default().extend(options);
    (host.masked_paths, host.readonly_paths) = (Some(Vec::new()), Some(Vec::new()));
    host.device_cgroup_rules = Some(vec!["a *:* rwm".to_owned()]);
    let devices = std::fs::read_dir("/dev")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_char_device() || kind.is_block_device()));
    let mapped = devices.map(|entry| {
        let path = Some(entry.path().display().to_string());
        DeviceMapping { path_on_host: path.clone(), path_in_container: path, cgroup_permissions: Some("rwm".to_owned()) }
    });
    host.devices = Some(mapped.collect());
}

/// A container of the sandbox. `lacking`: capabilities that the engine does not have.
pub(super) fn container(
    config: &ContainerConfig,
    sandbox: &SandboxRecord,
    sandbox_id: &str,
    image_user: &str,
    profile: Option<String>,
    labels: HashMap<String, String>,
    lacking: Vec<String>,
) -> ContainerCreateBody {
    let joined = || format!("container:{sandbox_id}");
    let security = &config.security;
    let limits = &config.limits;
    let words = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let pid_mode = match (&config.target, sandbox.pid) {
        (Some(target), _) => Some(format!("container:{target}")),
        (None, NamespaceMode::Node) => Some("host".to_owned()),
        (None, NamespaceMode::Pod) => Some(joined()),
        (None, NamespaceMode::Container) => None,
    };
    let image = if config.image_id.is_empty() { &config.image } else { &config.image_id };
    let mut host = HostConfig {
        network_mode: Some(if sandbox.host_network { "host".to_owned() } else { joined() }),
        ipc_mode: Some(if sandbox.ipc == NamespaceMode::Node { "host".to_owned() } else { joined() }),
        pid_mode,
        cgroup_parent: Some(sandbox.cgroup_parent.clone()),
        mounts: Some(config.mounts.iter().map(mount).collect()),
        cpu_shares: positive(limits.cpu_shares as i64).map(|shares| shares.max(2)),
        cpu_period: positive(limits.cpu_quota).map(|_| PERIOD),
        cpu_quota: positive(limits.cpu_quota).map(|quota| quota.max(1_000)),
        memory: positive(limits.memory),
        // As much as memory: none of it may be swapped.
        memory_swap: positive(limits.memory),
        pids_limit: positive(limits.pids),
        oom_score_adj: Some(limits.oom_score_adj.into()),
        group_add: Some(security.supplemental_groups.iter().map(ToString::to_string).collect()),
        privileged: Some(security.privileged),
        readonly_rootfs: Some(security.read_only_root),
        cap_add: words(&security.add_capabilities),
        cap_drop: words(&security.drop_capabilities),
        security_opt: Some(security_options(config, profile)),
        masked_paths: security.unmasked_proc.then(Vec::new),
        readonly_paths: security.unmasked_proc.then(Vec::new),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(LOG_OPTIONS.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        }),
        ..HostConfig::default()
    };
    if security.privileged && !lacking.is_empty() {
        nearly_privileged(&mut host, lacking);
    }
    ContainerCreateBody {
        user: user(config, image_user),
        tty: Some(config.tty),
        open_stdin: Some(config.stdin),
        stdin_once: Some(config.stdin_once),
        env: Some(environment(config, &sandbox.hostname)),
        entrypoint: words(&config.command),
        cmd: words(&config.args),
        image: Some(image.clone()),
        working_dir: Some(config.working_dir.clone()).filter(|path| !path.is_empty()),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        labels: Some(labels),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

/// New limits of a running container.
pub(super) fn update(limits: &Limits) -> ContainerUpdateBody {
    ContainerUpdateBody {
        cpu_shares: positive(limits.cpu_shares as i64).map(|shares| shares.max(2)),
        cpu_period: positive(limits.cpu_quota).map(|_| PERIOD),
        cpu_quota: Some(if limits.cpu_quota > 0 { limits.cpu_quota.max(1_000) } else { -1 }),
        memory: positive(limits.memory),
        memory_swap: positive(limits.memory),
        ..ContainerUpdateBody::default()
    }
}

/// Labels that people and their tools look for, as the reference agent sets them.
pub(super) fn known_labels(namespace: &str, pod: &str, uid: &str, container: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("io.kubernetes.pod.namespace", namespace.to_owned()),
        ("io.kubernetes.pod.name", pod.to_owned()),
        ("io.kubernetes.pod.uid", uid.to_owned()),
        ("io.kubernetes.container.name", container.to_owned()),
    ])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::runtime::Security;

    #[test]
    fn control_groups_by_driver() {
        let root = Path::new("/coracle-1-n");
        assert_eq!(cgroup_parent(root, "burstable/pod1-2", false), "/coracle-1-n/burstable/pod1-2");
        assert_eq!(cgroup_parent(root, "/burstable/pod1-2", true), "coracle_1_n-burstable-pod1_2.slice");
    }

    #[test]
    fn users_and_groups() {
        let cases = [
            (None, None, "web", None),
            (Some(5), None, "web", Some("5")),
            (Some(5), Some(6), "", Some("5:6")),
            (None, Some(6), "web:7", Some("web:6")),
            (None, Some(6), "", Some("0:6")),
        ];
        for (run_as_user, run_as_group, image, expected) in cases {
            let security = Security { run_as_user, run_as_group, ..Security::default() };
            let config = ContainerConfig { security, ..ContainerConfig::default() };
            assert_eq!(user(&config, image).as_deref(), expected, "{config:?}");
        }
    }

    #[test]
    fn seccomp_and_privileges_in_the_engines_words() {
        let options = |seccomp: Seccomp, privileged, no_new_privileges, profile: Option<&str>| {
            let security = Security { seccomp, privileged, no_new_privileges, ..Security::default() };
            security_options(&ContainerConfig { security, ..ContainerConfig::default() }, profile.map(str::to_owned))
        };
        assert_eq!(options(Seccomp::Unconfined, false, true, None), ["no-new-privileges:true", "seccomp=unconfined"]);
        assert!(options(Seccomp::RuntimeDefault, false, false, None).is_empty());
        assert_eq!(options(Seccomp::Localhost("a.json".into()), false, false, Some("{}")), ["seccomp={}"]);
        assert!(options(Seccomp::Unconfined, true, false, None).is_empty());
        let apparmor = AppArmor::Localhost("own".to_owned());
        let security = Security { apparmor, seccomp: Seccomp::RuntimeDefault, ..Security::default() };
        assert_eq!(security_options(&ContainerConfig { security, ..ContainerConfig::default() }, None), ["apparmor=own"]);
    }

    #[test]
    fn a_privileged_container_gets_what_the_engine_can_give() {
        let security = Security { privileged: true, ..Security::default() };
        let config = ContainerConfig { security, ..ContainerConfig::default() };
        let host = |lacking: &[&str]| {
            let lacking = lacking.iter().map(ToString::to_string).collect();
            container(&config, &SandboxRecord::default(), "s", "", None, HashMap::new(), lacking).host_config.unwrap()
        };
        assert_eq!((host(&[]).privileged, host(&[]).cap_add), (Some(true), None));
        let short = host(&["SYS_RESOURCE"]);
        let all = |word: &str| Some(vec![word.to_owned()]);
        assert_eq!((short.privileged, short.cap_add, short.cap_drop), (Some(false), all("ALL"), all("SYS_RESOURCE")));
    }

    #[test]
    fn a_container_joins_its_sandbox() {
        let mut sandbox = SandboxRecord { hostname: "web".to_owned(), ..SandboxRecord::default() };
        let mut config = ContainerConfig { env: vec![("A".into(), "1".into()), ("HOSTNAME".into(), "x".into())], ..Default::default() };
        let host = |config: &ContainerConfig, sandbox: &SandboxRecord| {
            container(config, sandbox, "s", "", None, HashMap::new(), Vec::new()).host_config.unwrap()
        };
        assert_eq!(environment(&config, "web"), ["HOSTNAME=x", "A=1"]);
        let made = host(&config, &sandbox);
        let modes = (made.network_mode.as_deref(), made.ipc_mode.as_deref(), made.pid_mode.as_deref());
        assert_eq!(modes, (Some("container:s"), Some("container:s"), Some("container:s")));
        sandbox.pid = NamespaceMode::Container;
        config.target = Some("other".to_owned());
        assert_eq!(host(&config, &sandbox).pid_mode.as_deref(), Some("container:other"));
        (sandbox.host_network, sandbox.ipc) = (true, NamespaceMode::Node);
        let made = host(&config, &sandbox);
        assert_eq!((made.network_mode.as_deref(), made.ipc_mode.as_deref()), (Some("host"), Some("host")));
    }
}

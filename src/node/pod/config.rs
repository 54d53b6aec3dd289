//! A container's configuration for the runtime, put together from the pod.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};

use super::environment::{environment, service_variables};
use super::expand::expand;
use super::fields::Facts;
use super::hosts::{Resolver, hosts_file, kernel_hostname, resolver};
use super::plan::{SPEC_HASH, spec_hash};
use super::security::{check_non_root, identity, security};
use super::{Member, host_network, resources, uid};
use crate::agent::Agent;
use crate::runtime::{ContainerConfig, Image, Mount};
use crate::status::USER;
use crate::volumes;

/// Label that keeps the host path of a container's termination message.
pub(crate) const TERMINATION_FILE: &str = "io.kubernetes.container.terminationMessageFile";

const PRIVATE: &str = "private";

/// The configuration of the next instance, number `attempt`; the error's text is what the container waits with.
pub(crate) async fn container(
    agent: &Agent,
    pod: &Pod,
    member: &Member<'_>,
    image: &Image,
    places: &volumes::Places<'_>,
    facts: &Facts,
    attempt: u32,
) -> Result<ContainerConfig, String> {
    let spec = member.spec.as_ref();
    let lookup = agent.objects.lookup(pod, spec).await.map_err(|error| error.to_string())?;
    let services = service_variables(pod, &agent.objects.services(pod).await);
    let env = environment(pod, spec, facts, &lookup, &services)?;
    let security = security(pod, spec);
    check_non_root(pod, spec, &security, &image.user)?;
    let mut labels = BTreeMap::new();
    let mut mounts = Vec::new();
    if agent.runtime.has_files() {
        mounts = volumes::mounts(agent, pod, spec, places, &env).await?;
        add_pod_files(agent, pod, spec, &mut mounts);
        let file = termination_file(agent, pod, spec).await.map_err(|error| error.to_string())?;
        labels.insert(TERMINATION_FILE.to_owned(), file.display().to_string());
        let destination = spec.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".to_owned());
        mounts.push(bind(file, &destination));
        // Parents before children.
        mounts.sort_by_key(|mount| mount.destination.components().count());
    }
    let (user, group, groups) = identity(&security, &image.user);
    let groups = groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    labels.insert(USER.to_owned(), format!("{user}:{group}:{groups}"));
    labels.insert(SPEC_HASH.to_owned(), spec_hash(spec));
    let value = |name: &str| env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let expanded = |list: &Option<Vec<String>>| list.iter().flatten().map(|text| expand(text, value)).collect();
    Ok(ContainerConfig {
        name: spec.name.clone(),
        attempt,
        image: spec.image.clone().unwrap_or_default(),
        image_id: image.id.clone(),
        command: expanded(&spec.command),
        args: expanded(&spec.args),
        working_dir: spec.working_dir.clone().unwrap_or_default(),
        mounts,
        limits: resources::limits(pod, spec, agent.capacity.memory),
        security,
        stdin: spec.stdin.unwrap_or(false),
        stdin_once: spec.stdin_once.unwrap_or(false),
        tty: spec.tty.unwrap_or(false),
        log_path: Path::new(&spec.name).join(format!("{attempt}.log")),
        target: None,
        labels,
        env,
    })
}

fn bind(source: PathBuf, destination: &str) -> Mount {
    Mount { source, destination: PathBuf::from(destination), propagation: PRIVATE.to_owned(), ..Mount::default() }
}

/// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, where the container does not mount its own.
fn add_pod_files(agent: &Agent, pod: &Pod, spec: &Container, mounts: &mut Vec<Mount>) {
    let dir = agent.pod_dir(uid(pod));
    for (file, destination) in [("etc-hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")] {
        let own = spec.volume_mounts.iter().flatten().any(|mount| mount.mount_path == destination);
        if !own {
            mounts.push(bind(dir.join(file), destination));
        }
    }
}

/// Writes the files that all containers of the pod share.
pub(crate) async fn write_pod_files(agent: &Agent, pod: &Pod, ips: &[std::net::IpAddr]) -> std::io::Result<()> {
    let dir = agent.pod_dir(uid(pod));
    tokio::fs::create_dir_all(&dir).await?;
    let host_file = if host_network(pod) { tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default() } else { String::new() };
    let host = Resolver::parse(&tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default());
    let domain = &agent.cluster_domain;
    let hostname = if host_network(pod) {
        nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
    } else {
        kernel_hostname(pod, domain)
    };
    tokio::fs::write(dir.join("etc-hosts"), hosts_file(pod, ips, domain, &host_file)).await?;
    tokio::fs::write(dir.join("hostname"), format!("{hostname}\n")).await?;
    tokio::fs::write(dir.join("resolv.conf"), resolver(pod, agent.network.dns_server(), domain, &host).text()).await
}

/// A new file for the container's termination message, which it may write whatever its user.
async fn termination_file(agent: &Agent, pod: &Pod, spec: &Container) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let dir = agent.pod_dir(uid(pod)).join("containers").join(&spec.name);
    tokio::fs::create_dir_all(&dir).await?;
    let path = dir.join(format!("{:08x}", rand::random::<u32>()));
    tokio::fs::write(&path, b"").await?;
    tokio::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).await?;
    Ok(path)
}

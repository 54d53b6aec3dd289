//! Finding an engine: which addresses are tried, and what one that answers says of itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker as Client};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::Deserialize;

use crate::runtime::RuntimeError;
use crate::runtime::native::CAPABILITIES;

/// How long an engine may take to say its version.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to begin an answer: loading a large image takes its time.
const TIMEOUT: u64 = 600;
/// The least `oom_score_adj` that there is.
const LEAST: i32 = -1_000;
/// `CAP_SYS_RESOURCE`.
const SYS_RESOURCE: u64 = 1 << 24;
/// The oldest interface that has what is used here.
const OLDEST: (u32, u32) = (1, 41);

/// An engine that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Where, as `unix:///var/run/docker.sock`.
    pub address: String,
    /// Its version.
    pub version: String,
    /// Architecture, as Go names it.
    pub arch: String,
    /// Release of the kernel that its containers run on.
    kernel: String,
    /// The least `oom_score_adj` that it can give.
    pub(super) oom_floor: i32,
    /// Its capabilities, as bits.
    effective: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: String,
    api_version: String,
    #[serde(default)]
    arch: String,
    #[serde(default)]
    kernel_version: String,
}

impl Engine {
    /// The first engine that can be used, or why there is none, one reason for each that was tried.
    pub fn find() -> Result<Self, String> {
        let tried = candidates(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let there: Vec<&String> = tried.iter().filter(|address| socket(address).is_none_or(|path| path.exists())).collect();
        if there.is_empty() {
            return Err("no engine: none of its sockets is there, and DOCKER_HOST is not set".to_owned());
        }
        let mut reasons = Vec::new();
        for address in there {
            match ask(address).and_then(Self::usable) {
                Ok(engine) => return Ok(engine),
                Err(reason) => reasons.push(format!("{address}: {reason}")),
            }
        }
        Err(reasons.join("; "))
    }

    /// The names of the kernel's capabilities that it lacks.
    pub(super) fn lacks(&self) -> Vec<String> {
        // An older kernel has fewer.
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").ok().and_then(|text| text.trim().parse::<usize>().ok());
        let known = CAPABILITIES.iter().enumerate().take(last.map_or(CAPABILITIES.len(), |last| last + 1));
        known.filter(|(number, _)| self.effective & (1_u64 << *number) == 0).map(|(_, name)| (*name).to_owned()).collect()
    }

    /// Whether it mounts images as volumes.
    pub(super) fn mounts_images(&self) -> bool {
        self.version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 28)
    }

    fn usable(self) -> Result<Self, String> {
        let own = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
        if !self.kernel.is_empty() && self.kernel != own {
            return Err(format!("its containers run on another kernel ({}): pods there cannot be reached from here", self.kernel));
        }
        Ok(self)
    }

    pub(super) async fn connect(&self) -> Result<Client, RuntimeError> {
        let refused = |error: bollard::errors::Error| RuntimeError::Engine { message: format!("{}: {error}", self.address) };
        let client = match socket(&self.address) {
            Some(path) => Client::connect_with_unix(&path.to_string_lossy(), TIMEOUT, API_DEFAULT_VERSION),
            None => Client::connect_with_http(&self.address, TIMEOUT, API_DEFAULT_VERSION),
        };
        client.map_err(refused)?.negotiate_version().await.map_err(refused)
    }
}

/// Where engines listen, in the order in which they are tried.
fn candidates(variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    if let Some(host) = variable("DOCKER_HOST") {
        return vec![host];
    }
    let mut paths = vec![PathBuf::from("/var/run/docker.sock")];
    if let Some(home) = variable("HOME") {
        let below = [".docker/run/docker.sock", ".orbstack/run/docker.sock", ".colima/default/docker.sock"];
        paths.extend(below.map(|path| Path::new(&home).join(path)));
    }
    if let Some(directory) = variable("XDG_RUNTIME_DIR") {
        paths.extend(["docker.sock", "podman/podman.sock"].map(|path| Path::new(&directory).join(path)));
    }
    paths.push("/run/podman/podman.sock".into());
    paths.iter().map(|path| format!("unix://{}", path.display())).collect()
}

fn socket(address: &str) -> Option<PathBuf> {
    address.strip_prefix("unix://").map(PathBuf::from)
}

/// Asks for the version, in the oldest dialect: the answer comes in one piece and the connection ends.
fn ask(address: &str) -> Result<Engine, String> {
    let request = b"GET /version HTTP/1.0\r\nHost: docker\r\n\r\n";
    let mut answer = Vec::new();
    let (mut floor, mut effective) = (LEAST, u64::MAX);
    let spoken = match (socket(address), address.strip_prefix("tcp://").or_else(|| address.strip_prefix("http://"))) {
        (Some(path), _) => UnixStream::connect(path).and_then(|mut stream| {
            (floor, effective) = powers(&stream);
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(request)?;
            stream.read_to_end(&mut answer)
        }),
        (None, Some(host)) if std::env::var_os("DOCKER_TLS_VERIFY").is_none() => {
            TcpStream::connect(host.trim_end_matches('/')).and_then(|mut stream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(request)?;
                stream.read_to_end(&mut answer)
            })
        }
        _ => return Err("only sockets and plain tcp are spoken to, neither ssh nor TLS".to_owned()),
    };
    spoken.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&answer);
    let engine = understand(address, text.split_once("\r\n\r\n").map_or("", |(_, body)| body))?;
    Ok(Engine { oom_floor: floor, effective, ..engine })
}

/// The least `oom_score_adj` that the engine can give, and its capabilities: one that may not use more than its share of
/// resources cannot lower what it was given itself.
fn powers(stream: &UnixStream) -> (i32, u64) {
    let Ok(peer) = getsockopt(stream, PeerCredentials) else { return (LEAST, u64::MAX) };
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", peer.pid())).unwrap_or_default();
    let capabilities = read("status").lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    let bits = capabilities.unwrap_or(u64::MAX);
    (if bits & SYS_RESOURCE == 0 { read("oom_score_adj").trim().parse().unwrap_or(0) } else { LEAST }, bits)
}

fn understand(address: &str, body: &str) -> Result<Engine, String> {
    let version: Version = serde_json::from_str(body).map_err(|_| "it does not answer as an engine does".to_owned())?;
    let number = |text: &str| text.parse::<u32>().ok();
    let api = version.api_version.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
    match api {
        Some(api) if api >= OLDEST => Ok(Engine {
            address: address.to_owned(),
            version: version.version,
            arch: version.arch,
            kernel: version.kernel_version,
            oom_floor: LEAST,
            effective: u64::MAX,
        }),
        _ => Err(format!("its interface is {}, at least {}.{} is needed", version.api_version, OLDEST.0, OLDEST.1)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_variable_alone_decides_where_it_is_set() {
        let set = |name: &str| (name == "DOCKER_HOST").then(|| "tcp://127.0.0.1:1".to_owned());
        assert_eq!(candidates(set), ["tcp://127.0.0.1:1"]);
        let home = |name: &str| (name != "DOCKER_HOST").then(|| "/h".to_owned());
        let all = candidates(home);
        assert_eq!(all[0], "unix:///var/run/docker.sock");
        assert!(all.contains(&"unix:///h/podman/podman.sock".to_owned()) && all.len() == 7);
    }

    #[test]
    fn old_engines_and_others_are_refused() {
        let body = |api: &str| format!("{{\"Version\":\"1\",\"ApiVersion\":\"{api}\",\"Arch\":\"amd64\",\"More\":[]}}");
        assert_eq!(understand("a", &body("1.41")).unwrap().arch, "amd64");
        assert_eq!(understand("a", &body("1.40")).unwrap_err(), "its interface is 1.40, at least 1.41 is needed");
        assert!(understand("a", "hello").is_err());
        let short = Engine { effective: !SYS_RESOURCE, ..understand("a", &body("1.50")).unwrap() };
        assert_eq!(short.lacks(), ["SYS_RESOURCE"]);
        let engine = Engine { kernel: "other".to_owned(), ..understand("a", &body("1.50")).unwrap() };
        assert!(engine.usable().unwrap_err().contains("another kernel"));
    }
}

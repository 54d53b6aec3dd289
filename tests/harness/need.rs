//! What a test needs of the machine.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::cluster::with_containers;
use super::place::Place;
use super::{kubectl, network};

/// Something that not every machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Containers: root.
    Native,
    /// Containers of a plain user: namespaces that he may make.
    Rootless,
    /// A Docker engine that the test may start and kill: `dockerd`, `docker`, root.
    Docker,
    /// The `kubectl` program.
    Kubectl,
    /// The `busybox` program, for what it serves.
    Busybox,
    /// The `socat` program, for TLS.
    Socat,
    /// The kernel's packet tables: root and `nft`.
    Nft,
    /// Python's client library, in `target/python`.
    Python,
    /// A runtime that mounts images: the native one, or an engine that can.
    ImageMounts,
}

/// The Python that has the client library.
pub fn python() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/python"))
}

fn engine_mounts_images() -> bool {
    let asked = Command::new("docker").args(["version", "--format", "{{.Server.APIVersion}}"]).output();
    let version = asked.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned()).unwrap_or_default();
    version.split_once('.').is_some_and(|(_, minor)| minor.parse().is_ok_and(|minor: u32| minor >= 48))
}

impl Need {
    fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Rootless => "rootless",
            Self::Docker => "docker",
            Self::Kubectl => "kubectl",
            Self::Busybox => "busybox",
            Self::Socat => "socat",
            Self::Nft => "nft",
            Self::Python => "python",
            Self::ImageMounts => "image-mounts",
        }
    }

    fn obstacle(self) -> Option<&'static str> {
        match self {
            Self::Native => (!nix::unistd::geteuid().is_root()).then_some("not root"),
            Self::Rootless => {
                let told = Place::plain().run(&["doctor"]).text();
                (!told.contains("ok native runtime")).then_some("the kernel keeps namespaces from plain users")
            }
            Self::Docker => {
                let there =
                    |name: &str| ["/usr/bin", "/usr/sbin", "/usr/local/bin"].iter().any(|place| Path::new(place).join(name).exists());
                let root = nix::unistd::geteuid().is_root();
                (!root || !there("dockerd") || !there("docker")).then_some("not root, or no docker and dockerd")
            }
            Self::Kubectl => kubectl::program().is_none().then_some("kubectl is not installed"),
            Self::Busybox => (!Path::new("/usr/bin/busybox").exists()).then_some("busybox is not installed"),
            Self::Socat => (!Path::new("/usr/bin/socat").exists()).then_some("socat is not installed"),
            Self::Nft => (!["/usr/sbin/nft", "/sbin/nft"].iter().any(|file| Path::new(file).exists())).then_some("nft is not installed"),
            Self::ImageMounts => {
                (with_containers() == "docker" && !engine_mounts_images()).then_some("the engine's API is older than 1.48")
            }
            Self::Python => (!python().is_file()).then_some(
                "the client library is not installed: python3 -m venv target/python && target/python/bin/pip install kubernetes",
            ),
        }
    }
}

/// Whether a test can run here; if not, one line says why. What `CORACLE_TEST_REQUIRE` lists may not be missing.
pub fn possible(name: &str, needs: &[Need]) -> bool {
    let required = std::env::var("CORACLE_TEST_REQUIRE").unwrap_or_default();
    let mut obstacles = needs.iter().filter_map(|need| Some((need, need.obstacle()?)));
    let Some((need, why)) = obstacles.next() else { return true };
    assert!(!required.split(',').any(|word| word.trim() == need.name()), "{name} needs {}: {why}", need.name());
    // not through `eprintln!`, which the test harness keeps to itself
    let _ = writeln!(std::io::stderr(), "skipped {name}: {why}");
    false
}

/// Runs a test in a network of its own, or says why it cannot run here.
pub fn story(name: &str, needs: &[Need], test: impl FnOnce() + Send + 'static) {
    if possible(name, needs) {
        network::in_own(name, test);
    }
}

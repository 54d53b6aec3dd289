//! Where things are on this machine.

use std::path::PathBuf;

use coracle_cluster::DataDirectory;

use super::arguments::Global;
use super::failure::Failure;

fn from_home(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(variable).or_else(|| set("HOME").map(|home| home.join(below_home)))
}

/// The data directory: `--data-dir`, `$CORACLE_HOME`, or `coracle` below `$XDG_DATA_HOME`.
pub(crate) fn data_directory(global: &Global) -> Result<DataDirectory, Failure> {
    let asked = global.data_dir.clone().or_else(|| std::env::var_os("CORACLE_HOME").filter(|value| !value.is_empty()).map(PathBuf::from));
    let path = asked.or_else(|| from_home("XDG_DATA_HOME", ".local/share").map(|data| data.join("coracle")));
    let path = path.ok_or_else(|| Failure::plain("there is no home directory to keep data in").hint("name a directory with --data-dir"))?;
    let path = std::path::absolute(&path).map_err(|error| Failure::new(format!("the data directory {}", path.display()), error))?;
    Ok(DataDirectory::new(path))
}

/// Where drafts and history are kept.
pub(crate) fn state_directory() -> Option<PathBuf> {
    from_home("XDG_STATE_HOME", ".local/state").map(|state| state.join("coracle"))
}

/// Where keys, aliases, themes and the like are.
pub(crate) fn config_directory() -> Option<PathBuf> {
    from_home("XDG_CONFIG_HOME", ".config").map(|config| config.join("coracle"))
}

/// Where k9s has its own: they are read too.
pub(crate) fn k9s_directory() -> Option<PathBuf> {
    let set = std::env::var_os("K9S_CONFIG_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    set.or_else(|| from_home("XDG_CONFIG_HOME", ".config").map(|config| config.join("k9s")))
}

/// The user's own kubeconfig: `$KUBECONFIG`'s first file, or `~/.kube/config`.
pub(crate) fn user_kubeconfig() -> Option<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").and_then(|paths| std::env::split_paths(&paths).find(|path| !path.as_os_str().is_empty()));
    listed.or_else(|| from_home("\0", ".kube/config"))
}

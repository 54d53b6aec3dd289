//! `coracle kubeconfig`: print it, or add its context to the user's file.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::ExitCode;

use serde_yaml::Value;

use super::arguments::{Global, Kubeconfig};
use super::failure::Failure;
use super::home;

/// Name of the context, cluster and user.
const CONTEXT: &str = "coracle";

pub(crate) fn run(global: &Global, options: &Kubeconfig) -> Result<ExitCode, Failure> {
    let own = home::data_directory(global)?.kubeconfig();
    let text = fs::read_to_string(&own).map_err(|error| {
        Failure::new(format!("cannot read {}", own.display()), error).hint("`coracle up` starts a cluster and writes it")
    })?;
    if !options.merge {
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    let file = global.kubeconfig.clone().or_else(home::user_kubeconfig);
    let file = file.ok_or_else(|| Failure::plain("there is no home directory").hint("name a file with --kubeconfig"))?;
    merge(&own, &file)?;
    println!("context {CONTEXT} added to {}", file.display());
    println!("use it with: kubectl config use-context {CONTEXT}");
    Ok(ExitCode::SUCCESS)
}

/// Adds the context, cluster and user of `own` to `file`, replacing those of the same names. The file's current context
/// stays, unless it has none.
pub(crate) fn merge(own: &Path, file: &Path) -> Result<(), Failure> {
    let read = |path: &Path| -> Result<Value, Failure> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && path == file => String::new(),
            read => read.map_err(|error| Failure::new(format!("cannot read {}", path.display()), error))?,
        };
        serde_yaml::from_str(&text).map_err(|error| Failure::new(format!("{} is not a kubeconfig", path.display()), error))
    };
    let (own, mut merged) = (read(own)?, read(file)?);
    if merged.is_null() {
        merged = serde_yaml::from_str("apiVersion: v1\nkind: Config").unwrap_or_default();
    }
    let Some(fields) = merged.as_mapping_mut() else {
        return Err(Failure::plain(format!("{} is not a kubeconfig", file.display())).hint("name another file with --kubeconfig"));
    };
    for list in ["clusters", "contexts", "users"] {
        let Some(ours) = own.get(list).and_then(Value::as_sequence).and_then(|items| items.first()).cloned() else { continue };
        let entry = fields.entry(list.into()).or_insert(Value::Null);
        if !entry.is_sequence() {
            *entry = Value::Sequence(Vec::new());
        }
        if let Some(items) = entry.as_sequence_mut() {
            let is_ours = |item: &Value| item.get("name").and_then(Value::as_str) == Some(CONTEXT);
            match items.iter_mut().find(|item| is_ours(item)) {
                Some(item) => *item = ours,
                None => items.push(ours),
            }
        }
    }
    let current = fields.get("current-context").and_then(Value::as_str).unwrap_or_default();
    if current.is_empty() {
        fields.insert("current-context".into(), CONTEXT.into());
    }
    let text = serde_yaml::to_string(&merged).map_err(|error| Failure::new("the kubeconfig cannot be written", error))?;
    write(file, &text).map_err(|error| Failure::new(format!("cannot write {}", file.display()), error))
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    use io::Write;
    // a link stays a link: what it points to is replaced
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    if let Some(parent) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".coracle-new");
    let unfinished = file.with_file_name(name);
    let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&unfinished, &file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn merging_adds_the_context_and_keeps_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let (own, file) = (directory.path().join("own"), directory.path().join("sub/config"));
        let ours = |server: &str| {
            format!(
                "clusters:\n- name: coracle\n  cluster: {{server: {server}}}\ncontexts:\n- name: coracle\nusers:\n- name: coracle\ncurrent-context: coracle\n"
            )
        };
        fs::write(&own, ours("one")).unwrap();
        merge(&own, &file).unwrap();
        let parsed = |path: &Path| serde_yaml::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(parsed(&file)["current-context"], Value::from("coracle"), "the only context is the current one");
        fs::write(&file, "current-context: work\ncontexts:\n- name: work\nclusters: null\nextensions: kept\n").unwrap();
        merge(&own, &file).unwrap();
        fs::write(&own, ours("two")).unwrap();
        merge(&own, &file).unwrap();
        let merged = parsed(&file);
        assert_eq!(merged["current-context"], Value::from("work"));
        assert_eq!(merged["extensions"], Value::from("kept"));
        assert_eq!(merged["contexts"].as_sequence().unwrap().len(), 2);
        assert_eq!(merged["clusters"][0]["cluster"]["server"], Value::from("two"));
        fs::write(&file, "- a list").unwrap();
        assert!(merge(&own, &file).is_err(), "what is no kubeconfig stays as it is");
        assert_eq!(fs::read_to_string(&file).unwrap(), "- a list");
    }
}

//! The values of config maps and secrets.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::error::VerbError;
use crate::making::object;

#[derive(Debug, Clone, Args)]
pub(super) struct Data {
    /// KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE")]
    from_literal: Vec<String>,
    /// A file, under its name or as KEY=PATH; every file of a folder
    #[arg(long, value_name = "[KEY=]PATH")]
    from_file: Vec<String>,
}

impl Data {
    fn read(&self) -> Result<Vec<(String, Vec<u8>)>, VerbError> {
        let mut found = Vec::new();
        for literal in &self.from_literal {
            let split =
                literal.split_once('=').ok_or_else(|| VerbError::wrong(format!("invalid literal source {literal}, expected key=value")))?;
            found.push((split.0.to_owned(), split.1.as_bytes().to_vec()));
        }
        for file in &self.from_file {
            let (key, path) = file.split_once('=').map_or((None, file.as_str()), |(key, path)| (Some(key.to_owned()), path));
            let failed = |error| VerbError::wrong(format!("{path}: {error}"));
            let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut paths = vec![PathBuf::from(path)];
            if Path::new(path).is_dir() {
                let entries = std::fs::read_dir(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
                paths = entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
                paths.sort();
            }
            for path in paths {
                let bytes = std::fs::read(&path).map_err(failed)?;
                found.push((key.clone().unwrap_or_else(|| name(&path)), bytes));
            }
        }
        Ok(found)
    }

    /// A config map of them; what is no text is kept apart.
    pub(super) fn config_map(&self, name: &str) -> Result<Value, VerbError> {
        let (mut data, mut binary) = (Map::new(), Map::new());
        for (key, bytes) in self.read()? {
            match String::from_utf8(bytes) {
                Ok(text) => data.insert(key, text.into()),
                Err(error) => binary.insert(key, STANDARD.encode(error.as_bytes()).into()),
            };
        }
        let mut map = object("v1", "ConfigMap", name, json!({"data": data}));
        if !binary.is_empty() {
            map["binaryData"] = binary.into();
        }
        Ok(map)
    }

    /// A secret of them.
    pub(super) fn secret(&self, name: &str) -> Result<Value, VerbError> {
        let data: Map<String, Value> = self.read()?.into_iter().map(|(key, bytes)| (key, STANDARD.encode(bytes).into())).collect();
        Ok(object("v1", "Secret", name, json!({"data": data})))
    }
}

//! `coracle snapshot`: the whole cluster state in one file.

use std::process::ExitCode;

use serde_json::json;

use super::arguments::{Global, Snapshot};
use super::failure::Failure;
use super::{ask, control, home};

pub(crate) async fn run(global: &Global, command: Snapshot) -> Result<ExitCode, Failure> {
    match command {
        Snapshot::Save { file } => {
            let client = control::running(global).await?;
            let path = std::path::absolute(&file).map_err(|error| Failure::new(format!("the path {}", file.display()), error))?;
            let saved = control::call(&client, "POST", "/snapshot", json!({"file": path}).to_string().into_bytes()).await?;
            println!("saved {} objects to {}", saved["objects"], file.display());
        }
        Snapshot::Restore { file, yes } => {
            let directory = home::data_directory(global)?;
            if let Some(holder) = directory.holder() {
                let message = format!("the cluster is running (process {})", holder.pid);
                return Err(Failure::plain(message).hint("stop it first with `coracle down`"));
            }
            if !yes && !ask::confirmed(&format!("replace everything in {}? [y/N] ", directory.path().display()))? {
                return Err(Failure::plain("nothing was replaced"));
            }
            let restored = coracle_cluster::restore(&directory, &file).await?;
            println!("restored {restored} objects; `coracle up` starts the cluster");
        }
    }
    Ok(ExitCode::SUCCESS)
}

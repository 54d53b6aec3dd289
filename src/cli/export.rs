//! `coracle export`: manifests of what runs, in a folder or on standard output.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use super::arguments::Global;
use super::connection;
use super::failure::Failure;

pub(crate) async fn run(global: &Global, folder: Option<PathBuf>) -> Result<ExitCode, Failure> {
    let session = connection::session(global).await?;
    let manifests = coracle_verbs::export::export(&session).await?;
    let Some(folder) = folder else {
        let texts: Vec<String> = manifests.into_iter().map(|(_, text)| text).collect();
        print!("{}", texts.join("---\n"));
        return Ok(ExitCode::SUCCESS);
    };
    // what is there already might be meant to stay, and would be applied with the rest
    if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::plain(format!("{} is not empty", folder.display())).hint("name a folder that is not there yet"));
    }
    for (path, text) in &manifests {
        let path = folder.join(path);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            fs::write(&path, text)
        };
        write().map_err(|error| Failure::new(format!("cannot write {}", path.display()), error))?;
    }
    println!("{} manifests written to {}", manifests.len(), folder.display());
    Ok(ExitCode::SUCCESS)
}

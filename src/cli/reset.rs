//! `coracle reset`: delete the cluster's data.

use std::process::ExitCode;

use super::arguments::{Global, Reset};
use super::failure::Failure;
use super::{ask, home};

pub(crate) async fn run(global: &Global, options: &Reset) -> Result<ExitCode, Failure> {
    let directory = home::data_directory(global)?;
    let path = directory.path().display();
    if !directory.path().exists() {
        println!("there is no data at {path}");
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(holder) = directory.holder() {
        return Err(Failure::plain(format!("the cluster is running (process {})", holder.pid)).hint("stop it first with `coracle down`"));
    }
    if !directory.kubeconfig().exists() && !directory.logs().exists() {
        return Err(Failure::plain(format!("{path} is not a data directory of ours; it stays as it is")));
    }
    if !options.yes && !ask::confirmed(&format!("delete everything in {path}? [y/N] "))? {
        println!("nothing was deleted");
        return Ok(ExitCode::FAILURE);
    }
    if let Err(error) = coracle_cluster::remove_leftovers(&directory).await {
        eprintln!("warning: not all that it left is removed: {}", Failure::of(error));
    }
    directory.delete()?;
    println!("deleted {path}");
    Ok(ExitCode::SUCCESS)
}

//! `coracle doctor`: what works on this machine; with `--store`, whether the cluster's store is whole.

use std::process::ExitCode;

use super::arguments::{Doctor, Global};
use super::failure::Failure;
use super::home;

pub(crate) fn run(global: &Global, options: &Doctor) -> Result<ExitCode, Failure> {
    let directory = home::data_directory(global)?;
    let findings = if options.store { coracle_cluster::doctor_store(&directory)? } else { coracle_cluster::doctor(&directory) };
    for finding in &findings {
        println!("{} {:<16} {}", if finding.works { "ok" } else { "no" }, finding.subject, finding.says);
    }
    // what a machine lacks is no failure; what a store lacks is
    let failed = options.store && findings.iter().any(|finding| !finding.works);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

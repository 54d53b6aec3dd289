//! `coracle doctor`: what works on this machine.

use std::process::ExitCode;

use super::arguments::Global;
use super::failure::Failure;
use super::home;

pub(crate) fn run(global: &Global) -> Result<ExitCode, Failure> {
    for finding in coracle_cluster::doctor(&home::data_directory(global)?) {
        println!("{} {:<16} {}", if finding.works { "ok" } else { "no" }, finding.subject, finding.says);
    }
    Ok(ExitCode::SUCCESS)
}

//! `coracle status`: is it up, and what does it use.

use std::process::ExitCode;

use super::arguments::Global;
use super::failure::Failure;
use super::{control, home};

pub(crate) async fn run(global: &Global) -> Result<ExitCode, Failure> {
    let directory = home::data_directory(global)?;
    if directory.holder().is_none() {
        println!("down  data: {}", directory.path().display());
        return Ok(ExitCode::FAILURE);
    }
    let client = control::running(global).await?;
    let status = control::call(&client, "GET", "/status", Vec::new()).await?;
    let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
    let nodes = status["nodes"].as_array().map_or(0, Vec::len);
    let megabytes = status["residentBytes"].as_f64().unwrap_or_default() / 1e6;
    println!("up    {}  process {}  runtime: {}  nodes: {nodes}", text("server"), status["pid"], text("runtime"));
    println!("uses  {megabytes:.0} MB of memory  data: {}", text("dataDirectory"));
    if let Some(restarts) = status["actorRestarts"].as_object().filter(|restarts| !restarts.is_empty()) {
        for (actor, count) in restarts {
            println!("actor {actor} was restarted {count} times");
        }
    }
    if global.verbose {
        println!("pods  {}  services: {}", text("podCIDR"), text("serviceCIDR"));
    }
    Ok(ExitCode::SUCCESS)
}

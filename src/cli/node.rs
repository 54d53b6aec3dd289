//! `coracle node`: nodes of the running cluster.

use std::process::ExitCode;

use super::arguments::{Global, Node};
use super::control;
use super::failure::Failure;

pub(crate) async fn run(global: &Global, command: Node) -> Result<ExitCode, Failure> {
    let client = control::running(global).await?;
    let (verb, name) = match &command {
        Node::Stop { name } => ("stop", name),
        Node::Start { name } => ("start", name),
    };
    let query: String = name.bytes().map(control::encoded).collect();
    control::call(&client, "POST", &format!("/nodes/{verb}?name={query}"), Vec::new()).await?;
    match command {
        Node::Stop { .. } => println!("stopped {name}: in less than a minute it counts as lost, and after five its pods are replaced"),
        Node::Start { .. } => println!("started {name}: it is ready when `kubectl get nodes` says so"),
    }
    Ok(ExitCode::SUCCESS)
}

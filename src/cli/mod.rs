//! The command line: one file per command, arguments in and text out.

mod arguments;
mod cluster_start;
mod control;
mod doctor;
mod down;
mod failure;
mod home;
mod image;
mod kubeconfig;
mod log;
mod node;
mod reset;
mod service;
mod status;
mod tui;
mod up;
mod watched;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use failure::Failure;

/// Runs the command that the arguments name.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new("the program cannot start its threads", error).print(arguments.global.verbose),
    };
    let verbose = arguments.global.verbose;
    let result = runtime.block_on(dispatch(arguments));
    // a task that hangs must not keep the process
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(code) => code,
        Err(failure) => failure.print(verbose),
    }
}

async fn dispatch(arguments: Arguments) -> Result<ExitCode, Failure> {
    let global = arguments.global;
    match arguments.command {
        None => tui::open(&global, arguments.open).await,
        Some(Command::Tui(options)) => tui::connect(&global, options).await,
        Some(Command::Up(options)) => up::run(&global, options).await,
        Some(Command::Down) => down::run(&global).await,
        Some(Command::Status) => status::run(&global).await,
        Some(Command::Reset(options)) => reset::run(&global, &options).await,
        Some(Command::Doctor) => doctor::run(&global),
        Some(Command::Kubeconfig(options)) => kubeconfig::run(&global, &options),
        Some(Command::Image(command)) => image::run(&global, command).await,
        Some(Command::Node(command)) => node::run(&global, command).await,
        Some(Command::Service { name, namespace }) => service::run(&global, &name, &namespace).await,
        Some(Command::Completion { shell }) => {
            arguments::print_completion(shell);
            Ok(ExitCode::SUCCESS)
        }
    }
}

//! The command line: one file per command, arguments in and text out.

mod apply;
mod arguments;
mod ask;
mod cluster_start;
mod connection;
mod control;
mod doctor;
mod down;
mod export;
mod failure;
mod home;
mod image;
mod kubeconfig;
mod log;
mod node;
mod reset;
mod rootless;
mod service;
mod shown;
mod snapshot;
mod status;
mod terminal;
mod tui;
mod up;
mod verbs;
mod watched;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use failure::Failure;

/// Runs the command that the arguments name.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::typed();
    if let Err(failure) = rootless::enter(&arguments) {
        return failure.print(arguments.global.verbose);
    }
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_start(coracle_node::processor::wake_politely).build() {
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
        Some(Command::Doctor(options)) => doctor::run(&global, &options),
        Some(Command::Kubeconfig(options)) => kubeconfig::run(&global, &options),
        Some(Command::Image(command)) => image::run(&global, command).await,
        Some(Command::Node(command)) => node::run(&global, command).await,
        Some(Command::Service { name }) => service::run(&global, &name).await,
        Some(Command::Verb(verb)) => verbs::run(&global, &verb).await,
        Some(Command::Exec(verb)) => verbs::exec(&global, &verb).await,
        Some(Command::Edit(verb)) => verbs::edit(&global, &verb).await,
        Some(Command::Attach(verb)) => verbs::attach(&global, &verb).await,
        Some(Command::Run(verb)) => verbs::run_pod(&global, &verb).await,
        Some(Command::Apply(options)) => apply::run(&global, options).await,
        Some(Command::Diff(options)) => apply::diff(&global, options).await,
        Some(Command::Export { folder }) => export::run(&global, folder).await,
        Some(Command::Snapshot(command)) => snapshot::run(&global, command).await,
        Some(Command::Config) => {
            print!("{}", coracle_tui::DEFAULT_CONFIG);
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Man { folder }) => arguments::print_manual(folder.as_deref()),
        Some(Command::Completion { shell }) => {
            arguments::print_completion(shell);
            Ok(ExitCode::SUCCESS)
        }
    }
}

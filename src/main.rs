//! The `coracle` binary: parse arguments, call a command, print the error chain.

mod cli;

use std::process::ExitCode;

/// A third of a write's time went to libc's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // these run inside containers and beside them: nothing of the rest may have started yet
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("__shim") => return coracle_node::shim::main(&arguments.collect::<Vec<_>>()),
        Some("__anchor") => return coracle_node::rootless::main(),
        Some("__kubia") => return coracle_node::demo::main(&arguments.collect::<Vec<_>>()),
        _ => {}
    }
    cli::run()
}

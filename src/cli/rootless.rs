//! A plain user's clusters live in namespaces of their own, which are entered before there are threads.

use coracle_cluster::{DataDirectory, RuntimeChoice, RuntimeKind, rootless};

use super::arguments::{Arguments, Command};
use super::failure::Failure;
use super::home;

/// Enters the namespaces where this command needs them: then the program begins anew in them, and this does not return.
pub(crate) fn enter(arguments: &Arguments) -> Result<(), Failure> {
    let Ok(directory) = home::data_directory(&arguments.global) else { return Ok(()) };
    let starts = match &arguments.command {
        None if directory.holder().is_none() => Some(&arguments.open.start),
        Some(Command::Up(up)) if !up.detach => Some(&up.start),
        _ => None,
    };
    let wanted = match (&arguments.command, starts) {
        (Some(Command::Reset(_) | Command::Down), _) => rootless::left(&directory) && directory.holder().is_none(),
        (_, Some(start)) => rootless::needed(&directory, start.runtime),
        _ => false,
    };
    if !wanted {
        return Ok(());
    }
    let Err(error) = rootless::enter(&directory);
    match starts.map(|start| start.runtime) {
        // what else works is tried, and says why it does not
        Some(RuntimeChoice::Auto) => Ok(()),
        Some(RuntimeChoice::Named(RuntimeKind::Native)) | None => {
            Err(Failure::new("a plain user's containers are not possible here", error).hint("`coracle doctor` says more; or run as root"))
        }
        Some(RuntimeChoice::Named(_)) => Ok(()),
    }
}

/// After a command that failed: namespaces that nobody uses go.
pub(crate) fn leave(directory: &DataDirectory) {
    rootless::leave_unused(directory);
}

//! The UI on a terminal of its own, which shows the pods while load is made.

use std::io::Read;
use std::path::Path;
use std::thread::JoinHandle;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::Failure;

/// A UI that runs.
pub struct Screen {
    child: Box<dyn Child + Send + Sync>,
    drawn: JoinHandle<usize>,
    _terminal: Box<dyn MasterPty + Send>,
}

/// Opens it on the pods of all namespaces.
pub fn open(kubeconfig: &Path) -> Result<Screen, Failure> {
    let pair = native_pty_system().openpty(PtySize { rows: 45, cols: 160, pixel_width: 0, pixel_height: 0 })?;
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_coracle"));
    command.args(["tui", "pods", "--all-namespaces", "--kubeconfig"]);
    command.arg(kubeconfig);
    command.env("TERM", "xterm-256color");
    let child = pair.slave.spawn_command(command)?;
    let mut output = pair.master.try_clone_reader()?;
    let drawn = std::thread::spawn(move || {
        let (mut total, mut part) = (0, vec![0; 64 * 1024]);
        while let Ok(read @ 1..) = output.read(&mut part) {
            total += read;
        }
        total
    });
    Ok(Screen { child, drawn, _terminal: pair.master })
}

impl Screen {
    /// Ends it; how many bytes it drew.
    pub fn close(mut self) -> Result<usize, Failure> {
        self.child.kill()?;
        self.child.wait()?;
        self.drawn.join().map_err(|_| "the terminal was not read".into())
    }
}

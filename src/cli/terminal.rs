//! The terminal, or what stands in its place, for programs in containers.

use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;

use coracle_verbs::exec::Console;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A terminal in raw mode; it is given back when this is dropped.
pub(crate) struct Raw(Option<Termios>);

impl Raw {
    fn begin() -> Self {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(mut modes) = before.clone() {
            cfmakeraw(&mut modes);
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &modes);
        }
        Self(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

/// Standard input, output and error; with `tty` the terminal is raw, if there is one, until `raw` is dropped.
pub(crate) fn console(stdin: bool, tty: bool, raw: &mut Option<Raw>) -> Console {
    let input: Box<dyn AsyncRead + Send + Unpin> = if stdin { Box::new(typed()) } else { Box::new(tokio::io::empty()) };
    *raw = (tty && stdin && io::stdin().is_terminal()).then(Raw::begin);
    let sizes = (tty && io::stdout().is_terminal()).then(sizes);
    Console { input, output: written(io::stdout()), errors: written(io::stderr()), sizes }
}

/// Standard input, read by a thread that nobody waits for at the end.
fn typed() -> impl AsyncRead + Send + Unpin {
    let (input, mut to) = tokio::io::simplex(16 * 1024);
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = io::stdin().read(&mut buffer) {
            if runtime.block_on(to.write_all(&buffer[..read])).is_err() {
                return;
            }
        }
        let _ = runtime.block_on(to.shutdown());
    });
    input
}

/// A second descriptor of where something is written to.
fn written(to: impl AsFd) -> Box<dyn AsyncWrite + Send + Unpin> {
    match to.as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(tokio::fs::File::from_std(descriptor.into())),
        Err(_) => Box::new(tokio::io::sink()),
    }
}

/// Columns and rows, as they change.
fn sizes() -> watch::Receiver<(u16, u16)> {
    let (sender, sizes) = watch::channel(size());
    tokio::spawn(async move {
        let Ok(mut changed) = signal(SignalKind::window_change()) else { return };
        while changed.recv().await.is_some() && sender.send(size()).is_ok() {}
    });
    sizes
}

nix::ioctl_read_bad!(read_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);

fn size() -> (u16, u16) {
    use std::os::fd::AsRawFd;
    let mut size = nix::libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    // the call fills in the struct or leaves it as it is
    let _ = unsafe { read_size(io::stdout().as_fd().as_raw_fd(), &raw mut size) };
    (size.ws_col, size.ws_row)
}

//! A terminal with a person at it: keys go in, a screen comes out.

use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::termios::{Termios, tcgetattr};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, SlavePty, native_pty_system};

use super::wait::until;

/// Bytes of output that are kept.
const KEPT: usize = 1 << 20;

/// A terminal and the program in it, which is killed when this is dropped.
pub struct Terminal {
    master: Box<dyn MasterPty + Send>,
    // kept, so that the terminal outlives its program and can be looked at
    _slave: Box<dyn SlavePty + Send>,
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    /// The end of all that the program wrote.
    got: Arc<Mutex<Vec<u8>>>,
    before: Termios,
    ended: bool,
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

impl Terminal {
    /// Starts a program in a terminal of this size.
    pub fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let pair = native_pty_system().openpty(size(columns, rows)).unwrap();
        let before = modes(&*pair.master);
        let mut builder = CommandBuilder::new(command.get_program());
        builder.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => builder.env(name, value),
                None => builder.env_remove(name),
            }
        }
        builder.env("TERM", "xterm-256color");
        if let Some(directory) = command.get_current_dir() {
            builder.cwd(directory);
        }
        let child = pair.slave.spawn_command(builder).unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let mut output = pair.master.try_clone_reader().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let (shown, kept) = (screen.clone(), got.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 8192];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..count]);
                let mut kept = kept.lock().unwrap();
                kept.extend_from_slice(&bytes[..count]);
                let excess = kept.len().saturating_sub(KEPT);
                kept.drain(..excess);
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Self { master: pair.master, _slave: pair.slave, child, keys, screen, got, before, ended: false }
    }

    /// What stands on the screen.
    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Whether these bytes are in what the program wrote.
    pub fn has_got(&self, part: &[u8]) -> bool {
        self.got.lock().unwrap().windows(part.len()).any(|window| window == part)
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Makes the terminal another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(rows, columns);
        self.master.resize(size(columns, rows)).unwrap();
    }

    /// Waits until the screen passes a look.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut(&str) -> Option<T>) -> T {
        until(what, Duration::from_secs(60), || {
            let text = self.text();
            look(&text).ok_or(text)
        })
    }

    /// Waits until every part stands on the screen.
    pub fn shows(&self, parts: &[&str]) -> String {
        let missing = |text: &str| parts.iter().all(|part| text.contains(part)).then(|| text.to_owned());
        self.until(&format!("{parts:?} on the screen"), missing)
    }

    /// Waits until a part no longer stands on the screen.
    pub fn shows_no_more(&self, part: &str) {
        self.until(&format!("no {part:?} on the screen"), |text| (!text.contains(part)).then_some(()));
    }

    /// Waits for the program's end: its exit code.
    pub fn end(&mut self) -> u32 {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.ended = true;
                return status.exit_code();
            }
            assert!(Instant::now() < deadline, "it goes on:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Process id of the program.
    pub fn process(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    /// Fails unless the terminal is as it was before the program: modes, screen, cursor, mouse, pasting.
    pub fn assert_restored(&self) {
        assert_eq!(format!("{:?}", modes(&*self.master)), format!("{:?}", self.before), "modes of the terminal");
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        assert!(!screen.alternate_screen(), "the alternate screen is still shown");
        assert!(!screen.hide_cursor(), "the cursor is still hidden");
        assert!(!screen.bracketed_paste(), "pasting is still bracketed");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None, "the mouse is still taken");
    }
}

fn modes(master: &(dyn MasterPty + Send)) -> Termios {
    let descriptor = master.as_raw_fd().unwrap();
    // the terminal outlives the borrow
    tcgetattr(unsafe { BorrowedFd::borrow_raw(descriptor) }).unwrap()
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if !self.ended {
            if std::thread::panicking() {
                eprintln!("--- the screen:\n{}", self.text());
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

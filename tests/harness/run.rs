//! Commands with an end, and commands that go on.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::wait::until;

/// What a command came to.
pub struct Ran {
    line: String,
    /// Its exit code; `None` if a signal or our patience ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ran {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Everything it said.
    pub fn said(&self) -> String {
        format!("$ {}\n{}{}(exit {:?})", self.line, self.text(), self.stderr, self.code)
    }

    /// Its output, if it went well.
    pub fn try_ok(&self) -> Result<String, String> {
        if self.code == Some(0) { Ok(self.text()) } else { Err(self.said()) }
    }

    /// Its output; it must have gone well.
    pub fn ok(&self) -> String {
        self.try_ok().unwrap_or_else(|said| panic!("{said}"))
    }

    /// What it said on standard error; it must have failed with this code.
    pub fn failed(&self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.said());
        self.stderr.clone()
    }

    /// Fails unless every part is in what it wrote to standard output.
    pub fn shows(&self, parts: &[&str]) -> String {
        let text = self.ok();
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in\n{}", self.said());
        }
        text
    }
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end, or ends it when `patience` has passed.
pub fn run(command: &mut Command, input: &[u8], patience: Duration) -> Ran {
    let mut running = Running::start(command, Stdio::piped());
    let mut stdin = running.child.stdin.take().unwrap();
    let input = input.to_owned();
    // it may stop reading when it likes
    let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let code = running.wait(patience);
    let (stdout, mut stderr) = running.output();
    if code.is_none() {
        stderr.push_str(&format!("\n(ended by the test after {patience:?})\n"));
        running.kill();
    }
    feeding.join().unwrap();
    Ran { line: running.line.clone(), code: code.and_then(|status| status.code()), stdout, stderr }
}

/// A command that is running; it is killed when this is dropped.
pub struct Running {
    line: String,
    /// The process.
    pub child: Child,
    stdout: File,
    stderr: File,
}

impl Running {
    /// Starts a command, its output going to files.
    pub fn start(command: &mut Command, stdin: Stdio) -> Self {
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        command.stdin(stdin).stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
        let line = line(command);
        let child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        Self { line, child, stdout, stderr }
    }

    /// Standard output and standard error so far.
    pub fn output(&mut self) -> (Vec<u8>, String) {
        let read = |file: &File| {
            // a second descriptor has the same place in the file as the writer: read by position
            let mut copy = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file))).unwrap();
            let mut bytes = Vec::new();
            copy.rewind().unwrap();
            copy.read_to_end(&mut bytes).unwrap();
            bytes
        };
        (read(&self.stdout), String::from_utf8_lossy(&read(&self.stderr)).into_owned())
    }

    /// Everything it has said so far.
    pub fn said(&mut self) -> String {
        let (stdout, stderr) = self.output();
        format!("$ {}\n{}{stderr}", self.line, String::from_utf8_lossy(&stdout))
    }

    /// Waits until its standard output passes a look.
    pub fn until<T>(&mut self, what: &str, patience: Duration, mut look: impl FnMut(&str) -> Option<T>) -> T {
        until(what, patience, || {
            let (stdout, _) = self.output();
            look(&String::from_utf8_lossy(&stdout)).ok_or_else(|| self.said())
        })
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Ends it as SIGKILL does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

//! A person who types what a text says, in a checkout.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::place::PROGRAM;
use crate::harness::run::{Running, run};
use crate::harness::wait::so;
use crate::harness::{Place, kubectl, until};

const SOON: Duration = Duration::from_secs(60);

/// The commands in the blocks of a text, without their comments.
pub fn commands(text: &str) -> Vec<String> {
    let lines = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    let plain = |line: &str| line.split(" #").next().unwrap_or(line).trim().to_owned();
    lines.map(plain).filter(|line| !line.is_empty()).collect()
}

/// A text of the project.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A shell that finds `coracle`, `kubectl` and the samples, as in a checkout; what it writes is the place's.
pub fn shell(place: &Place, line: &str) -> Command {
    let (programs, checkout) = (place.path().join("bin"), place.path().join("checkout"));
    if !programs.exists() {
        std::fs::create_dir(&programs).unwrap();
        symlink(PROGRAM, programs.join("coracle")).unwrap();
        symlink(kubectl::program().unwrap(), programs.join("kubectl")).unwrap();
        std::fs::create_dir(&checkout).unwrap();
        symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("samples"), checkout.join("samples")).unwrap();
    }
    let mut command = place.command("sh");
    let path = std::env::var("PATH").unwrap();
    command.args(["-c", line]).current_dir(checkout);
    command.env("PATH", format!("{}:{path}", programs.display())).env("CORACLE_HOME", place.data());
    command
}

/// Whether an output has one of the words that a lesson promises, as `created|configured`; no words promise no output, so that
/// `removed|` is either that or nothing.
fn keeps(promise: &str, output: &str) -> bool {
    promise.split('|').any(|words| if words.is_empty() { output.is_empty() } else { output.contains(words) })
}

/// Types a command, again until what it waits for is there: it succeeds and says what it should. A command that may be stopped
/// fails with a code of its own instead.
pub fn succeeds(place: &Place, lesson: &str, line: &str, promise: &str, may_be_stopped: bool) {
    let input = if line.contains(" -it ") { &b"hostname; exit\n"[..] } else { b"" };
    until(&format!("{lesson}: {line} says {promise:?}"), SOON * 3, || {
        let ran = run(&mut shell(place, line), input, SOON * 2);
        let stopped = may_be_stopped && ran.code.is_some_and(|code| code > 1);
        so((ran.code == Some(0) && keeps(promise, &ran.text())) || stopped, ran.said())
    });
}

/// Types a command that goes on, again until it says what it should.
pub fn goes_on(place: &Place, lesson: &str, line: &str, promise: &str) -> Running {
    assert!(!promise.is_empty(), "{line}");
    until(&format!("{lesson}: {line} says {promise:?}"), SOON * 3, || {
        let mut running = Running::start(&mut shell(place, &format!("exec {line}")), Stdio::null());
        let said = until(&format!("{line} says {promise:?}, or ends"), SOON * 2, || {
            let said = keeps(promise, &String::from_utf8_lossy(&running.output().0));
            let ended = running.child.try_wait().is_ok_and(|ended| ended.is_some());
            if said || ended { Ok(said) } else { Err(running.said()) }
        });
        if said { Ok(running) } else { Err(running.said()) }
    })
}

//! Every command of the README and of the lessons is typed, succeeds and says what it should.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../harness/mod.rs"]
mod harness;
mod lessons;
mod table;
mod typing;

use std::process::Command;
use std::time::Duration;

use harness::run::run;
use harness::terminal::Terminal;
use harness::wait::so;
use harness::{Need, Place, leftovers, story, until};
use typing::{commands, read, shell, succeeds};

const SOON: Duration = Duration::from_secs(60);

/// Stops what a newcomer leaves behind whose day ends badly.
struct Newcomer(Place);

impl Drop for Newcomer {
    fn drop(&mut self) {
        let _ = shell(&self.0, "coracle down").output();
    }
}

/// The lines of the README's blocks, in order, and words that each says; what opens the UI shows them.
const SAYS: &[(&str, &str)] = &[
    ("cargo run --release -- --watch samples/02-deployment", "kubia-"),
    ("cargo test", "every_line_of_the_readme_works"),
    ("coracle up --detach", "ready in "),
    ("kubectl get nodes", " Ready "),
    ("kubectl apply -f samples/02-deployment", "deployment.apps/kubia "),
    ("kubectl rollout status deployment/kubia", "successfully rolled out"),
    ("curl 127.0.0.1:8080", "this is kubia-"),
    ("coracle tui", "kubia-"),
    ("coracle down", "stopped in "),
];

/// Types a line and looks at what the UI shows; then leaves it, and ends the cluster if it has started one.
fn looks(place: &Place, line: &str, shows: &str, starts: bool) {
    let mut terminal = Terminal::start(&shell(place, &format!("exec {line}")), 120, 30);
    terminal.shows(&[shows, "1/1"]);
    terminal.press(":q\r");
    if starts {
        terminal.shows(&["keep the cluster running in the background?"]);
        terminal.press("n\r");
    }
    assert_eq!(terminal.end(), 0);
    terminal.assert_restored();
}

#[test]
fn every_line_of_the_readme_works() {
    story("README", &[Need::Native, Need::Kubectl], || {
        let newcomer = Newcomer(Place::new());
        let lines = commands(&read("README.md"));
        assert_eq!(lines, SAYS.iter().map(|(line, _)| *line).collect::<Vec<_>>(), "what do the new ones say?");
        for (line, says) in SAYS {
            match *line {
                // what cargo has built and runs
                "cargo test" => {
                    let tests = run(Command::new(std::env::current_exe().unwrap()).arg("--list"), b"", SOON);
                    tests.shows(&[says]);
                }
                line if line.starts_with("cargo run --release -- ") => {
                    looks(&newcomer.0, &line.replace("cargo run --release --", "coracle"), says, true);
                }
                "coracle tui" => looks(&newcomer.0, line, says, false),
                line => succeeds(&newcomer.0, "README", line, says, false),
            }
        }
        until("nothing is left of the cluster", SOON, || {
            let left = leftovers::of(&newcomer.0);
            so(left.is_empty(), left)
        });
    });
}

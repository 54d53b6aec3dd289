//! How the terminal UI ends: whatever is pressed and however it is told to go, the terminal is given back, and what was
//! typed is there again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::path::PathBuf;
use std::time::Duration;

use harness::terminal::Terminal;
use harness::wait::so;
use harness::{Need, Place, leftovers, story, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: 2\n  selector:\n    matchLabels: {app: web}\n  template:\n    metadata:\n      labels: {app: web}\n    spec:\n      containers:\n      - name: main\n        image: coracle.local/kubia:1.0\n";

fn opened(place: &Place) -> Terminal {
    place.write("manifests/web.yaml", DEPLOYMENT);
    let arguments = ["--runtime", "simulated", "--listen", "127.0.0.1:0", "--watch", "manifests"];
    let terminal = Terminal::start(&place.coracle(&arguments), 120, 32);
    terminal.shows(&["coracle", "pods 2", "Running"]);
    terminal
}

fn signal(terminal: &Terminal, signal: Signal) {
    kill(Pid::from_raw(terminal.process().cast_signed()), signal).unwrap();
}

#[test]
fn a_signal_ends_it_with_its_code_and_the_terminal_is_given_back() {
    for (sent, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let place = Place::new();
        let mut terminal = opened(&place);
        signal(&terminal, sent);
        assert_eq!(terminal.end(), code, "{sent}");
        terminal.assert_restored();
    }
}

#[test]
fn a_cluster_goes_on_in_the_background() {
    story("kept running", &[Need::Native], || {
        let place = Place::new();
        let mut terminal = Terminal::start(&place.coracle(&["--runtime", "native"]), 120, 32);
        terminal.shows(&["no pods in namespace default"]);
        terminal.press(":q\r");
        terminal.shows(&["keep the cluster running in the background?"]);
        terminal.press("y\r");
        assert_eq!(terminal.end(), 0, "{}", terminal.text());
        place.run(&["status"]).shows(&["up "]);
        place.run(&["down"]).shows(&["stopped"]);
        until("nothing is left", Duration::from_secs(30), || {
            let left = leftovers::of(&place);
            so(left.is_empty(), left)
        });
    });
}

#[test]
fn any_keys_at_all_leave_it_running_and_the_terminal_is_given_back() {
    let place = Place::new();
    let mut terminal = opened(&place);
    // a fixed sequence of numbers that looks like none
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let known = [
        "\r",
        "\x1b",
        "\x1b[A",
        "\x1b[B",
        "\x1b[C",
        "\x1b[D",
        "\t",
        "\x1b[5~",
        "\x1b[6~",
        ":pulse\r",
        ":xray deploy\r",
        "\x1b[200~pasted\x1b[201~",
    ];
    for _ in 0..150 {
        let mut keys = String::new();
        for _ in 0..8 {
            let number = next();
            match number % 3 {
                0 => keys.push_str(known[(number >> 8) as usize % known.len()]),
                // leaving is not what is tried here, nor is another program's editor
                _ => keys.push(char::from((number >> 8) as u8 % 95 + 32)),
            }
        }
        terminal.press(&keys.replace(['q', 'Q', 'E'], ""));
    }
    // out of whatever that has opened
    for _ in 0..12 {
        terminal.press("\x1b\x1b");
    }
    until("it still draws", Duration::from_secs(60), || {
        let text = terminal.text();
        if text.contains("coracle") { Ok(()) } else { Err(text) }
    });
    signal(&terminal, Signal::SIGTERM);
    assert_eq!(terminal.end(), 143, "{}", terminal.text());
    terminal.assert_restored();
}

/// The one draft of the place.
fn drafts(place: &Place) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![place.path().join("home")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.to_string_lossy().contains("/drafts/") => found.push(path),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn an_edit_survives_a_kill() {
    let place = Place::new();
    let mut terminal = opened(&place);
    terminal.press(":deployments\r");
    terminal.shows(&["deployments 1"]);
    terminal.press("e");
    terminal.shows(&["edit deployment web", "replicas: 2"]);
    terminal.press("\x06replicas:\r\x1b[F");
    for (typed, wanted) in [("0", "replicas: 20"), (" # all of it", "# all of it")] {
        terminal.press(typed);
        terminal.shows(&[wanted]);
        // every key is written as it comes: there is nothing to wait for but the disk
        until("it is on disk", Duration::from_secs(60), || {
            let text: String = drafts(&place).iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
            if text.contains(wanted) { Ok(()) } else { Err(text) }
        });
    }
    signal(&terminal, Signal::SIGKILL);
    terminal.end();
    let mut terminal = opened(&place);
    terminal.press(":drafts\r");
    terminal.shows(&["drafts 1", "deployments.default.web.yaml"]);
    terminal.press("\r");
    terminal.shows(&["edit deployment web", "replicas: 20 # all of it"]);
    signal(&terminal, Signal::SIGTERM);
    assert_eq!(terminal.end(), 143);
}

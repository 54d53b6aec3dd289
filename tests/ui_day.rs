//! A day at the terminal: a folder is watched, and everything is done with keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::time::Duration;

use harness::terminal::Terminal;
use harness::{Need, Place, leftovers, story, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ESCAPE: &str = "\x1b";
const CTRL_D: &str = "\x04";
const CTRL_F: &str = "\x06";
const CTRL_S: &str = "\x13";
const CTRL_U: &str = "\x15";
const CTRL_W: &str = "\x17";
const RIGHT: &str = "\x1b[C";
const END: &str = "\x1b[F";
const BACKSPACE: &str = "\x7f";

#[test]
fn a_day_at_the_terminal() {
    story("ui_day", &[Need::Native], || {
        let mut day = Day::begins();
        pods_turn_running(&mut day);
        a_deployment_is_scaled(&mut day);
        scaling_is_undone_and_done_again(&mut day);
        logs_are_followed(&mut day);
        a_shell_is_used(&mut day);
        a_port_is_forwarded(&mut day);
        events_are_read(&mut day);
        replicas_are_edited_in_place(&mut day);
        a_file_is_changed(&mut day);
        a_file_is_broken(&mut day);
        a_broken_file_is_mended_in_the_editor(&mut day);
        a_deployment_is_deleted(&mut day);
        day.ends();
    });
}

/// A person at a terminal of 160×45, and the folder they work on.
struct Day {
    place: Place,
    terminal: Terminal,
}

fn manifests(replicas: u32, greeting: &str) -> String {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/02-deployment/deployment.yaml");
    let text = std::fs::read_to_string(samples).unwrap();
    // 1.1 ends at once when it is told to
    let text = text.replace("kubia:1.0", "kubia:1.1").replace("replicas: 3", &format!("replicas: {replicas}"));
    format!("{text}        env:\n        - name: GREETING\n          value: {greeting}\n")
}

impl Day {
    fn begins() -> Self {
        let place = Place::new();
        place.write("manifests/deployment.yaml", manifests(3, "hello"));
        let service = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/02-deployment/service.yaml");
        place.write("manifests/service.yaml", std::fs::read(service).unwrap());
        let terminal = Terminal::start(&place.coracle(&["--watch", "manifests"]), 160, 45);
        Self { place, terminal }
    }

    /// Goes to a view by its command.
    fn go(&mut self, command: &str, shows: &[&str]) -> String {
        self.terminal.press(&format!(":{command}\r"));
        self.terminal.shows(shows)
    }

    /// The row of an object in the table on the screen, once it passes a look.
    fn row<T>(&self, what: &str, start: &str, mut look: impl FnMut(&[&str]) -> Option<T>) -> T {
        self.terminal.until(what, |text| rows(text, start).iter().find_map(|row| look(row)))
    }

    fn ends(mut self) {
        self.terminal.press(":q\r");
        self.terminal.shows(&["keep the cluster running in the background?"]);
        self.terminal.press("n\r");
        assert_eq!(self.terminal.end(), 0, "{}", self.terminal.text());
        self.terminal.assert_restored();
        until("nothing is left of the cluster", Duration::from_secs(5), || {
            let left = leftovers::of(&self.place);
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        });
    }
}

impl Drop for Day {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the screen:\n{}\n--- the end of the log:\n{}", self.terminal.text(), self.place.log_end());
            let _ = kill(Pid::from_raw(self.terminal.process().cast_signed()), Signal::SIGKILL);
            leftovers::sweep(&self.place);
        }
    }
}

/// Words of the rows whose first word begins so.
fn rows<'a>(text: &'a str, start: &str) -> Vec<Vec<&'a str>> {
    let words = |line: &'a str| line.trim_start_matches([' ', '▶', '●']).split_whitespace().collect::<Vec<_>>();
    text.lines().map(words).filter(|words| words.first().is_some_and(|word| word.starts_with(start))).collect()
}

fn pods_turn_running(day: &mut Day) {
    day.terminal.until("three pods are running", |text| {
        let running = rows(text, "kubia-").iter().filter(|row| row.contains(&"1/1") && row.contains(&"Running")).count();
        (running == 3).then_some(())
    });
    day.terminal.shows(&["coracle", "default", "pods", "live"]);
}

fn a_deployment_is_scaled(day: &mut Day) {
    day.go("deployments", &["deployments", "3/3"]);
    day.terminal.press("s");
    day.terminal.shows(&["kubia has 3 replicas."]);
    day.terminal.press(&format!("{BACKSPACE}4\r"));
    day.terminal.shows(&["scaled 3 → 4"]);
    day.row("four of four are ready", "kubia", |row| row.contains(&"4/4").then_some(()));
}

fn scaling_is_undone_and_done_again(day: &mut Day) {
    day.terminal.press("U");
    day.terminal.shows(&["undone: deployment kubia scaled 3 → 4"]);
    day.row("three of three are ready", "kubia", |row| row.contains(&"3/3").then_some(()));
    day.terminal.press("R");
    day.terminal.shows(&["done again: deployment kubia scaled 3 → 4"]);
    day.row("four of four are ready again", "kubia", |row| row.contains(&"4/4").then_some(()));
}

fn a_shell_is_used(day: &mut Day) {
    let pod = pods_of(day, 4).remove(0);
    day.terminal.press("gs");
    day.terminal.shows(&["shell in", &pod, "gives the keys back"]);
    day.terminal.press("echo it-is-$((40+2)) in $(hostname)\r");
    day.terminal.shows(&[&format!("it-is-42 in {pod}")]);
    // every key goes to the program, ctrl-c too
    day.terminal.press("echo asleep-$((1+1)); sleep 1000\r");
    day.terminal.shows(&["asleep-2"]);
    day.terminal.press("\x03");
    day.terminal.shows(&["^C"]);
    day.terminal.press("echo $((50+1))-after\r");
    day.terminal.shows(&["51-after"]);
    day.terminal.press("exit\r");
    day.terminal.shows(&["esc closes"]);
    day.terminal.press(ESCAPE);
    day.terminal.shows_no_more("51-after");
}

fn a_port_is_forwarded(day: &mut Day) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    pods_of(day, 4);
    day.terminal.press("gF");
    day.terminal.shows(&["port-forward", "port there", "8080"]);
    day.terminal.press(&format!("\t{CTRL_U}{free}\r"));
    day.terminal.shows(&["goes to port 8080 of pod kubia-", "⇄ 1"]);
    let url = format!("http://127.0.0.1:{free}/through-the-forward");
    let asked = day.place.command("curl").args(["-sS", "--max-time", "20", &url]).output().unwrap();
    assert!(String::from_utf8_lossy(&asked.stdout).contains("kubia-"), "{asked:?}");
    day.go("port-forwards", &["port-forwards 1", "active"]);
    day.terminal.press(CTRL_D);
    day.terminal.shows(&["is stopped", "port-forwards 0"]);
}

fn logs_are_followed(day: &mut Day) {
    day.terminal.press(":pods\r");
    // the wide table has the address
    day.terminal.until("the pods", |text| (rows(text, "kubia-").len() == 4).then_some(()));
    day.terminal.press(CTRL_W);
    let (pod, address) = day.row("a pod with an address", "kubia-", |row| {
        let address = row.iter().find(|word| word.starts_with("10.244."))?;
        Some((row[0].to_owned(), (*address).to_owned()))
    });
    // the first row has the cursor
    day.terminal.press(&format!("{CTRL_W}gl"));
    day.terminal.shows(&["logs", &pod, "Kubia server starting", "Listening on port 8080"]);
    let url = format!("{address}:8080/from-outside");
    let asked = day.place.command("curl").args(["-sS", "--max-time", "5", &url]).output().unwrap();
    assert!(String::from_utf8_lossy(&asked.stdout).contains(&pod), "{asked:?}");
    day.terminal.shows(&["Received request for /from-outside"]);
    day.terminal.press(ESCAPE);
    day.terminal.shows_no_more("Kubia server starting");
}

fn events_are_read(day: &mut Day) {
    day.go("events", &["Scheduled", "Pulled", "Created", "Started", "Successfully assigned default/kubia-"]);
}

fn replicas_are_edited_in_place(day: &mut Day) {
    day.go("deployments", &["4/4"]);
    day.terminal.press("e");
    day.terminal.shows(&["kind: Deployment", "replicas: 4"]);
    day.terminal.press(&format!("{CTRL_F}replicas:\r{END}{BACKSPACE}2{CTRL_S}"));
    day.terminal.shows(&["-   replicas: 4", "+   replicas: 2", "apply"]);
    day.terminal.press("\r");
    day.terminal.shows(&["kubia applied"]);
    day.row("two of two are ready", "kubia", |row| row.contains(&"2/2").then_some(()));
}

fn a_file_is_changed(day: &mut Day) {
    let before = pods_of(day, 2);
    day.place.write("manifests/deployment.yaml", manifests(3, "goodbye"));
    day.terminal.until("three new pods are running and the old ones are gone", |text| {
        let rows = rows(text, "kubia-");
        let new = rows.iter().all(|row| row.contains(&"Running") && row.contains(&"1/1") && !before.iter().any(|old| old == row[0]));
        (rows.len() == 3 && new).then_some(())
    });
    day.go("manifests", &["deployment.yaml", "Deployment", "default/kubia", "applied", "service.yaml"]);
}

fn pods_of(day: &mut Day, count: usize) -> Vec<String> {
    // from elsewhere: pods that stand there already would be taken for those that come
    day.go("namespaces", &["namespaces", "kube-system"]);
    day.terminal.press(":pods\r");
    day.terminal.until("the pods", |text| {
        let rows = rows(text, "kubia-");
        (rows.len() == count).then(|| rows.iter().map(|row| row[0].to_owned()).collect())
    })
}

fn a_file_is_broken(day: &mut Day) {
    day.go("manifests", &["deployment.yaml"]);
    let broken = manifests(3, "goodbye").replace("  replicas: 3", "  replicas: [3");
    let line = 1 + broken.lines().position(|line| line.contains("replicas")).unwrap();
    day.place.write("manifests/deployment.yaml", broken);
    // what is open there is at fault where it cannot go on: at the colon of the next line
    day.terminal.shows(&["✗ line", &format!("line {}, column 11", line + 1)]);
    let unknown = manifests(3, "goodbye").replace("replicas:", "replcas:");
    day.place.write("manifests/deployment.yaml", unknown);
    day.terminal.shows(&[&format!("line {line}, column 3"), ".spec.replcas: field not declared in schema"]);
    // what is broken changes nothing
    pods_of(day, 3);
}

fn a_broken_file_is_mended_in_the_editor(day: &mut Day) {
    day.go("manifests", &["field not declared in schema"]);
    day.terminal.press("ge");
    day.terminal.shows(&["edit file deployment.yaml", "replcas: 3"]);
    day.terminal.press(&format!("{CTRL_F}replcas\r{RIGHT}{RIGHT}{RIGHT}{RIGHT}i{CTRL_S}"));
    day.terminal.shows(&["-   replcas: 3", "+   replicas: 3", "apply"]);
    day.terminal.press("\r");
    day.terminal.shows(&["deployment.yaml written"]);
    day.terminal.shows_no_more("field not declared in schema");
    day.go("deployments", &["▸ deployments 1", "3/3"]);
}

fn a_deployment_is_deleted(day: &mut Day) {
    day.terminal.press(CTRL_D);
    day.terminal.shows(&["Delete", "kubia in default", "propagation"]);
    day.terminal.press("\r");
    day.terminal.shows(&["kubia deleted"]);
    day.terminal.until("the deployment is gone", |text| rows(text, "kubia").is_empty().then_some(()));
    pods_of(day, 0);
}

//! A cluster, a folder of manifests, and the UI that keeps the one as the other says.

use serde_json::Value;

use crate::harness::Cluster;
use crate::harness::terminal::Terminal;

/// Closes what is open.
const ESCAPE: &str = "\x1b";
/// Deletes, after a question.
pub const CTRL_D: &str = "\x04";
/// Empties a field.
pub const CTRL_U: &str = "\x15";
/// Gives the keys back.
pub const CTRL_BRACKET: &str = "\x1d";

/// Somebody at a terminal of 240×45.
pub struct Lesson {
    /// What is pressed and seen.
    pub terminal: Terminal,
    /// What it is about.
    pub cluster: Cluster,
}

impl Lesson {
    /// Opens the UI on a cluster, watching a folder with these objects.
    pub fn begins(cluster: Cluster, objects: &[Value]) -> Self {
        let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
        cluster.place.write("lessons/all.yaml", documents.join("\n---\n"));
        let terminal = Terminal::start(&cluster.place.coracle(&["tui", "--watch", "lessons"]), 240, 45);
        terminal.shows(&["coracle", "▸ pods"]);
        Self { terminal, cluster }
    }

    /// Goes to a view by its command, and waits until the line at the top says so.
    pub fn go(&mut self, command: &str, title: &str) {
        self.terminal.press(&format!(":{command}\r"));
        self.comes(title);
    }

    /// Waits until the line at the top has these words.
    pub fn comes(&self, title: &str) {
        self.terminal.until(&format!("{title:?} at the top"), |text| text.lines().next()?.contains(title).then_some(()));
    }

    /// Goes to one pod.
    pub fn pod(&mut self, name: &str) {
        self.go(&format!("pods /name={name}"), &format!("▸ pods /name={name} 1"));
    }

    /// Presses a key that opens a view, and waits for it.
    pub fn opens(&mut self, key: &str, title: &str) {
        self.terminal.press(key);
        self.comes(title);
    }

    /// Closes what is open, and waits for what was there before: an escape and the next key would be one key.
    pub fn back(&mut self, title: &str) {
        self.opens(ESCAPE, title);
    }

    /// Waits for a row, by its first word, that passes a look at its words.
    pub fn row(&self, start: &str, what: &str, look: impl Fn(&[&str]) -> bool) {
        self.terminal.until(&format!("{start}: {what}"), |text| rows(text, start).iter().any(|row| look(row)).then_some(()));
    }

    /// Waits for a row with all of these words.
    pub fn shows_row(&self, start: &str, words: &[&str]) {
        self.row(start, &format!("{words:?}"), |row| words.iter().all(|word| row.contains(word)));
    }

    /// Leaves the UI, and then the cluster; nothing is left of either.
    pub fn ends(mut self) {
        self.terminal.press(":q\r");
        assert_eq!(self.terminal.end(), 0, "{}", self.terminal.text());
        self.terminal.assert_restored();
        self.cluster.down();
    }
}

/// Words of the rows whose first word begins so.
pub fn rows<'a>(text: &'a str, start: &str) -> Vec<Vec<&'a str>> {
    let words = |line: &'a str| line.trim_start_matches([' ', '▶', '●', '!']).split_whitespace().collect::<Vec<_>>();
    text.lines().skip(1).map(words).filter(|words| words.first().is_some_and(|word| word.starts_with(start))).collect()
}

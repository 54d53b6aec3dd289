//! The table of actions. One row drives the keymap, the command prompt, the help and the README's table of keys.

use std::collections::HashMap;
use std::ops::BitOr;

use crate::actions::{cluster, manifests, move_about, object, show, text};
use crate::app::App;
use crate::input::Key;

/// Where an action makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u32);

impl Scopes {
    /// Everywhere.
    pub const ANY: Self = Self(1);
    /// Tables.
    pub const TABLE: Self = Self(1 << 1);
    /// Where the cursor is on an object.
    pub const OBJECT: Self = Self(1 << 2);
    /// Pods, and containers.
    pub const PODS: Self = Self(1 << 3);
    /// Whatever has a pod template.
    pub const WORKLOADS: Self = Self(1 << 4);
    /// Whatever has a number of replicas.
    pub const SCALABLE: Self = Self(1 << 5);
    /// Nodes.
    pub const NODES: Self = Self(1 << 6);
    /// Namespaces.
    pub const NAMESPACES: Self = Self(1 << 7);
    /// Running text.
    pub const TEXT: Self = Self(1 << 8);
    /// YAML.
    pub const YAML: Self = Self(1 << 9);
    /// Logs.
    pub const LOGS: Self = Self(1 << 10);
    /// The editor.
    pub const EDITOR: Self = Self(1 << 11);
    /// Watched folders.
    pub const MANIFESTS: Self = Self(1 << 12);
    /// A list of anything.
    pub const LIST: Self = Self(1 << 13);
    /// Services.
    pub const SERVICES: Self = Self(1 << 14);

    /// Whether the two have one in common.
    pub fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Scopes {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Under which heading help shows an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Everywhere.
    Everywhere,
    /// On a row.
    Row,
    /// In text and logs.
    Text,
    /// In the editor.
    Editor,
    /// In watched folders.
    Manifests,
}

impl Section {
    /// Heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Everywhere => "everywhere",
            Self::Row => "on a row",
            Self::Text => "in text and logs",
            Self::Editor => "in the editor",
            Self::Manifests => "in watched folders",
        }
    }
}

/// One action.
pub struct Action {
    /// Its name, also a command.
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [&'static str],
    /// Where it makes sense.
    pub scopes: Scopes,
    /// Heading in help.
    pub section: Section,
    /// It writes to the cluster: gone when read-only.
    pub writes: bool,
    /// What it does, in a few words.
    pub doc: &'static str,
    /// Does it.
    pub run: fn(&mut App),
}

const fn row(
    name: &'static str,
    keys: &'static [&'static str],
    scopes: Scopes,
    section: Section,
    doc: &'static str,
    run: fn(&mut App),
) -> Action {
    Action { name, keys, scopes, section, writes: false, doc, run }
}

const fn write(
    name: &'static str,
    keys: &'static [&'static str],
    scopes: Scopes,
    section: Section,
    doc: &'static str,
    run: fn(&mut App),
) -> Action {
    Action { name, keys, scopes, section, writes: true, doc, run }
}

use Section::{Editor, Everywhere, Manifests, Row, Text};

/// Every action. Where a key has several, the first whose scope fits is meant: the particular stand before the general.
pub static ACTIONS: &[Action] = &[
    // watched folders
    row("manifest-open", &["enter"], Scopes::MANIFESTS, Manifests, "open the object of this document", manifests::open),
    // nodes
    write("cordon", &["c"], Scopes::NODES, Row, "cordon the node: no new pods on it", cluster::cordon),
    write("uncordon", &["u"], Scopes::NODES, Row, "uncordon the node", cluster::uncordon),
    row("use-namespace", &["u"], Scopes::NAMESPACES, Row, "show this namespace from now on", cluster::use_namespace),
    // on an object
    row("drill-in", &["enter"], Scopes::LIST, Row, "drill in", object::enter),
    row("describe", &["d"], Scopes::OBJECT, Row, "describe", object::describe),
    row("yaml", &["y"], Scopes::OBJECT, Row, "YAML", object::yaml),
    write("edit", &["e"], Scopes::OBJECT, Row, "edit in place", object::edit),
    row("object-events", &["v"], Scopes::OBJECT, Row, "events of this object", object::events),
    row("logs", &["l"], Scopes(Scopes::PODS.0 | Scopes::WORKLOADS.0 | Scopes::SERVICES.0), Row, "logs", object::logs),
    row("previous-logs", &["p"], Scopes(Scopes::PODS.0 | Scopes::WORKLOADS.0), Row, "logs of the previous instance", object::previous_logs),
    write("scale", &["s"], Scopes::SCALABLE, Row, "scale", object::scale),
    write("restart", &["r"], Scopes::WORKLOADS, Row, "restart the rollout", object::restart),
    write("set-image", &["i"], Scopes::WORKLOADS, Row, "set the image of a container", object::set_image),
    write("delete", &["ctrl-d"], Scopes::OBJECT, Row, "delete (asks)", object::delete),
    write("kill", &["ctrl-k"], Scopes::OBJECT, Row, "kill now (asks once)", object::kill),
    row("owner", &["J"], Scopes::OBJECT, Row, "go to the owner", object::owner),
    row("node", &["o"], Scopes::PODS, Row, "go to the node", object::node),
    row("copy-name", &["c"], Scopes::OBJECT, Row, "copy the name", object::copy_name),
    row("copy-namespace", &["n"], Scopes::OBJECT, Row, "copy the namespace", object::copy_namespace),
    row("warp", &["w"], Scopes::OBJECT, Row, "show the row's namespace", object::warp),
    row("mark", &["space"], Scopes::TABLE, Row, "mark, or take the mark away", show::mark),
    row("mark-range", &["ctrl-space"], Scopes::TABLE, Row, "mark everything from the last mark to here", show::mark_range),
    row("clear-marks", &["ctrl-\\"], Scopes::TABLE, Row, "take all marks away", show::clear_marks),
    // tables
    row("sort-left", &["shift-left"], Scopes::TABLE, Everywhere, "pick the column to the left", show::pick_left),
    row("sort-right", &["shift-right"], Scopes::TABLE, Everywhere, "pick the column to the right", show::pick_right),
    row("sort", &["O"], Scopes::TABLE, Everywhere, "sort by the picked column, again: backwards", show::sort),
    row("sort-name", &["N"], Scopes::TABLE, Everywhere, "sort by name", show::sort_name),
    row("sort-age", &["A"], Scopes::TABLE, Everywhere, "sort by age", show::sort_age),
    row("sort-status", &["S"], Scopes::TABLE, Everywhere, "sort by status", show::sort_status),
    row("faults", &["ctrl-z"], Scopes::TABLE, Everywhere, "only what is not well", show::faults),
    row("wide", &["ctrl-w"], Scopes::TABLE, Everywhere, "wide columns", show::wide),
    // text and logs
    row("next-match", &["n"], Scopes::TEXT, Text, "next match", text::next_match),
    row("previous-match", &["N"], Scopes::TEXT, Text, "previous match", text::previous_match),
    row("managed-fields", &["m"], Scopes::YAML, Text, "managed fields", text::managed_fields),
    row("decode", &["x"], Scopes::YAML, Text, "decode secrets", text::decode),
    row("copy-text", &["c"], Scopes::TEXT, Text, "copy everything", text::copy),
    write("edit-this", &["e"], Scopes::TEXT, Text, "edit this object", text::edit),
    row("follow", &["s"], Scopes::LOGS, Text, "follow, or stand still", text::follow),
    row("timestamps", &["t"], Scopes::LOGS, Text, "timestamps", text::timestamps),
    row("wrap", &["w"], Scopes(Scopes::LOGS.0 | Scopes::TEXT.0), Text, "wrap long lines", text::wrap),
    row("log-mark", &["m"], Scopes::LOGS, Text, "draw a line here", text::mark),
    row("log-tail", &["0"], Scopes::LOGS, Text, "the last 500 lines", text::tail),
    row("log-beginning", &["1"], Scopes::LOGS, Text, "from the beginning", text::beginning),
    row("log-1m", &["2"], Scopes::LOGS, Text, "the last minute", text::one_minute),
    row("log-5m", &["3"], Scopes::LOGS, Text, "the last 5 minutes", text::five_minutes),
    row("log-15m", &["4"], Scopes::LOGS, Text, "the last 15 minutes", text::fifteen_minutes),
    row("log-1h", &["5"], Scopes::LOGS, Text, "the last hour", text::one_hour),
    row("clear", &["ctrl-l"], Scopes::LOGS, Text, "forget the lines so far", text::clear),
    // editor
    write("apply", &["ctrl-s"], Scopes::EDITOR, Editor, "show the difference, then apply", text::apply),
    row("drop-edit", &["ctrl-q"], Scopes::EDITOR, Editor, "leave and forget the draft", text::drop_edit),
    // everywhere
    row("command", &[":"], Scopes::ANY, Everywhere, "command", move_about::command),
    row("filter", &["/"], Scopes::ANY, Everywhere, "filter, or search in text", move_about::filter),
    row("help", &["?"], Scopes::ANY, Everywhere, "help for this view", move_about::help),
    row("back", &["esc"], Scopes::ANY, Everywhere, "back", move_about::back),
    row("last-view", &["-"], Scopes::ANY, Everywhere, "last view", move_about::last_view),
    row("history-back", &["["], Scopes::ANY, Everywhere, "back in the history of commands", move_about::history_back),
    row("history-forward", &["]"], Scopes::ANY, Everywhere, "forward in the history of commands", move_about::history_forward),
    row("activity", &["!"], Scopes::ANY, Everywhere, "everything said and done in this session", move_about::activity),
    row("pick-namespaces", &["ctrl-n"], Scopes::ANY, Everywhere, "pick namespaces", cluster::pick_namespaces),
    row("all-namespaces", &["0"], Scopes::LIST, Everywhere, "all namespaces", cluster::all_namespaces),
    row("events", &[], Scopes::ANY, Everywhere, "events", cluster::events),
    row("manifests", &[], Scopes::ANY, Everywhere, "the watched folder", manifests::show),
    row("redraw", &["ctrl-r"], Scopes::ANY, Everywhere, "draw everything again", move_about::redraw),
    row("up", &["up", "k"], Scopes::ANY, Everywhere, "up", move_about::up),
    row("down", &["down", "j"], Scopes::ANY, Everywhere, "down", move_about::down),
    row("left", &["left", "h"], Scopes::ANY, Everywhere, "left", move_about::left),
    row("right", &["right"], Scopes::ANY, Everywhere, "right", move_about::right),
    row("page-up", &["pageup", "ctrl-b"], Scopes::ANY, Everywhere, "page up", move_about::page_up),
    row("page-down", &["pagedown", "ctrl-f"], Scopes::ANY, Everywhere, "page down", move_about::page_down),
    row("top", &["home", "g"], Scopes::ANY, Everywhere, "to the beginning", move_about::top),
    row("bottom", &["end", "G"], Scopes::ANY, Everywhere, "to the end", move_about::bottom),
    row("quit", &["ctrl-c"], Scopes::ANY, Everywhere, "quit", move_about::quit),
];

/// The action of this name.
pub fn by_name(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == name)
}

/// Which action a key means.
pub struct Keymap {
    keys: HashMap<Key, Vec<&'static Action>>,
}

impl Default for Keymap {
    fn default() -> Self {
        let mut keys: HashMap<Key, Vec<&'static Action>> = HashMap::new();
        for action in ACTIONS {
            for key in action.keys.iter().filter_map(|text| Key::parse(text)) {
                keys.entry(key).or_default().push(action);
            }
        }
        Self { keys }
    }
}

impl Keymap {
    /// The action `key` means where these scopes hold.
    pub fn action(&self, key: Key, scopes: Scopes) -> Option<&'static Action> {
        self.keys.get(&key)?.iter().copied().find(|action| action.scopes.meet(scopes | Scopes::ANY))
    }
}

/// The table of keys for the README, in Markdown.
pub fn key_table() -> String {
    let mut text = String::new();
    for section in [Everywhere, Row, Text, Editor, Manifests] {
        text.push_str(&format!("| {} | |\n|---|---|\n", section.title()));
        for action in ACTIONS.iter().filter(|action| action.section == section && !action.keys.is_empty()) {
            let keys: Vec<String> = action
                .keys
                .iter()
                .filter_map(|key| Key::parse(key))
                .map(|key| format!("`{}`", key.to_string().replace('|', "\\|")))
                .collect();
            text.push_str(&format!("| {} | {} |\n", keys.join(" "), action.doc));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn names_are_unique_keys_are_keys_and_no_action_is_hidden_by_another() {
        let keymap = Keymap::default();
        for (index, action) in ACTIONS.iter().enumerate() {
            assert!(ACTIONS[..index].iter().all(|other| other.name != action.name), "{} twice", action.name);
            for key in action.keys {
                let parsed = Key::parse(key).unwrap_or_else(|| panic!("{key} of {} is no key", action.name));
                let found = keymap.action(parsed, action.scopes).unwrap();
                let hidden = found.name != action.name && found.scopes.meet(Scopes::ANY);
                assert!(!hidden, "{key}: {} is hidden by {}", action.name, found.name);
            }
        }
    }

    #[test]
    fn keys_that_only_differ_by_place_do_not_collide_in_a_view() {
        let keymap = Keymap::default();
        let pods = Scopes::TABLE | Scopes::OBJECT | Scopes::LIST | Scopes::PODS;
        let name = |key: &str, scopes| keymap.action(Key::parse(key).unwrap(), scopes).map(|action| action.name);
        assert_eq!(name("c", pods), Some("copy-name"));
        assert_eq!(name("c", Scopes::TABLE | Scopes::OBJECT | Scopes::NODES), Some("cordon"));
        assert_eq!(name("n", Scopes::TEXT), Some("next-match"));
        assert_eq!(name("0", Scopes::LOGS | Scopes::TEXT), Some("log-tail"));
        assert_eq!(name("0", pods), Some("all-namespaces"));
    }
}

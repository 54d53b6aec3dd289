//! The files of k9s, in its own words: aliases, hotkeys, plugins, views.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;
use serde_json::Value;

use crate::app::App;
use crate::input::Key;
use crate::shared::Level;
use crate::widgets::dialog::{Dialog, Field};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Aliases {
    pub(super) aliases: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Hotkeys {
    pub(super) hot_keys: BTreeMap<String, Hotkey>,
}

/// A key that runs a command.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hotkey {
    pub(super) short_cut: String,
    #[serde(rename = "override")]
    pub(super) overrides: bool,
    pub(super) description: String,
    pub(super) command: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Plugins {
    pub(super) plugins: BTreeMap<String, Plugin>,
}

/// A key that runs a program.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Plugin {
    pub(super) short_cut: String,
    #[serde(rename = "override")]
    pub(super) overrides: bool,
    pub(super) description: String,
    pub(super) scopes: Vec<String>,
    command: String,
    args: Vec<String>,
    pipes: Vec<String>,
    background: bool,
    confirm: bool,
    pub(super) dangerous: bool,
    inputs: Vec<PluginInput>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PluginInput {
    name: String,
    label: String,
    default: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Views {
    pub(super) views: HashMap<String, ViewSetting>,
}

/// How a kind's table looks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ViewSetting {
    /// Columns as k9s writes them: `NAME`, `APP:.metadata.labels.app|R`.
    pub columns: Vec<String>,
    /// `AGE:desc`.
    pub sort_column: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    pub(super) k9s: K9s,
}

/// What of `config.yaml` means something here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct K9s {
    /// No writing.
    pub read_only: bool,
    /// `ctrl-c` does not leave.
    pub no_exit_on_ctrl_c: bool,
    /// Where port-forwards listen.
    pub port_forward_address: Option<String>,
    /// The first view.
    pub default_view: Option<String>,
    /// How it looks.
    pub ui: Ui,
    /// How logs are shown.
    pub logger: Logger,
    pub(super) shell_pod: ShellPod,
}

/// How it looks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ui {
    /// Name of a skin.
    pub skin: Option<String>,
    /// No header.
    pub headless: bool,
}

/// How logs are shown.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Logger {
    /// How many lines at first.
    pub tail: Option<u32>,
    /// Long lines go on below.
    pub text_wrap: bool,
    /// With the time of each line.
    pub show_time: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ShellPod {
    pub(super) image: Option<String>,
}

/// A column as `views.yaml` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomColumn {
    /// Heading.
    pub name: String,
    /// Where in the object its cells are; `None` for a column the kind has anyway.
    pub path: Option<String>,
    /// Shown in wide tables only.
    pub wide: bool,
    /// A number: stands at the right and is compared as one.
    pub number: bool,
    /// A moment, shown as its age.
    pub time: bool,
    /// Not shown.
    pub hidden: bool,
}

impl CustomColumn {
    /// Reads `NAME:jsonpath|attributes`; the attributes are letters: T time, N number, W wide, S show, H hide, L, R.
    pub fn parse(text: &str) -> Self {
        let (head, attributes) = text.rsplit_once('|').unwrap_or((text, ""));
        let (name, path) = match head.split_once(':') {
            Some((name, path)) => (name, Some(path.trim().trim_start_matches('{').trim_end_matches('}').to_owned())),
            None => (head, None),
        };
        let has = |letter: char| attributes.contains(letter);
        Self { name: name.trim().to_uppercase(), path, wide: has('W'), number: has('N') || has('R'), time: has('T'), hidden: has('H') }
    }
}

/// Single plugin files hold `plugins:`, or one plugin, or plugins by name.
pub(super) fn plugins_of(path: &Path, wrong: &mut Vec<String>) -> BTreeMap<String, Plugin> {
    let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Ok(text) = std::fs::read_to_string(path) else { return BTreeMap::new() };
    let read = serde_yaml::from_str::<Value>(&text).and_then(|value| {
        let inner = value.get("plugins").cloned().unwrap_or(value);
        match inner.get("shortCut") {
            Some(_) => serde_json::from_value(inner).map(|plugin| BTreeMap::from([(name, plugin)])),
            None => serde_json::from_value(inner),
        }
        .map_err(serde::de::Error::custom)
    });
    read.unwrap_or_else(|error| {
        wrong.push(format!("{}: {error}", path.display()));
        BTreeMap::new()
    })
}

/// A key as k9s calls it: `Shift-0`, `Ctrl-U`, `F5`.
pub(super) fn shortcut(text: &str) -> Option<Key> {
    const SHIFTED: &[u8] = b")!@#$%^&*(";
    let lower = text.to_lowercase();
    if let Some(digit) = lower.strip_prefix("shift-").and_then(|rest| rest.parse::<usize>().ok()).filter(|digit| *digit < 10) {
        return Key::parse(&(SHIFTED[digit] as char).to_string());
    }
    Key::parse(if text.chars().count() == 1 { text } else { &lower })
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What it is, for messages.
    pub title: String,
    /// Its name or path.
    pub command: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// What plugins may ask for about the row.
pub(super) fn variables(app: &mut App) -> HashMap<String, String> {
    let mut known: HashMap<String, String> = HashMap::new();
    let mut put = |name: &str, value: String| drop(known.insert(name.to_owned(), value));
    put("CONTEXT", app.shared.context().to_owned());
    put("CLUSTER", app.shared.context().to_owned());
    put("FILTER", app.view().map(|view| view.filter_text()).unwrap_or_default());
    if let Some(target) = app.view().and_then(|view| view.target()) {
        let kind = &target.kind;
        put("RESOURCE_GROUP", kind.group.clone());
        put("RESOURCE_VERSION", kind.version.clone());
        put("RESOURCE_NAME", kind.plural.clone());
        put("NAMESPACE", target.namespace.clone());
        put("POD", target.name.clone());
        put("NAME", target.name);
    }
    let now = app.shared.now;
    app.with(|view: &mut crate::views::table::TableView, _| {
        for (column, cell) in view.cells(now) {
            put(&format!("COL-{column}"), cell);
        }
    });
    app.with(|view: &mut crate::views::containers::ContainersView, _| {
        if let Some((name, image)) = view.container() {
            put("CONTAINER", name.clone());
            put("COL-IMAGE", image);
            put("NAME", name);
        }
    });
    known
}

/// A text with its variables filled in: the longest name that fits is meant.
pub(super) fn filled(text: &str, variables: &HashMap<String, String>) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (open, inner) = match after.strip_prefix('{') {
            Some(inner) => (true, inner),
            None => (false, after),
        };
        let found = variables.keys().filter(|name| inner.starts_with(name.as_str())).max_by_key(|name| name.len());
        match found {
            Some(name) => {
                filled.push_str(&variables[name]);
                rest = &inner[name.len()..];
                rest = if open { rest.strip_prefix('}').unwrap_or(rest) } else { rest };
            }
            None => {
                filled.push('$');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// Starts a plugin, after asking for what it wants to know.
pub(super) fn start(app: &mut App, plugin: Plugin) {
    if plugin.inputs.is_empty() && !plugin.confirm {
        return launch(app, &plugin, &[]);
    }
    let text = |value: &Option<Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let fields = plugin
        .inputs
        .iter()
        .map(|input| Field::text(if input.label.is_empty() { &input.name } else { &input.label }, &text(&input.default)))
        .collect();
    let line = format!("{} {}", plugin.command, plugin.args.join(" "));
    app.lay(Box::new(Dialog::form(&plugin.description.clone(), vec![line], fields, move |app, answers| launch(app, &plugin, &answers))));
}

fn launch(app: &mut App, plugin: &Plugin, answers: &[String]) {
    let mut variables = variables(app);
    for (input, answer) in plugin.inputs.iter().zip(answers) {
        variables.insert(format!("INPUT_{}", input.name), answer.clone());
    }
    let mut command = filled(&plugin.command, &variables);
    let mut arguments: Vec<String> = plugin.args.iter().map(|argument| filled(argument, &variables)).collect();
    if !plugin.pipes.is_empty() {
        let pipes: Vec<String> = plugin.pipes.iter().map(|pipe| filled(pipe, &variables)).collect();
        let line = format!("{command} {} | {}", arguments.join(" "), pipes.join(" | "));
        (command, arguments) = ("sh".to_owned(), vec!["-c".to_owned(), line]);
    }
    let program = Program { title: plugin.description.clone(), command, arguments };
    match plugin.background {
        true => beside(app, program),
        false => app.shared.outside = Some(program),
    }
}

/// Runs a program beside the UI and says what came of it.
fn beside(app: &mut App, program: Program) {
    app.shared.work(|outside| async move {
        let run =
            tokio::process::Command::new(&program.command).args(&program.arguments).stdin(Stdio::null()).kill_on_drop(true).output().await;
        let (level, text) = match run {
            Err(error) => (Level::Error, format!("{}: {error}", program.command)),
            Ok(output) => {
                let text =
                    String::from_utf8_lossy(if output.stdout.is_empty() { &output.stderr } else { &output.stdout }).trim().to_owned();
                let level = if output.status.success() { Level::Done } else { Level::Error };
                (level, format!("{}: {}", program.title, if text.is_empty() { output.status.to_string() } else { text }))
            }
        };
        outside.then(move |app| app.shared.say(level, text));
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn variables_are_filled_in_the_longest_first() {
        let variables: HashMap<String, String> = [("NAME", "web"), ("NAMESPACE", "shop"), ("COL-IP", "10.0.0.1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(filled("-n $NAMESPACE $NAME ${NAME}s $COL-IP $HOME 5$", &variables), "-n shop web webs 10.0.0.1 $HOME 5$");
    }

    #[test]
    fn columns_are_read_as_k9s_writes_them() {
        let column = CustomColumn::parse("zone:.metadata.labels.topology\\.kubernetes\\.io/zone|WR");
        assert_eq!((column.name.as_str(), column.wide, column.number), ("ZONE", true, true));
        assert_eq!(column.path.as_deref(), Some(".metadata.labels.topology\\.kubernetes\\.io/zone"));
        assert_eq!(CustomColumn::parse("NAME").path, None);
    }
}

//! What the person has configured: our own files, and those of k9s, which load as they are.
//!
//! Each file is looked for in our folder, then in that of k9s; what cannot be read is said and left out.

mod jumps;
mod k9s;
mod skin;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::action::Keymap;
use crate::app::App;
use crate::boot::Options;
use crate::input::Key;
use crate::kinds::Kind;
use crate::shared::Level;
use crate::theme::{ColorDepth, Theme};

pub use jumps::Jump;
pub use k9s::{CustomColumn, Hotkey, K9s as K9sSettings, Plugin, Program, ViewSetting};

/// The complete `config.toml`, every key as a comment with its default.
pub const DEFAULT_CONFIG: &str = include_str!("default.toml");

/// `config.toml`.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Own {
    /// Name of a theme.
    theme: Option<String>,
    /// Contexts where a slip costs much; `*` stands for anything.
    production: Vec<String>,
    /// Image of shells on nodes and of debug containers.
    shell_image: Option<String>,
}

/// `keys.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    preset: String,
    keys: BTreeMap<String, Vec<String>>,
}

/// The configuration.
#[derive(Debug, Clone, Default)]
pub struct Config {
    own: Own,
    keys: Keys,
    aliases: BTreeMap<String, String>,
    hotkeys: Vec<(Key, Hotkey)>,
    plugins: Vec<(Key, Plugin)>,
    views: HashMap<String, ViewSetting>,
    jumps: HashMap<String, Jump>,
    /// `config.yaml` of k9s, ours over it.
    settings: K9sSettings,
    /// Themes and skins found in folders, by name.
    themes: BTreeMap<String, PathBuf>,
}

impl Config {
    /// Reads every file there is; what cannot be read is told.
    pub fn load(options: &Options) -> (Self, Vec<String>) {
        let dirs: Vec<&Path> = options.config_dir.iter().chain(&options.k9s_dir).map(PathBuf::as_path).collect();
        let mut config = Self::default();
        let mut wrong = Vec::new();
        if let Some(dir) = &options.config_dir {
            config.own = own(&dir.join("config.toml"), &mut wrong);
            config.keys = own(&dir.join("keys.toml"), &mut wrong);
        }
        // what stands in our own folder comes last and wins
        for dir in dirs.iter().rev() {
            config.load_shared(dir, &mut wrong);
        }
        (config, wrong)
    }

    fn load_shared(&mut self, dir: &Path, wrong: &mut Vec<String>) {
        self.aliases.extend(yaml::<k9s::Aliases>(&dir.join("aliases.yaml"), wrong).aliases);
        self.views.extend(yaml::<k9s::Views>(&dir.join("views.yaml"), wrong).views);
        for (name, hotkey) in yaml::<k9s::Hotkeys>(&dir.join("hotkeys.yaml"), wrong).hot_keys {
            match k9s::shortcut(&hotkey.short_cut) {
                Some(key) => self.hotkeys.push((key, hotkey)),
                None => wrong.push(format!("hotkey {name}: no key is called {}", hotkey.short_cut)),
            }
        }
        let mut plugins = yaml::<k9s::Plugins>(&dir.join("plugins.yaml"), wrong).plugins;
        for file in files(&dir.join("plugins"), &["yaml", "yml"]) {
            plugins.extend(k9s::plugins_of(&file, wrong));
        }
        for (name, plugin) in plugins {
            match k9s::shortcut(&plugin.short_cut) {
                Some(key) => self.plugins.push((key, plugin)),
                None => wrong.push(format!("plugin {name}: no key is called {}", plugin.short_cut)),
            }
        }
        self.jumps.extend(yaml::<jumps::Jumps>(&dir.join("jumps.yaml"), wrong).jumps);
        if dir.join("config.yaml").exists() {
            self.settings = yaml::<k9s::Settings>(&dir.join("config.yaml"), wrong).k9s;
        }
        for (folder, ends) in [("skins", &["yaml", "yml"][..]), ("themes", &["toml"][..])] {
            for file in files(&dir.join(folder), ends) {
                if let Some(name) = file.file_stem().and_then(|name| name.to_str()) {
                    self.themes.insert(name.to_owned(), file.clone());
                }
            }
        }
    }

    /// Keys as configured, and what is wrong with them.
    pub fn keymap(&self) -> (Keymap, Option<String>) {
        let changes = self.keys.keys.iter().map(|(name, keys)| (name.as_str(), keys.clone()));
        match Keymap::remapped(&self.keys.preset, changes) {
            Ok(keymap) => (keymap, None),
            Err(message) => (Keymap::default(), Some(format!("keys.toml: {message}"))),
        }
    }

    /// The theme to begin with, unless another than the default was asked for.
    pub fn theme_of<'a>(&'a self, asked: &'a str) -> &'a str {
        let configured = self.own.theme.as_deref().or(self.settings.ui.skin.as_deref().filter(|skin| self.themes.contains_key(*skin)));
        configured.filter(|_| asked == "dark").unwrap_or(asked)
    }

    /// A theme that comes with the program, one from a folder, or a k9s skin.
    ///
    /// # Errors
    /// There is none of this name, or its file is wrong.
    pub fn theme(&self, name: &str, depth: ColorDepth) -> Result<Theme, String> {
        let Some(path) = self.themes.get(name) else { return Theme::load(name, depth) };
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        match path.extension().is_some_and(|end| end == "toml") {
            true => Theme::parse(name, &text, depth),
            false => skin::theme(name, &text, depth),
        }
    }

    /// Names of all themes.
    pub fn theme_names(&self) -> Vec<String> {
        let mut names: Vec<String> = crate::theme::names().map(str::to_owned).chain(self.themes.keys().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// A slip costs much in this context.
    pub fn is_production(&self, context: &str) -> bool {
        self.own.production.iter().any(|pattern| matches_glob(pattern, context))
    }

    /// The image of shells on nodes and of debug containers.
    pub fn shell_image(&self) -> &str {
        self.own.shell_image.as_deref().or(self.settings.shell_pod.image.as_deref()).unwrap_or("busybox:1.37.0")
    }

    /// What k9s is told in its own `config.yaml`.
    pub fn settings(&self) -> &K9sSettings {
        &self.settings
    }

    /// Where `enter` leads on objects of a kind, if not where it leads anyway.
    pub fn jump(&self, kind: &Kind) -> Option<&Jump> {
        self.jumps.get(&format!("{}/{}", kind.api_version(), kind.plural))
    }

    /// What a command's first word stands for.
    pub fn alias(&self, word: &str) -> Option<&str> {
        self.aliases.get(word).map(String::as_str)
    }

    /// All aliases.
    pub fn aliases(&self) -> impl Iterator<Item = (&String, &String)> {
        self.aliases.iter()
    }

    /// Columns and order of a kind's table, in a namespace.
    pub fn view(&self, kind: &Kind, namespace: Option<&str>) -> Option<&ViewSetting> {
        let name = format!("{}/{}", kind.api_version(), kind.plural);
        let placed = namespace.and_then(|namespace| {
            self.views.iter().find(|(key, _)| {
                key.split_once('@').is_some_and(|(gvr, place)| {
                    (gvr == name || gvr == kind.plural)
                        && regex::Regex::new(&format!("^(?:{place})$")).is_ok_and(|place| place.is_match(namespace))
                })
            })
        });
        placed.map(|(_, view)| view).or_else(|| self.views.get(&name)).or_else(|| self.views.get(&kind.plural))
    }

    /// Columns of a kind's table, if they are configured.
    pub fn columns(&self, kind: &Kind, namespace: Option<&str>) -> Option<Arc<Vec<CustomColumn>>> {
        let columns: Vec<CustomColumn> = self.view(kind, namespace)?.columns.iter().map(|text| CustomColumn::parse(text)).collect();
        (!columns.is_empty()).then(|| Arc::new(columns))
    }

    /// Keys of hotkeys and plugins, and what they do, for help.
    pub fn bound(&self) -> Vec<(Key, String)> {
        let hotkeys = self.hotkeys.iter().map(|(key, hotkey)| (*key, hotkey.description.clone()));
        hotkeys.chain(self.plugins.iter().map(|(key, plugin)| (*key, plugin.description.clone()))).collect()
    }
}

impl App {
    /// Whether a plugin has this key.
    pub(crate) fn is_configured(&self, key: Key) -> bool {
        self.shared.config.plugins.iter().any(|(own, _)| *own == key)
    }

    /// Does what a hotkey or a plugin says; false if the key is none, or ours comes first.
    pub(crate) fn configured(&mut self, key: Key) -> bool {
        let ours = self.shared.keymap.action(key, self.scopes()).is_some();
        let hotkey = self.shared.config.hotkeys.iter().find(|(own, hotkey)| *own == key && (!ours || hotkey.overrides));
        if let Some(command) = hotkey.map(|(_, hotkey)| hotkey.command.clone()) {
            let command = k9s::filled(&command, &k9s::variables(self));
            crate::command::run(self, &command);
            return true;
        }
        let here = |plugin: &Plugin| {
            plugin.scopes.iter().any(|scope| {
                let kind = self.view().and_then(|view| view.target()).map(|target| target.kind);
                scope == "all"
                    || kind.is_some_and(|kind| self.shared.kinds.find(scope).is_some_and(|known| known.is(&kind.group, &kind.plural)))
            })
        };
        let found = self.shared.config.plugins.iter().find(|(own, plugin)| *own == key && (!ours || plugin.overrides) && here(plugin));
        let Some(plugin) = found.map(|(_, plugin)| plugin.clone()) else { return false };
        if plugin.dangerous && self.shared.options.readonly {
            self.shared.say(Level::Warning, format!("{}: not with --readonly", plugin.description));
        } else {
            k9s::start(self, plugin);
        }
        true
    }
}

fn own<T: DeserializeOwned + Default>(path: &Path, wrong: &mut Vec<String>) -> T {
    let Ok(text) = std::fs::read_to_string(path) else { return T::default() };
    toml::from_str(&text).unwrap_or_else(|error| {
        wrong.push(format!("{}: {}", path.display(), error.message()));
        T::default()
    })
}

fn yaml<T: DeserializeOwned + Default>(path: &Path, wrong: &mut Vec<String>) -> T {
    let Ok(text) = std::fs::read_to_string(path) else { return T::default() };
    if text.trim().is_empty() {
        return T::default();
    }
    serde_yaml::from_str(&text).unwrap_or_else(|error| {
        wrong.push(format!("{}: {error}", path.display()));
        T::default()
    })
}

fn files(dir: &Path, ends: &[&str]) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().and_then(|end| end.to_str()).is_some_and(|end| ends.contains(&end))).collect();
    files.sort();
    files
}

fn matches_glob(pattern: &str, text: &str) -> bool {
    let pattern = pattern.split('*').map(regex::escape).collect::<Vec<_>>().join(".*");
    regex::Regex::new(&format!("^{pattern}$")).is_ok_and(|pattern| pattern.is_match(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn options(files: &[(&str, &str)]) -> (tempfile::TempDir, Options) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let options = Options { config_dir: Some(dir.path().join("own")), k9s_dir: Some(dir.path().join("k9s")), ..Options::default() };
        (dir, options)
    }

    #[test]
    fn the_default_configuration_is_complete_and_says_the_defaults() {
        let set: String = DEFAULT_CONFIG
            .lines()
            .filter_map(|line| line.strip_prefix("# ").filter(|line| line.contains(" = ")))
            .map(|line| format!("{line}\n"))
            .collect();
        // a key that is missing here does not compile, one that the text lacks is not as it is set
        let Own { theme, production, shell_image } = toml::from_str(&set).unwrap();
        assert_eq!(theme.as_deref(), Some("dark"));
        assert!(production.is_empty() && set.contains("production"));
        assert_eq!(shell_image.as_deref(), Some(Config::default().shell_image()));
    }

    #[test]
    fn files_of_k9s_load_as_they_are_and_our_own_win() {
        let (_dir, options) = options(&[
            ("k9s/aliases.yaml", "aliases:\n  pp: v1/pods\n  fred: pod fred app=blee\n"),
            ("own/aliases.yaml", "aliases:\n  pp: v1/services\n"),
            (
                "k9s/hotkeys.yaml",
                "hotKeys:\n  shift-0:\n    shortCut: Shift-0\n    description: Viewing pods\n    command: pods\n  wrong:\n    shortCut: Hyper-1\n    command: svc\n",
            ),
            (
                "k9s/plugins.yaml",
                "plugins:\n  dive:\n    shortCut: Ctrl-J\n    confirm: false\n    description: Dive image\n    scopes: [containers]\n    command: dive\n    background: false\n    args: [$COL-IMAGE]\n",
            ),
            ("k9s/views.yaml", "views:\n  v1/pods:\n    sortColumn: AGE:desc\n    columns: [NAME, 'APP:.metadata.labels.app|R', STATUS]\n"),
            ("k9s/skins/mine.yaml", "k9s:\n  body:\n    fgColor: '#ff0000'\n    bgColor: black\n"),
            ("k9s/config.yaml", "k9s:\n  liveViewAutoRefresh: false\n  ui:\n    skin: mine\n"),
            ("own/config.toml", "production = [\"prod-*\"]\n"),
            ("own/keys.toml", "preset = \"vim\"\n[keys]\ndescribe = [\"ctrl-d\"]\n"),
        ]);
        let (config, wrong) = Config::load(&options);
        assert_eq!(wrong, ["hotkey wrong: no key is called Hyper-1"]);
        assert_eq!((config.alias("pp"), config.alias("fred")), (Some("v1/services"), Some("pod fred app=blee")));
        assert_eq!(config.hotkeys[0].0, Key::parse(")").unwrap());
        assert_eq!(config.bound()[1], (Key::parse("ctrl-j").unwrap(), "Dive image".to_owned()));
        assert!(config.is_production("prod-eu") && !config.is_production("preprod-eu"));
        assert_eq!(config.theme_of("dark"), "mine");
        let theme = config.theme("mine", ColorDepth::True).unwrap();
        assert_eq!(theme.style(crate::theme::Role::Text).fg, Some(ratatui::style::Color::Rgb(255, 0, 0)));
        let keymap = config.keymap().0;
        assert_eq!(keymap.shown(crate::action::by_name("describe").unwrap()), "ctrl-d");
    }

    #[test]
    fn what_is_wrong_is_said_and_the_rest_is_used() {
        let (_dir, options) = options(&[
            ("own/keys.toml", "[keys]\nfly = [\"x\"]\n"),
            ("own/config.toml", "colour = 1\n"),
            ("k9s/aliases.yaml", "aliases: ["),
        ]);
        let (config, wrong) = Config::load(&options);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(config.keymap().1.unwrap().contains("no action is called fly"));
    }
}

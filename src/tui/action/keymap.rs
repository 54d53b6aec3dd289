//! Which key means which action.

use std::collections::HashMap;

use super::{ACTIONS, Action, Scopes};
use crate::input::Key;

/// Which action a key means.
#[derive(Clone)]
pub struct Keymap {
    keys: HashMap<Key, Vec<&'static Action>>,
    /// Keys of each action, in the order of [`ACTIONS`].
    of: Vec<Vec<Key>>,
}

/// What keys can be called besides their own presets.
const VIM: &[(&str, &[&str])] = &[
    ("page-up", &["pageup", "ctrl-b", "ctrl-u"]),
    ("page-down", &["pagedown", "ctrl-f", "ctrl-d"]),
    ("right", &["right", "l"]),
    ("logs", &["L"]),
    ("label", &[]),
    ("column-lock", &[]),
    ("delete", &["D"]),
    ("debug", &[]),
    ("manifest-delete", &["D"]),
    ("clear-filter", &["ctrl-q"]),
];

impl Default for Keymap {
    fn default() -> Self {
        Self::of(ACTIONS.iter().map(|action| action.keys.iter().filter_map(|text| Key::parse(text)).collect()).collect())
    }
}

impl Keymap {
    fn of(of: Vec<Vec<Key>>) -> Self {
        let mut keys: HashMap<Key, Vec<&'static Action>> = HashMap::new();
        for (action, own) in ACTIONS.iter().zip(&of) {
            for key in own {
                keys.entry(*key).or_default().push(action);
            }
        }
        Self { keys, of }
    }

    /// The keys of a preset, `k9s` or `vim`, with those of single actions changed.
    ///
    /// # Errors
    /// No preset, no action or no key is called so.
    pub fn remapped<'a>(preset: &str, changes: impl IntoIterator<Item = (&'a str, Vec<String>)>) -> Result<Self, String> {
        let preset: &[(&str, &[&str])] = match preset {
            "" | "k9s" => &[],
            "vim" => VIM,
            other => return Err(format!("no preset of keys is called {other}; there are k9s and vim")),
        };
        let mut of = Self::default().of;
        let of_preset = preset.iter().map(|(name, keys)| (*name, keys.iter().map(|&key| key.to_owned()).collect()));
        for (name, keys) in of_preset.chain(changes) {
            let index = ACTIONS.iter().position(|action| action.name == name).ok_or_else(|| format!("no action is called {name}"))?;
            let read = |key: &String| Key::parse(key).ok_or_else(|| format!("{name}: no key is called {key}"));
            of[index] = keys.iter().map(read).collect::<Result<_, _>>()?;
        }
        Ok(Self::of(of))
    }

    /// The action `key` means where these scopes hold.
    pub fn action(&self, key: Key, scopes: Scopes) -> Option<&'static Action> {
        self.keys.get(&key)?.iter().copied().find(|action| action.scopes.meet(scopes | Scopes::ANY))
    }

    /// The keys of an action.
    pub fn keys(&self, action: &Action) -> &[Key] {
        ACTIONS.iter().position(|known| known.name == action.name).and_then(|index| self.of.get(index)).map_or(&[], Vec::as_slice)
    }

    /// The keys that mean an action where these scopes hold: some may mean another one there.
    pub fn keys_in(&self, action: &Action, scopes: Scopes) -> Vec<Key> {
        let means = |key: &&Key| self.action(**key, scopes).is_some_and(|found| found.name == action.name);
        self.keys(action).iter().filter(means).copied().collect()
    }

    /// The same as it is shown.
    pub fn shown_in(&self, action: &Action, scopes: Scopes) -> String {
        self.keys_in(action, scopes).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    /// The keys of an action as they are shown.
    pub fn shown(&self, action: &Action) -> String {
        self.keys(action).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

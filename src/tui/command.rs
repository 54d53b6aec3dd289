//! What is typed after `:`.

use std::path::PathBuf;

use crate::action::{self, ACTIONS};
use crate::app::App;
use crate::kinds::Target;
use crate::shared::{Level, Namespaces};
use crate::theme::{self, Theme};
use crate::views::manifests::ManifestsView;
use crate::views::table::TableView;

/// Words that are commands of their own, with what they take.
pub const WORDS: &[(&str, &str)] = &[
    ("quit", "leave"),
    ("theme", "look different: dark, light, …"),
    ("ns", "show a namespace, or list them"),
    ("ctx", "say what cluster this is"),
    ("watch", "watch a folder of manifests"),
];

/// Carries out a command.
pub fn run(app: &mut App, text: &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()));
    match word {
        "" => {}
        "q" | "q!" | "qa" | "Q" | "quit" | "exit" => app.quit = true,
        "theme" => set_theme(app, rest),
        "ns" | "namespace" | "namespaces" if !rest.is_empty() && !rest.starts_with(['/', '-']) => set_namespace(app, rest),
        "ctx" | "context" | "contexts" => say_context(app),
        "watch" if !rest.is_empty() => app.push(Box::new(ManifestsView::folder(PathBuf::from(rest)))),
        "watch" => crate::actions::manifests::show(app),
        "h" => crate::actions::move_about::help(app),
        _ => {
            if let Some(kind) = app.shared.kinds.find(word) {
                return open_table(app, kind, rest);
            }
            run_action(app, word, rest);
        }
    }
}

fn set_theme(app: &mut App, name: &str) {
    if name.is_empty() {
        let names = theme::names().collect::<Vec<_>>().join(", ");
        return app.shared.say(Level::Info, format!("theme {}; there are {names}", app.shared.theme.name));
    }
    match Theme::load(name, app.shared.colors) {
        Ok(theme) => app.shared.theme = theme,
        Err(message) => app.shared.say(Level::Error, message),
    }
}

fn set_namespace(app: &mut App, names: &str) {
    let namespaces = match names {
        "all" | "*" | "-A" => Namespaces::All,
        names => Namespaces::Some(names.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect()),
    };
    app.shared.set_namespaces(namespaces);
}

fn say_context(app: &mut App) {
    let text = match &app.shared.connection {
        Some(connection) => {
            let place = if connection.embedded { "in this process" } else { connection.server.as_str() };
            format!("context {}, {place}", connection.context)
        }
        None => "not connected yet".to_owned(),
    };
    app.shared.say(Level::Info, text);
}

/// `KIND [NAMESPACE] [/REGEX | -f TEXT | -l LABELS | TERMS]`
fn open_table(app: &mut App, kind: std::sync::Arc<crate::kinds::Kind>, rest: &str) {
    let (head, mut filter) = match rest.find(['/', '-']).filter(|&at| at == 0 || rest.as_bytes()[at - 1] == b' ') {
        Some(at) => (rest[..at].trim(), rest[at..].trim_start_matches('/').to_owned()),
        None => (rest, String::new()),
    };
    for word in head.split_whitespace() {
        match word {
            "all" | "*" => app.shared.set_namespaces(Namespaces::All),
            // `app=web` selects labels, as in k9s; other comparisons are terms of the filter
            word if word.contains(['=', '<', '>', '~', '!']) => {
                filter = if word.contains(['<', '>', '~']) { format!("{filter} {word}") } else { format!("-l {word}") };
            }
            word => app.shared.set_namespaces(Namespaces::Some(word.split(',').map(str::to_owned).collect())),
        }
    }
    if !kind.can("list") {
        return app.shared.say(Level::Error, format!("{} cannot be listed", kind.plural));
    }
    let mut view = TableView::of(kind);
    view.preset_filter(filter.trim());
    app.push(Box::new(view));
}

/// The name of an action, alone or with an object: `describe pod web-1`, `logs deploy/web`.
fn run_action(app: &mut App, word: &str, rest: &str) {
    let Some(action) = action::by_name(word).or_else(|| ACTIONS.iter().find(|action| action.name.replace('-', "") == word)) else {
        let hint = if app.shared.discovered { "" } else { " (the server has not said yet what kinds it knows)" };
        return app.shared.say(Level::Error, format!("no kind and no command is called {word}{hint}"));
    };
    if rest.is_empty() {
        return app.perform(action);
    }
    let words: Vec<&str> = rest.split([' ', '/']).filter(|word| !word.is_empty()).collect();
    let (kind, name) = match words.as_slice() {
        [kind, name] => (*kind, *name),
        [name] => ("pods", *name),
        _ => return app.shared.say(Level::Error, format!("{word} takes a kind and a name")),
    };
    let Some(kind) = app.shared.kinds.find(kind) else {
        return app.shared.say(Level::Error, format!("no kind is called {kind}"));
    };
    let Some(namespace) = app.shared.namespaces.single().map(str::to_owned).or_else(|| (!kind.namespaced).then(String::new)) else {
        return app.shared.say(Level::Error, format!("in which namespace is {name}? Pick one first"));
    };
    let target = Target { namespace: if kind.namespaced { namespace } else { String::new() }, kind, name: name.to_owned() };
    crate::actions::object::on(app, action, target);
}

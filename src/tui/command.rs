//! What is typed after `:`.

use crate::action::{self, ACTIONS, Scopes};
use crate::actions::{access, change, overview, relations, session};
use crate::app::App;
use crate::kinds::Target;
use crate::shared::{Level, Namespaces};
use crate::typed;
use crate::views::table::TableView;
use crate::widgets::picker::Picker;

/// Words that are commands of their own, with what they take.
pub const WORDS: &[(&str, &str)] = &[
    ("quit", "leave"),
    ("theme", "look different: dark, light, …"),
    ("themes", "the themes there are"),
    ("ns", "show a namespace, or list them"),
    ("ctx", "go to a context, or list them"),
    ("watch", "watch a folder of manifests and apply it"),
    ("dir", "look at a folder of manifests"),
    ("port-forwards", "port-forwards of this session"),
    ("helm", "helm releases"),
    ("pulse", "dashboard of the cluster"),
    ("xray", "tree of a kind's objects"),
    ("workloads", "everything that runs pods"),
    ("images", "images of the pods"),
    ("fleet", "how the clusters of all contexts are"),
    ("status", "how the cluster in this program is: actors, queues, watches"),
    ("rightsize", "requests and limits against what is used"),
    ("can", "what a user, group or service account may do"),
    ("who-can", "who may do something"),
    ("users", "users that bindings name"),
    ("groups", "groups that bindings name"),
    ("drafts", "edits that were not applied"),
    ("screendumps", "files that were saved"),
    ("benchmarks", "reports of benchmarks"),
    ("keys", "every action and its keys"),
    ("tasks", "what was done in this session"),
    ("layout", "panes as kept: layout NAME, layout save NAME"),
    ("history", "earlier versions of a kind's objects"),
    ("at", "this table as it was at a revision"),
    ("reload", "read the configuration again"),
    ("set", "set image [KIND NAME] container=image"),
];

/// Other names of these words, most of them those of k9s.
const OTHER_WORDS: &[&str] = &[
    "q",
    "q!",
    "qa",
    "Q",
    "exit",
    "skin",
    "skins",
    "namespace",
    "namespaces",
    "context",
    "contexts",
    "dir",
    "dirs",
    "ls",
    "pf",
    "portforward",
    "portforwards",
    "hm",
    "chart",
    "charts",
    "pulses",
    "pu",
    "hz",
    "xrays",
    "x",
    "xr",
    "workload",
    "wk",
    "usr",
    "user",
    "grp",
    "group",
    "sd",
    "screendump",
    "screen-dumps",
    "be",
    "bench",
    "benchmark",
    "a",
    "alias",
    "aliases",
    "api-resources",
    "h",
    "?",
];

/// Whether a command begins with this word, as it is.
pub fn is_word(word: &str) -> bool {
    WORDS.iter().any(|(known, _)| *known == word) || OTHER_WORDS.contains(&word) || typed::is_verb(word)
}

/// Carries out a command.
pub fn run(app: &mut App, text: &str) {
    // an alias may stand for another one; a circle of them ends
    run_deep(app, text, 4);
}

fn run_deep(app: &mut App, text: &str, depth: u8) {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()));
    if let Some(meant) = app.shared.config.alias(word).filter(|_| depth > 0).map(str::to_owned)
        && meant.split_whitespace().next() != Some(word)
    {
        return run_deep(app, &format!("{meant} {rest}"), depth - 1);
    }
    if typed::is_meant(app, word, rest) {
        return typed::run(app, text);
    }
    if word_of_its_own(app, word, rest) {
        return;
    }
    if let Some(kind) = app.shared.kinds.find(word) {
        return open_table(app, kind, rest);
    }
    run_action(app, word, rest);
}

/// Carries out a command that is neither a kind nor an action; false if it is none.
fn word_of_its_own(app: &mut App, word: &str, rest: &str) -> bool {
    match word {
        "" => {}
        "q" | "q!" | "qa" | "Q" | "quit" | "exit" => app.quit = true,
        "theme" | "skin" => set_theme(app, rest),
        "themes" | "skins" => session::themes(app),
        "ns" | "namespace" | "namespaces" if !rest.is_empty() && !rest.starts_with(['/', '-']) => set_namespace(app, rest),
        "ctx" | "context" | "contexts" if rest.is_empty() => session::contexts(app),
        "ctx" | "context" | "contexts" => session::go_to(app, rest.to_owned()),
        "watch" if !rest.is_empty() && app.shared.options.readonly => {
            app.shared.say(Level::Warning, "watch: not with --readonly; `:dir` only looks");
        }
        "watch" if !rest.is_empty() => {
            let path = session::path_of(rest);
            let line = format!("Apply {} now, and whenever it changes?", path.display());
            change::in_production(app, "watch", line, move |app| crate::actions::manifests::watch(app, path, false));
        }
        "dir" | "dirs" | "ls" | "d" if !rest.is_empty() => crate::actions::manifests::watch(app, session::path_of(rest), true),
        "watch" | "dir" | "dirs" | "ls" => crate::actions::manifests::show(app),
        "pf" | "portforward" | "portforwards" | "port-forwards" => app.push(Box::new(crate::actions::forward::table(None))),
        "helm" | "hm" | "chart" | "charts" => crate::actions::helm::releases(app),
        "pulse" | "pulses" | "pu" | "hz" => overview::pulse(app),
        "xray" | "xrays" | "x" | "xr" if !rest.is_empty() => {
            let (kind, namespace) = rest.split_once(' ').unwrap_or((rest, ""));
            if !namespace.trim().is_empty() {
                set_namespace(app, namespace.trim());
            }
            relations::xray_kind(app, kind);
        }
        "workload" | "workloads" | "wk" => overview::workloads(app),
        "images" => overview::images(app),
        "fleet" => overview::fleet(app),
        "status" => crate::actions::status::show(app),
        "rightsize" => crate::actions::rightsize::show(app),
        "can" | "who-can" => access::command(app, word, rest),
        "usr" | "user" | "users" => access::subjects(app, "User"),
        "grp" | "group" | "groups" => access::subjects(app, "Group"),
        "drafts" => session::drafts(app),
        "sd" | "screendump" | "screendumps" | "screen-dumps" => session::dumps(app, "screen-dumps"),
        "be" | "bench" | "benchmark" | "benchmarks"
            if rest.is_empty() && app.view().is_none_or(|view| !view.scopes().meet(Scopes::SERVICES)) =>
        {
            session::dumps(app, "benchmarks");
        }
        "keys" => session::keys(app),
        "tasks" => session::tasks(app),
        "alias" | "aliases" | "a" | "api-resources" => session::aliases(app),
        "layout" => layout(app, rest),
        "history" if !rest.is_empty() => match app.shared.kinds.find(rest) {
            Some(kind) => crate::actions::history::of_kind(app, kind),
            None => return false,
        },
        "at" if !rest.is_empty() => at(app, rest),
        "reload" => reload(app),
        "label" if !rest.is_empty() => change::typed_label(app, rest),
        "set" => change::typed_image(app, rest),
        "h" | "?" => crate::actions::move_about::help(app),
        _ => return false,
    }
    true
}

/// Reads the configuration again.
fn reload(app: &mut App) {
    let (config, wrong) = crate::config::Config::load(&app.shared.options);
    let (keymap, complaint) = config.keymap();
    (app.shared.config, app.shared.keymap) = (config, keymap);
    for message in wrong.into_iter().chain(complaint) {
        app.shared.say(Level::Warning, message);
    }
    app.shared.say(Level::Done, "the configuration was read again");
}

fn layout(app: &mut App, rest: &str) {
    let outcome = match rest.split_once(' ') {
        Some(("save", name)) => app.save_layout(name.trim()).map(|()| format!("layout {} kept", name.trim())),
        _ if rest.is_empty() => Err("layout NAME, or layout save NAME".to_owned()),
        _ => app.load_layout(rest).map(|()| format!("layout {rest}")),
    };
    match outcome {
        Ok(done) => app.shared.say(Level::Done, done),
        Err(message) => app.shared.say(Level::Error, message),
    }
}

/// The table that is shown, as it was at a revision.
fn at(app: &mut App, revision: &str) {
    let mut kind = None;
    app.with(|view: &mut TableView, _| kind = view.made_name().is_none().then(|| view.kind().clone()));
    match (kind, revision.parse::<u64>()) {
        (Some(kind), Ok(_)) => crate::actions::history::table_at(app, kind, revision.to_owned()),
        (None, _) => app.shared.say(Level::Warning, "this table has no revisions"),
        (_, Err(_)) => app.shared.say(Level::Error, format!("{revision} is no revision")),
    }
}

fn set_theme(app: &mut App, name: &str) {
    if name.is_empty() {
        let picker = Picker::themes(&app.shared);
        return app.lay(Box::new(picker));
    }
    match app.shared.config.theme(name, app.shared.colors) {
        Ok(theme) => app.shared.theme = theme,
        Err(message) => app.shared.say(Level::Error, message),
    }
}

fn set_namespace(app: &mut App, names: &str) {
    if matches!(names, "all" | "*" | "-A") {
        return app.shared.set_namespaces(Namespaces::All);
    }
    let names: Vec<String> = names.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return app.shared.say(Level::Warning, "no namespace is named");
    }
    app.shared.set_namespaces(Namespaces::Some(names));
}

/// `KIND [NAMESPACE] [/REGEX | -f TEXT | -l LABELS | TERMS]`
fn open_table(app: &mut App, kind: std::sync::Arc<crate::kinds::Kind>, rest: &str) {
    let (head, mut filter) = match rest.find(['/', '-']).filter(|&at| at == 0 || rest.as_bytes()[at - 1] == b' ') {
        Some(at) => (rest[..at].trim(), rest[at..].trim_start_matches('/').to_owned()),
        None => (rest, String::new()),
    };
    for word in head.split_whitespace() {
        match word {
            // `@CONTEXT`: there first; the table opens when it is reached
            word if word.starts_with('@') => {
                app.shared.options.command = Some(format!("{} {}", kind.plural, rest.replace(word, "")));
                return session::go_to(app, word.trim_start_matches('@').to_owned());
            }
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
    match object_named(app, &rest.split_whitespace().collect::<Vec<_>>()) {
        Ok(target) => crate::actions::object::on(app, action, target),
        Err(message) => app.shared.say(Level::Error, format!("{word}: {message}")),
    }
}

/// The object that words name: `KIND NAME`, `KIND/NAME`, or the name of a pod.
///
/// # Errors
/// Why they name none.
pub fn object_named(app: &App, words: &[&str]) -> Result<Target, String> {
    let parts: Vec<&str> = words.iter().flat_map(|word| word.split('/')).filter(|word| !word.is_empty()).collect();
    let (kind, name) = match parts.as_slice() {
        [kind, name] => (*kind, *name),
        [name] => ("pods", *name),
        _ => return Err("it takes a kind and a name".to_owned()),
    };
    let kind = app.shared.kinds.find(kind).ok_or_else(|| format!("no kind is called {kind}"))?;
    let namespace = match (kind.namespaced, app.shared.namespaces.single()) {
        (false, _) => String::new(),
        (true, Some(namespace)) => namespace.to_owned(),
        (true, None) => return Err(format!("in which namespace is {name}? Pick one first")),
    };
    Ok(Target { namespace, kind, name: name.to_owned() })
}

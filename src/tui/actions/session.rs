//! What belongs to the session: contexts, saved files, drafts, aliases, themes.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::action::{ACTIONS, Scopes};
use crate::app::App;
use crate::message::Message;
use crate::shared::{Level, Shared};
use crate::source::fault::{Fault, FaultKind};
use crate::source::work::work;
use crate::table::{Column, ColumnKind, Health, Row};
use crate::theme;
use crate::views::editor::EditorView;
use crate::views::logs::LogsView;
use crate::views::table::{Made, TableView};
use crate::views::text::TextView;
use crate::widgets::dialog::{Dialog, Field};

fn columns(names: &[&str]) -> Vec<Column> {
    names
        .iter()
        .map(|name| {
            if *name == "Age" {
                Column { name: "AGE".to_owned(), kind: ColumnKind::Time(0), wide: false }
            } else {
                Column::new(name, "string", false)
            }
        })
        .collect()
}

/// Cell `index` of the row under the cursor.
fn cell(app: &mut App, index: usize) -> Option<String> {
    let mut found = None;
    app.with(|view: &mut TableView, _| found = view.row().map(|row| row.cell(index).to_owned()));
    found
}

fn extra(app: &mut App) -> Option<String> {
    let mut found = None;
    app.with(|view: &mut TableView, _| found = view.row().and_then(|row| row.extra.first().cloned()));
    found
}

fn reload(app: &mut App) {
    app.with(TableView::reload);
}

/// The contexts there are; the cluster in this process is one of them.
pub fn contexts(app: &mut App) {
    let made = Made {
        scopes: Scopes::CONTEXTS,
        hints: &["help", "filter", "back", "use-context", "rename-context", "delete-context"],
        ..Made::new("contexts", |shared| {
            let (contexts, current) = (shared.options.contexts.clone(), shared.context().to_owned());
            let home = shared.home.as_ref().map(|home| (home.context.clone(), home.server.clone()));
            let config = shared.config.clone();
            work(move |outside| async move {
                let mut rows = Vec::new();
                let mark = |name: &str| if name == current { "●" } else { "" }.to_owned();
                if let Some((name, server)) = &home {
                    rows.push(Row::made(
                        &[
                            name.clone(),
                            mark(name),
                            "in this process".to_owned(),
                            String::new(),
                            String::new(),
                            server.clone(),
                            String::new(),
                        ],
                        Health::Fine,
                    ));
                }
                match contexts.list() {
                    Ok(found) => {
                        rows.extend(found.into_iter().filter(|one| home.as_ref().is_none_or(|(name, _)| *name != one.name)).map(|one| {
                            let guarded = if config.is_production(&one.name) { "production" } else { "" };
                            Row::made(
                                &[one.name.clone(), mark(&one.name), one.cluster, one.user, one.namespace, one.server, guarded.to_owned()],
                                Health::Fine,
                            )
                        }))
                    }
                    Err(message) if rows.is_empty() => {
                        outside.table_or_fault(&[], Err(Fault::new(FaultKind::Other, message)));
                        return;
                    }
                    Err(_) => {}
                }
                outside.table(&columns(&["Name", "Current", "Cluster", "User", "Namespace", "Server", "Guard"]), rows);
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

/// Goes to the cluster of the context under the cursor.
pub fn use_context(app: &mut App) {
    if let Some(name) = cell(app, 0) {
        go_to(app, name);
    }
}

/// Goes to the cluster of a context. What is shown stays until the way there is known.
pub fn go_to(app: &mut App, name: String) {
    if let Some(home) = app.shared.home.clone().filter(|home| home.context == name) {
        app.shared.work(move |outside| async move {
            outside.send(Message::Connected(Ok(home)));
        });
        return;
    }
    let connecting = app.shared.options.contexts.connect(name.clone());
    app.shared.work(move |outside| async move {
        match connecting.await {
            Ok(connection) => drop(outside.send(Message::Connected(Ok(connection)))),
            Err(message) => drop(outside.then(move |app| app.shared.say(Level::Error, format!("context {name}: {message}")))),
        }
    });
}

/// Renames the context under the cursor.
pub fn rename_context(app: &mut App) {
    let Some(name) = cell(app, 0) else { return };
    app.lay(Box::new(Dialog::form(
        "rename",
        vec![format!("Rename context {name}.")],
        vec![Field::text("name", &name)],
        move |app, answers| {
            let new = answers.into_iter().next().unwrap_or_default();
            match app.shared.options.contexts.rename(&name, &new) {
                Ok(()) => app.shared.say(Level::Done, format!("context {name} is called {new} now")),
                Err(message) => app.shared.say(Level::Error, message),
            }
            reload(app);
        },
    )));
}

/// Takes the context under the cursor out of the kubeconfig.
pub fn delete_context(app: &mut App) {
    let Some(name) = cell(app, 0) else { return };
    app.lay(Box::new(Dialog::confirm(
        "delete",
        vec![format!("Take context {name} out of the kubeconfig? The cluster stays as it is.")],
        move |app| {
            match app.shared.options.contexts.remove(&name) {
                Ok(()) => app.shared.say(Level::Done, format!("context {name} is out of the kubeconfig")),
                Err(message) => app.shared.say(Level::Error, message),
            }
            reload(app);
        },
    )));
}

/// Writes a file that is kept, and says where it is.
pub fn keep_file(app: &mut App, folder: &str, name: &str, text: &str) {
    let plain: String = name.chars().map(|c| if c.is_alphanumeric() || ".-_".contains(c) { c } else { '-' }).collect();
    let context: String = app.shared.context().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let stamp = app.shared.time_of_day(app.shared.now, "%Y%m%d-%H%M%S");
    let written = app.shared.kept(folder).and_then(|dir| {
        let path = dir.join(format!("{context}-{stamp}-{plain}"));
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    });
    match written {
        Ok(path) => app.shared.say(Level::Done, format!("saved to {}", path.display())),
        Err(message) => app.shared.say(Level::Error, message),
    }
}

/// Saves what is shown: a table as CSV, text and logs as they are.
pub fn save(app: &mut App) {
    let mut found = None;
    app.with(|view: &mut TableView, shared| found = Some((format!("{}.csv", view.kind().plural), view.csv(shared))));
    app.with(|view: &mut TextView, _| found = Some((format!("{}.yaml", view.file_name()), view.text().to_owned())));
    app.with(|view: &mut LogsView, _| found = Some((format!("{}.log", view.file_name()), view.text())));
    if let Some((name, text)) = found {
        keep_file(app, "screen-dumps", &name, &text);
    }
}

/// Files below a folder of the state directory, as rows; the path is not shown.
fn file_rows(dir: &Path, nested: bool) -> Vec<Row> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut rows = Vec::new();
    for entry in entries {
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            if nested {
                rows.extend(file_rows(&path, false));
            }
            continue;
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let at = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok()).map_or(0, Timestamp::as_second);
        let cells = [name.clone(), folder.clone(), metadata.len().to_string(), String::new()];
        rows.push(Row::made(&cells, Health::Fine).keyed(&format!("{folder}/{name}")).timed(vec![at]).with([path.display().to_string()]));
    }
    rows
}

fn files(
    name: &'static str,
    command: &str,
    folder: &'static str,
    scopes: Scopes,
    nested: bool,
    hints: &'static [&'static str],
) -> TableView {
    TableView::made(Made {
        command: Some(command.to_owned()),
        scopes,
        hints,
        sort: Some(("AGE", false)),
        ..Made::new(name, move |shared| {
            let dir = shared.options.state_dir.as_ref().map(|dir| dir.join(folder));
            work(move |outside| async move {
                let rows = dir.map(|dir| file_rows(&dir, nested)).unwrap_or_default();
                outside.table(&columns(&["Name", "Of", "Bytes", "Age"]), rows);
            })
        })
    })
}

/// Files that were saved.
pub fn dumps(app: &mut App, folder: &'static str) {
    app.push(Box::new(files(folder, folder, folder, Scopes::DUMPS, false, &["help", "filter", "back", "dump-open", "dump-delete"])));
}

/// Drafts of edits that were not applied.
pub fn drafts(app: &mut App) {
    app.push(Box::new(files("drafts", "drafts", "drafts", Scopes::DRAFTS, true, &["help", "back", "draft-edit", "draft-forget"])));
}

/// Reads the file under the cursor.
pub fn open_dump(app: &mut App) {
    let (Some(path), Some(name)) = (extra(app), cell(app, 0)) else { return };
    match std::fs::read_to_string(&path) {
        Ok(text) => app.push(Box::new(TextView::document(name, text, path.ends_with(".yaml")))),
        Err(error) => app.shared.say(Level::Error, format!("{path}: {error}")),
    }
}

fn delete_file(app: &mut App, what: &str) {
    let (Some(path), Some(name)) = (extra(app), cell(app, 0)) else { return };
    let what = what.to_owned();
    app.lay(Box::new(Dialog::confirm("delete", vec![format!("Delete {what} {name}?")], move |app| {
        match std::fs::remove_file(&path) {
            Ok(()) => app.shared.say(Level::Done, format!("{what} {name} deleted")),
            Err(error) => app.shared.say(Level::Error, format!("{path}: {error}")),
        }
        reload(app);
    })));
}

/// Deletes the file under the cursor.
pub fn delete_dump(app: &mut App) {
    delete_file(app, "file");
}

/// Forgets the draft under the cursor.
pub fn forget_draft(app: &mut App) {
    delete_file(app, "draft");
}

/// Goes on with the draft under the cursor: `pods.default.web.yaml`.
pub fn open_draft(app: &mut App) {
    let (Some(path), Some(name), Some(context)) = (extra(app), cell(app, 0), cell(app, 1)) else { return };
    if context != "files" && context != plain(app.shared.context()) {
        return app.shared.say(Level::Warning, format!("this draft is of context {context}"));
    }
    let mut parts = name.trim_end_matches(".yaml").splitn(3, '.');
    let (kind, namespace, object) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match app.shared.kinds.find(kind) {
        Some(kind) => {
            let target = crate::kinds::Target { kind, namespace: namespace.to_owned(), name: object.to_owned() };
            app.push(Box::new(EditorView::new(target)));
        }
        None => app.shared.say(Level::Error, format!("{path}: no kind is called {kind}")),
    }
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_alphanumeric() || ".-_".contains(c) { c } else { '_' }).collect()
}

/// Every kind and what it is called, and the person's own aliases.
pub fn aliases(app: &mut App) {
    let made = Made {
        scopes: Scopes::ALIASES,
        hints: &["help", "filter", "back", "alias-open"],
        ..Made::new("aliases", |shared| {
            let rows = alias_rows(shared);
            work(move |outside| async move {
                outside.table(&columns(&["Name", "Aliases", "Group", "Version", "Namespaced"]), rows);
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

fn alias_rows(shared: &Shared) -> Vec<Row> {
    let kinds = shared.kinds.all().iter().map(|kind| {
        let names = [kind.short_names.join(","), kind.singular.clone(), kind.kind.clone()]
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect::<Vec<_>>();
        let cells = [kind.plural.clone(), names.join(","), kind.group.clone(), kind.version.clone(), kind.namespaced.to_string()];
        let command = if kind.group.is_empty() { kind.plural.clone() } else { format!("{}.{}", kind.plural, kind.group) };
        Row::made(&cells, Health::Fine).keyed(&command).with([command])
    });
    let own = shared.config.aliases().map(|(alias, command)| {
        Row::made(&[alias.clone(), command.clone(), "alias".to_owned(), String::new(), String::new()], Health::Fine)
            .keyed(&format!("alias {alias}"))
            .with([command.clone()])
    });
    kinds.chain(own).collect()
}

/// Goes to the kind under the cursor.
pub fn open_alias(app: &mut App) {
    if let Some(command) = extra(app) {
        crate::command::run(app, &command);
    }
}

/// Themes; the one under the cursor is shown by `enter`.
pub fn themes(app: &mut App) {
    let made = Made {
        scopes: Scopes::THEMES,
        hints: &["help", "back", "use-theme"],
        ..Made::new("themes", |shared| {
            let built_in: Vec<&str> = theme::names().collect();
            let row = |name: String| {
                let source = if built_in.contains(&name.as_str()) { "built in" } else { "own" };
                Row::made(&[name.clone(), source.to_owned()], Health::Fine)
            };
            let rows: Vec<Row> = shared.config.theme_names().into_iter().map(row).collect();
            work(move |outside| async move {
                outside.table(&columns(&["Name", "Source"]), rows);
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

/// Uses the theme under the cursor.
pub fn use_theme(app: &mut App) {
    if let Some(name) = cell(app, 0) {
        crate::command::run(app, &format!("theme {name}"));
    }
}

/// Every action, its keys, and where it makes sense.
pub fn keys(app: &mut App) {
    let made = Made::new("keys", |shared| {
        let row = |action: &crate::action::Action| {
            let cells = [action.name.to_owned(), shared.keymap.shown(action), action.section.title().to_owned(), action.doc.to_owned()];
            Row::made(&cells, Health::Fine)
        };
        let rows: Vec<Row> = ACTIONS.iter().map(row).collect();
        work(move |outside| async move {
            outside.table(&columns(&["Name", "Keys", "Where", "Message"]), rows);
        })
    });
    app.push(Box::new(TableView::made(made)));
}

/// Work under way and done in this session, newest first.
pub fn tasks(app: &mut App) {
    let made = Made {
        sort: Some(("AGE", false)),
        ..Made::new("tasks", |shared| {
            let first = shared.said.saturating_sub(shared.activity.len());
            let rows: Vec<Row> = shared
                .activity
                .iter()
                .enumerate()
                .map(|(index, entry)| {
                    let (sign, health) = match entry.level {
                        Level::Done => ("done", Health::Done),
                        Level::Info => ("info", Health::Fine),
                        Level::Warning => ("warning", Health::Pending),
                        Level::Error => ("error", Health::Faulty),
                    };
                    let cells = [format!("{:05}", first + index), sign.to_owned(), entry.text.clone(), String::new()];
                    Row::made(&cells, health).timed(vec![entry.at.as_second()])
                })
                .collect();
            work(move |outside| async move {
                outside.table(&columns(&["Name", "What", "Message", "Age"]), rows);
            })
        })
    };
    app.push(Box::new(TableView::made(made)));
}

/// The file a path stands for.
pub fn path_of(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

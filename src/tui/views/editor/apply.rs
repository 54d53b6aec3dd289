//! From the text to the cluster: the difference is shown, then the patch is sent.

use serde_json::{Value, json};

use super::EditorView;
use crate::app::App;
use crate::keep::changes::Change;
use crate::kinds::Target;
use crate::shared::{Level, Shared};
use crate::source::call::Call;
use crate::source::fault::FaultKind;
use crate::text::diff::diff;
use crate::text::yaml::{self, Mistake};
use crate::view::Go;
use crate::widgets::diff::DiffLayer;

impl EditorView {
    /// The patch our edit comes to: `Ok(None)` if nothing was changed.
    pub(super) fn patch(&self) -> Result<Option<Value>, Mistake> {
        let edited = yaml::read(&self.text())?;
        Ok(self.base.as_ref().and_then(|base| yaml::merge_patch(base, &edited)))
    }

    /// Shows what applying would change.
    pub fn preview(&mut self, shared: &mut Shared) {
        if let Some(path) = self.file.clone() {
            return self.preview_file(path, shared);
        }
        match self.patch() {
            Err(mistake) => {
                shared.say(Level::Error, format!("line {}, column {}: {}", mistake.line, mistake.column, mistake.message));
                self.mistakes = vec![mistake];
                self.jump_to_mistake();
            }
            Ok(None) => shared.say(Level::Info, "nothing was changed"),
            Ok(Some(patch)) => {
                let target = self.target.clone();
                let base = self.base.clone().unwrap_or_default();
                shared.call(
                    Call::read(&target.clone()),
                    Box::new(move |app, answer| match answer {
                        Ok(live) => rehearse(app, target, patch, base, live),
                        Err(fault) => app.shared.fail(&target.shown(), &fault),
                    }),
                );
            }
        }
    }
}

/// Works with the editor of an object, wherever it is.
pub(super) fn with_editor(app: &mut App, target: &Target, work: impl FnOnce(&mut EditorView, &mut Shared)) {
    let mut work = Some(work);
    app.every_view(|view, shared| {
        if let Some(editor) = view.downcast::<EditorView>().filter(|editor| editor.target == *target)
            && let Some(work) = work.take()
        {
            work(editor, shared);
        }
    });
}

/// Asks the server what would come of our patch, and shows it.
fn rehearse(app: &mut App, target: Target, patch: Value, base: Value, live: Value) {
    let live_shown = yaml::editable(&live);
    let theirs = yaml::merge_patch(&base, &live_shown).unwrap_or_else(|| json!({}));
    let mut warning = Vec::new();
    for field in yaml::collisions(&patch, &theirs) {
        let side = |value: &Value| value.pointer(&format!("/{}", field.replace('.', "/"))).cloned().unwrap_or_default();
        warning.push(format!("conflict at {field}: it was {}, you say {}, by now it is {}", side(&base), side(&patch), side(&live_shown)));
    }
    app.shared.call(
        Call::merge(&target, "", patch.clone(), true),
        Box::new(move |app, answer| match answer {
            Ok(result) => {
                let lines = diff(&yaml::print(&live_shown), &yaml::print(&yaml::editable(&result)));
                if lines.is_empty() {
                    return app.shared.say(Level::Info, "the server has it like this already");
                }
                let title = format!("apply to {}", target.shown());
                let revision = live.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
                app.lay(Box::new(DiffLayer::new(title, warning, lines, move |app| apply(app, target, patch, live_shown, revision, 0))));
            }
            Err(fault) => {
                app.shared.fail(&target.shown(), &fault);
                with_editor(app, &target, |editor, shared| {
                    editor.refused(&fault, shared);
                    editor.jump_to_mistake();
                });
            }
        }),
    );
}

/// Applies what was shown. If the object has changed meanwhile but not where we change it, it is tried on the new one.
fn apply(app: &mut App, target: Target, patch: Value, seen: Value, revision: Value, tries: u8) {
    let mut guarded = patch.clone();
    if let Some(map) = guarded.as_object_mut() {
        let metadata = map.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("resourceVersion".to_owned(), revision);
        }
    }
    app.shared.jobs += 1;
    app.shared.call(
        Call::merge(&target, "", guarded, false),
        Box::new(move |app, answer| {
            app.shared.jobs = app.shared.jobs.saturating_sub(1);
            match answer {
                Ok(after) => {
                    app.shared.say(Level::Done, format!("{} applied", target.shown()));
                    let change = Change {
                        target: target.clone(),
                        done: format!("{} applied", target.shown()),
                        before: Some(seen),
                        after: Some(after),
                    };
                    app.shared.changes.push(change);
                    with_editor(app, &target, EditorView::forget);
                    if app.stack.last_mut().and_then(|view| view.downcast::<EditorView>()).is_some_and(|editor| editor.target == target) {
                        app.shared.go.push(Go::Pop);
                    }
                }
                Err(fault) if fault.kind == FaultKind::Conflict && tries < 5 => {
                    app.shared.call(
                        Call::read(&target),
                        Box::new(move |app, answer| match answer {
                            Ok(live) => {
                                let shown = yaml::editable(&live);
                                let revision = live.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
                                if shown == seen {
                                    apply(app, target, patch, seen, revision, tries + 1);
                                } else {
                                    app.shared.say(Level::Warning, format!("{} has changed meanwhile: look again", target.shown()));
                                    rehearse(app, target, patch, seen, live);
                                }
                            }
                            Err(fault) => app.shared.fail(&target.shown(), &fault),
                        }),
                    );
                }
                Err(fault) => {
                    app.shared.fail(&target.shown(), &fault);
                    with_editor(app, &target, |editor, shared| {
                        editor.refused(&fault, shared);
                        editor.jump_to_mistake();
                    });
                }
            }
        }),
    );
}

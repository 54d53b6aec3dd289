//! Runs what was typed, and shows what it says.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Parser;
use coracle_verbs::{Out, Session, VerbError, apply};
use parking_lot::Mutex;

use super::gate::{self, Rules};
use super::{Does, Typed, join, words};
use crate::actions::session::path_of;
use crate::app::App;
use crate::message::Sub;
use crate::shared::Level;
use crate::source::fault::Fault;
use crate::source::work::Outside;
use crate::table::rows::cell_width;
use crate::view::View;
use crate::views::text::TextView;

/// What takes longer than this is shown while it runs.
const SOON: Duration = Duration::from_millis(400);
/// How often what it has said is shown then.
const OFTEN: Duration = Duration::from_millis(100);

/// Runs what was typed.
pub fn run(app: &mut App, text: &str) {
    let words = match words(text) {
        Ok(words) => words,
        Err(message) => return app.shared.say(Level::Error, format!(":{text}: {message}")),
    };
    // the keyboard is ours
    if words.iter().any(|word| word == "-" || word == "-f-" || word.ends_with("=-")) {
        return app.shared.say(Level::Error, "standard input is the keyboard here: name a file");
    }
    let home = |word: String| if word.starts_with("~/") { path_of(&word).display().to_string() } else { word };
    let typed = match Typed::try_parse_from(words.into_iter().map(home)) {
        Ok(typed) => typed,
        Err(error) => return explain(app, text, &error),
    };
    let shared = &app.shared;
    let shown = shared.namespaces.single().map(str::to_owned);
    let own = || shared.connection.as_ref().and_then(|connection| connection.namespace.clone());
    let namespace = typed.namespace.clone().or(shown).or_else(own).unwrap_or_else(|| "default".to_owned());
    let does = match typed.does {
        Does::Exec(verb) => return join::exec(app, verb, namespace),
        does => does,
    };
    let production = shared.is_production().then(|| shared.context().to_owned());
    let rules = Rules { text: text.to_owned(), readonly: shared.options.readonly, production };
    let command = Command { text: text.to_owned(), sub: Arc::default() };
    let sub = command.sub.clone();
    app.shared.jobs += 1;
    let begun = app.shared.work(move |outside| async move {
        let _job = Job(outside.clone());
        command.run(does, namespace, rules, outside).await;
    });
    let _ = sub.set(begun);
}

/// What cannot be read, or the help that was asked for.
fn explain(app: &mut App, text: &str, error: &clap::Error) {
    let rendered = error.render().to_string();
    if error.exit_code() != 0 {
        let first = rendered.lines().next().unwrap_or_default();
        app.shared.say(Level::Error, first.strip_prefix("error: ").unwrap_or(first));
    }
    app.push(Box::new(TextView::document(format!(":{text}"), rendered, false)));
}

/// Work under way, as the header counts it.
struct Job(Outside);

impl Drop for Job {
    fn drop(&mut self) {
        self.0.then(|app| app.shared.jobs = app.shared.jobs.saturating_sub(1));
    }
}

/// What was said so far.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).replace('\t', "    ").replace('\r', "")
    }
}

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Command {
    text: String,
    sub: Arc<OnceLock<Sub>>,
}

impl Command {
    async fn run(self, does: Does, namespace: String, rules: Rules, outside: Outside) {
        let client = match outside.client() {
            Ok(client) => client,
            Err(fault) => {
                outside.then(move |app| app.shared.fail(&format!(":{}", self.text), &fault));
                return;
            }
        };
        let session = Session::new(gate::guarded(client, &outside, rules), namespace.clone());
        let joins = match &does {
            Does::Run(verb) if verb.stdin && verb.making.dry_run == "none" => Some(verb.clone()),
            _ => None,
        };
        let said = Said::default();
        let (mut text, mut beside) = (said.clone(), said.clone());
        let mut out = Out { text: &mut text, beside: &mut beside };
        let mut done = std::pin::pin!(carry_out(&does, &session, &mut out));
        let mut shown = false;
        let ended = loop {
            let pause = tokio::time::sleep(if shown { OFTEN } else { SOON });
            tokio::select! {
                ended = &mut done => break ended,
                () = pause => {
                    if !std::mem::replace(&mut shown, true) {
                        let (title, sub) = (format!(":{}", self.text), self.sub.get().copied().unwrap_or_default());
                        outside.then(move |app| app.push(Box::new(TextView::running(title, sub))));
                    }
                    outside.told(Ok::<String, Fault>(said.text()));
                }
            }
        };
        let mut text = said.text();
        let why = ended.err().map(|error| error.to_string());
        if let Some(why) = why.as_ref().filter(|why| !why.is_empty()) {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(why);
            text.push('\n');
        }
        if shown {
            outside.told(Ok::<String, Fault>(text.clone()));
        }
        let shown = self.sub.get().copied().filter(|_| shown);
        let well = why.is_none();
        outside.then(move |app| end(app, &self.text, text, why, shown));
        if let Some(verb) = joins.filter(|_| well) {
            outside.then(move |app| join::join(app, &verb, namespace));
        }
    }
}

async fn carry_out(does: &Does, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
    match does {
        Does::Verb(verb) => verb.run(session, out).await,
        Does::Apply(manifests) => apply::apply(session, manifests.sources()?, manifests, false, false, out).await,
        Does::Diff(manifests) => {
            if !apply::diff(session, manifests, out).await? {
                out.line("nothing would be changed");
            }
            Ok(())
        }
        Does::Run(verb) => verb.making.make(session, verb.pod()?, "created", out).await,
        // it is typed to, and has been given a pane
        Does::Exec(_) => Ok(()),
    }
}

/// Says what came of it: in the status row if there is room, else in a text view, which may be open already.
fn end(app: &mut App, text: &str, said: String, why: Option<String>, shown: Option<Sub>) {
    let lines = said.trim_end();
    let first = why.as_deref().and_then(|why| why.lines().next()).or(lines.lines().last()).unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let (level, line) = match (&why, first.is_empty()) {
        (Some(_), true) => (Level::Error, format!(":{text} failed")),
        (Some(_), false) => (Level::Error, format!(":{text}: {first}")),
        (None, true) => (Level::Done, format!(":{text} is done")),
        (None, false) => (Level::Done, first.to_owned()),
    };
    let small = !lines.contains('\n') && cell_width(&line) + 4 < usize::from(app.shared.size.0);
    if small || why.is_some() {
        app.shared.say(level, line);
    }
    let open = |view: &mut dyn View| view.downcast::<TextView>().is_some_and(|text| shown.is_some() && text.runs() == shown);
    if small && app.stack.last_mut().is_some_and(|view| open(view.as_mut())) {
        app.pop();
    }
    if !small && shown.is_none() {
        let words: Vec<&str> = text.split_whitespace().collect();
        let yaml = words.iter().any(|word| matches!(*word, "-oyaml" | "-o=yaml" | "--output=yaml"))
            || words.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "yaml"]));
        app.push(Box::new(TextView::document(format!(":{text}"), said, yaml && why.is_none())));
    }
}

//! kubectl's verbs at the prompt: what is typed is read as the command line reads it, runs through a client that lets no write
//! pass unseen, and says what it has to say in the status row, or in a text view where that is too small.

mod gate;
mod join;
mod run;

use std::sync::OnceLock;

use clap::{CommandFactory, Parser, Subcommand};
use coracle_verbs::Verb;
use coracle_verbs::apply::Manifests;
use coracle_verbs::exec::Exec;
use coracle_verbs::run::Run;

use crate::app::App;

pub use self::run::run;

/// What may be typed.
#[derive(Debug, Parser)]
#[command(name = "coracle", no_binary_name = true, disable_help_subcommand = true)]
struct Typed {
    /// Namespace; the one that is shown if not given
    #[arg(short, long, global = true, value_name = "NS")]
    namespace: Option<String>,
    #[command(subcommand)]
    does: Does,
}

#[derive(Debug, Subcommand)]
enum Does {
    #[command(flatten)]
    Verb(Verb),
    /// Apply manifests by server-side apply
    Apply(Manifests),
    /// Print what applying manifests would change
    Diff(Manifests),
    /// Run a pod of one container
    Run(Run),
    /// Run a program in a container
    Exec(Exec),
}

/// Every verb, and what it does.
pub fn verbs() -> &'static [(String, String)] {
    static VERBS: OnceLock<Vec<(String, String)>> = OnceLock::new();
    VERBS.get_or_init(|| {
        let about = |verb: &clap::Command| verb.get_about().map(ToString::to_string).unwrap_or_default();
        Typed::command().get_subcommands().map(|verb| (verb.get_name().to_owned(), about(verb))).collect()
    })
}

/// Whether a word is a verb.
pub fn is_verb(word: &str) -> bool {
    verbs().iter().any(|(verb, _)| verb == word)
}

/// Whether what is typed is a verb as kubectl has it, not the name of a view or of an action that has the same name.
pub fn is_meant(app: &App, word: &str, rest: &str) -> bool {
    if !is_verb(word) {
        return false;
    }
    let words: Vec<&str> = rest.split_whitespace().collect();
    let long = words.iter().any(|word| word.starts_with("--"));
    let option = words.iter().any(|word| word.len() > 1 && word.starts_with('-'));
    match word {
        // `-l` and `-f` are filters of a table
        "events" => long || words.iter().any(|word| matches!(*word, "-n" | "-A" | "-o" | "-w")),
        "api-resources" | "cordon" | "uncordon" | "drain" => !words.is_empty(),
        "rollout" => {
            option || words.first().is_some_and(|first| matches!(*first, "status" | "history" | "undo" | "restart" | "pause" | "resume"))
        }
        "port-forward" => option || words.iter().skip(1).any(|ports| ports.bytes().all(|byte| byte.is_ascii_digit() || byte == b':')),
        // of one object, these are views that stay live, or dialogs
        "describe" | "logs" | "delete" | "scale" => {
            let one = match words.as_slice() {
                [] => true,
                // a kind alone means all of them
                [name] => !name.contains(',') && app.shared.kinds.find(name).is_none(),
                [kind, _] => app.shared.kinds.find(kind).is_some(),
                _ => false,
            };
            option || !one
        }
        _ => true,
    }
}

/// The words of a line as a shell reads them: quotes and backslashes hold together what belongs together.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match quote {
            Some(open) if letter == open => quote = None,
            None if matches!(letter, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            None if letter.is_whitespace() => words.extend(word.take()),
            None | Some('"') if letter == '\\' => word.get_or_insert_default().extend(letters.next()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("there is no second {quote}"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_line_is_read_as_a_shell_reads_it() {
        assert_eq!(words(r#"get pods -o jsonpath='{.items[*].metadata.name}{"\n"}'"#).unwrap().len(), 4);
        assert_eq!(words(r#"a "b \"c" 'd e'f '' \ g"#).unwrap(), ["a", "b \"c", "d ef", "", " g"]);
        assert!(words("a 'b").is_err());
    }

    #[test]
    fn every_verb_of_kubectl_is_one_of_ours() {
        for verb in ["get", "describe", "create", "delete", "expose", "logs", "scale", "rollout", "apply", "diff", "wait", "explain", "top"]
        {
            assert!(is_verb(verb), "{verb}");
        }
        Typed::command().debug_assert();
    }
}

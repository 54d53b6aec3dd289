//! What a command that failed says: one line, and a hint where there is a next step.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use super::shown;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    /// A verb's own words, which are kubectl's and need no more.
    words: bool,
    code: u8,
}

impl Failure {
    /// A failure with its cause.
    pub(crate) fn new(message: impl Into<String>, cause: impl Error) -> Self {
        Self { causes: chain(&cause), ..Self::plain(message) }
    }

    /// A failure that needs no more words.
    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self { message: message.into(), causes: Vec::new(), hint: None, words: false, code: 1 }
    }

    /// An error as it is.
    pub(crate) fn of(error: impl Error) -> Self {
        let mut causes = chain(&error);
        let message = causes.remove(0);
        Self { causes, ..Self::plain(message) }
    }

    /// The same failure with another exit status.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// The same failure with what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints it to standard error; the exit status of a failure.
    pub(crate) fn print(&self, verbose: bool) -> ExitCode {
        // a server's words may be in it, and nobody can be told that they cannot be written
        let mut out = shown::stderr();
        let mut say = |line: String| drop(writeln!(out, "{line}"));
        if self.words {
            // nothing where all was said already
            if !self.message.is_empty() {
                say(self.message.clone());
            }
        } else if verbose {
            say(format!("error: {}", self.message));
            self.causes.iter().for_each(|cause| say(format!("  because: {cause}")));
        } else {
            say(format!("error: {self}"));
        }
        if let Some(hint) = &self.hint {
            say(format!("hint: {hint}"));
        }
        ExitCode::from(self.code)
    }
}

/// An error and its causes, outermost first.
fn chain(error: &dyn Error) -> Vec<String> {
    let mut out = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        out.push(error.to_string());
        cause = error.source();
    }
    out
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match self.causes.last() {
            Some(root) => write!(f, ": {root}"),
            None => Ok(()),
        }
    }
}

impl From<coracle_verbs::VerbError> for Failure {
    fn from(error: coracle_verbs::VerbError) -> Self {
        Self { words: true, code: error.code(), ..Self::plain(error.to_string()) }
    }
}

impl From<coracle_cluster::ClusterError> for Failure {
    fn from(error: coracle_cluster::ClusterError) -> Self {
        let hint = error.hint();
        let failure = Self::of(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

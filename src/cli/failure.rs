//! What a command that failed says: one line, and a hint where there is a next step.

use std::error::Error;
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// A failure with its cause.
    pub(crate) fn new(message: impl Into<String>, cause: impl Error) -> Self {
        Self { message: message.into(), causes: chain(&cause), hint: None }
    }

    /// A failure that needs no more words.
    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self { message: message.into(), causes: Vec::new(), hint: None }
    }

    /// An error as it is.
    pub(crate) fn of(error: impl Error) -> Self {
        let mut causes = chain(&error);
        Self { message: causes.remove(0), causes, hint: None }
    }

    /// The same failure with what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints it to standard error; the exit status of a failure.
    pub(crate) fn print(&self, verbose: bool) -> ExitCode {
        if verbose {
            eprintln!("error: {}", self.message);
            self.causes.iter().for_each(|cause| eprintln!("  because: {cause}"));
        } else {
            eprintln!("error: {self}");
        }
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
        ExitCode::FAILURE
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

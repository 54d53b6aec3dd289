//! A question at the terminal.

use std::io::{self, IsTerminal, Write};

use super::failure::Failure;

/// Whether the answer is yes; without a terminal there is nobody to ask.
pub(crate) fn confirmed(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::plain("there is no terminal to ask at").hint("say --yes"));
    }
    let failed = |error| Failure::new("the terminal cannot be read", error);
    eprint!("{question}");
    io::stderr().flush().map_err(failed)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

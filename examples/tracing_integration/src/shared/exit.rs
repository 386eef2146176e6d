//! Exit codes: what a shell script can tell from how a program ended.
//!
//! 0 done, 1 failed, 2 wrong usage, 3 the server could not be reached, 130 interrupted. Errors travel as `anyhow::Error`; the
//! two that have a code of their own are types, found again here, so that nobody compares texts. A reader that closed
//! our output (`… | head`) has seen what it wanted: that is an end, not a failure.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::shared::terminal::{BAD, stderr};

/// What was asked for makes no sense; clap ends with the same code for what it finds itself.
#[derive(Debug)]
pub struct Usage(pub String);

/// No server answered, with what to do about it.
#[derive(Debug)]
pub struct Unreachable(pub String);

/// Ctrl-C, after everything was brought to a clean end.
#[derive(Debug)]
pub struct Interrupted;

/// As shells tell it: 128, and the number of the signal of ctrl-C.
pub const INTERRUPTED: u8 = 130;

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Usage {}
impl std::error::Error for Unreachable {}
impl std::error::Error for Interrupted {}

/// The last lines of every `--help`.
pub const HELP: &str =
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the server could not be reached, 130 interrupted";

/// Prints an error to standard error, where there is one, and gives the exit code.
pub fn code(outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    if closed_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    // Nowhere is left to tell that standard error is closed, too.
    let _ = writeln!(stderr(), "{BAD}error:{BAD:#} {error:#}");
    ExitCode::from(number(&error))
}

fn number(error: &anyhow::Error) -> u8 {
    match () {
        () if error.is::<Usage>() => 2,
        () if error.is::<Unreachable>() => 3,
        () if error.is::<Interrupted>() => INTERRUPTED,
        () => 1,
    }
}

/// Whether somewhere down there is a reader that went away.
fn closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn each_kind_of_end_has_its_code_under_any_context() {
        let codes = [
            (anyhow::Error::new(Usage("a".into())), 2),
            (anyhow::Error::new(Unreachable("a".into())).context("b"), 3),
            (anyhow::Error::new(Interrupted), 130),
            (anyhow::anyhow!("a"), 1),
        ];
        for (error, expected) in codes {
            assert_eq!(number(&error), expected, "{error:#}");
        }
    }

    #[test]
    fn a_closed_pipe_is_found_under_its_context() {
        let closed: anyhow::Result<()> = Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        assert!(closed_pipe(&closed.context("cannot write").unwrap_err()));
        assert!(!closed_pipe(&io::Error::from(io::ErrorKind::NotFound).into()));
    }
}

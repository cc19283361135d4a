//! How commands end: 0 success, 1 failure, 2 a wrong command line. A reader that went away is no failure.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;

/// A failure that was reported already, line by line; only the exit code is left to say.
#[derive(Debug, thiserror::Error)]
#[error("the problems are listed above")]
pub struct Failure;

/// The code of a finished command; says on standard error why it failed.
pub(super) fn code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<Failure>() => ExitCode::FAILURE,
        Err(error) => {
            remark(format_args!("cardinal: {}", explanation(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Prints an answer. A disk that is full is a failure, and is said to be where the answer goes.
pub(super) fn print(answer: impl Display) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{answer}").context("standard output")
}

/// Prints a line on standard error. `eprintln!` would panic where that is on a full disk, and spoil the exit code.
pub(super) fn remark(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The error and its causes. A cause that the text before it has told already is not told again.
pub(super) fn explanation(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        told if told.contains(&cause) => text,
        told => format!("{told}: {cause}"),
    })
}

/// Prints what the parser of the command line has to say: help on request, else what is wrong.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    // Nobody to read it is no reason to fail differently.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// `cardinal inspect | head` ends like this.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let disk = anyhow::anyhow!("the disk is full");
        assert_eq!(
            explanation(&disk.context("a: the disk is full").context("cannot start")),
            "cannot start: a: the disk is full"
        );
    }

    #[test]
    fn a_broken_pipe_is_no_failure() {
        let broken = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("writing");
        assert!(is_broken_pipe(&broken));
        assert!(!is_broken_pipe(&anyhow::anyhow!("else")));
    }
}

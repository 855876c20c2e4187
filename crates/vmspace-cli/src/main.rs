//! The `vmspace` command: run programs on the machine, list the formats.
//!
//! Guarantee: the exit status of `run` is the program's own, 128 + n when signal n ended it, 124 on
//! time-out, 130 on Ctrl-C, 3 when `--check` found a stale translation in use or break-before-make
//! left out, 4 when a run that a seed decides has come to a deadlock. What the user got wrong is one
//! line on standard error, naming the thing and the cure, and status 2.

mod args;
mod explain;
mod failure;
mod formats;
mod json;
#[cfg(vmspace_mutations)]
mod mutation;
mod progress;
mod report;
mod run;
mod seed;
mod standard;
mod swap;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    #[cfg(vmspace_mutations)]
    mutation::plant();
    let result = match Cli::try_parse() {
        Ok(Cli { command: Command::Run(options) }) => run::run(&options),
        Ok(Cli { command: Command::Formats }) => formats::list(),
        Err(error) => explain::explain(&error),
    };
    result.unwrap_or_else(|failure: Failure| {
        standard::say(&failure.to_string());
        ExitCode::from(2)
    })
}

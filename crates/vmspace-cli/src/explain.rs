//! A command line that cannot be: what the user is told.
//!
//! Guarantee: every mistake is one line in the words of all our messages, which names what was given
//! and what to give instead. clap finds mistakes; its own words are not shown.

use std::error::Error as _;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;
use crate::standard;

/// Help and version as asked for; every mistake as one line.
pub fn explain(error: &clap::Error) -> Result<ExitCode, Failure> {
    let option = first_word(error, ContextKind::InvalidArg);
    let value = context(error, ContextKind::InvalidValue);
    Err(match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return standard::print(&error.render().to_string())
                .map(|()| ExitCode::SUCCESS)
                .map_err(|error| Failure::output("standard output", &error));
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Failure::new("command", "is missing (try 'vmspace --help')")
        }
        ErrorKind::InvalidSubcommand => {
            let command = context(error, ContextKind::InvalidSubcommand);
            Failure::new(command, "is no command (try 'vmspace --help')")
        }
        ErrorKind::MissingRequiredArgument => {
            Failure::new("PROGRAM", "is missing (write it last: vmspace run [OPTIONS] -- PROGRAM)")
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            Failure::new(option, format_args!("has no value ({})", give(error)))
        }
        ErrorKind::InvalidValue => {
            Failure::given(option, value, format_args!("is none of its values ({})", give(error)))
        }
        ErrorKind::ValueValidation => {
            let what = error.source().map(ToString::to_string).unwrap_or_default();
            Failure::given(option, value, what)
        }
        ErrorKind::TooManyValues => {
            Failure::given(option, value, "takes no value (give the option alone)")
        }
        ErrorKind::ArgumentConflict => {
            Failure::new(option, "is given more than once (give it once)")
        }
        // An option of `run` in front of it, or a word that nobody asked for.
        _ => Failure::new(option, "is not understood here (options of 'run' come behind 'run')"),
    })
}

/// What may be given.
fn give(error: &clap::Error) -> String {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            format!("take one of {}", values.join(", "))
        }
        _ => "try 'vmspace run --help'".to_string(),
    }
}

/// What clap says of one thing.
fn context(error: &clap::Error, kind: ContextKind) -> String {
    error.get(kind).map(ToString::to_string).unwrap_or_default()
}

/// Of `--harts <N>` the option alone.
fn first_word(error: &clap::Error, kind: ContextKind) -> String {
    let text = context(error, kind);
    text.split(' ').next().unwrap_or_default().to_string()
}

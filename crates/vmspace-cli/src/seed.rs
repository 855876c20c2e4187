//! `--seed`: one seed, or several to be tried; and the command that replays a run.
//!
//! Guarantee: a seed that fails is told by a command that gives the same run again. Seeds are tried
//! one after the other, each in a process of its own that reads and says nothing; the first that
//! ends with another status than 0 is run once more, in the open.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use crate::failure::Failure;
use crate::standard;

/// Seeds from the first to the last, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seeds {
    first: u64,
    last: u64,
}

impl Seeds {
    /// `N`, or `A..B`.
    pub fn parse(text: &str) -> Result<Seeds, String> {
        let bad = || "is no seed (give a number, or two as 1..200)".to_string();
        let number = |text: &str| text.parse().map_err(|_| bad());
        let (first, last) = match text.split_once("..") {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        match first <= last {
            true => Ok(Seeds { first, last }),
            false => Err(format!("names no seed (give {last}..{first})")),
        }
    }

    /// The seed, if it is one alone.
    pub fn only(self) -> Option<u64> {
        (self.first == self.last).then_some(self.first)
    }

    /// Tries them all, up to the first that fails.
    pub fn scan(self) -> Result<ExitCode, Failure> {
        let Seeds { first, last } = self;
        for seed in first..=last {
            let status = try_one(seed)?;
            if !status.success() {
                let status = exit_status(status);
                let tried = seed - first + 1;
                standard::say(&format!(
                    "vmspace: seed {seed} ends with status {status}, after {tried} of the seeds \
                     {first}..{last}; here it is again, with nothing to read:"
                ));
                return again(seed);
            }
        }
        standard::say(&format!("vmspace: all of the seeds {first}..{last} end with status 0"));
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs the same command line with one seed; nothing is to be read or heard.
fn try_one(seed: u64) -> Result<ExitStatus, Failure> {
    let mut command = with_seed(seed)?;
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().map_err(|error| not_run(&error))
}

/// The same, to be heard.
fn again(seed: u64) -> Result<ExitCode, Failure> {
    let status = with_seed(seed)?.status().map_err(|error| not_run(&error))?;
    Ok(ExitCode::from(exit_status(status)))
}

fn with_seed(seed: u64) -> Result<Command, Failure> {
    let mut words = words(seed).into_iter();
    let mut command = Command::new(std::env::current_exe().map_err(|error| not_run(&error))?);
    command.arg0(words.next().unwrap_or_default()).args(words).stdin(Stdio::null());
    Ok(command)
}

fn not_run(error: &std::io::Error) -> Failure {
    let error = vmspace_linux::in_words(error);
    Failure::new("vmspace", format_args!("cannot be started again: {error} (give one seed)"))
}

/// A status as a shell tells it.
fn exit_status(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let signal = || status.signal().map(|signal| 128 + signal);
    status.code().or_else(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The line that tells how to see this run again.
pub fn replay_line(seed: u64) -> String {
    let words: Vec<String> = words(seed).iter().map(|word| quoted(word)).collect();
    format!("replay: {}", words.join(" "))
}

/// The words of this command, its own name first, with this seed alone.
fn words(seed: u64) -> Vec<OsString> {
    replace_seed(std::env::args_os(), seed)
}

/// The first `--seed` is the option: the program's own arguments come later, and no other option's
/// value may begin with a dash.
fn replace_seed(words: impl Iterator<Item = OsString>, seed: u64) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    let is_option = |word: &OsString| word == "--seed" || word.as_bytes().starts_with(b"--seed=");
    if let Some(at) = words.iter().position(is_option) {
        let length = if words[at] == "--seed" { 2 } else { 1 };
        words.splice(at..at + length, ["--seed".into(), seed.to_string().into()]);
    }
    words
}

/// A word as a shell wants it.
fn quoted(word: &OsStr) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-+=./:,@%".contains(byte);
    if !word.is_empty() && word.as_bytes().iter().all(plain) {
        return word.to_string_lossy().into_owned();
    }
    match word.to_str() {
        Some(text) if !text.contains(char::is_control) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        // What no terminal shows well goes by its bytes, in the way of bash, ksh and zsh.
        _ => {
            let bytes: String =
                word.as_bytes().iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("$'{bytes}'")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_number_or_a_range() {
        assert_eq!(Seeds::parse("7").map(Seeds::only), Ok(Some(7)));
        assert_eq!(Seeds::parse("0..0").map(Seeds::only), Ok(Some(0)));
        assert_eq!(Seeds::parse("1..200"), Ok(Seeds { first: 1, last: 200 }));
        assert_eq!(Seeds::parse("9..1"), Err("names no seed (give 1..9)".to_string()));
        for text in ["", "x", "-1", "1..", "..2", "1...2", "18446744073709551616"] {
            assert!(Seeds::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_our_own_seed_is_replaced() {
        let replaced = |line: &str| {
            let words = replace_seed(line.split(' ').map(OsString::from), 5);
            words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            replaced("vmspace run --seed 1..9 --harts 2 -- prog --seed 3"),
            "vmspace run --seed 5 --harts 2 -- prog --seed 3"
        );
        assert_eq!(
            replaced("vmspace run --seed=1..9 -- p --seed=3"),
            "vmspace run --seed 5 -- p --seed=3"
        );
    }

    #[test]
    fn what_a_shell_would_change_is_quoted() {
        let quoted = |text: &str| quoted(OsStr::new(text));
        assert_eq!(quoted("a/b-c_d=1.5"), "a/b-c_d=1.5");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted("a\nb"), r"$'\x61\x0a\x62'");
        assert_eq!(super::quoted(OsStr::from_bytes(b"\xff")), r"$'\xff'");
    }
}

//! What the user is told when something cannot be done.

use std::fmt;
use std::io;

use vmspace_linux::in_words;

/// One line: `vmspace: <thing>: <what> (<cure>)`.
#[derive(Debug)]
pub struct Failure {
    thing: String,
    what: String,
}

impl Failure {
    /// `what` ends with the cure in brackets.
    pub fn new(thing: impl fmt::Display, what: impl fmt::Display) -> Failure {
        Failure { thing: shown(&thing.to_string()), what: shown(&what.to_string()) }
    }

    /// About an option's value.
    pub fn given(
        option: impl fmt::Display,
        value: impl fmt::Display,
        what: impl fmt::Display,
    ) -> Failure {
        Failure::new(format_args!("{option} {}", shown(&value.to_string())), what)
    }

    /// A file of ours that cannot be written.
    pub fn output(thing: impl fmt::Display, error: &io::Error) -> Failure {
        let cure = match error.kind() {
            io::ErrorKind::StorageFull => "free some space, or name another file",
            io::ErrorKind::PermissionDenied => "name a file that you may write",
            io::ErrorKind::NotFound => "make its directory first",
            io::ErrorKind::IsADirectory => "name a file",
            io::ErrorKind::BrokenPipe => "let its reader read to the end",
            _ => "name another file",
        };
        Failure::new(thing, format_args!("cannot be written: {} ({cure})", in_words(error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vmspace: {}: {}", self.thing, self.what)
    }
}

/// One line that a terminal shows as it is, whatever a name holds: control characters as Rust writes
/// them, and nothing as a shell does.
pub fn shown(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    if line.is_empty() { "''".to_string() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_control_characters_would_speak_to_the_terminal() {
        let failure = Failure::new("a\u{1b}[31m\nb\u{9b}", "is missing");
        assert_eq!(failure.to_string(), "vmspace: a\\u{1b}[31m\\nb\\u{9b}: is missing");
        assert_eq!(Failure::given("--harts", "", "x").to_string(), "vmspace: --harts '': x");
        assert_eq!(Failure::new("é 'q'", "x").to_string(), "vmspace: é 'q': x");
    }
}

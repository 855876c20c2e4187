//! What the user is told when something cannot be done.

use std::fmt;
use std::io;

/// One line: `vmspace: <thing>: <what> (<cure>)`.
#[derive(Debug)]
pub struct Failure {
    thing: String,
    what: String,
}

impl Failure {
    /// `what` ends with the cure in brackets.
    pub fn new(thing: impl fmt::Display, what: impl fmt::Display) -> Failure {
        Failure { thing: thing.to_string(), what: what.to_string() }
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
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or_default().to_lowercase();
        Failure::new(thing, format_args!("cannot be written: {text} ({cure})"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever a name holds.
        let line = format!("vmspace: {}: {}", self.thing, self.what);
        f.write_str(&line.replace(['\n', '\r'], " "))
    }
}

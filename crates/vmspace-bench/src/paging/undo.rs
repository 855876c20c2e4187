//! What was changed on the host is undone, however this process ends.
//!
//! A shell is told, before each step, how it is undone. When its input ends (we drop it, or we are
//! killed) it runs the lines, the last one first. It is in a group of its own, so that an interrupt
//! from the terminal is not for it.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = "\
undo=
while IFS= read -r line; do
    undo=\"$line
$undo\"
done
eval \"$undo\"";

/// The shell; dropping it undoes, and waits for that.
pub struct Undo(Child);

impl Undo {
    pub fn new() -> Result<Undo, String> {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT]).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        shell.spawn().map(Undo).map_err(|error| format!("sh: {error}"))
    }

    /// `line` undoes what is done next; it does no harm where that was not done.
    pub fn by(&mut self, line: &str) -> Result<(), String> {
        let input = self.0.stdin.as_mut().ok_or("the shell has no input")?;
        writeln!(input, "{line}").map_err(|error| format!("sh: {error}"))
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Nothing can be done about a shell that has gone.
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_last_is_undone_first() {
        let path = std::env::temp_dir().join(format!("vmspace-undo-{}", std::process::id()));
        let mut undo = Undo::new().expect("there is a shell");
        for word in ["first", "second"] {
            undo.by(&format!("echo {word} >> {}", path.display())).expect("it listens");
        }
        assert!(!path.exists());
        drop(undo);
        assert_eq!(std::fs::read_to_string(&path).expect("it was undone"), "second\nfirst\n");
        std::fs::remove_file(&path).expect("it is there");
    }
}

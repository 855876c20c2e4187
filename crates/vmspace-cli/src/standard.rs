//! The standard files: which are open, and writing to them without a panic.
//!
//! Rust's start code opens /dev/null in place of a standard file that is closed, so that a program
//! cannot tell any more. A function in `.init_array` runs before it and looks.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static OPEN: [AtomicBool; 3] = [const { AtomicBool::new(true) }; 3];

#[cfg(target_os = "linux")]
#[used]
// SAFETY: entries of `.init_array` are functions that the C runtime calls once before `main`. This
// one makes three system calls and stores to statics that need no initialization.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let files = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for (open, file) in OPEN.iter().zip(files) {
        open.store(rustix::io::fcntl_getfd(file).is_ok(), Ordering::Relaxed);
    }
}

/// Which of standard input, output and error were open when the command was started.
pub fn open() -> [bool; 3] {
    OPEN.each_ref().map(|open| open.load(Ordering::Relaxed))
}

/// A line on standard error; nothing happens when nobody can hear it.
pub fn say(line: &str) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Text on standard output.
pub fn print(text: &str) -> io::Result<()> {
    if !open()[1] {
        return Err(io::Error::other("it is closed"));
    }
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

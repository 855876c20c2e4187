//! Lines of output: each is formatted on the stack and leaves in one call, so that threads and
//! processes never mix within a line, and no lock is left taken in a forked child.

use crate::syscall;
use core::fmt::{self, Write};

/// One line, cut off at 240 bytes.
struct Line {
    bytes: [u8; 240],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let n = text.len().min(room.len());
        room[..n].copy_from_slice(&text.as_bytes()[..n]);
        self.len += n;
        Ok(())
    }
}

/// Writes `text` and a newline to file `fd`; what cannot be written is dropped.
pub fn line(fd: usize, text: fmt::Arguments) {
    let mut line = Line { bytes: [0; 240], len: 0 };
    // Writing to a Line never fails.
    let _ = writeln!(line, "{text}");
    line.bytes[line.len - 1] = b'\n'; // also where the text was cut off
    let mut rest = &line.bytes[..line.len];
    while !rest.is_empty() {
        match syscall::write(fd, rest) {
            Ok(n) if n > 0 => rest = &rest[n..],
            _ => return,
        }
    }
}

/// A line on standard output.
#[macro_export]
macro_rules! println {
    ($($text:tt)*) => { $crate::print::line(1, format_args!($($text)*)) };
}

/// A line on standard error.
#[macro_export]
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::print::line(2, format_args!($($text)*)) };
}

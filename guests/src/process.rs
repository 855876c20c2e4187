//! Processes: fork a child that runs a closure, and say how it must end.

use crate::{fail, syscall, thread};
use core::fmt::{self, Arguments};

/// A child that has not been waited for.
#[must_use]
pub struct Child(usize);

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It exited with this status.
    Exit(i32),
    /// This signal killed it.
    Signal(i32),
}

#[allow(missing_docs)]
impl End {
    pub const ILL: End = End::Signal(4);
    pub const TRAP: End = End::Signal(5);
    pub const BUS: End = End::Signal(7);
    pub const KILL: End = End::Signal(9);
    pub const SEGV: End = End::Signal(11);

    /// From the status that wait4 gives; bit 7 tells of a core file, which is of no interest.
    pub fn of(status: i32) -> End {
        match status & 0x7f {
            0 => End::Exit(status >> 8 & 0xff),
            signal => End::Signal(signal),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            End::Exit(status) => write!(f, "exit status {status}"),
            End::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// Forks a child that runs `body` and exits with what it returns.
pub fn child(body: impl FnOnce() -> i32) -> Child {
    match syscall::fork() {
        Ok(0) => syscall::exit_group(body()),
        Ok(pid) => Child(pid),
        Err(error) => fail!("fork: {error}"),
    }
}

/// Starts a child that shares this process's memory and runs `body` while this process waits.
pub fn vfork(body: impl Fn() -> i32) -> Child {
    match thread::vfork(|_| syscall::exit_group(body())) {
        Ok(pid) => Child(pid),
        Err(error) => fail!("vfork: {error}"),
    }
}

impl Child {
    /// Its number.
    pub fn number(&self) -> usize {
        self.0
    }

    /// Waits for its end.
    pub fn wait(self) -> End {
        match syscall::wait4(self.0 as isize) {
            Ok((pid, status)) if pid == self.0 => End::of(status),
            Ok((pid, _)) => fail!("wait4 for {}: expected it, seen {pid}", self.0),
            Err(error) => fail!("wait4 for {}: {error}", self.0),
        }
    }

    /// Waits, and fails unless it ended so. A child that exits 1 has said itself what was wrong.
    pub fn expect(self, expected: End, what: Arguments) {
        let seen = self.wait();
        if seen == End::Exit(1) && expected != seen {
            syscall::exit_group(1);
        }
        if expected != seen {
            fail!("{what}: expected {expected}, seen {seen}");
        }
    }
}

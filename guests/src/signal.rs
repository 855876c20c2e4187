//! Signals: actions, masks, alternate stacks, and what a handler is given.

use crate::syscall::{Errno, nr, raw, result};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[allow(missing_docs)]
pub mod number {
    pub const ILL: usize = 4;
    pub const TRAP: usize = 5;
    pub const BUS: usize = 7;
    pub const USR1: usize = 10;
    pub const SEGV: usize = 11;
    pub const USR2: usize = 12;
    pub const TERM: usize = 15;
}

/// SA_SIGINFO: the handler gets three arguments.
pub const SIGINFO: usize = 4;
/// SA_ONSTACK: the handler runs on the alternate stack.
pub const ONSTACK: usize = 0x0800_0000;
/// SA_NODEFER: the signal is not held back in its handler.
pub const NODEFER: usize = 0x4000_0000;

/// The action that a signal starts with, and the one that ignores it.
pub const DEFAULT: usize = 0;
/// See [`DEFAULT`].
pub const IGNORE: usize = 1;

/// What a handler is: the number, `siginfo_t` and `ucontext_t`.
pub type Handler = extern "C" fn(usize, &Info, &mut Context);

/// `struct sigaction` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Action {
    /// The handler's address, [`DEFAULT`] or [`IGNORE`].
    pub handler: usize,
    /// SA_ flags.
    pub flags: usize,
    /// What is held back besides while the handler runs: bit n - 1 for signal n.
    pub mask: u64,
}

impl Action {
    /// A handler with flags.
    pub fn handler(handler: Handler, flags: usize) -> Action {
        Action { handler: handler as usize, flags: flags | SIGINFO, mask: 0 }
    }
}

/// The first fields of `siginfo_t`.
#[repr(C)]
pub struct Info {
    /// The signal.
    pub signal: i32,
    _errno: i32,
    /// Why it was sent.
    pub code: i32,
    _padding: i32,
    /// Where the fault was.
    pub address: usize,
}

/// `ucontext_t`: what the handler returns to, which it may change.
#[repr(C)]
pub struct Context {
    _flags: u64,
    _link: u64,
    _stack: [u64; 3],
    /// The mask to go back to.
    pub mask: u64,
    _room: [u64; 15],
    _align: u64,
    /// The program counter, then x1 to x31.
    pub registers: [usize; 32],
}

/// Sets a signal's action; what it was.
pub fn set(signal: usize, action: Action) -> Action {
    let mut before = Action::default();
    let args = [signal, &raw const action as usize, &raw mut before as usize, 8, 0, 0];
    // SAFETY: the call reads one action and writes the other; handlers answer for themselves.
    let done = result(unsafe { raw(nr::RT_SIGACTION, args) });
    crate::expect!(Ok(0), done, "rt_sigaction of signal {signal}");
    before
}

/// A signal's action.
pub fn action(signal: usize) -> Action {
    let mut action = Action::default();
    // SAFETY: the call writes the action.
    let done =
        result(unsafe { raw(nr::RT_SIGACTION, [signal, 0, &raw mut action as usize, 8, 0, 0]) });
    crate::expect!(Ok(0), done, "rt_sigaction of signal {signal}");
    action
}

/// Makes the mask another; what it was.
pub fn set_mask(mask: u64) -> u64 {
    const SETMASK: usize = 2;
    let (new, before) = (AtomicU64::new(mask), AtomicU64::new(0));
    let args = [SETMASK, new.as_ptr() as usize, before.as_ptr() as usize, 8, 0, 0];
    // SAFETY: the call reads one word and writes the other.
    let done = result(unsafe { raw(nr::RT_SIGPROCMASK, args) });
    crate::expect!(Ok(0), done, "rt_sigprocmask");
    before.load(Relaxed)
}

/// The signals that are there and held back.
pub fn pending() -> u64 {
    let set = AtomicU64::new(0);
    // SAFETY: the call writes the word.
    let done = result(unsafe { raw(nr::RT_SIGPENDING, [set.as_ptr() as usize, 8, 0, 0, 0, 0]) });
    crate::expect!(Ok(0), done, "rt_sigpending");
    set.load(Relaxed)
}

/// Sends a signal to this thread.
pub fn raise(signal: usize) {
    let args = [crate::syscall::getpid(), crate::syscall::gettid(), signal, 0, 0, 0];
    // SAFETY: what the signal's handler does, it answers for.
    let done = result(unsafe { raw(nr::TGKILL, args) });
    crate::expect!(Ok(0), done, "tgkill with signal {signal}");
}

/// There is no alternate stack (SS_DISABLE).
pub const NO_STACK: usize = 2;
/// The alternate stack is off while a handler runs on it (SS_AUTODISARM).
pub const AUTODISARM: usize = 1 << 31;

/// Gives this thread an alternate stack (base, flags, size); what was there.
pub fn alternate_stack(new: [usize; 3]) -> Result<[usize; 3], Errno> {
    let mut before = [0; 3];
    let args = [new.as_ptr() as usize, before.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the call reads one array and writes the other; the stack is the caller's memory.
    result(unsafe { raw(nr::SIGALTSTACK, args) })?;
    Ok(before)
}

/// The bit of a signal in a mask.
pub fn bit(signal: usize) -> u64 {
    1 << (signal - 1)
}

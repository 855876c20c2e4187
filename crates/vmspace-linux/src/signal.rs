//! Signals: who gets one, and what it does when nobody handles it.
//!
//! Guarantee: a signal that is sent is discarded if it is ignored, else pending for a thread or a
//! process until a thread whose mask lets it through takes it, on its way back to its program. One
//! signal of each number is pending at most. SIGKILL and SIGSTOP cannot be ignored, held back or
//! handled. A fault's signal that is held back or ignored kills.
//!
//! Here is what signals, masks and actions are. Sending ([`send`]) and taking ([`attend`]) happen
//! under the kernel's lock, except for writing a handler's frame, which is `deliver.rs`.

mod attend;
mod send;
mod stop;

pub(crate) use attend::Attend;

use crate::task::Id;

/// A signal's number, 1 to 64.
pub(crate) type Signal = u8;

pub(crate) const SIGILL: Signal = 4;
pub(crate) const SIGTRAP: Signal = 5;
pub(crate) const SIGBUS: Signal = 7;
pub(crate) const SIGKILL: Signal = 9;
pub(crate) const SIGSEGV: Signal = 11;
pub(crate) const SIGPIPE: Signal = 13;
pub(crate) const SIGCHLD: Signal = 17;
pub(crate) const SIGCONT: Signal = 18;
pub(crate) const SIGSTOP: Signal = 19;

/// What happens by default.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Default {
    Kill,
    Ignore,
    Stop,
    Continue,
}

fn default_of(signal: Signal) -> Default {
    match signal {
        SIGCHLD | 23 | 28 => Default::Ignore,
        SIGCONT => Default::Continue,
        SIGSTOP | 20 | 21 | 22 => Default::Stop,
        _ => Default::Kill,
    }
}

/// A set of signals, as the calls pass it: bit n − 1 for signal n.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct SignalSet(pub u64);

impl SignalSet {
    /// SIGKILL and SIGSTOP, which no mask holds back.
    const NEVER_BLOCKED: SignalSet = SignalSet(1 << (SIGKILL - 1) | 1 << (SIGSTOP - 1));

    /// SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV and SIGSYS.
    pub const FAULTS: SignalSet = SignalSet(1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 30);

    pub fn contains(self, signal: Signal) -> bool {
        self.0 >> (signal - 1) & 1 == 1
    }

    pub fn insert(&mut self, signal: Signal) {
        self.0 |= 1 << (signal - 1);
    }

    pub fn remove(&mut self, signal: Signal) {
        self.0 &= !(1 << (signal - 1));
    }

    pub fn union(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 | other.0)
    }

    pub fn intersection(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 & other.0)
    }

    pub fn without(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 & !other.0)
    }

    /// The set as a mask: without what cannot be held back.
    pub fn as_mask(self) -> SignalSet {
        self.without(Self::NEVER_BLOCKED)
    }

    pub fn first(self) -> Option<Signal> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as Signal + 1)
    }
}

/// What a signal's receiver is told (`siginfo_t`).
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Info {
    pub signal: Signal,
    pub code: i32,
    /// The sender, or the child.
    pub process: Id,
    /// The child's exit code or signal.
    pub status: i32,
    /// Where the fault was.
    pub address: u64,
}

impl Info {
    /// SI_USER, or SI_TKILL for one thread.
    pub fn user(signal: Signal, sender: Id, one_thread: bool) -> Info {
        let code = if one_thread { -6 } else { 0 };
        Info { signal, code, process: sender, ..Info::default() }
    }

    /// From the kernel itself, for a frame that cannot be: SI_KERNEL.
    pub fn bad_frame() -> Info {
        Info { signal: SIGSEGV, code: 0x80, ..Info::default() }
    }

    /// From the machine itself, about an address.
    pub fn fault(signal: Signal, code: i32, address: u64) -> Info {
        Info { signal, code, address, ..Info::default() }
    }
}

/// `struct sigaction`, as RISC-V's kernel has it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Action {
    pub handler: u64,
    pub flags: u64,
    pub mask: SignalSet,
}

const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;
const SA_NOCLDWAIT: u64 = 2;
const SA_RESTART: u64 = 0x1000_0000;
const SA_NODEFER: u64 = 0x4000_0000;
const SA_RESETHAND: u64 = 0x8000_0000;

impl Action {
    pub fn is_handler(&self) -> bool {
        self.handler > SIG_IGN
    }

    /// What is left of it in a new program: a signal that is ignored stays so.
    pub fn reset(&mut self) {
        let handler = if self.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
        *self = Action { handler, ..Action::default() };
    }

    /// Whether a call that the signal interrupts is made again.
    pub fn restarts(&self) -> bool {
        !self.is_handler() || self.flags & SA_RESTART != 0
    }

    pub fn ignores(&self, signal: Signal) -> bool {
        self.handler == SIG_IGN || self.handler == SIG_DFL && default_of(signal) == Default::Ignore
    }

    /// Whether children leave no zombies.
    pub fn reaps(&self) -> bool {
        self.handler == SIG_IGN || self.flags & SA_NOCLDWAIT != 0
    }
}

/// What a parent is told about a child, but for the particulars.
pub(crate) const CHILD: Info = Info { signal: SIGCHLD, code: 0, process: 0, status: 0, address: 0 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Pending;

    #[test]
    fn masks_hold_back_neither_kill_nor_stop() {
        let mask = SignalSet(u64::MAX).as_mask();
        assert!(!mask.contains(SIGKILL) && !mask.contains(SIGSTOP) && mask.contains(SIGSEGV));
        assert_eq!(SignalSet(u64::MAX).without(mask).first(), Some(SIGKILL));
        assert_eq!(SignalSet(0).first(), None);
    }

    #[test]
    fn a_fault_is_taken_before_a_lower_signal_that_would_hide_its_registers() {
        let mut pending = Pending::default();
        for signal in [1, SIGSEGV, 12, SIGILL] {
            pending.add(Info { signal, ..Info::default() });
        }
        let taken = |p: &mut Pending| p.take(SignalSet(0)).map(|info| info.signal);
        assert_eq!(
            [(); 5].map(|()| taken(&mut pending)),
            [4, 11, 1, 12, 0].map(|n| (n != 0).then_some(n))
        );
    }

    #[test]
    fn defaults_are_linuxs() {
        let default = Action::default();
        assert!(default.ignores(SIGCHLD) && !default.ignores(SIGSEGV) && !default.ignores(SIGCONT));
        assert!(Action { handler: SIG_IGN, ..default }.ignores(SIGSEGV));
        assert!(default.restarts() && !Action { handler: 0x1000, ..default }.restarts());
    }
}

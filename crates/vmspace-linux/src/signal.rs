//! Signals: who gets one, and what it does when nobody handles it.
//!
//! Guarantee: a signal that is sent is discarded if it is ignored, else pending for a thread or a
//! process until a thread whose mask lets it through takes it, on its way back to its program. One
//! signal of each number is pending at most. SIGKILL and SIGSTOP cannot be ignored, held back or
//! handled. A fault's signal that is held back or ignored kills.
//!
//! Sending happens under the kernel's lock ([`Kernel::send`]); taking too ([`Kernel::attend`]),
//! except for writing a handler's frame, which is `deliver.rs`.

use std::sync::atomic::Ordering;

use vmspace::format::Format;

use crate::kernel::{Kernel, State};
use crate::task::{Id, Process, Status, Task, Thread, Wait, Wake};

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

/// What a thread does before it goes on.
pub(crate) enum Attend {
    Go,
    /// It ends; its process is ending.
    End,
    /// It waits (for SIGCONT, or to be alone).
    Park,
    /// It goes on as another program.
    Replace,
    /// It runs a handler.
    Handle {
        info: Info,
        action: Action,
        mask: SignalSet,
    },
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// Sends a signal to a process, or to one thread of it.
    pub fn send(&self, state: &mut State<'vm, F>, process: Id, thread: Option<Id>, info: Info) {
        let signal = info.signal;
        let Some(target) = state.processes.get_mut(&process) else { return };
        if target.zombie.is_some() || target.dying.is_some() {
            return;
        }
        match signal {
            SIGKILL => return self.kill(state, process, Status::Killed(SIGKILL)),
            SIGCONT => self.resume(state, process),
            _ => {}
        }
        let Some(target) = state.processes.get_mut(&process) else { return };
        let threads = &state.threads;
        let lets_through = |id: &Id| {
            threads.get(id).is_some_and(|t| {
                !t.blocked.contains(signal)
                    || matches!(t.wait, Some(Wait::SignalOf(set)) if set.contains(signal))
            })
        };
        let receiver = match thread {
            Some(id) => Some(id).filter(lets_through),
            None => target.threads.iter().copied().find(lets_through),
        };
        let ignored = target.actions[usize::from(signal)].ignores(signal);
        if ignored && receiver.is_some() && !self.awaited(state, receiver, signal) {
            return;
        }
        let Some(target) = state.processes.get_mut(&process) else { return };
        match thread.and_then(|id| state.threads.get_mut(&id)) {
            Some(thread) => thread.pending.add(info),
            None => target.pending.add(info),
        }
        if let Some(id) = receiver {
            self.notify(state, id);
        }
    }

    /// Whether the thread waits for just this signal.
    fn awaited(&self, state: &State<'vm, F>, thread: Option<Id>, signal: Signal) -> bool {
        let wait = thread.and_then(|id| state.threads.get(&id)).and_then(|t| t.wait);
        matches!(wait, Some(Wait::SignalOf(set)) if set.contains(signal))
    }

    /// Makes a thread look at what is there for it.
    pub fn notify(&self, state: &mut State<'vm, F>, id: Id) {
        let Some(thread) = state.threads.get(&id) else { return };
        thread.attention.store(true, Ordering::Release);
        if matches!(thread.wait, Some(Wait::SignalOf(_))) {
            return self.wake(state, id, Wake::Again);
        }
        if thread.parked.is_some() {
            self.interrupt(state, id);
        }
    }

    /// Forces a fault's signal on the thread that caused it.
    pub fn force(&self, task: &Task<'vm, F>, info: Info) {
        let mut state = self.lock();
        let Some(process) = state.processes.get_mut(&task.process) else { return };
        let action = process.actions[usize::from(info.signal)];
        let blocked = state.threads.get(&task.id).is_some_and(|t| t.blocked.contains(info.signal));
        if blocked || !action.is_handler() {
            return self.kill(&mut state, task.process, Status::Killed(info.signal));
        }
        if let Some(thread) = state.threads.get_mut(&task.id) {
            thread.pending.add(info);
            thread.attention.store(true, Ordering::Release);
        }
    }

    /// The handler's frame could not be written: its mask does not come into force, and the thread
    /// gets SIGSEGV, or dies of it when that was the signal.
    pub fn no_frame(&self, task: &Task<'vm, F>, info: &Info, mask: SignalSet) {
        let mut state = self.lock();
        if let Some(thread) = state.threads.get_mut(&task.id) {
            thread.blocked = mask;
        }
        if info.signal == SIGSEGV {
            return self.kill(&mut state, task.process, Status::Killed(SIGSEGV));
        }
        drop(state);
        self.force(task, Info::bad_frame());
    }

    /// Lets a stopped process go on.
    fn resume(&self, state: &mut State<'vm, F>, id: Id) {
        let Some(process) = state.processes.get_mut(&id) else { return };
        for signal in [SIGSTOP, 20, 21, 22] {
            process.pending.discard(signal);
        }
        if !std::mem::take(&mut process.stopped) {
            return;
        }
        process.news = Some(Status::Continued);
        let (parent, threads) = (process.parent, process.threads.clone());
        for thread in threads {
            if state.threads.get(&thread).is_some_and(|t| t.wait == Some(Wait::Stopped)) {
                self.wake(state, thread, Wake::Again);
            }
        }
        self.tell_parent(state, parent, Info { code: 6, process: id, ..CHILD });
    }

    /// Stops a process: each thread waits on its way back to its program.
    fn stop(&self, state: &mut State<'vm, F>, id: Id, signal: Signal) {
        let Some(process) = state.processes.get_mut(&id) else { return };
        process.stopped = true;
        process.news = Some(Status::Stopped(signal));
        let parent = process.parent;
        for thread in &process.threads {
            if let Some(thread) = state.threads.get(thread) {
                thread.attention.store(true, Ordering::Release);
            }
        }
        let status = i32::from(signal);
        self.tell_parent(state, parent, Info { code: 5, process: id, status, ..CHILD });
    }

    /// SIGCHLD, and an end to the parent's waiting.
    pub fn tell_parent(&self, state: &mut State<'vm, F>, parent: Id, info: Info) {
        if info.signal != 0 {
            self.send(state, parent, None, info);
        }
        let Some(process) = state.processes.get(&parent) else { return };
        for thread in process.threads.clone() {
            if state.threads.get(&thread).is_some_and(|t| t.wait == Some(Wait::Child)) {
                self.wake(state, thread, Wake::Again);
            }
        }
    }

    /// What the thread has to do before it goes on.
    pub fn attend(&self, task: &mut Task<'vm, F>) -> Attend {
        let mut state = self.lock();
        task.attention.store(false, Ordering::Release);
        loop {
            let State { threads, processes, .. } = &mut *state;
            let (Some(thread), Some(process)) =
                (threads.get_mut(&task.id), processes.get_mut(&task.process))
            else {
                return Attend::End;
            };
            if process.dying.is_some() || process.successor.is_some_and(|id| id != task.id) {
                return Attend::End;
            }
            if process.successor.is_some() {
                if process.threads.len() == 1 {
                    return Attend::Replace;
                }
                self.sleep(&mut state, task.id, Wait::Alone, None);
                return Attend::Park;
            }
            if process.stopped {
                self.sleep(&mut state, task.id, Wait::Stopped, None);
                return Attend::Park;
            }
            let Some(info) = take(thread, process) else {
                if let Some(mask) = task.saved_mask.take() {
                    thread.blocked = mask;
                    task.attention.store(true, Ordering::Release);
                }
                return Attend::Go;
            };
            let action = process.actions[usize::from(info.signal)];
            if action.is_handler() {
                return handle(task, thread, process, info, action);
            }
            match default_of(info.signal) {
                _ if action.ignores(info.signal) => {}
                Default::Stop => self.stop(&mut state, task.process, info.signal),
                Default::Kill => {
                    self.kill(&mut state, task.process, Status::Killed(info.signal));
                }
                Default::Ignore | Default::Continue => {}
            }
        }
    }
}

/// What a parent is told about a child, but for the particulars.
pub(crate) const CHILD: Info = Info { signal: SIGCHLD, code: 0, process: 0, status: 0, address: 0 };

/// The next signal for the thread: its own, then its process's.
fn take<F: Format>(thread: &mut Thread<'_, F>, process: &mut Process) -> Option<Info> {
    thread.pending.take(thread.blocked).or_else(|| process.pending.take(thread.blocked))
}

/// Sets mask and action as a handler's start does.
fn handle<'vm, F: Format>(
    task: &mut Task<'vm, F>,
    thread: &mut Thread<'vm, F>,
    process: &mut Process,
    info: Info,
    action: Action,
) -> Attend {
    let mask = task.saved_mask.take().unwrap_or(thread.blocked);
    thread.blocked = thread.blocked.union(action.mask);
    if action.flags & SA_NODEFER == 0 {
        thread.blocked.insert(info.signal);
    }
    thread.blocked = thread.blocked.as_mask();
    if action.flags & SA_RESETHAND != 0 {
        process.actions[usize::from(info.signal)] = Action::default();
    }
    // More may be pending that the handler's mask lets through.
    task.attention.store(true, Ordering::Release);
    Attend::Handle { info, action, mask }
}

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

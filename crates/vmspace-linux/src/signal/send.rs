//! Sending: which thread or process a signal is pending for, and who looks at once.

use std::sync::atomic::Ordering;

use vmspace::format::Format;

use super::{Info, SIGCONT, SIGKILL, SIGSEGV, Signal, SignalSet};
use crate::kernel::{Kernel, State};
use crate::task::{Id, Status, Task, Wait, Wake};

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
}

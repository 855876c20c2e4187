//! Taking signals: what a thread has to do before it goes on.

use std::sync::atomic::Ordering;

use vmspace::format::Format;

use super::{Action, Default, Info, SA_NODEFER, SA_RESETHAND, SignalSet, default_of};
use crate::kernel::{Kernel, State};
use crate::task::{Process, Status, Task, Thread, Wait};

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

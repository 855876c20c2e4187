//! Stopping and going on, and what a parent hears of it.

use std::sync::atomic::Ordering;

use vmspace::format::Format;

use super::{CHILD, Info, SIGSTOP, Signal};
use crate::kernel::{Kernel, State};
use crate::task::{Id, Status, Wait, Wake};

impl<'vm, F: Format> Kernel<'vm, F> {
    /// Lets a stopped process go on.
    pub(super) fn resume(&self, state: &mut State<'vm, F>, id: Id) {
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
    pub(super) fn stop(&self, state: &mut State<'vm, F>, id: Id, signal: Signal) {
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
}

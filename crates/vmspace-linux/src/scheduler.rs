//! Who waits, and how waits end.
//!
//! Guarantee: a thread that waits holds no hart. A wait has two steps: the call says under the lock
//! what it waits for ([`Kernel::sleep`]); the hart then gives the task away ([`Kernel::park`]). A
//! wake-up between the two is kept and found by the second, so none is lost. A woken call either
//! returns what the waker said or is made again from the start, keeping its [`Restart`].
//!
//! Time-outs are in one ordered set; a hart with nothing to run sleeps until the first of them,
//! and a busy one looks whenever a quota of instructions is over.

use std::sync::atomic::Ordering;
use std::time::Duration;

use vmspace::format::Format;

use crate::Errno;
use crate::kernel::{Kernel, State};
use crate::signal::Signal;
use crate::task::{Id, Restart, Task, Wait, Wake};

impl<'vm, F: Format> Task<'vm, F> {
    /// Ends the system call that the thread is in.
    pub fn finish(&mut self, wake: Wake) {
        if let Wake::Return(value) = wake {
            let interrupted = value == -i64::from(Errno::EINTR.into_raw());
            self.registers.x[10] = match (interrupted, self.restart.progress) {
                // What has been moved already is told before an error.
                (true, moved @ 1..) => moved,
                _ => value.cast_unsigned(),
            };
            self.registers.pc = self.registers.pc.wrapping_add(4);
            self.restart = match interrupted && self.restart.remaining != 0 {
                true => Restart { interrupted, ..self.restart },
                false => Restart::default(),
            };
        }
    }
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// The thread waits from now on; at the timer's time the wait ends by itself.
    pub fn sleep(
        &self,
        state: &mut State<'vm, F>,
        id: Id,
        wait: Wait,
        timer: Option<(Duration, Wake)>,
    ) {
        let Some(thread) = state.threads.get_mut(&id) else { return };
        thread.wait = Some(wait);
        thread.timer = timer;
        if let Some((deadline, _)) = timer {
            state.timers.insert((deadline, id));
        }
        if let Wait::Futex { key, .. } = wait {
            state.futexes.entry(key).or_default().push_back(id);
        }
        if matches!(wait, Wait::Host { .. } | Wait::Poll(_)) {
            self.wake_poller();
        }
    }

    /// Puts a task behind those that are ready by now; gives it back when there are none.
    pub fn give_way(&self, task: Box<Task<'vm, F>>) -> Option<Box<Task<'vm, F>>> {
        let mut state = self.lock();
        self.expire(&mut state);
        if state.ready.is_empty() && state.ended.is_none() {
            return Some(task);
        }
        self.enqueue(&mut state, task);
        None
    }

    /// Gives away a task that waits; gives it back when its wait has ended meanwhile.
    pub fn park(&self, mut task: Box<Task<'vm, F>>) -> Option<Box<Task<'vm, F>>> {
        let mut state = self.lock();
        let thread = state.threads.get_mut(&task.id)?;
        if thread.wait.is_none() {
            if let Some(wake) = thread.woken.take() {
                task.finish(wake);
            }
            return Some(task);
        }
        thread.parked = Some(task);
        // A signal that came before the wait was known would be missed.
        if thread.attention.load(Ordering::Acquire) {
            let id = thread.parked.as_ref().map_or(0, |task| task.id);
            self.interrupt(&mut state, id);
        }
        None
    }

    /// Ends a thread's wait, if it waits.
    pub fn wake(&self, state: &mut State<'vm, F>, id: Id, wake: Wake) {
        let Some(thread) = state.threads.get_mut(&id) else { return };
        let Some(wait) = thread.wait.take() else { return };
        if let Some((deadline, _)) = thread.timer.take() {
            state.timers.remove(&(deadline, id));
        }
        let parked = match thread.parked.take() {
            Some(mut task) => {
                task.finish(wake);
                Some(task)
            }
            None => {
                thread.woken = Some(wake);
                None
            }
        };
        if let Wait::Futex { key, .. } = wait
            && let Some(queue) = state.futexes.get_mut(&key)
        {
            queue.retain(|waiter| *waiter != id);
            if queue.is_empty() {
                state.futexes.remove(&key);
            }
        }
        if let Some(task) = parked {
            self.enqueue(state, task);
        }
    }

    /// Makes everybody look again whose wait `matches`.
    pub fn wake_where(&self, state: &mut State<'vm, F>, matches: impl Fn(&Wait) -> bool) {
        let waiting: Vec<Id> = state
            .threads
            .iter()
            .filter(|(_, thread)| thread.wait.as_ref().is_some_and(&matches))
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.wake(state, id, Wake::Again);
        }
    }

    /// Ends the waits whose time has come.
    pub fn expire(&self, state: &mut State<'vm, F>) {
        if state.timers.is_empty() {
            return;
        }
        let now = self.clock().now();
        while let Some(&(deadline, id)) = state.timers.first()
            && deadline <= now
        {
            state.timers.pop_first();
            let timer = state.threads.get(&id).and_then(|thread| thread.timer);
            self.wake(state, id, timer.map_or(Wake::Again, |(_, wake)| wake));
        }
    }

    /// Whether a signal or the end is there for a thread, in the middle of a call that takes long.
    pub fn is_interrupted(&self, task: &Task<'vm, F>) -> bool {
        if self.is_over() || !task.attention.load(Ordering::Acquire) {
            return self.is_over();
        }
        let state = self.lock();
        let thread = state.threads.get(&task.id);
        let Some((thread, process)) = thread.zip(state.processes.get(&task.process)) else {
            return true;
        };
        let pending = thread.pending.set.union(process.pending.set).without(thread.blocked);
        let ends = process.dying.is_some() || process.successor.is_some_and(|one| one != task.id);
        ends || pending.first().is_some()
    }

    /// Ends a wait if a signal is there: the call fails with EINTR, or is made again when the
    /// signal's handler asks for that, or when the thread is only to end.
    pub fn interrupt(&self, state: &mut State<'vm, F>, id: Id) {
        let Some(thread) = state.threads.get(&id) else { return };
        let Some(wait) = thread.wait else { return };
        let Some(process) = state.processes.get(&thread.process) else { return };
        let pending = thread.pending.set.union(process.pending.set).without(thread.blocked);
        let first: Option<Signal> = pending.first();
        let again = first.is_none_or(|signal| process.actions[usize::from(signal)].restarts());
        let ends = process.dying.is_some() || process.successor.is_some_and(|one| one != id);
        let restartable =
            matches!(wait, Wait::Child | Wait::Pipe(_) | Wait::Host { .. } | Wait::Lock { .. })
                || matches!(wait, Wait::Futex { .. }) && thread.timer.is_none();
        let wake = match wait {
            // Nobody but who ends the thread ends these.
            Wait::Vfork(_) | Wait::Stopped | Wait::Alone if !ends => return,
            _ if ends => Wake::Again,
            _ if first.is_none() => return,
            _ if restartable && again => Wake::Again,
            _ => Wake::Return(-i64::from(Errno::EINTR.into_raw())),
        };
        self.wake(state, id, wake);
    }
}

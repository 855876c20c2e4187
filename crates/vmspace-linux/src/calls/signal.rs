//! Calls about signals.

use std::sync::atomic::Ordering;

use vmspace::format::Format;

use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::signal::{Action, Info, SIGKILL, SIGSTOP, Signal, SignalSet};
use crate::task::{AlternateStack, INIT, Id, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, Wait, Wake};

/// Bytes of a signal set.
const SET_SIZE: u64 = 8;

/// A signal's number from an argument; 0 is none.
fn signal(argument: u64) -> Result<Option<Signal>, Errno> {
    match argument as i32 {
        0 => Ok(None),
        number @ 1..=64 => Ok(Some(number as Signal)),
        _ => Err(Errno::EINVAL),
    }
}

impl<F: Format> Call<'_, '_, F> {
    pub(super) fn rt_sigaction(&mut self) -> Outcome {
        let [number, new, old, size, ..] = self.args;
        let number = signal(number)?.ok_or(Errno::EINVAL)?;
        if size != SET_SIZE {
            return Err(Errno::EINVAL.into());
        }
        let new = match new {
            0 => None,
            _ => Some(self.get_words::<3>(new)?),
        };
        if new.is_some() && (number == SIGKILL || number == SIGSTOP) {
            return Err(Errno::EINVAL.into());
        }
        let before = {
            let mut state = self.kernel.lock();
            let process = state.processes.get_mut(&self.task.process).ok_or(Errno::ESRCH)?;
            let action = &mut process.actions[usize::from(number)];
            let before = *action;
            if let Some([handler, flags, mask]) = new {
                *action = Action { handler, flags, mask: SignalSet(mask).as_mask() };
                if action.ignores(number) {
                    process.pending.discard(number);
                    let threads = process.threads.clone();
                    for id in threads {
                        if let Some(thread) = state.threads.get_mut(&id) {
                            thread.pending.discard(number);
                        }
                    }
                }
            }
            before
        };
        if old != 0 {
            self.put_words(old, &[before.handler, before.flags, before.mask.0])?;
        }
        Ok(0)
    }

    /// Changes the caller's mask and returns what it was.
    fn set_mask(&mut self, change: impl Fn(SignalSet) -> SignalSet) -> SignalSet {
        let mut state = self.kernel.lock();
        let Some(thread) = state.threads.get_mut(&self.task.id) else { return SignalSet(0) };
        let before = thread.blocked;
        thread.blocked = change(before).as_mask();
        self.task.attention.store(true, Ordering::Release);
        before
    }

    pub(super) fn rt_sigprocmask(&mut self) -> Outcome {
        let [how, new, old, size, ..] = self.args;
        if size != SET_SIZE {
            return Err(Errno::EINVAL.into());
        }
        let before = match new {
            0 => {
                let state = self.kernel.lock();
                state.threads.get(&self.task.id).map(|t| t.blocked).unwrap_or_default()
            }
            _ => {
                let [set] = self.get_words(new)?;
                let set = SignalSet(set);
                match how as u32 {
                    0 => self.set_mask(|mask| mask.union(set)),
                    1 => self.set_mask(|mask| mask.without(set)),
                    2 => self.set_mask(|_| set),
                    _ => return Err(Errno::EINVAL.into()),
                }
            }
        };
        if old != 0 {
            self.put_words(old, &[before.0])?;
        }
        Ok(0)
    }

    pub(super) fn rt_sigpending(&mut self) -> Outcome {
        let set = {
            let state = self.kernel.lock();
            let process = state.processes.get(&self.task.process).ok_or(Errno::ESRCH)?;
            let thread = state.threads.get(&self.task.id).ok_or(Errno::ESRCH)?;
            SignalSet(process.pending.set.union(thread.pending.set).0 & thread.blocked.0)
        };
        if self.args[1] > SET_SIZE {
            return Err(Errno::EINVAL.into());
        }
        self.put_words(self.args[0], &[set.0])?;
        Ok(0)
    }

    pub(super) fn rt_sigsuspend(&mut self) -> Outcome {
        let [mask, size, ..] = self.args;
        if mask == 0 {
            return Err(Errno::EFAULT.into());
        }
        self.with_mask(mask, size, |call| {
            call.kernel.sleep(&mut call.kernel.lock(), call.task.id, Wait::Signal, None);
            Err(Stop::Parked)
        })
    }

    /// Waits with the mask at an address (0: with the caller's), which is in force until the call
    /// ends, or until the handlers have run that end it.
    pub(super) fn with_mask<T>(
        &mut self,
        mask: u64,
        size: u64,
        wait: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        if mask != 0 {
            if size != SET_SIZE {
                return Err(Errno::EINVAL.into());
            }
            let [set] = self.get_words(mask)?;
            let before = self.set_mask(|_| SignalSet(set));
            // Made again after a signal without a handler: the mask to go back to is the first one.
            self.task.saved_mask.get_or_insert(before);
        }
        let result = wait(self);
        if !matches!(result, Err(Stop::Parked))
            && let Some(before) = self.task.saved_mask.take()
        {
            self.set_mask(|_| before);
        }
        result
    }

    pub(super) fn rt_sigtimedwait(&mut self) -> Outcome {
        let [set, info, timeout, size, ..] = self.args;
        if size != SET_SIZE {
            return Err(Errno::EINVAL.into());
        }
        let [set] = self.get_words(set)?;
        let set = SignalSet(set).as_mask();
        let deadline = match self.task.restart.deadline {
            Some(deadline) => Some(deadline),
            None => self.deadline(timeout, None)?,
        };
        let taken = {
            let mut state = self.kernel.lock();
            let state = &mut *state;
            let everything_else = SignalSet(!set.0);
            let mine = state.threads.get_mut(&self.task.id);
            let mine = mine.and_then(|thread| thread.pending.take(everything_else));
            let ours = state.processes.get_mut(&self.task.process);
            let taken = mine.or_else(|| ours?.pending.take(everything_else));
            if taken.is_none() {
                if deadline.is_some_and(|deadline| deadline <= self.kernel.clock().now()) {
                    return Err(Errno::EAGAIN.into());
                }
                self.task.restart.deadline = deadline;
                let timer = deadline.map(|deadline| (deadline, Wake::Again));
                self.kernel.sleep(state, self.task.id, Wait::SignalOf(set), timer);
            }
            taken
        };
        let Some(taken) = taken else { return Err(Stop::Parked) };
        if info != 0 {
            self.put(info, &taken.bytes())?;
        }
        Ok(taken.signal.into())
    }

    pub(super) fn rt_sigreturn(&mut self) -> Outcome {
        match self.task.end_handler(self.kernel, self.ms) {
            Ok(mask) => {
                self.set_mask(|_| mask);
            }
            Err(_) => self.kernel.force(self.task, Info::bad_frame()),
        }
        Err(Stop::Resumed)
    }

    pub(super) fn sigaltstack(&mut self) -> Outcome {
        let [new, old, ..] = self.args;
        let now = self.task.alternate;
        let on_it = now.holds(self.task.registers.x[2]);
        if new != 0 {
            let [base, flags, size] = self.get_words(new)?;
            if on_it {
                return Err(Errno::EPERM.into());
            }
            self.task.alternate = AlternateStack::new(base, flags as u32, size)?;
        }
        if old != 0 {
            let mode = match now.size {
                0 => SS_DISABLE,
                _ => u32::from(on_it) * SS_ONSTACK,
            };
            let flags = mode | now.flags & SS_AUTODISARM;
            self.put_words(old, &[now.base, flags.into(), now.size])?;
        }
        Ok(0)
    }

    pub(super) fn kill(&mut self) -> Outcome {
        let target = self.args[0] as Id;
        let signal = signal(self.args[1])?;
        let me = self.task.process;
        let mut state = self.kernel.lock();
        let group = state.processes.get(&me).map_or(0, |process| process.group);
        let targets: Vec<Id> = state
            .processes
            .iter()
            .filter(|(id, process)| match target {
                0 => process.group == group,
                -1 => **id != me,
                ..-1 => process.group == target.wrapping_neg(),
                _ => **id == target,
            })
            .map(|(id, _)| *id)
            .collect();
        if targets.is_empty() {
            let errno = if target == INIT { Errno::EPERM } else { Errno::ESRCH };
            return Err(errno.into());
        }
        for id in signal.iter().flat_map(|_| &targets) {
            let info = Info::user(signal.unwrap_or_default(), me, false);
            self.kernel.send(&mut state, *id, None, info);
        }
        Ok(0)
    }

    pub(super) fn tkill(&mut self, process: Option<u64>, thread: u64, number: u64) -> Outcome {
        let thread = thread as Id;
        if thread <= 0 || process.is_some_and(|process| process as Id <= 0) {
            return Err(Errno::EINVAL.into());
        }
        let signal = signal(number)?;
        let mut state = self.kernel.lock();
        let owner = state.threads.get(&thread).map(|t| t.process).ok_or(Errno::ESRCH)?;
        if process.is_some_and(|process| process as Id != owner) {
            return Err(Errno::ESRCH.into());
        }
        if let Some(signal) = signal {
            let info = Info::user(signal, self.task.process, true);
            self.kernel.send(&mut state, owner, Some(thread), info);
        }
        Ok(0)
    }
}

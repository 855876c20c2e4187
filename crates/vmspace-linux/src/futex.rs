//! Futexes.
//!
//! Guarantee: a wake-up is never missed: the word is compared and the waiter queued under the
//! kernel's lock, and wakers take it too. Its page is brought without the lock. Waiters of one word
//! wake in the order in which they came. A word is named by the library's key, so a word in shared
//! memory is one futex however many spaces map it, and copy-on-write does not change a private word's
//! name.

use std::sync::MutexGuard;
use std::time::Duration;

use vmspace::MaySleep;
use vmspace::format::Format;

use crate::Errno;
use crate::calls::{Call, Outcome, Stop};
use crate::kernel::{Kernel, State};
use crate::task::{Id, Task, Wait, Wake};

const FUTEX_PRIVATE: u64 = 128;
const FUTEX_CLOCK_REALTIME: u64 = 256;
const MATCH_ANY: u32 = u32::MAX;

/// Linux's bound on the walk over a thread's robust futexes.
const MOST_ROBUST: usize = 2048;

const FUTEX_WAITERS: u32 = 0x8000_0000;
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
const FUTEX_ID_MASK: u32 = 0x3fff_ffff;

impl<'k, 'vm, F: Format> Call<'k, 'vm, F> {
    /// `futex(word, operation, value, timeout or count, second word, third value)`
    pub fn futex(&mut self) -> Outcome {
        let [word, operation, value, fourth, second, third] = self.args;
        let value = value as u32;
        let command = operation & !(FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME);
        let limit = value as i32;
        match command {
            0 => {
                let deadline = self.deadline(fourth, None)?;
                self.futex_wait(word, value, deadline, MATCH_ANY)
            }
            9 => {
                let clock = if operation & FUTEX_CLOCK_REALTIME != 0 { 0 } else { 1 };
                let deadline = self.deadline(fourth, Some(clock))?;
                self.futex_wait(word, value, deadline, third as u32)
            }
            1 => self.futex_wake(word, limit, MATCH_ANY),
            10 => self.futex_wake(word, limit, third as u32),
            3 => self.futex_requeue(word, limit, second, fourth as i32, None),
            4 => self.futex_requeue(word, limit, second, fourth as i32, Some(third as u32)),
            5 => self.futex_wake_op(word, limit, second, fourth as i32, third as u32),
            _ => Err(Errno::ENOSYS.into()),
        }
    }

    fn futex_key(&mut self, word: u64) -> Result<(u64, u64), Errno> {
        if !word.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        self.task.space.futex_key(self.ms, word).ok_or(Errno::EFAULT)
    }

    /// Takes the kernel's lock if the word has the value; EAGAIN if it has another. Bringing its page
    /// may take as long as a device does, so that is done without the lock.
    fn lock_if(&mut self, word: u64, value: u32) -> Result<MutexGuard<'k, State<'vm, F>>, Errno> {
        let kernel = self.kernel;
        loop {
            let state = kernel.lock();
            match self.task.space.try_load_u32(self.ms, word) {
                Some(found) if found == value => return Ok(state),
                Some(_) => return Err(Errno::EAGAIN),
                None => drop(state),
            }
            kernel.load_u32(self.ms, self.task, word).ok_or(Errno::EFAULT)?;
        }
    }

    fn futex_wait(
        &mut self,
        word: u64,
        value: u32,
        deadline: Option<Duration>,
        mask: u32,
    ) -> Outcome {
        if mask == 0 {
            return Err(Errno::EINVAL.into());
        }
        let key = self.futex_key(word)?;
        let mut state = self.lock_if(word, value)?;
        let expired = Wake::Return(-i64::from(Errno::ETIMEDOUT.into_raw()));
        let timer = deadline.map(|deadline| (deadline, expired));
        self.kernel.sleep(&mut state, self.task.id, Wait::Futex { key, mask }, timer);
        Err(Stop::Parked)
    }

    fn futex_wake(&mut self, word: u64, limit: i32, mask: u32) -> Outcome {
        if mask == 0 {
            return Err(Errno::EINVAL.into());
        }
        let key = self.futex_key(word)?;
        Ok(self.kernel.wake_key(key, limit, mask))
    }

    fn futex_requeue(
        &mut self,
        word: u64,
        wake: i32,
        second: u64,
        requeue: i32,
        expected: Option<u32>,
    ) -> Outcome {
        if wake < 0 || requeue < 0 {
            return Err(Errno::EINVAL.into());
        }
        let (from, to) = (self.futex_key(word)?, self.futex_key(second)?);
        let mut state = match expected {
            Some(expected) => self.lock_if(word, expected)?,
            None => self.kernel.lock(),
        };
        let queue: Vec<Id> = state.futexes.get(&from).into_iter().flatten().copied().collect();
        let (woken, rest) = queue.split_at(queue.len().min(wake as usize));
        for id in woken {
            self.kernel.wake(&mut state, *id, Wake::Return(0));
        }
        let moved = &rest[..rest.len().min(requeue as usize)];
        let count = (woken.len() + moved.len()) as u64;
        for id in moved.iter().filter(|_| from != to) {
            if let Some(queue) = state.futexes.get_mut(&from) {
                queue.retain(|waiter| waiter != id);
            }
            state.futexes.entry(to).or_default().push_back(*id);
            if let Some(Wait::Futex { key, .. }) =
                state.threads.get_mut(id).and_then(|thread| thread.wait.as_mut())
            {
                *key = to;
            }
        }
        if state.futexes.get(&from).is_some_and(|queue| queue.is_empty()) {
            state.futexes.remove(&from);
        }
        Ok(count)
    }

    /// Changes the second word, wakes on the first, and on the second if its old value says so.
    fn futex_wake_op(
        &mut self,
        word: u64,
        wake: i32,
        second: u64,
        wake_second: i32,
        operation: u32,
    ) -> Outcome {
        let (first_key, second_key) = (self.futex_key(word)?, self.futex_key(second)?);
        let sign_extend = |field: u32| (field << 20).cast_signed() >> 20;
        let mut operand = sign_extend(operation >> 12 & 0xfff);
        let comparand = sign_extend(operation & 0xfff);
        if operation >> 28 & 8 != 0 {
            operand = 1 << (operand & 31);
        }
        let (change, compare) = (operation >> 28 & 7, operation >> 24 & 0xf);
        if change > 4 || compare > 5 {
            return Err(Errno::ENOSYS.into());
        }
        let change = |old: u32| {
            let operand = operand.cast_unsigned();
            match change {
                0 => operand,
                1 => old.wrapping_add(operand),
                2 => old | operand,
                3 => old & !operand,
                _ => old ^ operand,
            }
        };
        let old = self.update(second, change)?.cast_signed();
        let also = match compare {
            0 => old == comparand,
            1 => old != comparand,
            2 => old < comparand,
            3 => old <= comparand,
            4 => old > comparand,
            _ => old >= comparand,
        };
        let mut woken = self.kernel.wake_key(first_key, wake, MATCH_ANY);
        if also {
            woken += self.kernel.wake_key(second_key, wake_second, MATCH_ANY);
        }
        Ok(woken)
    }

    /// Changes a word of the guest atomically, and returns what it was.
    fn update(&mut self, word: u64, change: impl Fn(u32) -> u32) -> Result<u32, Errno> {
        let (kernel, task) = (self.kernel, &*self.task);
        let mut old = kernel.load_u32(self.ms, task, word).ok_or(Errno::EFAULT)?;
        loop {
            match kernel.compare_exchange_u32(self.ms, task, word, (old, change(old))) {
                None => return Err(Errno::EFAULT),
                Some(Ok(old)) => return Ok(old),
                Some(Err(found)) => old = found,
            }
        }
    }
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// Wakes at most `limit` waiters of a word (one at least, as Linux does) whose masks meet.
    fn wake_key(&self, key: (u64, u64), limit: i32, mask: u32) -> u64 {
        let mut state = self.lock();
        let Some(queue) = state.futexes.get(&key) else { return 0 };
        let meets = |id: &&Id| {
            let wait = state.threads.get(id).and_then(|thread| thread.wait);
            matches!(wait, Some(Wait::Futex { mask: theirs, .. }) if theirs & mask != 0)
        };
        let limit = usize::try_from(limit).unwrap_or(0).max(1);
        let woken: Vec<Id> = queue.iter().filter(meets).take(limit).copied().collect();
        for id in &woken {
            self.wake(&mut state, *id, Wake::Return(0));
        }
        woken.len() as u64
    }

    /// Wakes waiters of a word of the task's space, if there is such a word.
    pub fn wake_futex(&self, ms: &mut MaySleep, task: &Task<'vm, F>, word: u64, limit: i32) {
        if word.is_multiple_of(4)
            && let Some(key) = task.space.futex_key(ms, word)
        {
            self.wake_key(key, limit, MATCH_ANY);
        }
    }

    /// Marks the robust futexes that an ending thread holds, and wakes one waiter of each
    /// (`exit_robust_list` of Linux). The list is the guest's, so the walk is bounded.
    pub fn leave_robust_list(&self, ms: &mut MaySleep, task: &mut Task<'vm, F>) {
        let head = std::mem::take(&mut task.robust_list);
        if head == 0 {
            return;
        }
        let mut words = [0; 24];
        if self.load(ms, task, head, &mut words) != words.len() {
            return;
        }
        let word = |n: usize| {
            let bytes = words[8 * n..8 * n + 8].first_chunk();
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let (mut entry, offset, pending) = (word(0), word(1), word(2));
        for _ in 0..MOST_ROBUST {
            if entry & !1 == head {
                break;
            }
            let mut next = [0; 8];
            let read = self.load(ms, task, entry & !1, &mut next);
            if entry != pending {
                self.leave_robust(ms, task, (entry & !1).wrapping_add(offset));
            }
            if read != next.len() {
                break;
            }
            entry = u64::from_le_bytes(next);
        }
        if pending != 0 {
            self.leave_robust(ms, task, (pending & !1).wrapping_add(offset));
        }
    }

    fn leave_robust(&self, ms: &mut MaySleep, task: &Task<'vm, F>, word: u64) {
        if !word.is_multiple_of(4) {
            return;
        }
        while let Some(old) = self.load_u32(ms, task, word) {
            if old & FUTEX_ID_MASK != task.id.cast_unsigned() {
                return;
            }
            let new = old & FUTEX_WAITERS | FUTEX_OWNER_DIED;
            match self.compare_exchange_u32(ms, task, word, (old, new)) {
                None => return,
                Some(Err(_)) => {}
                Some(Ok(_)) => {
                    if old & FUTEX_WAITERS != 0 {
                        self.wake_futex(ms, task, word, 1);
                    }
                    return;
                }
            }
        }
    }
}

//! Futex synchronisation that works between threads and, in shared memory, between processes.

use crate::syscall::{futex_wait, futex_wake};
use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicU32, Ordering::*};

/// A lock around a value, after Drepper's "Futexes are tricky": 0 free, 1 taken, 2 taken and awaited.
pub struct Mutex<T> {
    state: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: `with` gives the value to one thread at a time.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// A free lock.
    pub const fn new(value: T) -> Self {
        Mutex { state: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Runs `body` with the value, alone.
    pub fn with<R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        if self.state.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            while self.state.swap(2, Acquire) != 0 {
                futex_wait(&self.state, 2);
            }
        }
        // SAFETY: the state is ours until the swap below.
        let result = body(unsafe { &mut *self.value.get() });
        if self.state.swap(0, Release) == 2 {
            futex_wake(&self.state, 1);
        }
        result
    }
}

/// A number that only grows, and that others wait for: who hands over passes the next number.
pub struct Turn(AtomicU32);

impl Turn {
    /// Turn 0.
    pub const fn new() -> Self {
        Turn(AtomicU32::new(0))
    }

    /// The turn that lives in a word of shared memory, which must be zero at first.
    ///
    /// It takes the low half of the word; nothing else may use the word.
    pub fn in_word(word: &'static core::sync::atomic::AtomicU64) -> &'static Turn {
        // SAFETY: same alignment or less, within the word, and both are atomics without other content.
        unsafe { &*(word.as_ptr() as *const Turn) }
    }

    /// Waits for turn `n`. It spins for a while first: a thread that sleeps in a call answers no
    /// shootdown, and what the programs test is one that runs.
    pub fn wait(&self, n: u32) {
        for _ in 0..20_000 {
            if self.0.load(Acquire) >= n {
                return;
            }
            spin_loop();
        }
        loop {
            let seen = self.0.load(Acquire);
            if seen >= n {
                return;
            }
            futex_wait(&self.0, seen);
        }
    }

    /// Makes it turn `n` and wakes who waits.
    pub fn pass(&self, n: u32) {
        self.0.store(n, Release);
        futex_wake(&self.0, i32::MAX as usize);
    }
}

impl Default for Turn {
    fn default() -> Self {
        Turn::new()
    }
}

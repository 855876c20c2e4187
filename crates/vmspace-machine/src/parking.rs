//! Sleeping until a word changes: the platform's futex, of std's mutexes and condition variables.
//!
//! Guarantee: no wake-up is lost. A sleeper compares the word under its bucket's mutex and gives
//! the mutex up only by sleeping; a waker changes the word first and takes the same mutex before
//! it wakes. So either the sleeper sees the change, or the waker finds it asleep. Words that share
//! a bucket wake each other's sleepers, who then return early, as they may.

use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use vmspace::sync::AtomicU32;

const BUCKETS: usize = 64;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Bucket {
    sleepers: Mutex<usize>,
    wake: Condvar,
}

/// The buckets.
#[derive(Debug)]
pub struct Parking {
    buckets: Box<[Bucket]>,
}

impl Parking {
    /// Nobody sleeps.
    pub fn new() -> Parking {
        Parking { buckets: (0..BUCKETS).map(|_| Bucket::default()).collect() }
    }

    fn bucket(&self, word: &AtomicU32) -> &Bucket {
        let address = std::ptr::from_ref(word).addr() as u64;
        &self.buckets[(address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize % BUCKETS]
    }

    /// Sleeps while `*word == value`, or returns earlier.
    pub fn park(&self, word: &AtomicU32, value: u32) {
        let bucket = self.bucket(word);
        let mut sleepers = bucket.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        // Relaxed: a waker whose turn with the mutex came before has its change seen through it.
        if word.load(Ordering::Relaxed) != value {
            return;
        }
        *sleepers += 1;
        let mut sleepers = bucket.wake.wait(sleepers).unwrap_or_else(PoisonError::into_inner);
        *sleepers -= 1;
    }

    /// Wakes everybody who sleeps on `word`, which the caller has changed.
    pub fn unpark_all(&self, word: &AtomicU32) {
        let bucket = self.bucket(word);
        if *bucket.sleepers.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
            bucket.wake.notify_all();
        }
    }
}

impl Default for Parking {
    fn default() -> Parking {
        Parking::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn sleepers_and_wakers_never_miss_each_other() {
        let parking = Parking::new();
        let turn = AtomicU32::new(0);
        const ROUNDS: u32 = 2_000;
        thread::scope(|scope| {
            for parity in 0..2 {
                let (parking, turn) = (&parking, &turn);
                scope.spawn(move || {
                    for round in (parity..ROUNDS).step_by(2) {
                        loop {
                            let found = turn.load(Ordering::Acquire);
                            if found == round {
                                break;
                            }
                            parking.park(turn, found);
                        }
                        turn.store(round + 1, Ordering::Release);
                        parking.unpark_all(turn);
                    }
                });
            }
        });
        assert_eq!(turn.load(Ordering::Relaxed), ROUNDS);
    }

    #[test]
    fn a_word_that_differs_is_not_slept_on() {
        Parking::new().park(&AtomicU32::new(1), 0);
    }
}

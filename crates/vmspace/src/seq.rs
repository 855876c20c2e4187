//! A sequence: how a reader without locks knows that what it read is one state.
//!
//! Guarantee: what is read between [`Snapshot::take`] and a [`Snapshot::holds`] that answers true
//! is what stood there between two windows: all of it from after the window that ended last, none
//! of it from a later one.
//!
//! Odd in a window, even outside. Who changes the words holds their lock; the words themselves are
//! relaxed atomics, and so may be read at any time. Reader and writer meet in two pairs: `shut` with
//! `take`, so that an even value brings what was written before it; and the fences in `open` and
//! `holds`, so that who has read a word of a window sees, at the latest then, that it was opened.

use crate::mutation::{self, Mutation};
use crate::sync::{AtomicU32, Ordering, fence};

/// The sequence of some words that change together.
#[derive(Debug, Default)]
pub struct Sequence(AtomicU32);

impl Sequence {
    /// The words are about to change. Their lock is held.
    #[inline]
    pub fn open(&self) {
        if mutation::active(Mutation::NoSequence) {
            return;
        }
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value | 1, Ordering::Relaxed);
        // Pairs with the fence in `Snapshot::holds`: a reader who sees a later change sees odd.
        fence(Ordering::Release);
    }

    /// They have changed.
    #[inline]
    pub fn shut(&self) {
        if mutation::active(Mutation::NoSequence) {
            return;
        }
        let value = self.0.load(Ordering::Relaxed);
        // Release: pairs with the Acquire in `Snapshot::take`.
        self.0.store((value | 1).wrapping_add(1), Ordering::Release);
    }

    /// Nobody can reach the words: even, and a value that no reader of an earlier life has seen.
    pub fn renew(&self) {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store((value | 1).wrapping_add(1), Ordering::Relaxed);
    }
}

/// A reading of a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot(u32);

impl Snapshot {
    /// Begins a reading; none in a window.
    #[inline(always)]
    pub fn take(sequence: &Sequence) -> Option<Snapshot> {
        // Acquire: pairs with `shut`.
        let value = sequence.0.load(Ordering::Acquire);
        (value & 1 == 0).then_some(Snapshot(value))
    }

    /// Whether nothing has changed since.
    #[inline(always)]
    pub fn holds(self, sequence: &Sequence) -> bool {
        // Pairs with the fence in `open`.
        fence(Ordering::Acquire);
        sequence.0.load(Ordering::Relaxed) == self.0
    }

    /// The value, to tell one reading from another.
    pub fn value(self) -> u32 {
        self.0
    }
}

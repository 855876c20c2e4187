//! The lock of a node: one word in metadata that outlive every table.
//!
//! Guarantee: at most one holder; a node that was detached is *stale* for ever (until its frame
//! becomes a table again, which a read guard prevents), and whoever acquires it learns so.
//!
//! The word has three bits. `LOCKED`. `PARKED`: somebody may sleep in the platform until the word
//! changes. `STALE`: set under the lock by whoever detaches the table. Waiting needs no guard,
//! since metadata are never freed; acquiring is done under a guard, so that a node found live
//! cannot have been reused since it was reached.

use crate::platform::Platform;
use crate::sync::{AtomicU32, Ordering};

const LOCKED: u32 = 1;
const PARKED: u32 = 2;
const STALE: u32 = 4;

/// How often a waiter looks before it parks.
const SPINS: u32 = if cfg!(any(loom, shuttle)) { 1 } else { 100 };

/// What an attempt at a node's lock found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// The caller holds it, and the node is attached.
    Acquired,
    /// Somebody else holds it.
    Held,
    /// The node was detached; the lock is not held by the caller.
    Stale,
}

/// Tries once.
#[inline]
pub fn try_acquire(word: &AtomicU32) -> Attempt {
    try_acquire_if(word, || true)
}

/// Tries once, unless the node is not the one that was meant: asked once its lock's word was seen
/// without the mark of a detached node, which a frame's next life takes off again.
#[inline]
pub fn try_acquire_if(word: &AtomicU32, is_meant: impl FnOnce() -> bool) -> Attempt {
    // Acquire: `is_meant` reads later.
    let found = word.load(Ordering::Acquire);
    if found & STALE != 0 && !crate::mutation::active(crate::mutation::Mutation::NoStaleCheck)
        || !is_meant()
    {
        return Attempt::Stale;
    }
    if found & LOCKED != 0 {
        return Attempt::Held;
    }
    // Acquire: pairs with `release`, so the holder sees what the last holder did.
    match word.compare_exchange(found, found | LOCKED, Ordering::Acquire, Ordering::Relaxed) {
        Ok(_) => Attempt::Acquired,
        Err(_) => Attempt::Held,
    }
}

/// Acquires the lock of a node that cannot be detached meanwhile (the caller holds its parent's),
/// in a busy wait that answers shootdowns.
pub fn acquire_attached<P: Platform>(platform: &P, word: &AtomicU32) {
    while try_acquire(word) == Attempt::Held {
        platform.relax();
    }
}

/// Waits, without acquiring, until the lock looks free. The caller holds no lock and no guard.
pub fn wait<P: Platform>(platform: &P, word: &AtomicU32) {
    let mut spins = 0;
    loop {
        let found = word.load(Ordering::Relaxed);
        if found & LOCKED == 0 {
            return;
        }
        if spins < SPINS {
            spins += 1;
            platform.relax();
        } else if found & PARKED != 0
            || word
                .compare_exchange(found, found | PARKED, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            platform.park(word, found | PARKED);
        }
    }
}

/// Marks the node detached. The caller holds its lock.
pub fn mark_stale(word: &AtomicU32) {
    word.fetch_or(STALE, Ordering::Relaxed);
}

/// Whether the node was marked detached.
pub fn is_stale(word: &AtomicU32) -> bool {
    word.load(Ordering::Relaxed) & STALE != 0
}

/// Whether somebody holds the lock, or the node is detached: its entries may be changing.
pub fn is_unsettled(word: &AtomicU32) -> bool {
    word.load(Ordering::Relaxed) & (LOCKED | STALE) != 0
}

/// Releases the lock and wakes who waits for it.
#[inline]
pub fn release<P: Platform>(platform: &P, word: &AtomicU32) {
    // Release: pairs with the next holder's Acquire.
    if word.fetch_and(!(LOCKED | PARKED), Ordering::Release) & PARKED != 0 {
        platform.unpark_all(word);
    }
}

/// A lock for one field's sake, that its holder may sleep under: ranked before every node lock.
#[derive(Debug, Default)]
pub struct SleepLock {
    word: AtomicU32,
}

impl SleepLock {
    /// Nobody can reach it yet: nobody holds it.
    pub fn renew(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    /// Runs `section` with the lock held.
    pub fn with<P: Platform, R>(&self, platform: &P, section: impl FnOnce() -> R) -> R {
        let _held = self.acquire(platform);
        section()
    }

    /// Takes the lock if nobody holds it.
    pub fn try_acquire<'a, P: Platform>(&'a self, platform: &'a P) -> Option<Held<'a, P>> {
        let acquired = try_acquire(&self.word) == Attempt::Acquired;
        acquired.then(|| Held { lock: self, platform })
    }

    /// Takes the lock.
    pub fn acquire<'a, P: Platform>(&'a self, platform: &'a P) -> Held<'a, P> {
        while try_acquire(&self.word) != Attempt::Acquired {
            wait(platform, &self.word);
        }
        Held { lock: self, platform }
    }
}

/// A [`SleepLock`] that is held until this is dropped.
pub struct Held<'a, P: Platform> {
    lock: &'a SleepLock,
    platform: &'a P,
}

impl<P: Platform> Drop for Held<'_, P> {
    fn drop(&mut self) {
        release(self.platform, &self.lock.word);
    }
}

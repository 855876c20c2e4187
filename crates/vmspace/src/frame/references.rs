//! A page's references.
//!
//! Guarantee: who takes a reference of a page found in an old entry gets one of the page that the
//! frame holds then, or none: the count is zero whenever the frame is no page, and leaves zero only
//! by `begin`. Whether that is the page that was looked for is decided by reading the entry again
//! (R24): take; `fence(SeqCst)`; read; against: change the entry; `fence(SeqCst)`; read the count.

use crate::sync::{AtomicU32, Change, Ordering};

/// How many refer to a page: entries, objects, pins, and who looks at it.
#[derive(Debug, Default)]
pub struct References(AtomicU32);

impl References {
    /// The frame becomes a page with one reference. Nobody can have one yet.
    pub fn begin(&self) {
        // Release: a page is whole before somebody can get a reference to it.
        self.0.store(1, Ordering::Release);
    }

    /// One more, unless the page is free or being freed.
    pub fn try_get(&self) -> bool {
        // Acquire: pairs with `begin`.
        self.0.change(Ordering::Acquire, |count| (count != 0).then_some(count + 1))
    }

    /// One more, where there is one that cannot go meanwhile.
    pub fn get(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less. True: it was the last, and the caller frees the page.
    #[must_use]
    pub fn put(&self) -> bool {
        // Release: our use comes before the free. Acquire: so does everybody else's.
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// From `held` references, all the caller's to decide about, to none, so that nobody gets one
    /// more. False: there are others.
    #[must_use]
    pub fn freeze(&self, held: u32) -> bool {
        // Acquire: pairs with `put`: what those who had one did is done.
        self.0.compare_exchange(held, 0, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes a `freeze` back.
    pub fn thaw(&self, held: u32) {
        // Release: as `begin`.
        self.0.store(held, Ordering::Release);
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        // Acquire: pairs with `put`, for who decides that he is the only one left.
        self.0.load(Ordering::Acquire)
    }
}

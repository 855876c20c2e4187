//! Whose a page is, and who holds it: one word, so that holding a page and sharing it exclude each
//! other without a lock.
//!
//! Guarantee: an *exclusive* page is mapped by one entry, or is none's yet (Linux's
//! PG_anon_exclusive), and stays that while it is pinned: fork shares an exclusive page only in the
//! step that finds it without pins, and gives the child a copy of a pinned one. So a pin that was
//! counted on an exclusive page parts it from nobody, whatever forks and write faults do at the same
//! time (the family of CVE-2020-29374).
//!
//! Protocol. A private entry that allows writing names an exclusive page. Exclusive is every page
//! that is made for private memory; fork takes it away, with the right to write; who finds, under
//! the lock of its entry, that he has the only reference gives it back. Who pins without the lock
//! counts his pin in the step that sees the page exclusive, then reads the entry again: if it names
//! the page still, it is the one. If it does not, the pin was on somebody else's page, whose fork
//! may have copied it needlessly; it is taken back. Pages of objects are never exclusive; there pins
//! are counted alone.

use super::meta::Meta;
use crate::sync::{Change, Ordering};

/// One entry's alone; the pins are counted below.
const EXCLUSIVE: u32 = 1 << 31;
/// Somebody is about to steal it.
const CLAIMED: u32 = 1 << 30;
const PINS: u32 = CLAIMED - 1;

impl Meta {
    /// The frame becomes a page without pins. Nobody else can reach it.
    pub(crate) fn begin_pins(&self, exclusive: bool) {
        self.pins.store(if exclusive { EXCLUSIVE } else { 0 }, Ordering::Relaxed);
    }

    /// How many pins there are.
    pub(crate) fn pin_count(&self) -> u32 {
        self.pins.load(Ordering::Relaxed) & PINS
    }

    /// Whether one entry alone maps the page.
    #[inline]
    pub(crate) fn is_exclusive(&self) -> bool {
        self.pins.load(Ordering::Relaxed) & EXCLUSIVE != 0
    }

    /// The page is one entry's alone. The lock of that entry is held, and nobody else has a
    /// reference to the page.
    pub(crate) fn make_exclusive(&self) {
        // Release: who pins it sees that entries which named it before do not.
        self.pins.fetch_or(EXCLUSIVE, Ordering::Release);
    }

    /// Another entry is about to map the page. False: it is exclusive and pinned, and stays so. The
    /// lock of its entry is held.
    pub(crate) fn try_share(&self) -> bool {
        let held = |word| word & EXCLUSIVE != 0 && word & PINS != 0;
        let share = |word| (!held(word)).then_some(word & !EXCLUSIVE);
        // Acquire: what was done by those who held it is seen by who gets it.
        self.pins.change(Ordering::AcqRel, share)
    }

    /// One more pin, by who has a reference.
    pub(crate) fn pin(&self) {
        self.pins.fetch_add(1, Ordering::Relaxed);
    }

    /// One more pin, by who has a reference. False: the page is not exclusive.
    pub(crate) fn try_pin_exclusive(&self) -> bool {
        let pin = |word| (word & EXCLUSIVE != 0).then_some(word + 1);
        // Acquire: pairs with `make_exclusive`.
        self.pins.change(Ordering::Acquire, pin)
    }

    /// Claims the page for one who is going to steal it, and has a reference. False: another has.
    pub(crate) fn try_claim(&self) -> bool {
        let claim = |word| (word & CLAIMED == 0).then_some(word | CLAIMED);
        // Acquire: pairs with `unclaim`.
        self.pins.change(Ordering::Acquire, claim)
    }

    /// Whether somebody is about to steal the page.
    pub(crate) fn is_claimed(&self) -> bool {
        self.pins.load(Ordering::Relaxed) & CLAIMED != 0
    }

    /// Ends a claim.
    pub(crate) fn unclaim(&self) {
        // Release: what was made of the page.
        self.pins.fetch_and(!CLAIMED, Ordering::Release);
    }

    /// One pin less.
    pub(crate) fn unpin(&self) {
        // Release: pairs with `try_share`.
        self.pins.fetch_sub(1, Ordering::Release);
    }
}

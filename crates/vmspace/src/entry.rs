//! An entry: a word that hardware writes too.
//!
//! Guarantee: nothing that hardware sets in an entry (accessed, dirty) is lost by what the library
//! does to it, and nothing that the library puts there is disturbed by hardware (R13, R22, R47).
//!
//! An entry has no store. What is computed from a present entry is put there by compare-exchange,
//! and computed again when that fails; what does not depend on the old content is swapped in, and
//! the dirty bit is the one of the word that came back.

use crate::backend::{Backend, Slot};
use crate::cell::Cell;
use crate::format::{Format, Leaf, Rights};
use crate::mutation::{self, Mutation};
use crate::sync::Ordering;

/// A compare-exchange through the backend (or, planted by the test-only build, a store).
pub fn exchange<B: Backend, C: Cell>(
    backend: &B,
    slot: Slot<'_, C>,
    old: u64,
    new: u64,
) -> Result<(), u64> {
    if mutation::active(Mutation::StoreForCompareExchange) {
        backend.swap(slot, new);
        return Ok(());
    }
    backend.compare_exchange(slot, old, new)
}

/// Clears a leaf entry's dirty bit, keeping whatever else hardware sets meanwhile. The leaf as it
/// was, when it was dirty: its translations must go, since they would not set the bit again.
pub fn clean<F: Format, B: Backend>(backend: &B, slot: Slot<'_, F::Cell>) -> Option<Leaf> {
    let mut word = slot.cell.load(Ordering::Acquire);
    loop {
        let leaf = F::as_leaf(slot.level, word).filter(|leaf| leaf.dirty)?;
        let new = F::leaf(slot.level, Leaf { dirty: false, ..leaf });
        match exchange(backend, slot, word, new) {
            Ok(()) => return Some(leaf),
            Err(found) => word = found,
        }
    }
}

/// Gives a leaf entry the rights that `rights` answers, keeping whatever hardware sets meanwhile.
/// The leaf as it was, when a right has gone: its translations must go too.
#[inline]
pub fn change_rights<F: Format, B: Backend>(
    backend: &B,
    slot: Slot<'_, F::Cell>,
    rights: impl Fn(Leaf) -> Rights,
) -> Option<Leaf> {
    let mut word = slot.cell.load(Ordering::Acquire);
    while let Some(leaf) = F::as_leaf(slot.level, word) {
        let new = F::with_rights(slot.level, word, rights(leaf));
        if new == word {
            return None;
        }
        match exchange(backend, slot, word, new) {
            Ok(()) => {
                // What the entry gives now may be more than was asked: what the format implies.
                let kept =
                    F::as_leaf(slot.level, new).is_some_and(|n| n.rights.contains(leaf.rights));
                return (!kept).then_some(leaf);
            }
            Err(found) => word = found,
        }
    }
    None
}

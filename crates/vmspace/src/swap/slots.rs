//! A slot's word: who refers to it, and which frame holds its page.
//!
//! Guarantee: what a slot holds is neither discarded nor another page's while somebody holds it;
//! and a page that is in memory for a slot is the same frame for all who find it there.
//!
//! The word: a count (swap entries, and who is working with the slot), and below it either the frame
//! that holds the page (the *swap cache*), or the generation in which it went, or, with a mark of its
//! own, the object of memory whose page it is. One word, so "the last one went" and "the page was
//! there" are one step: who drops the last reference takes the page out of the cache, lets the
//! device forget the slot, and frees it, in that order.
//!
//! A page in the cache knows its slot (`Meta::owner`, `Meta::base`), and the cache has a reference
//! to it. It is mapped for reading alone, and never changes. It leaves when its slot ends, or when
//! who steals it has frozen its count: who finds it in between finds none to get, and looks again.

use super::area::{Area, Place};
use super::device::SwapDevices;
use crate::addr::Frame;
use crate::frame::meta::Meta;
use crate::platform::Platform;
use crate::rmap;
use crate::sync::{AtomicU64, Change, Ordering};
use crate::vm::{Guard, Vm};

/// The page belongs to an object of memory; below is the object's address, less its zeros.
const OBJECT: u64 = 1 << 63;
const OBJECT_SHIFT: u32 = 6;

/// One reference.
const ONE: u64 = 1 << COUNT_SHIFT;
const COUNT_SHIFT: u32 = 42;
const MOST: u64 = (1 << 20) - 1;

/// What is below the count.
const VALUE: u64 = ONE - 1;
/// It is a generation.
const SHADOW: u64 = 1 << 41;

/// A slot that nobody holds and that is not free yet, or never.
pub(super) const GOING: u64 = VALUE;

fn count(word: u64) -> u64 {
    (word & !OBJECT) >> COUNT_SHIFT
}

/// The frame that holds the slot's page.
fn frame(word: u64) -> Option<Frame> {
    let value = word & VALUE;
    (word & OBJECT == 0 && value != 0 && value & SHADOW == 0).then(|| Frame(value - 1))
}

/// The word of a slot that its taker holds, with the page in that frame.
pub(crate) fn cached_word(frame: Frame) -> u64 {
    ONE | (frame.0 + 1)
}

/// The word of a slot that its taker holds, of an object of memory.
pub(crate) fn object_word(object: u64) -> u64 {
    OBJECT | ONE | object >> OBJECT_SHIFT
}

/// What who steals a page leaves behind in its slot's word.
fn shadow(generation: u32) -> u64 {
    SHADOW | u64::from(generation)
}

impl<P: Platform> Vm<P> {
    /// The area and the word of a slot. None: there is no such area any more.
    fn slot(&self, place: Place) -> Option<(&Area, &AtomicU64)> {
        let area = self.area(place.area).filter(|area| place.slot < area.slots())?;
        Some((area, self.slot_word(area, place.slot)))
    }

    /// A reference to a slot that was found in an entry, if it has not ended and is not about to: then
    /// neither the cache nor the device may have its page. That it is the one that was meant, the entry
    /// says when it is read again.
    pub(crate) fn try_hold_slot(&self, _: &Guard<'_, P>, place: Place) -> bool {
        self.hold_if(place, |word| word & OBJECT == 0 && word & VALUE != 0)
    }

    /// The same for a slot that was found in an object of memory, which the caller holds.
    pub(crate) fn try_hold_slot_of_object(
        &self,
        _: &Guard<'_, P>,
        place: Place,
        object: u64,
    ) -> bool {
        self.hold_if(place, |word| word & (OBJECT | VALUE) == object_word(object) & !ONE)
    }

    fn hold_if(&self, place: Place, meant: impl Fn(u64) -> bool) -> bool {
        let more = |word| (meant(word) && (1..MOST).contains(&count(word))).then_some(word + ONE);
        // Acquire: what the slot holds has been written.
        self.slot(place).is_some_and(|(_, slot)| slot.change(Ordering::Acquire, more))
    }

    /// One more reference to a slot that cannot end meanwhile. False: it has too many.
    pub(crate) fn hold_slot_again(&self, place: Place) -> bool {
        // Who works with it for a while has room left.
        let more = |word| (count(word) < MOST / 2).then_some(word + ONE);
        self.slot(place).is_some_and(|(_, slot)| slot.change(Ordering::Relaxed, more))
    }

    /// A reference to the slot of a page that says it is in the cache there. None: it is not.
    pub(crate) fn try_hold_slot_of(&self, _: &Guard<'_, P>, page: Frame) -> Option<Place> {
        let place = self.meta_of(page).swap_place()?;
        let (_, slot) = self.slot(place)?;
        let more = |word| {
            (frame(word) == Some(page) && (1..MOST).contains(&count(word))).then_some(word + ONE)
        };
        slot.change(Ordering::Acquire, more).then_some(place)
    }

    /// Gives a reference back; with the last one the slot is free. Any context, any lock.
    pub(crate) fn put_slot(&self, place: Place) {
        let Some((area, slot)) = self.slot(place) else { return };
        let mut word = slot.load(Ordering::Relaxed);
        loop {
            let new = if count(word) == 1 { GOING } else { word - ONE };
            // Release: whoever ends the slot does so after all uses. Acquire: ours is the last.
            match slot.compare_exchange(word, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(found) => word = found,
            }
        }
        if count(word) == 1 {
            self.end_slot(area, place, slot);
            if let Some(page) = frame(word) {
                self.forget_slot(page);
                rmap::put_page(self, page);
            }
        }
    }

    /// The slot has ended: the device forgets it, then it is free.
    fn end_slot(&self, area: &Area, place: Place, slot: &AtomicU64) {
        self.platform().swap().discard(area.device(), place.slot);
        // Release: pairs with who takes it.
        slot.store(0, Ordering::Release);
        self.uncount_slot(area, place.slot);
    }

    /// The page is in no slot's cache any more.
    fn forget_slot(&self, page: Frame) {
        self.meta_of(page).owner.store(0, Ordering::Relaxed);
    }

    /// Whether more entries may name a slot that the caller holds: its area is not being removed.
    pub(crate) fn takes_entries(&self, place: Place) -> bool {
        self.area(place.area).is_some_and(|area| !area.is_leaving())
    }

    /// The page of a slot that the caller holds, if it is in memory, with a reference.
    pub(crate) fn find_in_slot(&self, place: Place) -> Option<Frame> {
        let (_, slot) = self.slot(place)?;
        loop {
            // Acquire: pairs with who put the page there.
            let page = frame(slot.load(Ordering::Acquire))?;
            if self.meta_of(page).refs.try_get() {
                // It cannot have left meanwhile but by who froze its count before.
                if frame(slot.load(Ordering::Relaxed)) == Some(page) {
                    return Some(page);
                }
                rmap::put_page(self, page);
            }
            self.platform().relax();
        }
    }

    /// Whether the page of a slot that the caller holds is in memory.
    pub(crate) fn is_in_slot(&self, place: Place) -> bool {
        self.slot(place).is_some_and(|(_, slot)| frame(slot.load(Ordering::Relaxed)).is_some())
    }

    /// The generation in which the page of a slot went, if it is on the device alone.
    pub(crate) fn gone_since(&self, place: Place) -> Option<u32> {
        let (_, slot) = self.slot(place)?;
        let word = slot.load(Ordering::Relaxed);
        (word & OBJECT == 0 && word & SHADOW != 0).then_some(word as u32)
    }

    /// Puts a page, whose metadata name the slot, into the cache; the caller holds the slot, and
    /// has a reference for the cache. False: another is there.
    pub(crate) fn put_in_slot(&self, place: Place, page: Frame) -> bool {
        let Some((_, slot)) = self.slot(place) else { return false };
        let fill = |word| frame(word).is_none().then_some(word & !VALUE | (page.0 + 1));
        // Release: the page is filled.
        slot.change(Ordering::Release, fill)
    }

    /// Takes a page whose count is frozen out of the cache of a slot that the caller holds, and
    /// leaves the generation behind.
    pub(crate) fn take_from_slot(&self, place: Place, generation: u32) {
        if let Some((_, slot)) = self.slot(place) {
            // Release: who reads the device does so after the page went.
            slot.change(Ordering::Release, |word| Some(word & !VALUE | shadow(generation)));
        }
    }

    /// Takes a page out of the cache together with an entry's reference, if that and the caller's are
    /// the slot's last. The cache's reference to the page becomes the caller's.
    pub(crate) fn leave_slot_if_last(&self, place: Place, page: Frame) -> bool {
        let Some((_, slot)) = self.slot(place) else { return false };
        let last = (2 * ONE) | (page.0 + 1);
        // Acquire: those who had references have done with the page.
        let left = slot.compare_exchange(last, ONE, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if left {
            self.forget_slot(page);
        }
        left
    }

    /// The object of memory whose page is in a slot, which may have ended. The guard was there
    /// before.
    pub(super) fn object_of_slot(&self, _: &Guard<'_, P>, place: Place) -> Option<u64> {
        let word = self.slot(place)?.1.load(Ordering::Acquire);
        (word & OBJECT != 0 && count(word) != 0).then_some((word & VALUE) << OBJECT_SHIFT)
    }

    /// All slots that hold something.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        let all = self.areas().flat_map(|(number, area)| {
            (0..area.slots()).map(move |slot| Place { area: number, slot })
        });
        all.filter(|place| self.slot_count(*place).0 != 0)
    }

    /// How many references there are to a slot, and whether an object's is among them: for checks.
    pub(crate) fn slot_count(&self, place: Place) -> (u64, bool) {
        let word = self.slot(place).map_or(0, |(_, slot)| slot.load(Ordering::Relaxed));
        (count(word), word & OBJECT != 0)
    }
}

impl Meta {
    /// The slot of whose cache this page says that it is in.
    pub(crate) fn swap_place(&self) -> Option<Place> {
        let owner = self.owner.load(Ordering::Relaxed);
        (owner & 1 != 0)
            .then(|| Place { area: (owner >> 1) as u8, slot: self.base.load(Ordering::Relaxed) })
    }

    /// The page is about to be put into the cache of a slot. The caller has it for himself, or has
    /// claimed it.
    pub(crate) fn set_swap_place(&self, place: Place) {
        self.base.store(place.slot, Ordering::Relaxed);
        self.owner.store(u64::from(place.area) << 1 | 1, Ordering::Relaxed);
    }
}

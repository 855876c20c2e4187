//! Slots: references to them, and their pages that are in memory.
//!
//! Guarantee: a page that is in memory for a slot is the same frame for all who find it there.
//!
//! A page in the cache knows its slot (`Meta::owner`, `Meta::base`), and the cache has a reference
//! to it. It is mapped for reading alone, and never changes. It leaves when its slot ends, or when
//! who steals it has frozen its count: who finds it in between finds none to get, and looks again.
//!
//! What a reference is, and how the last one ends a slot, is said where its word is
//! ([`word`](super::word)).

use super::area::{Area, Place};
use super::device::SwapDevices;
use super::word::{self, Holders};
use crate::addr::Frame;
use crate::frame::meta::Meta;
use crate::platform::Platform;
use crate::rmap;
use crate::sync::{AtomicU64, Ordering};
use crate::vm::{Guard, Vm};

impl<P: Platform> Vm<P> {
    /// The area and the word of a slot. None: there is no such area any more.
    fn slot(&self, place: Place) -> Option<(&Area, &AtomicU64)> {
        let area = self.area(place.area).filter(|area| place.slot < area.slots())?;
        Some((area, self.slot_word(area, place.slot)))
    }

    /// What a slot's word says now, for who holds the slot, or does not rely on it.
    fn word(&self, place: Place) -> Option<u64> {
        self.slot(place).map(|(_, slot)| slot.load(Ordering::Relaxed))
    }

    /// A reference to a slot that was found in an entry, if it has not ended and is not about to: then
    /// neither the cache nor the device may have its page. That it is the one that was meant, the entry
    /// says when it is read again.
    pub(crate) fn try_hold_slot(&self, _: &Guard<'_, P>, place: Place) -> bool {
        self.slot(place).is_some_and(|(_, slot)| word::hold(slot))
    }

    /// The same for a slot that was found in an object of memory, which the caller holds.
    pub(crate) fn try_hold_slot_of_object(
        &self,
        _: &Guard<'_, P>,
        place: Place,
        object: u64,
    ) -> bool {
        self.slot(place).is_some_and(|(_, slot)| word::hold_of_object(slot, object))
    }

    /// One more reference to a slot that cannot end meanwhile. False: it has too many.
    pub(crate) fn hold_slot_again(&self, place: Place) -> bool {
        self.slot(place).is_some_and(|(_, slot)| word::hold_again(slot))
    }

    /// A reference to the slot of a page that says it is in the cache there. None: it is not.
    pub(crate) fn try_hold_slot_of(&self, _: &Guard<'_, P>, page: Frame) -> Option<Place> {
        let place = self.meta_of(page).swap_place()?;
        let (_, slot) = self.slot(place)?;
        word::hold_of_page(slot, page).then_some(place)
    }

    /// Gives a reference back; with the last one the slot is free. Any context, any lock.
    pub(crate) fn put_slot(&self, place: Place) {
        let Some((area, slot)) = self.slot(place) else { return };
        if let Holders::None(page) = word::put(slot) {
            self.end_slot(area, place, slot);
            if let Some(page) = page {
                self.forget_slot(page);
                rmap::put_page(self, page);
            }
        }
    }

    /// The slot has ended: the device forgets it, then it is free.
    fn end_slot(&self, area: &Area, place: Place, slot: &AtomicU64) {
        let taken = self.taken_beside(area, place.slot);
        self.platform().swap().discard(area.device(), place.slot);
        word::end(slot);
        // The area may go.
        word::uncount(taken);
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
            let page = word::page(slot)?;
            if self.meta_of(page).refs.try_get() {
                if word::still_has(slot, page) {
                    return Some(page);
                }
                rmap::put_page(self, page);
            }
            self.platform().relax();
        }
    }

    /// Whether the page of a slot that the caller holds is in memory; if not, the device has it.
    pub(crate) fn is_in_slot(&self, place: Place) -> bool {
        self.slot(place).is_some_and(|(_, slot)| word::page(slot).is_some())
    }

    /// The generation in which the page of a slot went, if it is on the device alone.
    pub(crate) fn gone_since(&self, place: Place) -> Option<u32> {
        self.word(place).and_then(word::generation)
    }

    /// Puts a page, whose metadata name the slot, into the cache; the caller holds the slot, and
    /// has a reference for the cache. False: another is there.
    pub(crate) fn put_in_slot(&self, place: Place, page: Frame) -> bool {
        self.slot(place).is_some_and(|(_, slot)| word::put_in(slot, page))
    }

    /// Takes a page whose count is frozen out of the cache of a slot that the caller holds, and
    /// leaves the generation behind.
    pub(crate) fn take_from_slot(&self, place: Place, generation: u32) {
        if let Some((_, slot)) = self.slot(place) {
            word::take_out(slot, generation);
        }
    }

    /// Takes a page out of the cache together with an entry's reference, if that and the caller's are
    /// the slot's last. The cache's reference to the page becomes the caller's.
    pub(crate) fn leave_slot_if_last(&self, place: Place, page: Frame) -> bool {
        let left = self.slot(place).is_some_and(|(_, slot)| word::leave_if_last(slot, page));
        if left {
            self.forget_slot(page);
        }
        left
    }

    /// The object of memory whose page is in a slot, which may have ended. The guard was there
    /// before.
    pub(super) fn object_of_slot(&self, _: &Guard<'_, P>, place: Place) -> Option<u64> {
        word::object(self.slot(place)?.1.load(Ordering::Acquire))
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
        let word = self.word(place).unwrap_or(0);
        (word::count(word), word::is_objects(word))
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

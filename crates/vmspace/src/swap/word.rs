//! A slot's word: who refers to it, and which frame holds its page.
//!
//! Guarantee: what a slot holds is neither discarded nor another page's while somebody holds it; and
//! an area whose slots are counted as free after it was closed is touched by nobody who took one.
//!
//! The word: a count (swap entries, and who is working with the slot), and below it either the frame
//! that holds the page (the *swap cache*), or the generation in which it went, or, with a mark of its
//! own, the object of memory whose page it is. One word, so "the last one went" and "the page was
//! there" are one step: who drops the last reference takes the page out of the cache, lets the
//! device forget the slot, and frees it, in that order.
//!
//! A slot is counted from before it is taken until after it is free: [`count_one`], [`take`];
//! [`put`], [`end`], [`uncount`].

use crate::addr::Frame;
use crate::sync::{AtomicU32, AtomicU64, Change, Ordering, fence};

/// The page belongs to an object of memory; below is the object's address, less its zeros.
const OBJECT: u64 = 1 << 63;
const OBJECT_SHIFT: u32 = 6;

/// One reference.
const ONE: u64 = 1 << COUNT_SHIFT;
const COUNT_SHIFT: u32 = 42;
const MOST: u64 = (1 << 20) - 1;

/// What is below the count. Zero where the page was taken out and nobody else has it: then the slot
/// is being left, and the device need not have the page.
const VALUE: u64 = ONE - 1;
/// It is a generation.
const SHADOW: u64 = 1 << 41;

/// The word of a slot that nobody holds and that is not free yet, or never.
pub const GOING: u64 = VALUE;

/// The word of a slot that its taker holds, with the page in that frame.
pub fn cached(frame: Frame) -> u64 {
    ONE | (frame.0 + 1)
}

/// The word of a slot that its taker holds, of an object of memory.
pub(crate) fn of_object(object: u64) -> u64 {
    OBJECT | ONE | object >> OBJECT_SHIFT
}

/// How many references a word counts.
pub fn count(word: u64) -> u64 {
    (word & !OBJECT) >> COUNT_SHIFT
}

/// The frame that holds the slot's page.
pub fn frame(word: u64) -> Option<Frame> {
    let value = word & VALUE;
    (word & OBJECT == 0 && value != 0 && value & SHADOW == 0).then(|| Frame(value - 1))
}

/// The object of memory whose page is in the slot, if that has not ended.
pub(super) fn object(word: u64) -> Option<u64> {
    (is_objects(word) && count(word) != 0).then_some((word & VALUE) << OBJECT_SHIFT)
}

/// Whether the slot is an object's.
pub(super) fn is_objects(word: u64) -> bool {
    word & OBJECT != 0
}

/// The generation in which the page went, if it is on the device alone.
pub(super) fn generation(word: u64) -> Option<u32> {
    (word & OBJECT == 0 && word & SHADOW != 0).then_some(word as u32)
}

/// Counts a slot that is about to be taken, and then looks whether the area is open: who closes the
/// area, fences, and reads the count sees it counted, or has been seen. False: all `most` are taken.
pub fn count_one(taken: &AtomicU32, most: u32) -> bool {
    if !taken.change(Ordering::Relaxed, |taken| (taken < most).then_some(taken + 1)) {
        return false;
    }
    // Pairs with the fence in `swap_off`.
    fence(Ordering::SeqCst);
    true
}

/// The slot is free again, or was not taken: the last that is done by who had it, since the area may
/// go when all are free.
pub fn uncount(taken: &AtomicU32) {
    // Release: pairs with `counted`.
    taken.fetch_sub(1, Ordering::Release);
}

/// How many slots hold something, or are about to.
pub fn counted(taken: &AtomicU32) -> u32 {
    // Acquire: pairs with `uncount`.
    taken.load(Ordering::Acquire)
}

/// Makes a free slot's word another. False: it is not free.
pub fn take(slot: &AtomicU64, word: u64) -> bool {
    // Acquire: what was there before has been given up. Release: what the word names is there.
    slot.load(Ordering::Relaxed) == 0
        && slot.compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// A reference to a slot of private memory, if it has not ended, and is not being left.
pub fn hold(slot: &AtomicU64) -> bool {
    hold_if(slot, |word| word & OBJECT == 0 && word & VALUE != 0)
}

/// A reference to the slot of an object of memory.
pub(super) fn hold_of_object(slot: &AtomicU64, object: u64) -> bool {
    hold_if(slot, |word| word & (OBJECT | VALUE) == of_object(object) & !ONE)
}

/// A reference to the slot that has that page in memory.
pub fn hold_of_page(slot: &AtomicU64, page: Frame) -> bool {
    hold_if(slot, |word| frame(word) == Some(page))
}

fn hold_if(slot: &AtomicU64, meant: impl Fn(u64) -> bool) -> bool {
    let more = |word| (meant(word) && (1..MOST).contains(&count(word))).then_some(word + ONE);
    // Acquire: what the slot holds has been written.
    slot.change(Ordering::Acquire, more)
}

/// One more reference to a slot that cannot end meanwhile. False: it has too many.
pub fn hold_again(slot: &AtomicU64) -> bool {
    // Who works with it for a while has room left.
    slot.change(Ordering::Relaxed, |word| (count(word) < MOST / 2).then_some(word + ONE))
}

/// Who holds a slot after a reference was given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Holders {
    /// There are others.
    Some,
    /// Nobody: the caller ends the slot. The page that was in its cache, whose reference is now his.
    None(Option<Frame>),
}

/// Gives a reference back.
pub fn put(slot: &AtomicU64) -> Holders {
    let mut word = slot.load(Ordering::Relaxed);
    loop {
        let last = count(word) == 1;
        let new = if last { GOING } else { word - ONE };
        // Release: whoever ends the slot does so after all uses. Acquire: ours is the last.
        match slot.compare_exchange(word, new, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) if last => return Holders::None(frame(word)),
            Ok(_) => return Holders::Some,
            Err(found) => word = found,
        }
    }
}

/// The slot that nobody held is free: the device has forgotten what it held.
pub fn end(slot: &AtomicU64) {
    // Release: pairs with who takes it.
    slot.store(0, Ordering::Release);
}

/// The frame that holds the page of a slot that the caller holds. It is the page's for as long as it
/// is seen there again by who has got a reference to it.
pub fn page(slot: &AtomicU64) -> Option<Frame> {
    // Acquire: pairs with who put the page there, and with who took it out.
    frame(slot.load(Ordering::Acquire))
}

/// Whether the frame, to which the caller has a reference, still holds the slot's page.
pub fn still_has(slot: &AtomicU64, page: Frame) -> bool {
    // It cannot have left meanwhile but by who froze its count before.
    frame(slot.load(Ordering::Relaxed)) == Some(page)
}

/// Puts a page into the cache of a slot that the caller holds. False: another is there.
pub fn put_in(slot: &AtomicU64, page: Frame) -> bool {
    let fill = |word| frame(word).is_none().then_some(word & !VALUE | (page.0 + 1));
    // Release: the page is filled.
    slot.change(Ordering::Release, fill)
}

/// Takes a page whose count is frozen out of the cache of a slot that the caller holds, and leaves
/// the generation behind.
pub fn take_out(slot: &AtomicU64, generation: u32) {
    let gone = SHADOW | u64::from(generation);
    // Release: who reads the device does so after the page went.
    slot.change(Ordering::Release, |word| Some(word & !VALUE | gone));
}

/// Takes a page out of the cache together with an entry's reference, if that and the caller's are the
/// slot's last.
pub fn leave_if_last(slot: &AtomicU64, page: Frame) -> bool {
    let last = cached(page) + ONE;
    // Acquire: those who had references have done with the page.
    slot.compare_exchange(last, ONE, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

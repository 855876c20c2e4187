//! The pages of an object, by their number: what the words of its radix tree say.
//!
//! Guarantee: a slot that names a page holds a reference to it, and the page knows its object and
//! place.
//!
//! A slot is empty, full, or *claimed*: somebody is deciding whether the page comes or goes, in a
//! few steps that wait for nothing; everybody else looks again. A page comes by a claim of the empty
//! slot, a comparison, and the release of the claim; it goes by a claim of the full one. Who finds
//! a page takes a reference by try-get and reads the slot again (R24).
//!
//! A slot whose page is on swap is empty too, but for the place, to which it has the one reference;
//! only objects of memory have such. An empty slot carries a number, none of them twice in an object:
//! a page that went leaves another than the one that it found, and a write past the cache gives the
//! slot a new one. Who fills a page claims the slot as it was before he asked for the contents, so he
//! brings nothing older than what has been there since; and what happens to other pages is nothing
//! to him.

use super::Body;
use crate::addr::Frame;
use crate::platform::Platform;
use crate::rmap;
use crate::swap::Place;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::vm::Vm;

/// The low bits of a slot's word; above them is a frame, a place on swap, or an empty slot's number.
const BITS: u32 = 3;
/// The slot names a page, and that is coming or going.
const FULL: u64 = 1;
const CLAIMED: u64 = 2;
/// The page is on swap.
const SWAPPED: u64 = 4;

/// Where a place on swap has its area.
const AREA_SHIFT: u32 = 48;

fn full(frame: Frame) -> u64 {
    frame.0 << BITS | FULL
}

fn is_empty(word: u64) -> bool {
    word & FULL == 0
}

fn swapped(place: Place) -> u64 {
    u64::from(place.area) << AREA_SHIFT | place.slot << BITS | SWAPPED
}

/// Where on swap the page is, if it is there.
fn place_of(word: u64) -> Option<Place> {
    let slot = (word & ((1 << AREA_SHIFT) - 1)) >> BITS;
    (word & SWAPPED != 0).then_some(Place { area: (word >> AREA_SHIFT) as u8, slot })
}

/// An empty slot's word that no slot of the object has had.
fn new_empty(object: &Body) -> u64 {
    (object.empties.fetch_add(1, Ordering::Relaxed) + 1) << BITS
}

/// What an empty slot was, for who fills it.
#[derive(Clone, Copy)]
pub(super) struct Empty(u64);

impl Empty {
    /// Where on swap the page is.
    pub fn place(self) -> Option<Place> {
        place_of(self.0)
    }
}

/// Whether the page is there.
pub(super) fn is_there<P: Platform>(vm: &Vm<P>, object: &Body, index: u64) -> bool {
    object.tree.slot(vm, index).is_some_and(|slot| !is_empty(slot.load(Ordering::Relaxed)))
}

/// Where on swap the page is, if it is there.
pub(super) fn place<P: Platform>(vm: &Vm<P>, object: &Body, index: u64) -> Option<Place> {
    place_of(object.tree.slot(vm, index)?.load(Ordering::Relaxed))
}

/// What a slot says, at one instant.
pub(super) enum Look {
    /// The page, with a reference for the caller.
    Page(Frame),
    /// Its page is on swap.
    Swapped,
    /// It has none.
    Nothing,
}

/// The page at `index`, or where it is. The caller has a reference to the object.
pub(super) fn look<P: Platform>(vm: &Vm<P>, object: &Body, index: u64) -> Look {
    let Some(slot) = object.tree.slot(vm, index) else { return Look::Nothing };
    loop {
        // Acquire: pairs with the Release that filled the slot.
        let word = slot.load(Ordering::Acquire);
        if is_empty(word) {
            return place_of(word).map_or(Look::Nothing, |_| Look::Swapped);
        }
        let frame = Frame(word >> BITS);
        if word & CLAIMED == 0 && vm.meta_of(frame).refs.try_get() {
            // The Acquire of try-get: a frame in a later life has left the slot before.
            if slot.load(Ordering::Relaxed) == word {
                return Look::Page(frame);
            }
            rmap::put_page(vm, frame);
        }
        vm.platform().relax();
    }
}

/// The page at `index`, if it is there, with a reference for the caller, who has one to the object.
pub(super) fn find<P: Platform>(vm: &Vm<P>, object: &Body, index: u64) -> Option<Frame> {
    match look(vm, object, index) {
        Look::Page(frame) => Some(frame),
        Look::Swapped | Look::Nothing => None,
    }
}

/// Whether the page at `index` is the one in this frame, and is neither coming nor going.
pub(super) fn holds<P: Platform>(vm: &Vm<P>, object: &Body, index: u64, frame: Frame) -> bool {
    object.tree.slot(vm, index).is_some_and(|slot| slot.load(Ordering::Relaxed) == full(frame))
}

/// The first page at or after `from` that is there, is coming or going, or is on swap.
pub(super) fn next<P: Platform>(vm: &Vm<P>, object: &Body, from: u64) -> Option<u64> {
    object.tree.next(vm, from, |word| word & (FULL | SWAPPED) != 0)
}

/// The slot as it is before its page is asked for. None: a page is there.
pub(super) fn empty(slot: &AtomicU64) -> Option<Empty> {
    let word = slot.load(Ordering::Relaxed);
    // Pairs with the fence in `find_or_renew`: it finds the slot, or we ask for what was written.
    fence(Ordering::SeqCst);
    is_empty(word).then_some(Empty(word))
}

/// Whether an empty slot is still what it was.
pub(super) fn is_still(slot: &AtomicU64, Empty(word): Empty) -> bool {
    slot.load(Ordering::Relaxed) == word
}

/// Puts a page, whose metadata name this place, into its slot unless that is not the `Empty` slot
/// any more, or it is not `wanted`, asked when nobody can take it unseen any more. The caller's
/// reference becomes the slot's.
pub(super) fn put(
    slot: &AtomicU64,
    Empty(word): Empty,
    frame: Frame,
    wanted: impl FnOnce() -> bool,
) -> bool {
    let claimed = full(frame) | CLAIMED;
    if slot.compare_exchange(word, claimed, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return false;
    }
    let comes = wanted();
    // Release: the page is filled.
    slot.store(if comes { full(frame) } else { word }, Ordering::Release);
    comes
}

/// The page at `index`, with a reference for the caller. If it is not there, who is filling it from
/// what the pager had before starts again.
pub(super) fn find_or_renew<P: Platform>(vm: &Vm<P>, object: &Body, index: u64) -> Option<Frame> {
    // Pairs with the fence in `empty`: he asks for what was written, or we find his slot.
    fence(Ordering::SeqCst);
    let slot = object.tree.slot(vm, index)?;
    loop {
        if let Some(frame) = find(vm, object, index) {
            return Some(frame);
        }
        let word = slot.load(Ordering::Relaxed);
        let new = new_empty(object);
        if is_empty(word)
            && slot.compare_exchange(word, new, Ordering::Release, Ordering::Relaxed).is_ok()
        {
            return None;
        }
    }
}

/// Takes the page out of its slot, if it stands there and `decide` agrees, which waits for nothing.
/// The slot's reference becomes the caller's, who has one already.
pub(super) fn take_out<P: Platform>(
    vm: &Vm<P>,
    object: &Body,
    index: u64,
    frame: Frame,
    decide: impl FnOnce() -> bool,
) -> bool {
    let gone = new_empty(object);
    replace(vm, object, index, frame, gone, decide)
}

/// The same with a page whose contents are at a place on swap; the caller's reference to that becomes
/// the slot's.
pub(super) fn swap_out<P: Platform>(
    vm: &Vm<P>,
    object: &Body,
    index: u64,
    frame: Frame,
    place: Place,
    decide: impl FnOnce() -> bool,
) -> bool {
    replace(vm, object, index, frame, swapped(place), decide)
}

fn replace<P: Platform>(
    vm: &Vm<P>,
    object: &Body,
    index: u64,
    frame: Frame,
    gone: u64,
    decide: impl FnOnce() -> bool,
) -> bool {
    let Some(slot) = object.tree.slot(vm, index) else { return false };
    let word = full(frame);
    let claim = slot.compare_exchange(word, word | CLAIMED, Ordering::Acquire, Ordering::Relaxed);
    if claim.is_err() {
        return false;
    }
    let goes = decide();
    if goes {
        forget_place(vm, frame);
    }
    // Release: whoever fills the slot next sees why it is empty.
    slot.store(if goes { gone } else { word }, Ordering::Release);
    goes
}

/// Forgets the page at `index` if it is on swap: the slot is empty. False: a page is there, or is
/// coming or going.
pub(super) fn forget_swapped<P: Platform>(vm: &Vm<P>, object: &Body, index: u64) -> bool {
    let Some(slot) = object.tree.slot(vm, index) else { return true };
    let word = slot.load(Ordering::Relaxed);
    let Some(place) = place_of(word) else { return is_empty(word) };
    // Acquire: pairs with who put it there.
    let empty = new_empty(object);
    let forgotten =
        slot.compare_exchange(word, empty, Ordering::Acquire, Ordering::Relaxed).is_ok();
    if forgotten {
        vm.put_slot(place);
    }
    forgotten
}

/// The page belongs to no object any more.
fn forget_place<P: Platform>(vm: &Vm<P>, frame: Frame) {
    vm.meta_of(frame).owner.store(0, Ordering::Relaxed);
}

/// Gives back pages and nodes of an object that nothing refers to.
pub(super) fn end<P: Platform>(vm: &Vm<P>, object: &Body) {
    object.tree.end(vm, |word| {
        if let Some(place) = place_of(word) {
            vm.put_slot(place);
        }
        if !is_empty(word) {
            let frame = Frame(word >> BITS);
            forget_place(vm, frame);
            rmap::put_page(vm, frame);
        }
    });
}

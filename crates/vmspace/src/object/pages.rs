//! The pages of an object: a radix tree that is read and filled without locks.
//!
//! Guarantee: a slot that names a page holds a reference to it, and the page knows its object and
//! place. Nodes stay until the object ends; the tree grows at the top.
//!
//! A slot is empty, full, or *claimed*: somebody is deciding whether the page comes or goes, in a
//! few steps that wait for nothing; everybody else looks again. A page comes by a claim of the empty
//! slot, a comparison, and the release of the claim; it goes by a claim of the full one. Who finds
//! a page takes a reference by try-get and reads the slot again (R24).
//!
//! A slot whose page is on swap is empty too, but for the place, to which it has the one reference;
//! only objects of memory have such. An empty slot carries a number, none of them twice in an object: a page that went leaves another
//! than the one that it found, and a write past the cache gives the slot a new one. Who fills a page
//! claims the slot as it was before he asked for the contents, so he brings nothing older than what
//! has been there since; and what happens to other pages is nothing to him.

use super::Body;
use crate::addr::Frame;
use crate::platform::Platform;
use crate::rmap;
use crate::swap::Place;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::vm::Vm;

/// log2 of a node's bytes, and of its slots.
const RADIX_LOG2: u32 = 9;
const RADIX_BITS: u32 = 6;
const SLOTS: usize = 1 << RADIX_BITS;

/// The low bits of the root's word that hold the height.
const HEIGHT_MASK: u64 = 15;

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

/// A node, and how many levels there are from it down.
#[derive(Clone, Copy)]
struct Top {
    node: u64,
    height: u32,
}

impl Top {
    fn of(object: &Body) -> Top {
        // Acquire: pairs with the Release that put the node there.
        let word = object.root.load(Ordering::Acquire);
        Top { node: word & !HEIGHT_MASK, height: (word & HEIGHT_MASK) as u32 }
    }

    fn word(self) -> u64 {
        self.node | u64::from(self.height)
    }

    fn spans(self, index: u64) -> bool {
        self.height * RADIX_BITS >= u64::BITS || index >> (self.height * RADIX_BITS) == 0
    }
}

fn slots<P: Platform>(vm: &Vm<P>, node: u64) -> &[AtomicU64] {
    vm.words_at(node, SLOTS)
}

fn slot_of(index: u64, level: u32) -> usize {
    (index >> (level * RADIX_BITS)) as usize & (SLOTS - 1)
}

fn make_node<P: Platform>(vm: &Vm<P>) -> Option<u64> {
    let node = vm.take_block(RADIX_LOG2)?;
    slots(vm, node).iter().for_each(|slot| slot.store(0, Ordering::Relaxed));
    Some(node)
}

/// The root's word of an object without pages. None: no memory.
pub(super) fn make_root<P: Platform>(vm: &Vm<P>) -> Option<u64> {
    Some(Top { node: make_node(vm)?, height: 1 }.word())
}

/// The slot of page `index`, if its node is there.
fn slot<'a, P: Platform>(vm: &'a Vm<P>, object: &Body, index: u64) -> Option<&'a AtomicU64> {
    let top = Top::of(object);
    if !top.spans(index) {
        return None;
    }
    let mut node = top.node;
    for level in (1..top.height).rev() {
        // Acquire: pairs with the Release that put the node there.
        node = slots(vm, node)[slot_of(index, level)].load(Ordering::Acquire);
        if node == 0 {
            return None;
        }
    }
    Some(&slots(vm, node)[slot_of(index, 0)])
}

/// A node that reaches to `index`, with new ones above the old if need be. None: no memory.
fn grow<P: Platform>(vm: &Vm<P>, object: &Body, index: u64) -> Option<Top> {
    loop {
        let top = Top::of(object);
        if top.spans(index) {
            return Some(top);
        }
        let node = make_node(vm)?;
        slots(vm, node)[0].store(top.node, Ordering::Relaxed);
        let higher = Top { node, height: top.height + 1 };
        // Release: the node is filled.
        let put = object.root.compare_exchange(
            top.word(),
            higher.word(),
            Ordering::Release,
            Ordering::Relaxed,
        );
        if put.is_err() {
            vm.give_block(node, RADIX_LOG2);
        }
    }
}

/// The slot of page `index`, with the nodes that are missing. None: no memory.
pub(super) fn make_slot<'a, P: Platform>(
    vm: &'a Vm<P>,
    object: &Body,
    index: u64,
) -> Option<&'a AtomicU64> {
    let top = grow(vm, object, index)?;
    let mut node = top.node;
    for level in (1..top.height).rev() {
        let slot = &slots(vm, node)[slot_of(index, level)];
        node = match slot.load(Ordering::Acquire) {
            0 => put_node(vm, slot, make_node(vm)?),
            child => child,
        };
    }
    Some(&slots(vm, node)[slot_of(index, 0)])
}

/// Fills an empty slot with a node; what stands there afterwards.
fn put_node<P: Platform>(vm: &Vm<P>, slot: &AtomicU64, mine: u64) -> u64 {
    // Release: the node is filled. Acquire: so is the other's.
    match slot.compare_exchange(0, mine, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => mine,
        Err(theirs) => {
            vm.give_block(mine, RADIX_LOG2);
            theirs
        }
    }
}

/// Whether the page is there.
pub(super) fn is_there<P: Platform>(vm: &Vm<P>, object: &Body, index: u64) -> bool {
    slot(vm, object, index).is_some_and(|slot| !is_empty(slot.load(Ordering::Relaxed)))
}

/// Where on swap the page is, if it is there.
pub(super) fn place<P: Platform>(vm: &Vm<P>, object: &Body, index: u64) -> Option<Place> {
    place_of(slot(vm, object, index)?.load(Ordering::Relaxed))
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
    let Some(slot) = slot(vm, object, index) else { return Look::Nothing };
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
    slot(vm, object, index).is_some_and(|slot| slot.load(Ordering::Relaxed) == full(frame))
}

/// The first page at or after `from` that is there, is coming or going, or is on swap.
pub(super) fn next<P: Platform>(vm: &Vm<P>, object: &Body, from: u64) -> Option<u64> {
    let top = Top::of(object);
    if top.spans(from) { next_in(vm, top, from) } else { None }
}

fn next_in<P: Platform>(vm: &Vm<P>, top: Top, from: u64) -> Option<u64> {
    let (level, mut from) = (top.height - 1, from);
    for at in slot_of(from, level)..SLOTS {
        let base = (at as u64) << (level * RADIX_BITS);
        let within = from & low_bits(level);
        from = 0;
        // Acquire: as above.
        let found = match slots(vm, top.node)[at].load(Ordering::Acquire) {
            word if level == 0 => (word & (FULL | SWAPPED) != 0).then_some(0),
            0 => None,
            node => next_in(vm, Top { node, height: level }, within),
        };
        if let Some(found) = found {
            return Some(base | found);
        }
    }
    None
}

/// The bits of an index that levels below `level` look at.
fn low_bits(level: u32) -> u64 {
    (1 << (level * RADIX_BITS)) - 1
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
    let slot = slot(vm, object, index)?;
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
    let Some(slot) = slot(vm, object, index) else { return false };
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
    let Some(slot) = slot(vm, object, index) else { return true };
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
    end_node(vm, Top::of(object));
}

fn end_node<P: Platform>(vm: &Vm<P>, top: Top) {
    for slot in slots(vm, top.node) {
        match slot.load(Ordering::Relaxed) {
            word if top.height == 1 => {
                if let Some(place) = place_of(word) {
                    vm.put_slot(place);
                }
                if !is_empty(word) {
                    forget_place(vm, Frame(word >> BITS));
                    rmap::put_page(vm, Frame(word >> BITS));
                }
            }
            0 => {}
            node => end_node(vm, Top { node, height: top.height - 1 }),
        }
    }
    vm.give_block(top.node, RADIX_LOG2);
}

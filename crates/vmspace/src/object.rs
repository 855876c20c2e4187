//! Objects: memory that several mappings share.
//!
//! Guarantee: a page of an object is the same frame for all who map it, from its first touch until
//! the object ends; the object ends when no piece and no fault refers to it, never under a lock.
//!
//! An object is a block of the slab: a word for its retirement, its count, its height and its
//! root. The count is *weighted*: each piece of a layout carries a share, so that splitting a piece
//! writes nothing here. Its pages hang in a radix tree of 64 slots a node, of a height fixed when
//! it is made; slots go from empty to full by compare-exchange and never back while it lives, so
//! lookups and insertions take no lock. A full slot holds a reference to its page.

use crate::addr::Frame;
use crate::context::MaySleep;
use crate::frame::meta::Kind;
use crate::platform::{PagerError, Platform};
use crate::region::{Key, Piece};
use crate::sync::{AtomicU64, Ordering};
use crate::vm::{Guard, Vm};

/// The share of the count that a new piece gets.
const WEIGHT: u16 = 1 << 14;

/// log2 of an object's bytes, and of a radix node's.
const OBJECT_LOG2: u32 = 6;
const RADIX_LOG2: u32 = 9;
/// log2 of a radix node's slots.
const RADIX_BITS: u32 = 6;

/// The words of an object.
const COUNT: usize = 1;
const HEIGHT: usize = 2;
const ROOT: usize = 3;
const PAGER: usize = 4;

fn words<P: Platform>(vm: &Vm<P>, object: u64) -> &[AtomicU64] {
    vm.words_at(object, 1 << (OBJECT_LOG2 - 3))
}

/// An object for `pages` pages, with a count of one piece; its address, and the piece's weight.
/// Its pages are filled by the platform's pager of that number, or with zeros for 0.
pub(crate) fn make<P: Platform>(vm: &Vm<P>, pages: u64, pager: u64) -> Option<(u64, u16)> {
    let mut height = 1;
    while height * RADIX_BITS < 64 && pages > 1 << (height * RADIX_BITS) {
        height += 1;
    }
    let object = vm.take_block(OBJECT_LOG2)?;
    let root = make_radix(vm);
    let Some(root) = root else {
        vm.give_block(object, OBJECT_LOG2);
        return None;
    };
    let words = words(vm, object);
    words[COUNT].store(u64::from(WEIGHT), Ordering::Relaxed);
    words[HEIGHT].store(u64::from(height), Ordering::Relaxed);
    words[ROOT].store(root, Ordering::Relaxed);
    words[PAGER].store(pager, Ordering::Relaxed);
    Some((object, WEIGHT))
}

fn make_radix<P: Platform>(vm: &Vm<P>) -> Option<u64> {
    let node = vm.take_block(RADIX_LOG2)?;
    for slot in vm.words_at(node, 1 << RADIX_BITS) {
        slot.store(0, Ordering::Relaxed);
    }
    Some(node)
}

/// The weight for one more piece with this key, taken from the object's count.
pub(crate) fn new_weight<P: Platform>(vm: &Vm<P>, key: Key) -> u16 {
    if key.object == 0 {
        return 0;
    }
    words(vm, key.object)[COUNT].fetch_add(u64::from(WEIGHT), Ordering::Relaxed);
    WEIGHT
}

/// A temporary reference to an object found under a guard; false when it is ending.
pub(crate) fn try_get<P: Platform>(guard: &Guard<'_, P>, object: u64) -> bool {
    let count = &words(guard.vm(), object)[COUNT];
    let mut found = count.load(Ordering::Relaxed);
    while found != 0 {
        match count.compare_exchange_weak(found, found + 1, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(now) => found = now,
        }
    }
    false
}

/// Gives back a reference of that weight. The caller holds no lock.
pub(crate) fn put<P: Platform>(vm: &Vm<P>, object: u64, weight: u16) {
    let mut dropped = Dropped::new();
    dropped.lower(vm, object, weight);
    dropped.release(vm);
}

/// The page at `index`, if it was ever touched. Its reference is the object's own.
fn find<P: Platform>(vm: &Vm<P>, object: u64, index: u64) -> Option<Frame> {
    let words = words(vm, object);
    let height = words[HEIGHT].load(Ordering::Relaxed) as u32;
    let mut node = words[ROOT].load(Ordering::Relaxed);
    for level in (0..height).rev() {
        let slot = &vm.words_at(node, 1 << RADIX_BITS)[slot_of(index, level)];
        // Acquire: pairs with the Release that filled the slot.
        node = slot.load(Ordering::Acquire);
        if node == 0 {
            return None;
        }
    }
    Some(Frame(node >> 1))
}

fn slot_of(index: u64, level: u32) -> usize {
    (index >> (level * RADIX_BITS)) as usize & ((1 << RADIX_BITS) - 1)
}

/// The page at `index`, filled if need be, with a reference for the caller. The caller has a
/// reference to the object and holds no lock. None: no memory.
pub(crate) fn page<P: Platform>(
    vm: &Vm<P>,
    ms: &mut MaySleep,
    object: u64,
    index: u64,
) -> Option<Result<Frame, PagerError>> {
    let frame = match find(vm, object, index) {
        Some(frame) => frame,
        None => match fill(vm, ms, object, index)? {
            Ok(frame) => frame,
            Err(error) => return Some(Err(error)),
        },
    };
    // The object's reference stands while the object does: this one cannot be the first.
    vm.meta_of(frame).refs.get();
    Some(Ok(frame))
}

/// Fills a page that is not there, and puts it in its slot; whoever does so first wins.
fn fill<P: Platform>(
    vm: &Vm<P>,
    ms: &mut MaySleep,
    object: u64,
    index: u64,
) -> Option<Result<Frame, PagerError>> {
    let words = words(vm, object);
    let height = words[HEIGHT].load(Ordering::Relaxed) as u32;
    let mut node = words[ROOT].load(Ordering::Relaxed);
    for level in (1..height).rev() {
        let slot = &vm.words_at(node, 1 << RADIX_BITS)[slot_of(index, level)];
        node = match slot.load(Ordering::Acquire) {
            0 => put_first(slot, make_radix(vm)?, |mine| vm.give_block(mine, RADIX_LOG2)),
            child => child,
        };
    }
    let fresh = vm.take_frame(Kind::Page)?;
    let filled = match words[PAGER].load(Ordering::Relaxed) {
        0 => {
            vm.platform().zero(fresh);
            Ok(())
        }
        pager => vm.platform().page_in(ms, pager, index, fresh),
    };
    if let Err(error) = filled {
        vm.give_frame(fresh);
        return Some(Err(error));
    }
    crate::rmap::init_page(vm.meta_of(fresh), None);
    let slot = &vm.words_at(node, 1 << RADIX_BITS)[slot_of(index, 0)];
    let word = put_first(slot, fresh.0 << 1 | 1, |_| crate::rmap::put_page(vm, fresh));
    Some(Ok(Frame(word >> 1)))
}

/// Fills an empty slot; what stands there afterwards. `lose` takes back what came too late.
fn put_first(slot: &AtomicU64, mine: u64, lose: impl FnOnce(u64)) -> u64 {
    // Release: the page or node is filled. Acquire: so is the other's.
    match slot.compare_exchange(0, mine, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => mine,
        Err(theirs) => {
            lose(mine);
            theirs
        }
    }
}

/// Ends an object that nothing refers to any more.
fn end<P: Platform>(vm: &Vm<P>, object: u64) {
    let words = words(vm, object);
    let height = words[HEIGHT].load(Ordering::Relaxed) as u32;
    end_radix(vm, words[ROOT].load(Ordering::Relaxed), height);
    // A fault may still look at the count, under its guard.
    vm.retire_block(object, OBJECT_LOG2);
}

fn end_radix<P: Platform>(vm: &Vm<P>, node: u64, height: u32) {
    for slot in vm.words_at(node, 1 << RADIX_BITS) {
        match slot.load(Ordering::Relaxed) {
            0 => {}
            page if height == 1 => crate::rmap::put_page(vm, Frame(page >> 1)),
            child => end_radix(vm, child, height - 1),
        }
    }
    vm.give_block(node, RADIX_LOG2);
}

/// Objects that an operation has dropped the last reference to, linked through their first words:
/// they end when the operation holds no lock any more.
#[derive(Debug)]
#[must_use]
pub(crate) struct Dropped {
    head: u64,
}

impl Dropped {
    pub const fn new() -> Dropped {
        Dropped { head: 0 }
    }

    /// Whether no object has lost its last reference.
    pub fn is_empty(&self) -> bool {
        self.head == 0
    }

    /// Gives back the share of a piece that is gone.
    pub fn put<P: Platform>(&mut self, vm: &Vm<P>, piece: Piece) {
        if piece.key.object != 0 && piece.weight != 0 {
            self.lower(vm, piece.key.object, piece.weight);
        }
    }

    fn lower<P: Platform>(&mut self, vm: &Vm<P>, object: u64, by: u16) {
        let words = words(vm, object);
        let by = u64::from(by);
        // Release: whoever ends the object does so after all uses. Acquire: ours is the last.
        if words[COUNT].fetch_sub(by, Ordering::AcqRel) == by {
            words[0].store(self.head, Ordering::Relaxed);
            self.head = object;
        }
    }

    /// One piece of two with equal keys; a share too large for one piece goes back.
    pub fn unite<P: Platform>(&mut self, vm: &Vm<P>, left: Piece, right: Piece) -> Piece {
        match left.weight.checked_add(right.weight) {
            Some(weight) => Piece { weight, ..left },
            None => {
                self.put(vm, right);
                left
            }
        }
    }

    /// Ends the objects. The caller holds no lock.
    pub fn release<P: Platform>(&mut self, vm: &Vm<P>) {
        while self.head != 0 {
            let object = self.head;
            self.head = words(vm, object)[0].load(Ordering::Relaxed);
            end(vm, object);
        }
    }
}

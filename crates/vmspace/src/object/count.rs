//! References to objects: who has one, and what happens when the last one goes.
//!
//! Guarantee: an object ends once, never under a lock, and nowhere that must neither sleep nor call
//! a pager: there it is noted, and ends later.

use super::{OBJECT_LOG2, body, pages, writeback};
use crate::context::MaySleep;
use crate::pager::Pager;
use crate::platform::Platform;
use crate::region::{Key, Piece};
use crate::sync::{Change, Ordering};
use crate::vm::{Guard, Vm};

/// The share of the count that a new piece gets; a handle, or who looks, has a share of one.
const WEIGHT: u16 = 1 << 14;

/// The weight for one more piece with this key, taken from the object's count.
pub(crate) fn new_weight<P: Platform>(vm: &Vm<P>, key: Key) -> u16 {
    if key.object == 0 {
        return 0;
    }
    body(vm, key.object).count.fetch_add(u64::from(WEIGHT), Ordering::Relaxed);
    WEIGHT
}

/// A temporary reference to an object found under a guard; false when it is ending.
pub(crate) fn try_get<P: Platform>(guard: &Guard<'_, P>, object: u64) -> bool {
    let more = |count| (count != 0).then_some(count + 1);
    body(guard.vm(), object).count.change(Ordering::Acquire, more)
}

/// Gives back a reference of that weight. The caller holds no lock.
pub(crate) fn put<P: Platform>(vm: &Vm<P>, ms: &mut MaySleep, object: u64, weight: u16) {
    let mut dropped = Dropped::new();
    dropped.lower(vm, object, weight);
    dropped.release(vm, ms);
}

/// Gives back a reference where nothing may sleep, or nothing is to end: if it was the last, the
/// object ends later. Takes no lock.
pub(crate) fn put_anywhere<P: Platform>(vm: &Vm<P>, object: u64) {
    let mut dropped = Dropped::new();
    dropped.lower(vm, object, 1);
    if !dropped.is_empty() {
        note_unused(vm, object);
    }
}

/// Ends an object that nothing refers to any more.
fn end<P: Platform>(vm: &Vm<P>, ms: &mut MaySleep, address: u64) {
    let object = body(vm, address);
    let pager = object.pager();
    if pager != 0 {
        writeback::hand_over(vm, ms, object);
    }
    pages::end(vm, object);
    if pager != 0 {
        ms.in_driver(|ms| vm.platform().pager().end(ms, pager));
    }
    // A fault may still look at the count, under its guard.
    vm.retire_block(address, OBJECT_LOG2);
}

/// The last handle was dropped, perhaps where nothing may sleep. Takes no lock.
fn note_unused<P: Platform>(vm: &Vm<P>, object: u64) {
    let mut first = vm.unused.load(Ordering::Relaxed);
    loop {
        body(vm, object).link.store(first, Ordering::Relaxed);
        // Release: pairs with `end_unused`.
        match vm.unused.compare_exchange(first, object, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(found) => first = found,
        }
    }
}

/// Ends the objects whose last handle was dropped, where that may be done.
pub(crate) fn end_unused<P: Platform>(vm: &Vm<P>, ms: &mut MaySleep) {
    if vm.unused.load(Ordering::Relaxed) != 0 && ms.may_end_others() {
        // Acquire: pairs with `note_unused`.
        Dropped { head: vm.unused.swap(0, Ordering::Acquire) }.release(vm, ms);
    }
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
        let found = body(vm, object);
        let by = u64::from(by);
        // Release: whoever ends the object does so after all uses. Acquire: ours is the last.
        if found.count.fetch_sub(by, Ordering::AcqRel) == by {
            found.link.store(self.head, Ordering::Relaxed);
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
    pub fn release<P: Platform>(&mut self, vm: &Vm<P>, ms: &mut MaySleep) {
        while self.head != 0 {
            let object = self.head;
            self.head = body(vm, object).link.load(Ordering::Relaxed);
            end(vm, ms, object);
        }
    }
}

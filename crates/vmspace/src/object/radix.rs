//! A radix tree of words, which is read and filled without locks.
//!
//! Guarantee: a slot stays where it is until the tree ends, and none is there twice. The tree grows
//! at the top and where a node is missing; a node is filled before it can be reached.

use crate::platform::Platform;
use crate::sync::{AtomicU64, Ordering};
use crate::vm::Vm;

/// log2 of a node's bytes, and of its slots.
const NODE_LOG2: u32 = 9;
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;

/// The low bits of the root's word that hold the height.
const HEIGHT_MASK: u64 = 15;

/// A tree: its top node, and how many levels there are. Its slots are 0 at first.
pub(super) struct Radix {
    root: AtomicU64,
}

/// A node, and how many levels there are from it down.
#[derive(Clone, Copy)]
struct Top {
    node: u64,
    height: u32,
}

impl Top {
    fn word(self) -> u64 {
        self.node | u64::from(self.height)
    }

    fn spans(self, index: u64) -> bool {
        self.height * BITS >= u64::BITS || index >> (self.height * BITS) == 0
    }
}

impl Radix {
    /// Makes the tree, of which nobody else knows yet. False: no memory.
    pub fn begin<P: Platform>(&self, vm: &Vm<P>) -> bool {
        let Some(node) = make_node(vm) else { return false };
        self.root.store(Top { node, height: 1 }.word(), Ordering::Relaxed);
        true
    }

    fn top(&self) -> Top {
        // Acquire: pairs with the Release that put the node there.
        let word = self.root.load(Ordering::Acquire);
        Top { node: word & !HEIGHT_MASK, height: (word & HEIGHT_MASK) as u32 }
    }

    /// The slot at `index`, if its node is there.
    pub fn slot<'a, P: Platform>(&self, vm: &'a Vm<P>, index: u64) -> Option<&'a AtomicU64> {
        let top = self.top();
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

    /// The slot at `index`, with the nodes that are missing. None: no memory.
    pub fn make_slot<'a, P: Platform>(&self, vm: &'a Vm<P>, index: u64) -> Option<&'a AtomicU64> {
        let top = self.grow(vm, index)?;
        let mut node = top.node;
        for level in (1..top.height).rev() {
            let slot = &slots(vm, node)[slot_of(index, level)];
            // Acquire: as above.
            node = match slot.load(Ordering::Acquire) {
                0 => put_node(vm, slot, make_node(vm)?),
                child => child,
            };
        }
        Some(&slots(vm, node)[slot_of(index, 0)])
    }

    /// A node that reaches to `index`, with new ones above the old if need be. None: no memory.
    fn grow<P: Platform>(&self, vm: &Vm<P>, index: u64) -> Option<Top> {
        loop {
            let top = self.top();
            if top.spans(index) {
                return Some(top);
            }
            let node = make_node(vm)?;
            slots(vm, node)[0].store(top.node, Ordering::Relaxed);
            let (old, new) = (top.word(), Top { node, height: top.height + 1 }.word());
            // Release: the node is filled.
            let put = self.root.compare_exchange(old, new, Ordering::Release, Ordering::Relaxed);
            if put.is_err() {
                vm.give_block(node, NODE_LOG2);
            }
        }
    }

    /// The first index at or after `from` whose word is one that is `wanted`; 0 never is.
    pub fn next<P: Platform>(
        &self,
        vm: &Vm<P>,
        from: u64,
        wanted: impl Fn(u64) -> bool + Copy,
    ) -> Option<u64> {
        let top = self.top();
        if top.spans(from) { next_in(vm, top, from, wanted) } else { None }
    }

    /// Gives back the nodes of a tree that nobody uses any more, after `last` has had each word.
    pub fn end<P: Platform>(&self, vm: &Vm<P>, mut last: impl FnMut(u64)) {
        end_node(vm, self.top(), &mut last);
    }
}

fn slots<P: Platform>(vm: &Vm<P>, node: u64) -> &[AtomicU64] {
    vm.words_at(node, SLOTS)
}

fn slot_of(index: u64, level: u32) -> usize {
    (index >> (level * BITS)) as usize & (SLOTS - 1)
}

fn make_node<P: Platform>(vm: &Vm<P>) -> Option<u64> {
    let node = vm.take_block(NODE_LOG2)?;
    slots(vm, node).iter().for_each(|slot| slot.store(0, Ordering::Relaxed));
    Some(node)
}

/// Fills an empty slot with a node; what stands there afterwards.
fn put_node<P: Platform>(vm: &Vm<P>, slot: &AtomicU64, mine: u64) -> u64 {
    // Release: the node is filled. Acquire: so is the other's.
    match slot.compare_exchange(0, mine, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => mine,
        Err(theirs) => {
            vm.give_block(mine, NODE_LOG2);
            theirs
        }
    }
}

fn next_in<P: Platform>(
    vm: &Vm<P>,
    top: Top,
    from: u64,
    wanted: impl Fn(u64) -> bool + Copy,
) -> Option<u64> {
    let (level, mut from) = (top.height - 1, from);
    for at in slot_of(from, level)..SLOTS {
        let base = (at as u64) << (level * BITS);
        let within = from & low_bits(level);
        from = 0;
        // Acquire: as above.
        let found = match slots(vm, top.node)[at].load(Ordering::Acquire) {
            0 => None,
            word if level == 0 => wanted(word).then_some(0),
            node => next_in(vm, Top { node, height: level }, within, wanted),
        };
        if let Some(found) = found {
            return Some(base | found);
        }
    }
    None
}

/// The bits of an index that levels below `level` look at.
fn low_bits(level: u32) -> u64 {
    (1 << (level * BITS)) - 1
}

fn end_node<P: Platform>(vm: &Vm<P>, top: Top, last: &mut impl FnMut(u64)) {
    for slot in slots(vm, top.node) {
        match slot.load(Ordering::Relaxed) {
            0 => {}
            word if top.height == 1 => last(word),
            node => end_node(vm, Top { node, height: top.height - 1 }, last),
        }
    }
    vm.give_block(top.node, NODE_LOG2);
}

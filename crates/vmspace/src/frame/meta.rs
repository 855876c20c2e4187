//! Metadata of a frame: one cache line each, alive as long as the machine.
//!
//! Guarantee: a frame's state word carries its kind and a generation that grows whenever the frame
//! changes hands, so that anything cached about an earlier life can be told (oracle O1). The
//! metadata never move and are never freed: a lock in them may be waited for without a guard.
//!
//! A frame is free, a table (its metadata are then a *node*: see `tree::node`), a page of memory
//! (referenced, mapped: see `rmap`), or belongs to the library (slab, space).

use super::references::References;
use crate::seq::Sequence;
use crate::sync::{AtomicU32, AtomicU64, Change, Ordering};

/// Where a state word has what.
const KIND_BITS: u32 = 8;
const AGE_BITS: u32 = 16;
const AGE: u64 = !0 << (u64::BITS - AGE_BITS);

/// What a frame is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// In the allocator.
    Free = 0,
    /// A page of memory that spaces map.
    Page = 1,
    /// A page table.
    Table = 2,
    /// Cut into slab objects.
    Slab = 3,
    /// The library's own: a space's header, the metadata themselves.
    Own = 4,
}

/// One frame's metadata. What a word means depends on the frame's kind.
#[derive(Debug, Default)]
#[cfg_attr(not(loom), repr(C, align(64)))]
pub struct Meta {
    /// Kind in the low byte, generation above; in the highest sixteen bits a page's age (`reclaim::age`).
    state: AtomicU64,
    /// Page: references. Zero in every frame that is no page, and nothing else: who read an old
    /// entry may try to take a reference in any later life of its frame (R24).
    pub(crate) refs: References,
    /// Page: pins (long-term holders among the references) and whose it is: see `pins`. Table: non-empty entries, and child
    /// tables above them. Slab: objects in use.
    pub(crate) pins: AtomicU32,
    /// The lock: a table's node lock, a page's record lock.
    pub(crate) lock: AtomicU32,
    /// Table: the sequence of its slots and layout.
    pub(crate) seq: Sequence,
    /// Page: the reverse map. Table: the layout. Slab: the free list.
    pub(crate) word: AtomicU64,
    /// The next frame on whatever list holds this one (held locks, detached, retired, free). Page: who
    /// brought it back, and when (`latest`).
    pub(crate) link: AtomicU64,
    /// Table: the space. Page: the object that it hangs in (even), the swap area in whose cache it is
    /// (odd), or 0.
    pub(crate) owner: AtomicU64,
    /// Table: first page and level. Page: its place in the object or area.
    pub(crate) base: AtomicU64,
    /// Table: which sixty-fourths of it hold non-empty entries. Page of an object, or on its
    /// way to swap: not 0 when its pager or device does not know what it holds.
    pub(crate) occupied: AtomicU64,
}

impl Meta {
    /// What the frame is used for now.
    pub fn kind(&self) -> Kind {
        match self.state.load(Ordering::Acquire) as u8 {
            1 => Kind::Page,
            2 => Kind::Table,
            3 => Kind::Slab,
            4 => Kind::Own,
            _ => Kind::Free,
        }
    }

    /// How often the frame has changed hands.
    pub fn generation(&self) -> u64 {
        self.state.load(Ordering::Acquire) << AGE_BITS >> (AGE_BITS + KIND_BITS)
    }

    /// Whether a page hangs in an object, or in the cache of a swap slot. The caller has a reference,
    /// or does not rely on it.
    #[inline]
    pub(crate) fn is_cached(&self) -> bool {
        self.owner.load(Ordering::Relaxed) != 0
    }

    /// The object that a page hangs in. As for `is_cached`.
    pub(crate) fn object(&self) -> Option<u64> {
        let owner = self.owner.load(Ordering::Relaxed);
        (owner != 0 && owner & 1 == 0).then_some(owner)
    }

    /// What the stealer knows of when the page was used; 0 for one that he has not met.
    pub(crate) fn age(&self) -> u16 {
        (self.state.load(Ordering::Relaxed) >> (u64::BITS - AGE_BITS)) as u16
    }

    /// Lets a page have that age. Any frame, in any state: who is no page keeps none.
    pub(crate) fn set_age(&self, age: u16) {
        let age = u64::from(age) << (u64::BITS - AGE_BITS);
        let aged = |state| {
            let page = state as u8 == Kind::Page as u8 && state & AGE != age;
            page.then_some(state & !AGE | age)
        };
        self.state.change(Ordering::Relaxed, aged);
    }

    /// The frame changes hands: a new kind, the next generation. Only its owner calls this.
    pub(crate) fn become_kind(&self, kind: Kind) {
        let generation = self.state.load(Ordering::Relaxed) >> KIND_BITS;
        // Release: whoever reads the new kind (Acquire) sees the words prepared for it.
        let next = (generation + 1) << KIND_BITS & !AGE;
        self.state.store(next | kind as u64, Ordering::Release);
    }
}

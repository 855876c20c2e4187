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
use crate::sync::{AtomicU32, AtomicU64, Ordering};

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
    /// Kind in the low byte, generation above.
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
    /// The next frame on whatever list holds this one (held locks, detached, retired, free).
    pub(crate) link: AtomicU64,
    /// Table: the space. Page: the object that it hangs in, or 0.
    pub(crate) owner: AtomicU64,
    /// Table: first page and level. Page: its place in the object.
    pub(crate) base: AtomicU64,
    /// Table: which sixty-fourths of it hold non-empty entries. Page of an object: not 0 when it was
    /// written and its pager does not know.
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
        self.state.load(Ordering::Acquire) >> 8
    }

    /// Whether a page hangs in an object. The caller has a reference, or does not rely on it.
    #[inline]
    pub(crate) fn is_cached(&self) -> bool {
        self.owner.load(Ordering::Relaxed) != 0
    }

    /// The frame changes hands: a new kind, the next generation. Only its owner calls this.
    pub(crate) fn become_kind(&self, kind: Kind) {
        let generation = self.state.load(Ordering::Relaxed) >> 8;
        // Release: whoever reads the new kind (Acquire) sees the words prepared for it.
        self.state.store((generation + 1) << 8 | kind as u64, Ordering::Release);
    }
}

//! A node: a table page with the metadata that lie outside it.
//!
//! Guarantee: the words of a table that others can reach change only through the backend, under
//! the node's lock (hardware's accessed and dirty bits apart); slots and layout change only
//! between two steps of the node's sequence, so that a reader without locks who saw two equal even
//! values saw one state.
//!
//! In the metadata: `lock`; `seq`; `pins`, the non-empty entries, and the child tables among
//! them; `word`, the layout; `owner`, the space; `base`, level and first page; `occupied`, a bit
//! for each sixty-fourth of the table that may hold a non-empty entry (never clear where one
//! stands, perhaps set where none does), so that searches skip what is empty.

use crate::addr::{Frame, PageRange};
use crate::backend::{Backend, Slot};
use crate::cell::Cell;
use crate::counters::Event;
use crate::flush::SpaceId;
use crate::format::{Entry, Format, Geometry, Leaf};
use crate::frame::meta::{Kind, Meta};
use crate::mutation::{self, Mutation};
use crate::platform::Platform;
use crate::sync::Ordering;
use crate::vm::Vm;

/// A table's entries, where they lie.
type Cells<'a, P> = &'a [<<P as Platform>::Format as Format>::Cell];

/// A table and what is known about it.
pub(crate) struct Node<'a, P: Platform> {
    pub vm: &'a Vm<P>,
    pub frame: Frame,
    pub level: usize,
    pub meta: &'a Meta,
    cells: Cells<'a, P>,
}

impl<P: Platform> Clone for Node<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for Node<'_, P> {}

impl<P: Platform> PartialEq for Node<'_, P> {
    fn eq(&self, other: &Self) -> bool {
        self.frame == other.frame
    }
}

/// The entry of `page` among those of a table at `level`.
#[inline(always)]
fn cell_of<P: Platform>(
    cells: Cells<'_, P>,
    level: usize,
    page: u64,
) -> &<P::Format as Format>::Cell {
    let index = P::Format::index(level, page);
    debug_assert!(index < cells.len());
    // SAFETY: the cells are all the entries of a table at this level, and `index` masks what it
    // answers to their number, a power of two.
    unsafe { cells.get_unchecked(index) }
}

/// Bits of `Meta::base` that hold the level.
const LEVEL_BITS: u32 = 4;

/// One child table in `Meta::pins`; below it are the entries, at most 2^13.
const CHILD: u32 = 1 << 16;

impl<'a, P: Platform> Node<'a, P> {
    /// The node of a table known to be at `level`.
    #[inline(always)]
    pub fn at(vm: &'a Vm<P>, frame: Frame, level: usize) -> Self {
        debug_assert!(
            vm.meta_of(frame).kind() == Kind::Table || mutation::active(Mutation::NoGracePeriod),
            "O9: what was a table is one no more"
        );
        let cells = vm.table_cells(frame, P::Format::entries(level));
        Node { vm, frame, level, meta: vm.meta_of(frame), cells }
    }

    /// The same, known to be a leaf table: so that the compiler knows it too.
    #[inline(always)]
    pub fn as_leaf_table(self) -> Self {
        debug_assert!(self.level == 0);
        Node { level: 0, ..self }
    }

    /// The lowest node at or above level `least` on the way from this one to `page`.
    #[inline(always)]
    pub fn descend(self, page: u64, least: usize) -> Self {
        let (mut frame, mut level, mut cells) = (self.frame, self.level, self.cells);
        while level > least {
            // Acquire: what the entry names was filled before it was put there.
            let word = cell_of::<P>(cells, level, page).load(Ordering::Acquire);
            let Some(table) = P::Format::next_table(level, word) else { break };
            (frame, level) = (table, level - 1);
            cells = self.vm.table_cells(frame, P::Format::entries(level));
        }
        Node { vm: self.vm, frame, level, meta: self.vm.meta_of(frame), cells }
    }

    /// The node that a walk from this one to `page` ends in, and the word of its entry.
    #[inline(always)]
    pub fn walk(self, page: u64) -> (Self, u64) {
        let (mut frame, mut level, mut cells) = (self.frame, self.level, self.cells);
        loop {
            // Acquire: as above.
            let word = cell_of::<P>(cells, level, page).load(Ordering::Acquire);
            match P::Format::next_table(level, word) {
                Some(table) if level > 0 => {
                    (frame, level) = (table, level - 1);
                    cells = self.vm.table_cells(table, P::Format::entries(level));
                }
                _ => {
                    let meta = self.vm.meta_of(frame);
                    return (Node { vm: self.vm, frame, level, meta, cells }, word);
                }
            }
        }
    }

    /// The node of a table frame, its level read from the metadata.
    pub fn of(vm: &'a Vm<P>, frame: Frame) -> Self {
        let base = vm.meta_of(frame).base.load(Ordering::Relaxed);
        Node::at(vm, frame, (base & ((1 << LEVEL_BITS) - 1)) as usize)
    }

    /// Makes an empty table for `space` at `level`, whose first page is `start`. Its layout is
    /// one hole. None: no memory.
    pub fn make(vm: &'a Vm<P>, space: SpaceId, level: usize, start: u64) -> Option<Self> {
        let (frame, order) = (vm.take_table(level)?, P::Format::table_order(level));
        // SAFETY: the frames were just taken from the allocator: nobody else can reach them.
        unsafe {
            let bytes = (<P::Format as Geometry>::PAGE_SIZE as usize) << order;
            vm.platform().frame_ptr(frame).write_bytes(0, bytes);
        }
        if vm.backend().prepare_table(frame, level).is_err() {
            vm.give_table(frame, order);
            return None;
        }
        let meta = vm.meta_of(frame);
        meta.pins.store(0, Ordering::Relaxed);
        meta.lock.store(0, Ordering::Relaxed);
        meta.seq.renew();
        meta.word.store(super::layout::HOLE, Ordering::Relaxed);
        meta.owner.store(space.0, Ordering::Relaxed);
        meta.base.store(start << LEVEL_BITS | level as u64, Ordering::Relaxed);
        meta.occupied.store(0, Ordering::Relaxed);
        vm.count(Event::TableMade, 1);
        vm.totals(space).tables.fetch_add(1 << order, Ordering::Relaxed);
        Some(Node::at(vm, frame, level))
    }

    /// Undoes `make`, for a table that was never attached.
    pub fn unmake(self) {
        self.free_layout();
        self.vm.backend().release_table(self.frame);
        self.vm.count(Event::TableFreed, 1);
        let order = P::Format::table_order(self.level);
        self.vm.totals(self.space()).tables.fetch_sub(1 << order, Ordering::Relaxed);
        self.vm.give_table(self.frame, order);
    }

    /// The space that the table belongs to.
    pub fn space(&self) -> SpaceId {
        SpaceId(self.meta.owner.load(Ordering::Relaxed))
    }

    /// The pages that the table spans.
    #[inline(always)]
    pub fn range(&self) -> PageRange {
        let start = self.meta.base.load(Ordering::Relaxed) >> LEVEL_BITS;
        PageRange::new(start, start + P::Format::table_pages(self.level))
    }

    /// The table and all below it have moved `by` pages (wrapping). Their locks are held, and their
    /// sequences odd.
    pub fn rebase(self, by: u64) {
        let base = self.meta.base.load(Ordering::Relaxed);
        self.meta.base.store(base.wrapping_add(by << LEVEL_BITS), Ordering::Relaxed);
        self.shift_layout(by);
        let slots = self.slots(self.range());
        self.children(slots).for_each(|(_, child)| child.rebase(by));
    }

    /// The pages that slot `index` spans.
    #[inline(always)]
    pub fn slot_range(&self, index: usize) -> PageRange {
        let pages = P::Format::slot_pages(self.level);
        let start = self.range().start + index as u64 * pages;
        PageRange::new(start, start + pages)
    }

    /// The slots that hold a part of `range`.
    #[inline]
    pub fn slots(&self, range: PageRange) -> core::ops::Range<usize> {
        let part = range.intersect(self.range());
        if part.is_empty() {
            return 0..0;
        }
        let first = P::Format::index(self.level, part.start);
        first..P::Format::index(self.level, part.end - 1) + 1
    }

    /// The slot of `page`.
    #[inline(always)]
    pub fn index(&self, page: u64) -> usize {
        P::Format::index(self.level, page)
    }

    /// The entry's word. Acquire: what it names was filled before it was put there.
    #[inline(always)]
    pub fn load(&self, index: usize) -> u64 {
        self.cells[index].load(Ordering::Acquire)
    }

    /// The leaf in slot `index`, if there is one.
    #[inline(always)]
    pub fn leaf(&self, index: usize) -> Option<Leaf> {
        P::Format::as_leaf(self.level, self.load(index))
    }

    /// The entry, decoded.
    #[inline(always)]
    pub fn entry(&self, index: usize) -> Entry {
        P::Format::decode(self.level, self.load(index))
    }

    /// The child table in slot `index`, if there is one.
    #[inline(always)]
    pub fn child(&self, index: usize) -> Option<Node<'a, P>> {
        let table = P::Format::next_table(self.level, self.load(index))?;
        Some(Node::at(self.vm, table, self.level - 1))
    }

    /// The slot as the backend wants it.
    #[inline(always)]
    pub fn slot(&self, index: usize) -> Slot<'a, <P::Format as Format>::Cell> {
        Slot { cell: &self.cells[index], table: self.frame, index, level: self.level }
    }

    /// log2 of the slots that one bit of `occupied` stands for.
    #[inline(always)]
    fn group_shift(&self) -> u32 {
        P::Format::entries(self.level).trailing_zeros().saturating_sub(6)
    }

    /// Counts an entry that has become non-empty. The lock is held, or the table is private.
    #[inline]
    pub fn gained(&self, index: usize) {
        self.meta.pins.store(self.meta.pins.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let bit = 1 << (index >> self.group_shift());
        let occupied = self.meta.occupied.load(Ordering::Relaxed);
        if occupied & bit == 0 {
            self.meta.occupied.store(occupied | bit, Ordering::Relaxed);
        }
    }

    /// Counts `n` entries that have become empty. The lock is held.
    #[inline]
    pub fn lost(&self, n: u32) {
        let left = self.meta.pins.load(Ordering::Relaxed) - n;
        self.meta.pins.store(left, Ordering::Relaxed);
        if left == 0 {
            self.meta.occupied.store(0, Ordering::Relaxed);
        }
    }

    /// How many entries are non-empty.
    pub fn count(&self) -> u32 {
        self.meta.pins.load(Ordering::Relaxed) & (CHILD - 1)
    }

    /// How many of them are child tables.
    #[inline]
    pub fn child_count(&self) -> u32 {
        self.meta.pins.load(Ordering::Relaxed) / CHILD
    }

    /// Counts an entry that has become (`n` = 1) or been (`n` = -1) a child table.
    fn count_child(&self, n: i32) {
        let pins = self.meta.pins.load(Ordering::Relaxed);
        self.meta.pins.store(pins.wrapping_add_signed(n * CHILD as i32), Ordering::Relaxed);
    }

    /// The non-empty slots among `slots`.
    #[inline]
    pub fn occupied(
        self,
        slots: core::ops::Range<usize>,
    ) -> impl Iterator<Item = usize> + use<'a, P> {
        let mut run = slots.start..slots.start;
        core::iter::from_fn(move || {
            loop {
                for index in run.by_ref() {
                    if self.cells[index].load(Ordering::Relaxed) != 0 {
                        return Some(index);
                    }
                }
                run = self.occupied_run(run.end, slots.end)?;
            }
        })
    }

    /// The first run of slots from `from` on, before `to`, that `occupied` has bits for.
    fn occupied_run(&self, from: usize, to: usize) -> Option<core::ops::Range<usize>> {
        if from >= to {
            return None;
        }
        let shift = self.group_shift();
        let ahead = self.meta.occupied.load(Ordering::Relaxed) >> (from >> shift);
        let skipped = ahead.trailing_zeros() as usize;
        if ahead == 0 {
            return None;
        }
        let first = (from >> shift) + skipped;
        let end = first + (ahead >> skipped).trailing_ones() as usize;
        let run = from.max(first << shift)..to.min(end << shift);
        (!run.is_empty()).then_some(run)
    }

    /// The child tables in `slots`, with their indices.
    pub fn children(
        self,
        slots: core::ops::Range<usize>,
    ) -> impl Iterator<Item = (usize, Node<'a, P>)> {
        let slots = if self.child_count() == 0 { 0..0 } else { slots };
        self.occupied(slots).filter_map(move |index| Some((index, self.child(index)?)))
    }

    /// The slots and layout are about to change. The lock is held.
    #[inline]
    pub fn open(&self) {
        self.meta.seq.open();
    }

    /// They have changed.
    #[inline]
    pub fn shut(&self) {
        debug_assert!(self.has_whole_layout(), "O8: pieces overlap, or leave something out");
        self.meta.seq.shut();
    }

    /// Puts a leaf into slot `index`, which is empty. The lock is held; record and reference of its
    /// page are the caller's affair.
    #[inline]
    pub fn fill(&self, index: usize, word: u64) {
        self.vm.backend().swap(self.slot(index), word);
        self.gained(index);
    }

    /// Attaches `child`, complete, in slot `index`, which is empty. The lock is held and the
    /// sequence is odd.
    pub fn attach(&self, index: usize, child: Node<'a, P>) {
        let word = P::Format::table(self.level, child.frame);
        self.vm.backend().swap(self.slot(index), word);
        self.gained(index);
        self.count_child(1);
    }

    /// Unlinks the child in slot `index`. Both locks are held and the sequence is odd.
    pub fn detach(&self, index: usize) {
        self.vm.backend().swap(self.slot(index), 0);
        self.count_child(-1);
        self.lost(1);
    }
}

/// A table that nobody else can reach: filled by plain writes.
pub(crate) struct Fresh<'a, P: Platform> {
    node: Node<'a, P>,
}

impl<'a, P: Platform> Fresh<'a, P> {
    /// # Safety
    /// Nobody else can reach the table until `node` is used to attach it.
    pub unsafe fn new(node: Node<'a, P>) -> Self {
        Fresh { node }
    }

    /// The table's frame.
    pub fn frame(&self) -> Frame {
        self.node.frame
    }

    /// Fills an empty slot.
    pub fn set(&mut self, index: usize, word: u64) {
        self.node.cells[index].fill(word);
        self.node.gained(index);
    }

    /// Fills an empty slot with a child table.
    pub fn set_child(&mut self, index: usize, child: Node<'a, P>) {
        self.set(index, P::Format::table(self.node.level, child.frame));
        self.node.count_child(1);
    }
}

//! Entries under a cursor: taken out, given other rights, or made to name another frame.
//!
//! Guarantee: what hardware sets in an entry until it is changed is kept: its dirty bit goes to the
//! page. Whoever may still hold what an entry said is gathered, and told before the locks go.

use super::cursor::Cursor;
use super::node::Node;
use crate::addr::PageRange;
use crate::backend::Backend;
use crate::entry;
use crate::flush::SpaceId;
use crate::format::{Entry, Format, Leaf, Rights, Soft};
use crate::frame::meta::Meta;
use crate::lock;
use crate::mutation::{self, Mutation};
use crate::object;
use crate::platform::Platform;
use crate::rmap::{self, Mapper};
use crate::swap::Place;
use crate::sync::Ordering;
use crate::vm::Vm;

impl<'a, P: Platform> Cursor<'a, '_, P> {
    /// Takes every entry out of `range`; the layouts stay. (Don't-need, and the tables that unmap
    /// covers in part.)
    pub fn clear(&mut self, range: PageRange) {
        for node in self.nodes() {
            if !lock::is_stale(&node.meta.lock) {
                self.clear_in(node, range);
            }
        }
    }

    /// The same in one node that is held.
    pub fn clear_in(&mut self, node: Node<'a, P>, range: PageRange) {
        let mut lost = 0;
        for index in node.occupied(node.slots(range)) {
            if !matches!(node.entry(index), Entry::Table(_)) {
                self.take_entry(node, index);
                lost += 1;
            }
        }
        if lost != 0 {
            node.lost(lost);
        }
    }

    /// Empties one slot and gathers the leaf that it held, or gives up what it says is on swap; the
    /// caller counts it lost.
    #[inline(always)]
    pub fn take_entry(&mut self, node: Node<'a, P>, index: usize) -> Option<Leaf> {
        let word = self.vm.backend().swap(node.slot(index), 0);
        let leaf = P::Format::as_leaf(node.level, word);
        match leaf {
            Some(leaf) => self.gather_leaf(node, index, leaf),
            None => self.drop_soft(node.level, word),
        }
        leaf
    }

    /// Lets a slot hold another word than its leaf, which is gathered.
    pub fn replace_entry(&mut self, node: Node<'a, P>, index: usize, new: u64) {
        let word = self.vm.backend().swap(node.slot(index), new);
        if let Some(leaf) = P::Format::as_leaf(node.level, word) {
            self.gather_leaf(node, index, leaf);
        }
    }

    #[inline(always)]
    fn gather_leaf(&mut self, node: Node<'a, P>, index: usize, leaf: Leaf) {
        self.gather().shoot(node.slot_range(index).start, leaf.frame);
        self.drop_mapping(node, index, leaf);
    }

    /// An absent entry no longer says what it did.
    #[cold]
    fn drop_soft(&self, level: usize, word: u64) {
        if let Entry::Soft(soft) = P::Format::decode(level, word) {
            drop_swapped(self.vm, self.space, soft);
        }
    }

    /// The entry no longer is `leaf`: its dirty bit goes to the page; record, total and, after the
    /// flush, reference go.
    #[inline(always)]
    fn drop_mapping(&mut self, node: Node<'a, P>, index: usize, leaf: Leaf) {
        if let Some(meta) = self.vm.mapped_meta(leaf.frame) {
            self.drop_counted(node, index, leaf, meta);
        }
    }

    /// The same for a page whose mappings are counted.
    fn drop_counted(&mut self, node: Node<'a, P>, index: usize, leaf: Leaf, meta: &Meta) {
        let dirty = leaf.dirty && meta.is_cached();
        if dirty {
            object::mark_dirty(meta);
        }
        rmap::remove(self.vm, meta, Mapper { table: node.frame, index });
        self.vm.totals(self.space).resident.fetch_sub(1, Ordering::Relaxed);
        self.gather().drop_page(leaf.frame, dirty);
        if self.gather().is_full() {
            let vm = self.vm;
            self.flush();
            self.gather().drop_pages(vm);
        }
    }

    /// Gives the mapped pages of `range` other rights: layouts, then entries. `prepare` has been
    /// called for `range`.
    pub fn protect(&mut self, range: PageRange, rights: Rights) {
        self.change_attributes(range, |now| now.with_rights(rights));
        for node in self.nodes() {
            self.protect_entries(node, range, rights);
        }
    }

    fn protect_entries(&mut self, node: Node<'a, P>, range: PageRange, rights: Rights) {
        let rights = rights.with_implied();
        for index in node.occupied(node.slots(range)) {
            if node.leaf(index).is_none() {
                continue;
            }
            let page = node.slot_range(index).start;
            let private = node.piece(page).0.key.is_private();
            self.change_entry(node, index, |leaf| {
                // A private page that may be shared stays read-only until a fault has looked.
                let keep = if private && !leaf.rights.contains(Rights::WRITE) {
                    rights.difference(Rights::WRITE)
                } else {
                    rights
                };
                keep | Rights::USER
            });
        }
    }

    /// Changes a leaf entry's rights, keeping whatever hardware sets meanwhile; gathers it when a
    /// right goes.
    pub fn change_entry(
        &mut self,
        node: Node<'a, P>,
        index: usize,
        rights: impl Fn(Leaf) -> Rights,
    ) {
        let gone =
            entry::change_rights::<P::Format, _>(self.vm.backend(), node.slot(index), rights);
        if let Some(leaf) = gone {
            self.gather().shoot(node.slot_range(index).start, leaf.frame);
        }
    }

    /// Replaces the leaf entry `old` by one that names another frame: absent in between, so that
    /// no CPU can hold both translations. The fault of who meets it waits for this node's lock.
    #[inline(never)]
    pub fn exchange_frame(&mut self, node: Node<'a, P>, index: usize, leaf: Leaf, new: u64) {
        let leaf = self.break_leaf(node, index, leaf);
        self.vm.backend().swap(node.slot(index), new);
        self.drop_mapping(node, index, leaf);
    }

    /// Clears a leaf entry's dirty bit, and gathers it; whether it was set.
    pub fn clean_entry(&mut self, node: Node<'a, P>, index: usize) -> bool {
        let dirty = entry::clean::<P::Format, _>(self.vm.backend(), node.slot(index));
        if let Some(leaf) = dirty {
            self.gather().shoot(node.slot_range(index).start, leaf.frame);
        }
        dirty.is_some()
    }

    /// Clears a leaf entry's accessed bit, and gathers it: a CPU that remembers the entry would not set
    /// the bit again.
    pub fn clear_accessed(&mut self, node: Node<'a, P>, index: usize, leaf: Leaf) {
        self.vm.backend().clear_accessed(node.slot(index), P::Format::ACCESSED);
        self.gather().shoot(node.slot_range(index).start, leaf.frame);
    }

    /// Takes the leaf entry of a slot out of the tables and out of every TLB, so that another
    /// frame or size may stand there: until then the slot is in transit. The leaf, with the dirty
    /// bit that hardware has set meanwhile.
    pub(super) fn break_leaf(&mut self, node: Node<'a, P>, index: usize, leaf: Leaf) -> Leaf {
        self.gather().shoot(node.slot_range(index).start, leaf.frame);
        if mutation::active(Mutation::NoBreakBeforeMake) {
            return leaf;
        }
        let word = self.vm.backend().swap(node.slot(index), P::Format::soft(Soft::InTransit));
        self.flush();
        P::Format::as_leaf(node.level, word).unwrap_or(leaf)
    }
}

/// Gives up what an absent entry of a space said.
pub(super) fn drop_swapped<P: Platform>(vm: &Vm<P>, space: SpaceId, soft: Soft) {
    if let Some(place) = Place::of(soft) {
        vm.totals(space).swapped.fetch_sub(1, Ordering::Relaxed);
        vm.put_slot(place);
    }
}

/// Changes an entry from `old` to `new`; the word found instead, when it is not `old`.
pub(crate) fn exchange<P: Platform>(
    vm: &Vm<P>,
    node: Node<'_, P>,
    index: usize,
    old: u64,
    new: u64,
) -> Result<(), u64> {
    entry::exchange(vm.backend(), node.slot(index), old, new)
}

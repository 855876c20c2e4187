//! A cursor: a transaction over a range of one space.
//!
//! Guarantee: between its making and its commit nobody else changes layouts or entries of the
//! range (hardware's accessed and dirty bits apart). `commit` sends what is owed and has every
//! acknowledgement *before* it releases the locks; what was taken out comes back as a
//! [`Released`], which exists only when the cursor is gone.
//!
//! Protocol. First `prepare`: everything that may fail (room in layouts, pushing down a crowded
//! slot) is done without changing any content, so that an operation that fails has not happened.
//! Then the edits of layouts and of child slots, in one window: all nodes' sequences go odd, are
//! edited, and go even; nothing in the window waits or allocates. Then the entries. Then commit.
//!
//! Only the nodes at the two ends of the range can gain pieces; fully covered children are
//! detached whole by `unmap` and keep their number of pieces under `protect`.

use super::gather::Gather;
use super::locking::{self, Cover, Held};
use super::node::{Fresh, Node};
use super::release::Released;
use crate::addr::{Frame, PageRange};
use crate::backend::Backend;
use crate::context::MaySleep;
use crate::flush::SpaceId;
use crate::format::{Entry, Format, Geometry, Leaf, Rights};
use crate::lock;
use crate::mutation::{self, Mutation};
use crate::object::{self, Dropped};
use crate::platform::Platform;
use crate::region::{Attributes, Key, Piece};
use crate::vm::Vm;

/// Pieces in a node that is no leaf beyond which an edit inside a slot goes to a child.
const CROWDED: usize = 64;

/// Exclusive hold of a range of a space.
pub(crate) struct Cursor<'a, 'c, P: Platform> {
    pub vm: &'a Vm<P>,
    pub space: SpaceId,
    pub range: PageRange,
    held: Held<'a, P>,
    gather: &'c mut Gather,
    dropped: Dropped,
    skip: Mutation,
    ms: &'c mut MaySleep,
}

impl<'a, 'c, P: Platform> Cursor<'a, 'c, P> {
    /// Locks `range` (not empty, within the root's span) of the space. `skip` is the shootdown
    /// that the test-only build may leave out.
    pub fn lock(
        root: Node<'a, P>,
        ms: &'c mut MaySleep,
        gather: &'c mut Gather,
        range: PageRange,
        cover: Cover,
        skip: Mutation,
    ) -> Self {
        let held = locking::lock(root, ms, range, cover);
        Cursor::of(held, ms, gather, range, skip)
    }

    /// Locks two windows of the space, disjoint and not empty.
    pub fn lock2(
        root: Node<'a, P>,
        ms: &'c mut MaySleep,
        gather: &'c mut Gather,
        windows: [PageRange; 2],
        skip: Mutation,
    ) -> Self {
        let held = locking::lock2(root, ms, windows);
        Cursor::of(held, ms, gather, locking::hull(windows), skip)
    }

    /// A cursor over `range`, whose nodes are locked already.
    #[inline]
    pub fn of(
        held: Held<'a, P>,
        ms: &'c mut MaySleep,
        gather: &'c mut Gather,
        range: PageRange,
        skip: Mutation,
    ) -> Self {
        Cursor {
            vm: held.top.vm,
            space: held.top.space(),
            range,
            held,
            gather,
            dropped: Dropped::new(),
            skip,
            ms,
        }
    }

    /// The node that covers the range.
    pub fn top(&self) -> Node<'a, P> {
        self.held.top
    }

    /// What is gathered for the shootdown.
    #[inline(always)]
    pub(super) fn gather(&mut self) -> &mut Gather {
        self.gather
    }

    /// Makes room for an edit of `range`: to one key, or (`None`) to other rights. Changes no
    /// content. None: no memory.
    #[inline]
    pub fn prepare(&mut self, range: PageRange, key: Option<Key>) -> Option<()> {
        self.held.top.grow(range, key)?;
        if self.held.top.level == 0 { Some(()) } else { self.prepare_below(range, key) }
    }

    /// Pushes down what is crowded or large where `bound` lies inside it. None: no memory.
    pub(super) fn split_at(&mut self, bound: u64) -> Option<()> {
        let mut node = self.held.top;
        while let Some(child) = self.child_for_bound(node, bound)? {
            node = child;
        }
        Some(())
    }

    /// The same for the descendants.
    fn prepare_below(&mut self, range: PageRange, key: Option<Key>) -> Option<()> {
        for bound in [range.start, range.end] {
            let mut node = self.held.top;
            while let Some(child) = self.child_for_bound(node, bound)? {
                child.grow(range, key)?;
                node = child;
            }
        }
        Some(())
    }

    /// The child whose inside `bound` lies in, made when its slot is crowded.
    fn child_for_bound(&mut self, node: Node<'a, P>, bound: u64) -> Option<Option<Node<'a, P>>> {
        let index = node.index(bound);
        if node.level == 0 || node.range().end <= bound || node.slot_range(index).start == bound {
            return Some(None);
        }
        let child = match node.entry(index) {
            Entry::Table(_) => return Some(node.child(index)),
            Entry::Leaf(leaf) => self.split(node, index, leaf)?,
            Entry::Empty if node.pieces() >= CROWDED => locking::push_down(node, index)?,
            Entry::Empty | Entry::Soft(_) => return Some(None),
        };
        self.held.add(child);
        Some(Some(child))
    }

    /// Replaces a leaf above level 0 by a table of leaves one level down that map the same: absent
    /// in between, since no CPU may hold translations of two sizes. None: no memory.
    fn split(&mut self, node: Node<'a, P>, index: usize, leaf: Leaf) -> Option<Node<'a, P>> {
        let child = locking::make_child(node, index)?;
        // SAFETY: the child was just made and is attached below.
        let mut fresh = unsafe { Fresh::new(child) };
        let step = P::Format::slot_pages(child.level);
        let smaller = |leaf: Leaf, i| Leaf { frame: Frame(leaf.frame.0 + i as u64 * step), ..leaf };
        let allowed = P::Format::LEAF_LEVELS >> child.level & 1 == 1;
        let leaf = self.break_leaf(node, index, leaf);
        // Hardware may have set accessed and dirty until the flush; the parts keep both.
        let leaf = Leaf {
            accessed: true,
            dirty: leaf.dirty | leaf.rights.contains(Rights::WRITE),
            ..leaf
        };
        if allowed {
            for i in 0..P::Format::entries(child.level) {
                fresh.set(i, P::Format::leaf(child.level, smaller(leaf, i)));
            }
        }
        self.vm.backend().swap(node.slot(index), 0);
        node.lost(1);
        lock::acquire_attached(self.vm.platform(), &child.meta.lock);
        locking::attach(node, index, child);
        Some(child)
    }

    /// What `page` of the range is, and where that ends (at the next slot with a child at the
    /// latest).
    pub fn piece(&self, page: u64) -> (Key, u64) {
        let node = self.held.top.descend(page, 0);
        let (piece, end) = node.piece(page);
        if node.level == 0 {
            return (piece.key, end);
        }
        let slots = node.index(page)..node.slots(PageRange::new(page, end)).end;
        let child = node.children(slots).next();
        (piece.key, child.map_or(end, |(_, child)| child.range().start))
    }

    /// The first page of `range` that is mapped (`mapped`) or is not, if there is one.
    pub fn first(&self, range: PageRange, mapped: bool) -> Option<u64> {
        self.find(range, |key| key.is_mapped() == mapped)
    }

    /// The first page of `range` whose key is `wanted`.
    pub fn find(&self, range: PageRange, wanted: impl Fn(Key) -> bool) -> Option<u64> {
        let mut page = range.start;
        while page < range.end {
            let (key, end) = self.piece(page);
            if wanted(key) {
                return Some(page);
            }
            page = end;
        }
        None
    }

    /// Runs `edit` with all nodes' sequences odd. That of a node which it detaches stays odd: a
    /// reader who still reaches it starts again from the root.
    pub(super) fn window(&mut self, edit: impl FnOnce(&mut Self)) {
        self.held.nodes().for_each(|node| node.open());
        edit(self);
        self.held.nodes().filter(|node| !lock::is_stale(&node.meta.lock)).for_each(|n| n.shut());
    }

    /// Takes everything out of `range` and makes it `key` (a hole, for unmap). `prepare` has been
    /// called for `range`. Whether anything was mapped there.
    pub fn replace(&mut self, range: PageRange, key: Key) -> bool {
        self.uncharge_locks(range);
        let mut mapped = false;
        self.window(|cursor| mapped = cursor.replace_layouts(cursor.held.top, range, key));
        if mapped {
            self.clear(range);
        }
        mapped
    }

    /// Detaches the children that `range` covers, and makes the range `key` in the layouts of the
    /// others. In a window.
    #[inline(always)]
    pub(super) fn replace_layouts(
        &mut self,
        node: Node<'a, P>,
        range: PageRange,
        key: Key,
    ) -> bool {
        let below = node.child_count() != 0 && self.replace_below(node, range, key);
        self.set_layout(node, range, key) | below
    }

    #[inline(never)]
    fn replace_below(&mut self, node: Node<'a, P>, range: PageRange, key: Key) -> bool {
        let mut mapped = false;
        for (index, child) in node.children(node.slots(range)) {
            if range.contains(child.range()) {
                node.detach(index);
                self.detached(child);
                mapped = true;
            } else {
                mapped |= self.replace_layouts(child, range, key);
            }
        }
        mapped
    }

    /// Makes `range` `key` in one node's layout, in a window. Whether anything was mapped there.
    #[inline(always)]
    pub(super) fn set_layout(&mut self, node: Node<'a, P>, range: PageRange, key: Key) -> bool {
        let part = range.intersect(node.range());
        if part.is_empty() {
            return false;
        }
        // A piece in slots that all have children would keep its object for nothing.
        let key = if key.object != 0 && !node.has_bare_slot(part) { Key::HOLE } else { key };
        let weight = object::new_weight(self.vm, key);
        node.replace(range, Piece { start: part.start, key, weight }, &mut self.dropped)
    }

    /// Attaches a table that is held in an empty slot of a node that is held, in a window.
    pub(super) fn attach(&mut self, node: Node<'a, P>, index: usize, child: Node<'a, P>) {
        node.attach(index, child);
        node.forget_slot(index, &mut self.dropped);
    }

    /// Marks an unlinked table and all below it, and gathers what they map.
    fn detached(&mut self, node: Node<'a, P>) {
        self.gather_table(node);
        self.mark_stale(node);
    }

    fn mark_stale(&mut self, node: Node<'a, P>) {
        lock::mark_stale(&node.meta.lock);
        let slots = node.slots(node.range());
        node.children(slots).for_each(|(_, child)| self.mark_stale(child));
    }

    /// Gathers an unlinked table, all below it, and what they map.
    pub(super) fn gather_table(&mut self, node: Node<'a, P>) {
        self.gather.unlinked_table();
        let named = node.count() as usize <= self.gather.room();
        let entries = node.slots(node.range());
        if node.level == 0 && !named {
            return self.gather.shoot_all();
        }
        for index in node.occupied(entries) {
            match node.entry(index) {
                Entry::Table(_) => node.child(index).into_iter().for_each(|c| self.gather_table(c)),
                Entry::Leaf(leaf) => self.gather.shoot(node.slot_range(index).start, leaf.frame),
                Entry::Empty | Entry::Soft(_) => {}
            }
        }
    }

    /// Gives the mapped pages of `range` other attributes, the rights apart. `prepare` has been called
    /// for `range`.
    pub fn change_attributes(
        &mut self,
        range: PageRange,
        change: impl Fn(Attributes) -> Attributes + Copy,
    ) {
        self.window(|cursor| {
            for node in cursor.held.nodes() {
                node.change_attributes(range, change, &mut cursor.dropped);
            }
        });
    }

    /// Shoots down what is owed, with the locks held.
    #[inline]
    pub fn flush(&mut self) {
        self.gather.flush(self.vm, self.space, self.skip);
    }

    /// All nodes held.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'a, P>> + use<'a, P> {
        self.held.nodes()
    }

    /// The child in slot `index` of a node that is held, made if there is none: from a leaf above
    /// level 0, or empty. Changes no content. None: no memory.
    pub fn make_child(&mut self, node: Node<'a, P>, index: usize) -> Option<Node<'a, P>> {
        let child = match node.entry(index) {
            Entry::Table(_) => return node.child(index),
            Entry::Leaf(leaf) => self.split(node, index, leaf)?,
            Entry::Empty | Entry::Soft(_) => locking::push_down(node, index)?,
        };
        self.held.add(child);
        Some(child)
    }

    /// Splits the leaves above level 0 that a bound of `range` lies inside. None: no memory.
    pub fn split_bounds(&mut self, range: PageRange) -> Option<()> {
        for bound in [range.start, range.end] {
            let mut node = self.held.top;
            while bound < node.range().end && node.slot_range(node.index(bound)).start != bound {
                let index = node.index(bound);
                match node.entry(index) {
                    Entry::Table(_) | Entry::Leaf(_) => node = self.make_child(node, index)?,
                    Entry::Empty | Entry::Soft(_) => break,
                }
            }
        }
        Some(())
    }

    /// Takes the whole user half out and the root with it: the end of a space. Allocates nothing.
    pub fn dismantle(mut self) -> Released<'a, 'c, P> {
        let root = self.held.top;
        self.window(|cursor| {
            for (index, child) in root.children(root.slots(cursor.range)) {
                root.detach(index);
                cursor.detached(child);
            }
        });
        lock::mark_stale(&root.meta.lock);
        self.gather.unlinked_table();
        self.gather.shoot_all();
        self.commit()
    }

    /// Ends the transaction: flush, acknowledgements, unlock. What it took out is the result.
    pub fn commit(mut self) -> Released<'a, 'c, P> {
        if mutation::active(Mutation::FreeBeforeFlush) {
            self.gather.drop_pages(self.vm);
        }
        if mutation::active(Mutation::UnlockBeforeAcknowledgement) {
            let skip = self.skip;
            let mut released = self.unlock();
            released.flush_late(skip);
            return released;
        }
        self.flush();
        self.unlock()
    }

    fn unlock(self) -> Released<'a, 'c, P> {
        let mut released = Released::new(self.vm, self.space, self.ms, self.gather, self.dropped);
        for node in self.held.nodes() {
            self.vm.backend().close(node.frame);
            if lock::is_stale(&node.meta.lock) {
                released.add_table(node);
            }
            lock::release(self.vm.platform(), &node.meta.lock);
        }
        released
    }
}

//! What an operation took out, for when it holds no lock any more.
//!
//! Guarantee: a [`Released`] exists only when its cursor is gone and every acknowledgement is in.
//! Forgetting it leaks frames and nothing worse. Tables that were detached whole are their own
//! lists of pages: they are walked here, then retired, since readers without locks may be inside.
//! Objects that have lost their last reference end here: their pagers may sleep.

use super::entries;
use super::gather::Gather;
use super::node::Node;
use crate::addr::Frame;
use crate::context::MaySleep;
use crate::flush::SpaceId;
use crate::format::{Entry, Geometry};
use crate::mutation::Mutation;
use crate::object::{self, Dropped};
use crate::platform::Platform;
use crate::rmap::{self, Mapper};
use crate::sync::Ordering;
use crate::vm::Vm;

/// Frames, tables and object references that an operation took out.
#[must_use = "what was taken out must be released"]
pub(crate) struct Released<'a, 'g, P: Platform> {
    vm: &'a Vm<P>,
    space: SpaceId,
    ms: &'g mut MaySleep,
    gather: &'g mut Gather,
    dropped: Dropped,
    /// Detached tables, linked through their metadata (frame number plus one).
    tables: u64,
}

impl<'a, 'g, P: Platform> Released<'a, 'g, P> {
    pub fn new(
        vm: &'a Vm<P>,
        space: SpaceId,
        ms: &'g mut MaySleep,
        gather: &'g mut Gather,
        dropped: Dropped,
    ) -> Self {
        Released { vm, space, ms, gather, dropped, tables: 0 }
    }

    /// Adds a detached table whose lock is about to be released for the last time.
    pub fn add_table(&mut self, node: Node<'a, P>) {
        node.meta.link.store(self.tables, Ordering::Relaxed);
        self.tables = node.frame.0 + 1;
    }

    /// Flushes after the locks are gone: what only the test-only build does.
    pub fn flush_late(&mut self, skip: Mutation) {
        self.gather.flush(self.vm, self.space, skip);
    }

    /// Gives everything back. The caller holds no lock.
    #[inline]
    pub fn release(self) {
        if self.gather.has_pages() || self.tables != 0 || !self.dropped.is_empty() {
            self.give_back();
        }
    }

    fn give_back(mut self) {
        self.gather.drop_pages(self.vm);
        if self.tables != 0 {
            self.release_tables();
        }
        if !self.dropped.is_empty() {
            self.dropped.release(self.vm, self.ms);
        }
    }

    fn release_tables(&mut self) {
        while self.tables != 0 {
            let node = Node::of(self.vm, Frame(self.tables - 1));
            self.tables = node.meta.link.load(Ordering::Relaxed);
            self.drop_entries(node);
            node.drop_layout(&mut self.dropped);
            let order = P::Format::table_order(node.level);
            self.vm.totals(self.space).tables.fetch_sub(1 << order, Ordering::Relaxed);
            self.vm.retire_table(node.frame, order);
        }
    }

    /// Drops the pages that a detached table maps. Its words stay: readers may still see them.
    fn drop_entries(&self, node: Node<'a, P>) {
        let mut resident = 0;
        for index in node.occupied(node.slots(node.range())) {
            let leaf = match node.entry(index) {
                Entry::Leaf(leaf) => leaf,
                Entry::Soft(soft) => {
                    entries::drop_swapped(self.vm, self.space, soft);
                    continue;
                }
                Entry::Empty | Entry::Table(_) => continue,
            };
            if let Some(meta) = self.vm.mapped_meta(leaf.frame) {
                if leaf.dirty {
                    object::mark_dirty(meta);
                }
                rmap::remove(self.vm, meta, Mapper { table: node.frame, index });
                rmap::put_page(self.vm, leaf.frame);
                resident += 1;
            }
        }
        if resident != 0 {
            self.vm.totals(self.space).resident.fetch_sub(resident, Ordering::Relaxed);
        }
    }
}

impl<P: Platform> Vm<P> {
    /// The metadata of a frame whose mappings are counted: neither a device's nor the zero page.
    #[inline]
    pub(crate) fn mapped_meta(&self, frame: Frame) -> Option<&crate::frame::meta::Meta> {
        if self.is_zero_frame(frame) { None } else { self.meta(frame) }
    }
}

//! Moving pages from one window of a space to another, under one cursor that holds both.
//!
//! Guarantee: a page that is moved keeps its frame, its rights and what hardware has set of accessed
//! and dirty until its old entry went; it is reached by both addresses at no instant, but through
//! translations that the cursor's commit takes away before it releases a lock (CVE-2018-18281).
//!
//! Protocol. `prepare_move` makes the tables and the room in layouts that the destination will need;
//! it may fail, and changes no content. After it nothing can fail. `move_entries` swaps each entry
//! out of its table, lets the reverse map name the new place while no entry names the page, and
//! fills the new entry. `shift`, in one window, moves whole tables (source and destination lie at
//! the same place of a table's span, and no table is in the way) by their entries in the parents,
//! and gives both windows their keys. A table that moves keeps its frame, so whoever found it by
//! its old address learns of the move by its sequence, and by the first page that its metadata
//! tell (R25): both are looked at behind the lock, or between two readings of the sequence.

use super::cursor::Cursor;
use super::node::Node;
use crate::addr::PageRange;
use crate::backend::Backend;
use crate::format::{Entry, Format, Geometry};
use crate::object;
use crate::platform::Platform;
use crate::region::Key;
use crate::rmap::{self, Mapper};

/// The most pieces that the two windows' new keys add to a node.
const MORE_PIECES: usize = 4;

/// Pages that move.
#[derive(Clone, Copy)]
pub(crate) struct Shift {
    /// The pages that go.
    pub from: PageRange,
    /// How far (wrapping).
    pub by: u64,
}

impl Shift {
    /// Where a page goes.
    fn to(&self, page: u64) -> u64 {
        page.wrapping_add(self.by)
    }
}

impl<'a, P: Platform> Cursor<'a, '_, P> {
    /// Makes what [`Cursor::move_entries`] and [`Cursor::shift`] will need to move `shift` and to
    /// make `source` and `target`, which hold its two windows, something else. Changes no content.
    /// None: no memory.
    pub fn prepare_move(
        &mut self,
        shift: Shift,
        source: PageRange,
        target: PageRange,
        key: Key,
    ) -> Option<()> {
        self.make_tables(self.top(), shift)?;
        for bound in [source.start, source.end, target.start, target.end] {
            self.split_at(bound)?;
        }
        // What the source covers moves, or goes.
        for node in self.nodes().filter(|node| !source.contains(node.range())) {
            if target.contains(node.range()) {
                node.grow(target, Some(key))?;
            } else {
                node.make_room(MORE_PIECES)?;
            }
        }
        Some(())
    }

    /// Makes the tables that the pages below `node` will need one by one.
    fn make_tables(&mut self, node: Node<'a, P>, shift: Shift) -> Option<()> {
        for index in node.occupied(node.slots(shift.from)) {
            let page = node.slot_range(index).start;
            match node.entry(index) {
                Entry::Table(_) if self.moves_whole(node, index, shift) => {
                    self.node_over(shift.to(page), node.level)?;
                    // What is there now may be in the way.
                    if self.place_of(node, index, shift).is_none() {
                        self.make_tables(node.child(index)?, shift)?;
                    }
                }
                Entry::Table(_) => self.make_tables(node.child(index)?, shift)?,
                Entry::Leaf(_) | Entry::Soft(_) => _ = self.node_over(shift.to(page), 0)?,
                Entry::Empty => {}
            }
        }
        Some(())
    }

    /// The node at `level` over `page`, made with those above it where they are missing.
    fn node_over(&mut self, page: u64, level: usize) -> Option<Node<'a, P>> {
        let mut node = self.top();
        while node.level > level {
            node = self.make_child(node, node.index(page))?;
        }
        Some(node)
    }

    /// Whether the child in slot `index` could be moved whole.
    fn moves_whole(&self, node: Node<'a, P>, index: usize, shift: Shift) -> bool {
        let pages = P::Format::slot_pages(node.level);
        shift.from.contains(node.slot_range(index)) && shift.by.is_multiple_of(pages)
    }

    /// The slot that the child in slot `index` is moved to whole, if it is.
    fn place_of(
        &self,
        node: Node<'a, P>,
        index: usize,
        shift: Shift,
    ) -> Option<(Node<'a, P>, usize)> {
        if !self.moves_whole(node, index, shift) {
            return None;
        }
        let page = shift.to(node.slot_range(index).start);
        let parent = self.top().descend(page, node.level);
        let slot = parent.index(page);
        (parent.level == node.level && parent.child(slot).is_none()).then_some((parent, slot))
    }

    /// Moves the pages that go one by one. Their places are empty, and flushed.
    pub fn move_entries(&mut self, shift: Shift) {
        self.move_entries_of(self.top(), shift);
    }

    fn move_entries_of(&mut self, node: Node<'a, P>, shift: Shift) {
        let mut lost = 0;
        let mut target = self.top();
        for index in node.occupied(node.slots(shift.from)) {
            match node.entry(index) {
                Entry::Table(_) if self.place_of(node, index, shift).is_some() => {}
                Entry::Table(_) => {
                    node.child(index).into_iter().for_each(|c| self.move_entries_of(c, shift));
                }
                Entry::Leaf(_) | Entry::Soft(_) => {
                    let to = shift.to(node.slot_range(index).start);
                    if target.level > 0 || !target.range().holds(to) {
                        target = self.top().descend(to, 0);
                    }
                    self.move_entry(node, index, target, target.index(to));
                    lost += 1;
                }
                Entry::Empty => {}
            }
        }
        if lost != 0 {
            node.lost(lost);
        }
    }

    /// Moves one entry; the caller counts it lost.
    fn move_entry(&mut self, node: Node<'a, P>, index: usize, target: Node<'a, P>, to: usize) {
        let word = self.vm.backend().swap(node.slot(index), 0);
        let Some(leaf) = P::Format::as_leaf(node.level, word) else {
            // A page on swap is found by the word alone.
            return target.fill(to, word);
        };
        self.gather().shoot(node.slot_range(index).start, leaf.frame);
        if let Some(meta) = self.vm.mapped_meta(leaf.frame) {
            if leaf.dirty {
                // Who goes through the records may miss one that changes: then he looks here.
                object::mark_dirty(meta);
            }
            let from = Mapper { table: node.frame, index };
            rmap::relocate(self.vm, meta, from, Mapper { table: target.frame, index: to });
        }
        target.fill(to, word);
    }

    /// Moves the tables that go whole, and makes `source` and `target` what they are from now on.
    /// The entries that go one by one are gone.
    pub fn shift(&mut self, shift: Shift, source: (PageRange, Key), target: (PageRange, Key)) {
        self.window(|cursor| {
            let top = cursor.top();
            cursor.move_tables(top, shift);
            for node in cursor.nodes() {
                cursor.set_layout(node, target.0, target.1);
            }
            cursor.replace_layouts(top, source.0, source.1);
        });
    }

    fn move_tables(&mut self, node: Node<'a, P>, shift: Shift) {
        for (index, child) in node.children(node.slots(shift.from)) {
            match self.place_of(node, index, shift) {
                Some((parent, slot)) => {
                    self.gather_table(child);
                    node.detach(index);
                    child.rebase(shift.by);
                    self.attach(parent, slot, child);
                }
                None => self.move_tables(child, shift),
            }
        }
    }
}

//! The last step of a fault, under the lock of the one node: an entry is filled, with the tables that
//! are missing, or changed.
//!
//! Guarantee: missing tables are made privately, with the final entry in the leaf, and attached in
//! one window; when memory runs out, nothing has changed but that there may be more empty tables.

use super::Access;
use super::need::Need;
use crate::addr::{Frame, PageRange};
use crate::backend::Backend;
use crate::context::MaySleep;
use crate::entry;
use crate::format::{Format, Leaf, Rights};
use crate::mutation::Mutation;
use crate::object::{self, Cached};
use crate::platform::Platform;
use crate::region::Key;
use crate::rmap::{self, Mapper};
use crate::space::is_own;
use crate::swap::Place;
use crate::sync::Ordering;
use crate::tree::cursor::Cursor;
use crate::tree::gather::Gather;
use crate::tree::locking::{self, Held};
use crate::tree::node::{Fresh, Node};

/// The last step of a fault, under the lock of the lowest node over the page.
pub(super) struct Install<'a, P: Platform> {
    pub node: Node<'a, P>,
    pub page: u64,
    pub access: Access,
    pub key: Key,
}

impl<'a, P: Platform> Install<'a, P> {
    fn leaf(&self, frame: Frame, rights: Rights) -> Leaf {
        Leaf { frame, rights, accessed: true, dirty: self.access == Access::Write }
    }

    /// What the entry may allow.
    fn rights(&self) -> Rights {
        self.key.attributes.rights().with_implied()
    }

    /// Lets the leaf entry `old` name `new`, or gives it the region's rights if that is the need;
    /// then releases the lock.
    pub fn change(
        self,
        held: Held<'a, P>,
        ms: &mut MaySleep,
        need: Need,
        old: Leaf,
        new: Option<Frame>,
    ) {
        let Install { node, page, .. } = self;
        let (vm, index, rights) = (node.vm, node.index(page), self.rights());
        let mut gather = Gather::default();
        let range = PageRange::new(page, page + 1);
        let mut cursor = Cursor::of(held, ms, &mut gather, range, Mutation::NoShootdownAtCopy);
        if let Some(frame) = new {
            rmap::init_page(vm.meta_of(frame), Some(Mapper { table: node.frame, index }));
            let word = P::Format::leaf(node.level, self.leaf(frame, rights));
            cursor.exchange_frame(node, index, old, word);
            vm.totals(cursor.space).resident.fetch_add(1, Ordering::Relaxed);
        } else {
            if need == Need::Rights {
                let writable = !self.key.is_private() || self.access == Access::Write;
                if self.key.is_private() && self.access == Access::Write {
                    // It is the space's own: that is why rights are all it needs.
                    vm.meta_of(old.frame).make_exclusive();
                }
                cursor.change_entry(node, index, |now| {
                    let keep = writable || now.rights.contains(Rights::WRITE);
                    if keep { rights } else { rights.difference(Rights::WRITE) }
                });
            }
            // Where the processor leaves accessed and dirty to software, they may be all it lacks.
            let _ = crate::access::touch(node, page, self.access);
            vm.platform().flush_local(cursor.space, page);
        }
        cursor.commit().release();
    }

    /// Lets the empty entry name a page that nobody else has seen (`fresh`), or the zero page, with
    /// the tables that are missing. None: no memory for them, and nothing has changed.
    #[inline]
    pub fn fill(self, frame: Frame, fresh: bool) -> Option<bool> {
        let Install { node, page, .. } = self;
        let rights = self.rights();
        let rights = if fresh { rights } else { rights.difference(Rights::WRITE) };
        let word = P::Format::leaf(0, self.leaf(frame, rights));
        let page_of = fresh.then_some(frame);
        if node.level == 0 {
            let index = node.index(page);
            record(node, index, page_of);
            node.fill(index, word);
        } else {
            fill_chain(node, page, page_of, word)?;
        }
        if fresh {
            node.vm.totals(node.space()).resident.fetch_add(1, Ordering::Relaxed);
        }
        Some(true)
    }

    /// Lets the empty entry name the page of an object. The record comes first: who truncates finds
    /// the entry by it, or is seen to have been. False: the object was truncated meanwhile. None: no
    /// memory, and there are more empty tables at most.
    pub fn fill_cached(self, held: &mut Held<'a, P>, cached: Cached) -> Option<bool> {
        let node = self.leaf_table(held)?;
        let (vm, index) = (node.vm, node.index(self.page));
        let (meta, mapper) = (vm.meta_of(cached.frame), Mapper { table: node.frame, index });
        rmap::add(vm, meta, mapper)?;
        if !cached.stamp.holds(vm) {
            rmap::remove(vm, meta, mapper);
            return Some(false);
        }
        let rights = self.rights();
        // The page of a private mapping is its own only as a copy.
        let private = self.key.is_private();
        let rights = if private { rights.difference(Rights::WRITE) } else { rights };
        self.put(node, cached.frame, rights)
    }

    /// The same with a copy, which nobody finds by the object: nothing is to be recorded first.
    pub fn fill_copy(self, held: &mut Held<'a, P>, copy: Cached) -> Option<bool> {
        let node = self.leaf_table(held)?;
        if !copy.stamp.holds(node.vm) {
            return Some(false);
        }
        record(node, node.index(self.page), Some(copy.frame));
        self.put(node, copy.frame, self.rights())
    }

    /// Lets the entry name the page of the slot of swap that it says: for reading, and only then is
    /// the slot left, since whoever finds it in the entry relies on its page. With the last entry the
    /// page leaves the slot's cache; who has the only reference then may write it. The caller's
    /// references: that to the page becomes the entry's, that to the slot stays. None: no memory for
    /// the record.
    pub fn fill_swapped(self, page: Frame, place: Place) -> Option<bool> {
        let Install { node, page: at, .. } = self;
        let (vm, index, meta) = (node.vm, node.index(at), node.vm.meta_of(page));
        rmap::add(vm, meta, Mapper { table: node.frame, index })?;
        let shared = self.rights().difference(Rights::WRITE);
        let leaf = Leaf { frame: page, rights: shared, accessed: true, dirty: false };
        vm.backend().swap(node.slot(index), P::Format::leaf(0, leaf));
        let totals = vm.totals(node.space());
        totals.resident.fetch_add(1, Ordering::Relaxed);
        totals.swapped.fetch_sub(1, Ordering::Relaxed);
        if vm.leave_slot_if_last(place, page) {
            rmap::put_page(vm, page);
        } else {
            vm.put_slot(place);
        }
        if is_own(meta) {
            meta.make_exclusive();
            // More rights need no shootdown.
            entry::change_rights::<P::Format, _>(vm.backend(), node.slot(index), |_| self.rights());
        }
        Some(true)
    }

    fn put(&self, node: Node<'a, P>, frame: Frame, rights: Rights) -> Option<bool> {
        node.fill(node.index(self.page), P::Format::leaf(0, self.leaf(frame, rights)));
        node.vm.totals(node.space()).resident.fetch_add(1, Ordering::Relaxed);
        Some(true)
    }

    /// The leaf table, with those missing above it attached first: a record names a table that
    /// others can find and lock. None: no memory, and there are more empty tables at most.
    fn leaf_table(&self, held: &mut Held<'a, P>) -> Option<Node<'a, P>> {
        let mut node = self.node;
        while node.level > 0 {
            node = locking::push_down(node, node.index(self.page))?;
            held.add(node);
        }
        Some(node)
    }
}

/// Puts a leaf where there is nothing, below a node that is no leaf table: through new tables.
#[cold]
fn fill_chain<P: Platform>(
    top: Node<'_, P>,
    page: u64,
    fresh: Option<Frame>,
    word: u64,
) -> Option<()> {
    let chain = Chain::make(top, page)?;
    let last = chain.last(top);
    let index = last.index(page);
    record(last, index, fresh);
    // SAFETY: no walk comes to the chain before it is attached. Who steals may come by the page's
    // record, under the leaf's lock: he takes the entry if it is there and leaves a soft one, which
    // changes neither the count of entries nor which there are.
    unsafe { Fresh::new(last) }.set(index, word);
    chain.attach(top, page);
    Some(())
}

/// Makes a frame that nobody else has seen a page with that one mapper.
#[inline]
fn record<P: Platform>(node: Node<'_, P>, index: usize, fresh: Option<Frame>) {
    if let Some(frame) = fresh {
        rmap::init_page(node.vm.meta_of(frame), Some(Mapper { table: node.frame, index }));
    }
}

/// The most levels below a root.
const MOST_TABLES: usize = 5;

/// Private tables from below a node down to the leaf of a page.
struct Chain<'a, P: Platform> {
    tables: arrayvec::ArrayVec<Node<'a, P>, MOST_TABLES>,
}

impl<'a, P: Platform> Chain<'a, P> {
    /// None: no memory, and nothing is left of it.
    fn make(top: Node<'a, P>, page: u64) -> Option<Self> {
        let mut chain = Chain { tables: arrayvec::ArrayVec::new() };
        let mut node = top;
        while node.level > 0 {
            let Some(child) = locking::make_child(node, node.index(page)) else {
                chain.unmake();
                return None;
            };
            chain.tables.push(child);
            node = child;
        }
        Some(chain)
    }

    fn last(&self, top: Node<'a, P>) -> Node<'a, P> {
        self.tables.last().copied().unwrap_or(top)
    }

    /// Links the tables, from the leaf up, and attaches the first to `top`.
    fn attach(self, top: Node<'a, P>, page: u64) {
        for pair in self.tables.windows(2).rev() {
            let index = pair[0].index(page);
            // SAFETY: the chain's tables are private until the first is attached.
            unsafe { Fresh::new(pair[0]) }.set_child(index, pair[1]);
            let mut dropped = object::Dropped::new();
            pair[0].forget_slot(index, &mut dropped);
        }
        if let Some(first) = self.tables.first() {
            locking::attach(top, top.index(page), *first);
        }
    }

    fn unmake(self) {
        self.tables.into_iter().for_each(Node::unmake);
    }
}

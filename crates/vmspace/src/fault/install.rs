//! The last step of a fault, under the lock of the one node: an entry is filled, with the tables that
//! are missing, or changed.
//!
//! Guarantee: missing tables are made privately, with the final entry in the leaf, and attached in
//! one window; when memory runs out, nothing has changed.

use super::Access;
use super::need::Need;
use crate::addr::{Frame, PageRange};
use crate::context::MaySleep;
use crate::format::{Format, Leaf, Rights};
use crate::mutation::Mutation;
use crate::object::{self, Stamp};
use crate::platform::Platform;
use crate::region::Key;
use crate::rmap::{self, Mapper};
use crate::sync::Ordering;
use crate::tree::cursor::Cursor;
use crate::tree::gather::Gather;
use crate::tree::locking::{self, Held};
use crate::tree::node::{Fresh, Node};
use crate::vm::Vm;

/// A page prepared, with the reference that its entry will hold.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    pub frame: Frame,
    /// Nobody else has seen it: no metadata yet.
    pub fresh: bool,
    /// It is an object's, or a copy of one's: what must still hold.
    pub stamp: Option<Stamp>,
}

impl Ready {
    pub fn give_back<P: Platform>(self, vm: &Vm<P>) {
        if self.fresh {
            vm.give_frame(self.frame);
        } else {
            rmap::put_page(vm, self.frame);
        }
    }
}

/// The last step of a fault, under the lock of the lowest node over the page.
pub(super) struct Install<'a, P: Platform> {
    pub node: Node<'a, P>,
    pub page: u64,
    pub access: Access,
    pub key: Key,
    pub ready: Option<Ready>,
}

impl<'a, P: Platform> Install<'a, P> {
    fn leaf(&self, frame: Frame, rights: Rights) -> Leaf {
        Leaf { frame, rights, accessed: true, dirty: self.access == Access::Write }
    }

    /// What the entry may allow.
    fn rights(&self) -> Rights {
        self.key.attributes.rights().with_implied()
    }

    /// Lets the leaf entry `old` name the page prepared, or gives it the region's rights if that is
    /// the need; then releases the lock.
    pub fn change(self, held: Held<'a, P>, ms: &mut MaySleep, need: Need, old: Leaf) {
        let Install { node, page, .. } = self;
        let (vm, index, rights) = (node.vm, node.index(page), self.rights());
        let mut gather = Gather::default();
        let range = PageRange::new(page, page + 1);
        let mut cursor = Cursor::of(held, ms, &mut gather, range, Mutation::NoShootdownAtCopy);
        if let Some(ready) = self.ready {
            rmap::init_page(vm.meta_of(ready.frame), Some(Mapper { table: node.frame, index }));
            let word = P::Format::leaf(node.level, self.leaf(ready.frame, rights));
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

    /// Lets the empty entry name the page prepared, or the zero page, with the tables that are
    /// missing. None: no memory for tables or records, and nothing has changed.
    #[inline]
    pub fn fill(self) -> Option<bool> {
        let (vm, node, ready) = (self.node.vm, self.node, self.ready);
        let leaf = match ready {
            Some(ready) => self.leaf(ready.frame, self.rights()),
            None => self.leaf(vm.zero_frame(), self.rights().difference(Rights::WRITE)),
        };
        let word = P::Format::leaf(0, leaf);
        if node.level == 0 {
            let index = node.index(self.page);
            record(node, index, ready)?;
            node.fill(index, word);
        } else {
            fill_chain(node, self.page, ready, word)?;
        }
        if ready.is_some() {
            vm.totals(node.space()).resident.fetch_add(1, Ordering::Relaxed);
        }
        Some(true)
    }
}

impl<'a, P: Platform> Install<'a, P> {
    /// Lets the empty entry name the page of an object, or a copy of one. Missing tables are
    /// attached first: a record names a table that others can find and lock. False: the object was
    /// truncated meanwhile. None: no memory, and there are more empty tables at most.
    pub fn fill_cached(self, held: &mut Held<'a, P>, stamp: Stamp) -> Option<bool> {
        let (vm, ready) = (self.node.vm, self.ready?);
        let mut node = self.node;
        while node.level > 0 {
            node = locking::push_down(node, node.index(self.page))?;
            held.add(node);
        }
        let index = node.index(self.page);
        // Nobody finds a copy by the object: nothing is to be recorded first.
        if ready.fresh && !stamp.holds(vm) {
            return Some(false);
        }
        record(node, index, Some(ready))?;
        if !ready.fresh && !stamp.holds(vm) {
            rmap::remove(vm, vm.meta_of(ready.frame), Mapper { table: node.frame, index });
            return Some(false);
        }
        // The page of a private mapping is its own only as a copy.
        let shared = !self.key.is_private() || ready.fresh;
        let rights = self.rights();
        let rights = if shared { rights } else { rights.difference(Rights::WRITE) };
        node.fill(index, P::Format::leaf(0, self.leaf(ready.frame, rights)));
        vm.totals(node.space()).resident.fetch_add(1, Ordering::Relaxed);
        Some(true)
    }
}

/// Puts a leaf where there is nothing, below a node that is no leaf table: through new tables.
#[cold]
fn fill_chain<P: Platform>(
    top: Node<'_, P>,
    page: u64,
    ready: Option<Ready>,
    word: u64,
) -> Option<()> {
    let chain = Chain::make(top, page)?;
    let last = chain.last(top);
    let index = last.index(page);
    if record(last, index, ready).is_none() {
        chain.unmake();
        return None;
    }
    // SAFETY: the chain's tables are private until it is attached.
    unsafe { Fresh::new(last) }.set(index, word);
    chain.attach(top, page);
    Some(())
}

/// Records the mapper of the page prepared, if there is one. None: no memory.
#[inline]
fn record<P: Platform>(node: Node<'_, P>, index: usize, ready: Option<Ready>) -> Option<()> {
    let Some(ready) = ready else { return Some(()) };
    let (vm, mapper) = (node.vm, Mapper { table: node.frame, index });
    let meta = vm.meta_of(ready.frame);
    if !ready.fresh {
        return rmap::add(vm, meta, mapper);
    }
    rmap::init_page(meta, Some(mapper));
    Some(())
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

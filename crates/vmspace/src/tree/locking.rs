//! Taking the locks of a range: the whole lock protocol of the tree.
//!
//! Guarantee: who holds a range holds the lowest node that covers it, found attached, and all of
//! its descendants that the range touches; none of them can be attached, detached or changed by
//! anyone else. Locks are taken in pre-order (by start, then from the root down), so no two
//! holders wait for each other.
//!
//! Protocol. Descend without locks, under a guard, to the lowest node that covers the range; try
//! its lock. A node acquired and not stale is attached: it was reached under the same guard, so it
//! has not been reused, and detaching marks it stale under its lock. If it has moved meanwhile, or
//! has got a child that covers the range, start again. If somebody holds it, leave the guard, wait,
//! start again.
//! Descendants are enumerated after their parent is locked. The nodes held are linked through
//! their metadata: no memory, no limit.
//!
//! Who found the covering node's lock taken, and works inside one of its slots, pushes that slot's
//! layout down into a table of its own and goes on there: contention deepens the tree where it is.

use super::node::Node;
use crate::addr::{Frame, PageRange};
use crate::backend::Backend;
use crate::context::MaySleep;
use crate::format::{Format, Geometry};
use crate::frame::meta::Meta;
use crate::lock::{self, Attempt};
use crate::mutation::{self, Mutation};
use crate::object::Dropped;
use crate::platform::Platform;
use crate::region::Key;
use crate::seq::Snapshot;
use crate::sync::Ordering;
use crate::vm::Vm;

/// The nodes that a range touches, locked.
pub(crate) struct Held<'a, P: Platform> {
    /// The node that covers the range.
    pub top: Node<'a, P>,
    /// The last node's metadata: where the next one is linked.
    last: &'a Meta,
}

/// How a range is to be covered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cover {
    /// By the lowest node.
    Lowest,
    /// By the lowest node whose span is more than the range, so that a table that spans just the
    /// range can be detached from it.
    Parent,
}

/// The level below which no node can cover `range` as asked for.
fn least_level<F: Format>(range: PageRange, cover: Cover) -> usize {
    let differ = range.start ^ (range.end - 1);
    // Within one table at a level: start and last page differ in that table's bits alone. More
    // than the range: the table has pages besides.
    let reach = match cover {
        Cover::Lowest => differ,
        Cover::Parent => differ | range.len(),
    };
    (0..F::ROOT_LEVEL).find(|level| reach >> F::slot_shift(level + 1) == 0).unwrap_or(F::ROOT_LEVEL)
}

/// Locks all that `range`, not empty and below the root, touches.
pub(crate) fn lock<'a, P: Platform>(
    root: Node<'a, P>,
    _: &mut MaySleep,
    range: PageRange,
    cover: Cover,
) -> Held<'a, P> {
    let top = lock_top(root, range, cover);
    Held::below(top, [range, PageRange::new(range.end, range.end)])
}

/// Locks all that `range` touches of a space that the caller keeps from going (see `registry`). None:
/// it is ending, and has no tables any more.
pub(crate) fn lock_root<'a, P: Platform>(
    root: Node<'a, P>,
    _: &mut MaySleep,
    range: PageRange,
) -> Option<Held<'a, P>> {
    let word = &root.meta.lock;
    loop {
        match lock::try_acquire(word) {
            Attempt::Acquired => {
                return Some(Held::below(root, [range, PageRange::new(range.end, range.end)]));
            }
            Attempt::Stale => return None,
            Attempt::Held => lock::wait(root.vm.platform(), word),
        }
    }
}

/// Locks all that two windows, disjoint and not empty, touch below the lowest node that covers both:
/// each node once, in pre-order, as for one range.
pub(crate) fn lock2<'a, P: Platform>(
    root: Node<'a, P>,
    _: &mut MaySleep,
    windows: [PageRange; 2],
) -> Held<'a, P> {
    let top = lock_top(root, hull(windows), Cover::Lowest);
    let [one, two] = windows;
    Held::below(top, if one.start < two.start { [one, two] } else { [two, one] })
}

/// The least range that holds both.
pub(crate) fn hull([one, two]: [PageRange; 2]) -> PageRange {
    PageRange::new(one.start.min(two.start), one.end.max(two.end))
}

/// Locks the lowest node that covers `range`.
fn lock_top<'a, P: Platform>(root: Node<'a, P>, range: PageRange, cover: Cover) -> Node<'a, P> {
    let platform = root.vm.platform();
    let least = least_level::<P::Format>(range, cover);
    let mut contended = false;
    let mut top = loop {
        let guard = root.vm.enter();
        let node = root.descend(range.start, least);
        match lock::try_acquire(&node.meta.lock) {
            // Found live by the acquisition, under the guard that it was reached under: attached,
            // and where its metadata say. It may have moved since it was reached, and a child that
            // has come since may cover the range: then that is the lowest.
            Attempt::Acquired
                if node.range().contains(range) && node.descend(range.start, least) == node =>
            {
                break node;
            }
            Attempt::Acquired => lock::release(platform, &node.meta.lock),
            Attempt::Stale => {}
            Attempt::Held => {
                contended = true;
                drop(guard);
                lock::wait(platform, &node.meta.lock);
            }
        }
    };
    if contended {
        top = deepen(top, range, least);
    }
    top
}

/// Locks the leaf that a page's reverse map names, for who comes from the page and holds nothing of
/// the tree. It was read under a guard that is still held. (A child's half-made tables are attached
/// to its root and locked while they are filled.)
pub(crate) fn try_lock_leaf<P: Platform>(node: Node<'_, P>) -> Result<Held<'_, P>, Attempt> {
    match lock::try_acquire(&node.meta.lock) {
        Attempt::Acquired => {
            node.meta.link.store(0, Ordering::Relaxed);
            Ok(Held { top: node, last: node.meta })
        }
        other => Err(other),
    }
}

/// What a reader without locks saw of the lowest node over a page.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub key: Key,
    pub frame: Frame,
    pub level: usize,
    pub generation: u64,
    pub snapshot: Snapshot,
    pub word: u64,
}

/// Locks the lowest node over `page`; and whether it, and the page's entry, are still what was
/// seen of them without locks.
#[inline]
pub(crate) fn lock_page<'a, P: Platform>(
    root: Node<'a, P>,
    ms: &mut MaySleep,
    page: u64,
    seen: &Seen,
) -> (Held<'a, P>, bool) {
    match lock_seen(root.vm, page, seen) {
        Some(held) => (held, true),
        None => (lock(root, ms, PageRange::new(page, page + 1), Cover::Lowest), false),
    }
}

/// Locks the node that was seen, if it and the page's entry are still what they were, and nobody else
/// holds it.
#[inline]
pub(crate) fn lock_seen<'a, P: Platform>(
    vm: &'a Vm<P>,
    page: u64,
    seen: &Seen,
) -> Option<Held<'a, P>> {
    // A table that was not stale, and then still had its generation, was attached under this guard:
    // it cannot be reused before the lock is taken. (A reused frame has another generation.)
    let _guard = vm.enter();
    let node = Node::at(vm, seen.frame, seen.level);
    let is_meant = || node.meta.generation() == seen.generation;
    if lock::try_acquire_if(&node.meta.lock, is_meant) != Attempt::Acquired {
        return None;
    }
    let same = seen.snapshot.holds(&node.meta.seq) && node.load(node.index(page)) == seen.word;
    if !same && !mutation::active(Mutation::NoSecondLookAtFault) {
        lock::release(vm.platform(), &node.meta.lock);
        return None;
    }
    node.meta.link.store(0, Ordering::Relaxed);
    Some(Held { top: node, last: node.meta })
}

/// Moves a contended range that lies inside one slot of `top` into a child of its own, if there is
/// memory for one.
fn deepen<'a, P: Platform>(top: Node<'a, P>, range: PageRange, least: usize) -> Node<'a, P> {
    let slots = top.slots(range);
    if top.level <= least || top.load(slots.start) != 0 {
        return top;
    }
    let Some(child) = push_down(top, slots.start) else { return top };
    top.vm.backend().close(top.frame);
    lock::release(top.vm.platform(), &top.meta.lock);
    child
}

/// Gives the empty slot `index` of a locked node a child with the slot's part of the layout. It
/// changes no content. The child is locked before it is attached: nobody gets into what the caller
/// has looked at. None: no memory.
pub(crate) fn push_down<'a, P: Platform>(node: Node<'a, P>, index: usize) -> Option<Node<'a, P>> {
    let child = make_child(node, index)?;
    lock::acquire_attached(node.vm.platform(), &child.meta.lock);
    attach(node, index, child);
    Some(child)
}

/// A private table for slot `index` of a locked (or private) node, with the slot's part of the
/// layout. None: no memory.
pub(crate) fn make_child<'a, P: Platform>(node: Node<'a, P>, index: usize) -> Option<Node<'a, P>> {
    let start = node.slot_range(index).start;
    let child = Node::make(node.vm, node.space(), node.level - 1, start)?;
    if node.copy_part_to(&child).is_none() {
        child.unmake();
        return None;
    }
    Some(child)
}

/// Attaches a complete private child in an empty slot of a locked node, in one window.
pub(crate) fn attach<'a, P: Platform>(node: Node<'a, P>, index: usize, child: Node<'a, P>) {
    let mut dropped = Dropped::new();
    node.open();
    node.forget_slot(index, &mut dropped);
    // The child, or one below it, has a share of each object, and nobody could reach them to give
    // it up: nothing has ended.
    debug_assert!(dropped.is_empty());
    node.attach(index, child);
    node.shut();
}

impl<'a, P: Platform> Held<'a, P> {
    /// `top`, locked, and what two windows, ascending (the second may be empty), touch below it.
    #[inline]
    fn below(top: Node<'a, P>, windows: [PageRange; 2]) -> Self {
        let mut held = Held { top, last: top.meta };
        top.meta.link.store(0, Ordering::Relaxed);
        if top.child_count() != 0 {
            held.take_descendants(top, windows);
        }
        held
    }

    fn take_descendants(&mut self, node: Node<'a, P>, windows: [PageRange; 2]) {
        if node.child_count() == 0 {
            return;
        }
        let [one, two] = windows.map(|window| node.slots(window));
        // A slot that both touch is the first's last.
        let two = two.start.max(one.end)..two.end;
        for (_, child) in node.children(one).chain(node.children(two)) {
            self.take(child);
            self.take_descendants(child, windows);
        }
    }

    /// Locks a child of a node that is held and adds it.
    pub fn take(&mut self, child: Node<'a, P>) {
        lock::acquire_attached(child.vm.platform(), &child.meta.lock);
        self.add(child);
    }

    /// Adds a child, locked already, of a node that is held.
    pub fn add(&mut self, child: Node<'a, P>) {
        child.meta.link.store(0, Ordering::Relaxed);
        self.last.link.store(child.frame.0 + 1, Ordering::Relaxed);
        self.last = child.meta;
    }

    /// Releases the locks when nothing is owed and no node was detached.
    #[inline]
    pub fn release(self) {
        for node in self.nodes() {
            node.vm.backend().close(node.frame);
            lock::release(node.vm.platform(), &node.meta.lock);
        }
    }

    /// The nodes held, parents before children. A node's link is read before it is handed out.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'a, P>> + use<'a, P> {
        let mut next = Some(self.top);
        core::iter::from_fn(move || {
            let node = next?;
            let link = node.meta.link.load(Ordering::Relaxed);
            next = (link != 0).then(|| Node::of(node.vm, Frame(link - 1)));
            Some(node)
        })
    }
}

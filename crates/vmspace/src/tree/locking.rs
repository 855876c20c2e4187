//! Taking the locks of a range: the whole lock protocol of the tree.
//!
//! Guarantee: who holds a range holds the lowest node that covers it, found attached, and all of
//! its descendants that the range touches; none of them can be attached, detached or changed by
//! anyone else. Locks are taken in pre-order (by start, then from the root down), so no two
//! holders wait for each other.
//!
//! Protocol. Descend without locks, under a guard, to the lowest node that covers the range; try
//! its lock; descend again: if the same node is found, and it is not stale, it is attached and
//! lowest, and what it names is settled. If somebody holds it, leave the guard, wait, start again.
//! Descendants are enumerated after their parent is locked. The nodes held are linked through
//! their metadata: no memory, no limit.
//!
//! Who found the covering node's lock taken, and works inside one of its slots, pushes that slot's
//! layout down into a table of its own and goes on there: contention deepens the tree where it is.

use super::node::Node;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::lock::{self, Attempt};
use crate::object::Dropped;
use crate::platform::Platform;
use crate::sync::Ordering;

/// The nodes that a range touches, locked.
pub(crate) struct Held<'a, P: Platform> {
    /// The node that covers the range.
    pub top: Node<'a, P>,
    last: Node<'a, P>,
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

fn covering<'a, P: Platform>(root: Node<'a, P>, range: PageRange, cover: Cover) -> Node<'a, P> {
    let mut node = root;
    while node.level > 0 {
        let slots = node.slots(range);
        let Some(child) = node.child(slots.start).filter(|_| slots.len() == 1) else { break };
        if cover == Cover::Parent && range.contains(child.range()) {
            break;
        }
        node = child;
    }
    node
}

/// Locks all that `range`, not empty and below the root, touches.
pub(crate) fn lock<'a, P: Platform>(
    root: Node<'a, P>,
    _: &mut MaySleep,
    range: PageRange,
    cover: Cover,
) -> Held<'a, P> {
    let platform = root.vm.platform();
    let mut contended = false;
    let mut top = loop {
        let guard = root.vm.enter();
        let node = covering(root, range, cover);
        match lock::try_acquire(&node.meta.lock) {
            Attempt::Acquired if covering(root, range, cover) == node => break node,
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
        top = deepen(top, range, cover);
    }
    let mut held = Held { top, last: top };
    top.meta.link.store(0, Ordering::Relaxed);
    held.take_descendants(top, range);
    held
}

/// Moves a contended range that lies inside one slot of `top` into a child of its own, if there is
/// memory for one.
fn deepen<'a, P: Platform>(top: Node<'a, P>, range: PageRange, cover: Cover) -> Node<'a, P> {
    if top.level == 0 {
        return top;
    }
    let slots = top.slots(range);
    let whole = cover == Cover::Parent && range.contains(top.slot_range(slots.start));
    if slots.len() != 1 || whole || top.load(slots.start) != 0 {
        return top;
    }
    let Some(child) = push_down(top, slots.start) else { return top };
    lock::acquire_attached(top.vm.platform(), &child.meta.lock);
    lock::release(top.vm.platform(), &top.meta.lock);
    child
}

/// Gives the empty slot `index` of a locked node a child with the slot's part of the layout. It
/// changes no content. None: no memory.
pub(crate) fn push_down<'a, P: Platform>(node: Node<'a, P>, index: usize) -> Option<Node<'a, P>> {
    let child = make_child(node, index)?;
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
    node.attach(index, child);
    node.forget_slot(index, &mut dropped);
    node.shut();
    // The child's copy of each piece has a share: nothing can have ended.
    debug_assert!(dropped.is_empty());
}

impl<'a, P: Platform> Held<'a, P> {
    fn take_descendants(&mut self, node: Node<'a, P>, range: PageRange) {
        if node.level == 0 {
            return;
        }
        for (_, child) in node.children(node.slots(range)) {
            self.take(child);
            self.take_descendants(child, range);
        }
    }

    /// Locks a child of a node that is held and adds it.
    pub fn take(&mut self, child: Node<'a, P>) {
        lock::acquire_attached(child.vm.platform(), &child.meta.lock);
        child.meta.link.store(0, Ordering::Relaxed);
        self.last.meta.link.store(child.frame.0 + 1, Ordering::Relaxed);
        self.last = child;
    }


    /// The nodes held, parents before children. A node's link is read before it is handed out.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'a, P>> + use<'a, P> {
        let mut next = Some(self.top);
        core::iter::from_fn(move || {
            let node = next?;
            let link = node.meta.link.load(Ordering::Relaxed);
            next = (link != 0).then(|| Node::of(node.vm, crate::addr::Frame(link - 1)));
            Some(node)
        })
    }
}

//! Reading without locks.
//!
//! Guarantee: a translation is what one entry said at one instant. A piece, and each line of a
//! listing, is what the layouts said at one instant, whatever else goes on; lines ascend and are
//! disjoint; what nobody changed appears exactly once.
//!
//! Protocol. Under a guard the tables and stores reached are not reused. A node's slot and layout
//! are read between two equal even readings of its sequence. A line that is put together from
//! several nodes is read twice: when both passes met the same nodes in the same states, all those
//! states held together between the passes.

use super::locking::Seen;
use super::node::Node;
use crate::addr::{Frame, PageRange};
use crate::backend::{Backend, Slot};
use crate::format::{Entry, Format, Geometry, Leaf, Rights};
use crate::mutation::{self, Mutation};
use crate::platform::Platform;
use crate::region::Key;
use crate::seq::Snapshot;
use crate::swap::Place;
use crate::vm::Guard;

/// What an address translates to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The frame that holds the byte.
    pub frame: Frame,
    /// What the entry allows.
    pub rights: Rights,
    /// The page has been accessed through the entry.
    pub accessed: bool,
    /// The page has been written through the entry.
    pub dirty: bool,
    /// The level of the leaf: 0 for base pages.
    pub level: usize,
}

/// What `page` translates to, if its entry is a leaf.
#[inline]
pub(crate) fn translate<P: Platform>(root: Node<'_, P>, page: u64) -> Option<Translation> {
    let (leaf, level) = loop {
        let (node, word) = root.walk(page);
        let leaf = P::Format::as_leaf(node.level, word)?;
        // A table that has moved since it was reached may have been filled for its new place: then
        // that is seen here, behind what filled it.
        if node.range().holds(page) {
            break (leaf, node.level);
        }
    };
    let within = page & (P::Format::slot_pages(level) - 1);
    Some(Translation {
        frame: leaf.frame.add(within),
        rights: leaf.rights,
        accessed: leaf.accessed,
        dirty: leaf.dirty,
        level,
    })
}

/// A run of pages with one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    pub range: PageRange,
    pub key: Key,
}

/// A reading of the lowest node that covers `page`: the run around it, within the node's slots
/// without children. None: the node was being changed.
fn read<'g, P: Platform>(root: Node<'g, P>, page: u64) -> Option<(Run, Node<'g, P>, Snapshot)> {
    let (node, snapshot) = lowest(root, page)?;
    let (piece, end) = node.piece(page);
    let whole = PageRange::new(piece.start, end).intersect(node.range());
    if whole.start > page || whole.end <= page {
        return None;
    }
    let range = within_bare_slots(node, whole, page);
    snapshot.holds(&node.meta.seq).then_some((Run { range, key: piece.key }, node, snapshot))
}

/// The lowest node that covers `page`, and the beginning of a reading of it. Each step down reads
/// one word. None: the node was being changed, or has been detached, or has moved.
#[inline(always)]
fn lowest<P: Platform>(root: Node<'_, P>, page: u64) -> Option<(Node<'_, P>, Snapshot)> {
    let node = root.descend(page, 0);
    let snapshot = Snapshot::take(&node.meta.seq)?;
    // A child may have come since the step that ended here, and the node may have moved.
    let lowest = node.level == 0 || node.child(node.index(page)).is_none();
    (lowest && node.range().holds(page)).then_some((node, snapshot))
}

/// The part of `whole` around `page` that meets no slot with a child.
fn within_bare_slots<P: Platform>(node: Node<'_, P>, whole: PageRange, page: u64) -> PageRange {
    if node.child_count() == 0 {
        return whole;
    }
    let (slots, at) = (node.slots(whole), node.index(page));
    let before = node.children(slots.start..at).last();
    let after = node.children(at..slots.end).next();
    PageRange::new(
        before.map_or(whole.start, |(_, child)| child.range().end),
        after.map_or(whole.end, |(_, child)| child.range().start),
    )
}

/// What `page` is, and its entry, at one instant.
#[inline]
pub(crate) fn page<P: Platform>(guard: &Guard<'_, P>, root: Frame, page: u64) -> Seen {
    loop {
        if let Some(seen) = try_page(guard, root, page) {
            return seen;
        }
        guard.vm().platform().relax();
    }
}

/// The same without waiting. None: the node was being changed.
#[inline]
pub(crate) fn try_page<P: Platform>(guard: &Guard<'_, P>, root: Frame, page: u64) -> Option<Seen> {
    let root = Node::at(guard.vm(), root, P::Format::ROOT_LEVEL);
    let (node, snapshot) = lowest(root, page)?;
    let word = node.load(node.index(page));
    let (piece, _) = node.piece(page);
    let generation = node.meta.generation();
    let (key, frame, level) = (piece.key, node.frame, node.level);
    snapshot.holds(&node.meta.seq).then_some(Seen { key, frame, level, generation, snapshot, word })
}

/// The run around `page`, as it was at one instant. It may be a part of what a listing would show.
pub(crate) fn run<P: Platform>(guard: &Guard<'_, P>, root: Frame, page: u64) -> Run {
    let vm = guard.vm();
    let root = Node::at(vm, root, P::Format::ROOT_LEVEL);
    loop {
        if let Some((run, ..)) = read(root, page) {
            return run;
        }
        vm.platform().relax();
    }
}

/// The first run from `page` on, before `end`, that is mapped: as much of it as one node says. For
/// hints: what it passes over is read node by node, not at one instant.
pub(crate) fn first_mapped<P: Platform>(
    guard: &Guard<'_, P>,
    root: Frame,
    page: u64,
    end: u64,
) -> Option<Run> {
    let mut page = page;
    while page < end {
        let run = run(guard, root, page);
        if run.key.is_mapped() {
            return Some(run);
        }
        page = run.range.end;
    }
    None
}

/// The whole run from `page` on: neighbours with equal keys joined. With it, a digest of all the
/// nodes read and their states.
fn joined<P: Platform>(root: Node<'_, P>, page: u64, end: u64) -> Option<(Run, u64)> {
    let (mut run, node, snapshot) = read(root, page)?;
    let mut digest = digest(0, node, snapshot);
    run.range.start = page;
    while run.range.end < end {
        let (next, node, snapshot) = read(root, run.range.end)?;
        digest = self::digest(digest, node, snapshot);
        if next.key != run.key {
            break;
        }
        run.range.end = next.range.end;
    }
    Some((run, digest))
}

fn digest<P: Platform>(before: u64, node: Node<'_, P>, snapshot: Snapshot) -> u64 {
    let state = node.frame.0 << 32 ^ u64::from(snapshot.value()) ^ node.meta.generation() << 16;
    (before.rotate_left(5) ^ state).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The first mapping at or after `page`, below `end`, joined over equal keys, as it was at one
/// instant.
pub(crate) fn next_mapping<P: Platform>(
    guard: &Guard<'_, P>,
    root: Frame,
    page: u64,
    end: u64,
) -> Option<Run> {
    let vm = guard.vm();
    let root = Node::at(vm, root, P::Format::ROOT_LEVEL);
    let mut page = page;
    while page < end {
        match inside(root, page).or_else(|| across(root, page, end)) {
            Some(run) if run.key.is_mapped() => return Some(run),
            Some(run) => page = run.range.end,
            None => vm.platform().relax(),
        }
    }
    None
}

/// The whole run from `page` on, where it ends inside a node without children: one reading has it
/// all. None: it does not, or the node was being changed.
#[inline]
fn inside<P: Platform>(root: Node<'_, P>, page: u64) -> Option<Run> {
    let (node, snapshot) = lowest(root, page)?;
    let (piece, next) = node.piece_and_next(page);
    let next = next?;
    let range = PageRange::new(page, next.start);
    let ends = piece.start <= page && !range.is_empty() && next.key != piece.key;
    let alone = ends && node.child_count() == 0 && snapshot.holds(&node.meta.seq);
    alone.then_some(Run { range, key: piece.key })
}

/// The whole run from `page` on, through several nodes: read twice, and the same both times. None:
/// something was being changed.
fn across<P: Platform>(root: Node<'_, P>, page: u64, end: u64) -> Option<Run> {
    let (run, first) = joined(root, page, end)?;
    let (_, again) = joined(root, page, end)?;
    (first == again).then_some(run)
}

/// How many entries a reader of a range looks at under one guard.
const ENTRIES_A_GUARD: usize = 256;

/// A leaf entry met on a walk over a range.
pub(crate) struct Met<'g, P: Platform> {
    /// The pages of the range that it maps.
    pub pages: PageRange,
    /// What it said, its frame that of the first of these pages.
    pub leaf: Leaf,
    node: Node<'g, P>,
    index: usize,
    word: u64,
}

impl<P: Platform> Met<'_, P> {
    /// Whether the entry still maps what it did.
    pub fn stands(&self) -> bool {
        let leaf = |word| P::Format::as_leaf(self.node.level, word);
        let (met, now) = (leaf(self.word), leaf(self.node.load(self.index)));
        matches!((met, now), (Some(met), Some(now)) if met.frame == now.frame)
    }

    /// Clears the entry's accessed bit, whatever stands there now; whether the leaf that was met had
    /// it.
    pub fn clear_accessed(&self) -> bool {
        let backend = self.node.vm.backend();
        let old = if mutation::active(Mutation::StoreAtAgeing) {
            backend.swap(self.slot(), self.node.load(self.index) & !P::Format::ACCESSED)
        } else {
            backend.clear_accessed(self.slot(), P::Format::ACCESSED)
        };
        let leaf = P::Format::as_leaf(self.node.level, old);
        leaf.is_some_and(|leaf| leaf.accessed) && self.stands()
    }

    fn slot(&self) -> Slot<'_, <P::Format as Format>::Cell> {
        self.node.slot(self.index)
    }
}

/// Calls `visit` for the leaf entries of `range`, ascending, as far as one guard may go, and again for
/// one that it answers `false` to, since it has changed; the page to go on from with the next guard,
/// or the range's end. What is empty costs nothing.
pub(crate) fn leaves<'g, P: Platform>(
    guard: &Guard<'g, P>,
    root: Frame,
    range: PageRange,
    mut visit: impl FnMut(Met<'g, P>) -> bool,
) -> u64 {
    entries(guard, root, range, |Spot { pages, within, node, index, word }| {
        let Some(leaf) = P::Format::as_leaf(node.level, word) else { return true };
        let leaf = Leaf { frame: leaf.frame.add(within), ..leaf };
        visit(Met { pages, leaf, node, index, word })
    })
}

/// The same for the places on swap that entries name.
pub(crate) fn swapped<P: Platform>(
    guard: &Guard<'_, P>,
    root: Frame,
    range: PageRange,
    mut visit: impl FnMut(u64, Place),
) -> u64 {
    entries(guard, root, range, |Spot { pages, node, word, .. }| {
        if let Entry::Soft(soft) = P::Format::decode(node.level, word)
            && let Some(place) = Place::of(soft)
        {
            visit(pages.start, place);
        }
        true
    })
}

/// An entry that is neither empty nor a table's.
struct Spot<'g, P: Platform> {
    pages: PageRange,
    /// How many of its pages lie before these.
    within: u64,
    node: Node<'g, P>,
    index: usize,
    word: u64,
}

fn entries<'g, P: Platform>(
    guard: &Guard<'g, P>,
    root: Frame,
    range: PageRange,
    mut visit: impl FnMut(Spot<'g, P>) -> bool,
) -> u64 {
    let root = Node::at(guard.vm(), root, P::Format::ROOT_LEVEL);
    let mut left = ENTRIES_A_GUARD;
    entries_below(root, 0, range, &mut left, &mut visit)
}

/// The same for a table reached at `base`; `left`: how many more entries may be looked at.
fn entries_below<'g, P: Platform>(
    node: Node<'g, P>,
    base: u64,
    range: PageRange,
    left: &mut usize,
    visit: &mut impl FnMut(Spot<'g, P>) -> bool,
) -> u64 {
    let (level, slot_pages) = (node.level, P::Format::slot_pages(node.level));
    let part = range.intersect(PageRange::new(base, base + P::Format::table_pages(level)));
    if part.is_empty() {
        return range.end;
    }
    for index in node.occupied(node.index(part.start)..node.index(part.end - 1) + 1) {
        let start = base + index as u64 * slot_pages;
        let pages = part.intersect(PageRange::new(start, start + slot_pages));
        loop {
            if *left == 0 {
                return pages.start;
            }
            *left -= 1;
            let word = node.load(index);
            if let Some(table) = P::Format::next_table(level, word).filter(|_| level > 0) {
                let child = Node::at(node.vm, table, level - 1);
                let reached = entries_below(child, start, range, left, visit);
                if reached < pages.end {
                    return reached;
                }
                break;
            }
            // A table that has moved says nothing of this place.
            if node.range().start != base {
                break;
            }
            let within = pages.start - start;
            if visit(Spot { pages, within, node, index, word }) {
                break;
            }
        }
    }
    part.end
}

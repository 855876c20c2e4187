//! A page's entries are taken away.
//!
//! Guarantee: an entry is taken only under its leaf's lock, which was tried for (R34), where the
//! mapping is not locked (R41), the page not pinned (R24), and the entry was not used lately; what
//! stands there from that step on leads to the page (R14); and every CPU has dropped what the entry
//! said before the lock goes (R40).
//!
//! A page that one entry maps takes its neighbours along: those in the same leaf that are as old and
//! mapped by one entry too. One lock, one flush, and slots in a row, so that they come back together.

use super::Yield;
use super::age::Urgency;
use super::victim::{Backing, Refusal, Victim};
use crate::addr::Frame;
use crate::backend::Backend;
use crate::context::MaySleep;
use crate::counters::Event;
use crate::format::{Format, Geometry};
use crate::frame::meta::Meta;
use crate::lock::Attempt;
use crate::mutation::{self, Mutation};
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::rmap::{self, Mapper};
use crate::swap::Cluster;
use crate::sync::Ordering;
use crate::tree::cursor::Cursor;
use crate::tree::gather::Gather;
use crate::tree::locking::{self, Held};
use crate::tree::node::Node;
use crate::vm::Vm;
use arrayvec::ArrayVec;

/// How many neighbouring entries are looked at together; their number, aligned to it.
const NEIGHBOURS: usize = 32;

/// Pages that go together.
type Victims = ArrayVec<Victim, NEIGHBOURS>;

impl<P: Platform> Vm<P> {
    /// Steals a page, and perhaps its neighbours.
    pub(super) fn steal_page(
        &self,
        ms: &mut MaySleep,
        frame: Frame,
        urgency: Urgency,
        cluster: &mut Cluster,
    ) -> Yield {
        let claimed = Victim::claim(&self.walk(ms), frame, cluster);
        let victim = match claimed {
            Ok(victim) => victim,
            Err(refusal) => return Yield { stolen: 0, busy: refusal == Refusal::Busy },
        };
        let mut theft = Theft { urgency, cluster, victims: Victims::new() };
        theft.victims.push(victim);
        let (mut after, mut busy) = (None, false);
        loop {
            match self.try_lock_next(ms, frame, after) {
                Some(Ok((mapper, held))) => {
                    after = Some(mapper);
                    if !theft.take_from_leaf(ms, held, mapper.index) {
                        break;
                    }
                }
                Some(Err(Locked)) => {
                    busy = true;
                    break;
                }
                None => break,
            }
        }
        let Theft { victims, cluster, .. } = theft;
        let gone = victims.into_iter().filter_map(|victim| self.give_up(ms, victim, cluster));
        Yield { stolen: gone.count() as u64, busy }
    }

    /// Steals these pages, used or not, as far as they can go.
    pub(crate) fn steal_these(&self, ms: &mut MaySleep, pages: impl Iterator<Item = Frame>) {
        let mut cluster = Cluster::default();
        let found =
            pages.map(|frame| self.steal_page(ms, frame, Urgency::Any, &mut cluster).stolen);
        self.count(Event::PageStolen, found.sum());
    }

    /// The next mapper of a page, its leaf locked, if nobody else holds it. None: there is none.
    fn try_lock_next(
        &self,
        ms: &mut MaySleep,
        page: Frame,
        after: Option<Mapper>,
    ) -> Option<Result<(Mapper, Held<'_, P>), Locked>> {
        // The table is one until the guard goes: its record goes before it is retired.
        let _guard = self.walk(ms);
        let mapper = rmap::next(self, self.meta_of(page), after)?;
        let node = Node::of(self, mapper.table);
        let held = loop {
            match locking::try_lock_leaf(node) {
                Err(Attempt::Held) if mutation::active(Mutation::WaitAtSteal) => {
                    self.platform().relax();
                }
                tried => break tried,
            }
        };
        Some(held.map(|held| (mapper, held)).map_err(|_| Locked))
    }
}

/// Somebody else holds the leaf.
struct Locked;

/// Pages that are being stolen together.
struct Theft<'c> {
    urgency: Urgency,
    cluster: &'c mut Cluster,
    victims: Victims,
}

impl Theft<'_> {
    /// Takes the first victim's entry, and if it is its only one those of its neighbours; flushes,
    /// and unlocks. False: it stays.
    fn take_from_leaf<'a, P: Platform>(
        &mut self,
        ms: &mut MaySleep,
        held: Held<'a, P>,
        index: usize,
    ) -> bool {
        let (node, victim) = (held.top, &self.victims[0]);
        let alone = rmap::has_one(node.vm.meta_of(victim.frame));
        let mut gather = Gather::default();
        let skip = Mutation::NoShootdownAtSteal;
        let mut cursor = Cursor::of(held, ms, &mut gather, node.range(), skip);
        let taken = cursor.steal_entry(node, index, victim, self.urgency);
        if taken && alone {
            self.take_neighbours(&mut cursor, node, index);
        }
        cursor.commit().release();
        taken
    }

    fn take_neighbours<'a, P: Platform>(
        &mut self,
        cursor: &mut Cursor<'a, '_, P>,
        node: Node<'a, P>,
        index: usize,
    ) {
        let vm = node.vm;
        let first = index & !(NEIGHBOURS - 1);
        let end = P::Format::entries(0).min(first + NEIGHBOURS);
        for index in node.occupied(first..end) {
            let Some(leaf) = node.leaf(index) else { continue };
            let alone = vm.mapped_meta(leaf.frame).is_some_and(rmap::has_one);
            if !alone || !vm.is_old(leaf.frame, self.urgency) || self.victims.is_full() {
                continue;
            }
            let claimed = Victim::claim(&vm.enter(), leaf.frame, self.cluster);
            let Ok(victim) = claimed else { continue };
            if cursor.steal_entry(node, index, &victim, self.urgency) {
                self.victims.push(victim);
            } else {
                victim.spare(vm);
            }
        }
    }
}

impl<'a, P: Platform> Cursor<'a, '_, P> {
    /// Takes the entry of a page that is being stolen, and leaves there what leads to the page.
    /// False: it stays.
    fn steal_entry(
        &mut self,
        node: Node<'a, P>,
        index: usize,
        victim: &Victim,
        urgency: Urgency,
    ) -> bool {
        let (vm, meta) = (self.vm, self.vm.meta_of(victim.frame));
        let Some(leaf) = node.leaf(index).filter(|leaf| leaf.frame == victim.frame) else {
            // It has been taken away meanwhile.
            return true;
        };
        let (piece, _) = node.piece(node.slot_range(index).start);
        if is_kept(piece.key) || is_pinned(meta) {
            return false;
        }
        if leaf.accessed && urgency != Urgency::Any {
            vm.backend().clear_accessed(node.slot(index), P::Format::ACCESSED);
            vm.note_used(meta);
            return false;
        }
        match victim.backing {
            Backing::Slot(place) => {
                if !vm.hold_slot_again(place) {
                    return false;
                }
                self.replace_entry(node, index, P::Format::soft(place.soft()));
                vm.totals(self.space).swapped.fetch_add(1, Ordering::Relaxed);
            }
            Backing::Object(_) => {
                self.replace_entry(node, index, 0);
                node.lost(1);
            }
        }
        true
    }
}

/// Whether the mapping keeps its pages.
fn is_kept(key: Key) -> bool {
    let kept = Attributes::LOCKS | Attributes::DEVICE;
    key.attributes.intersects(kept) && !mutation::active(Mutation::NoLockedCheckAtSteal)
}

/// Whether somebody holds the page by its frame. One who does so from now on sees that it is not his
/// entry's alone any more, or is counted among its references.
fn is_pinned(meta: &Meta) -> bool {
    (!meta.try_share() || meta.pin_count() != 0) && !mutation::active(Mutation::NoPinCheckAtSteal)
}

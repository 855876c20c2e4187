//! A page's entries are taken away.
//!
//! Guarantee: an entry is taken only under its leaf's lock, which was tried for (R34), where the
//! mapping is not locked (R41), the page not pinned (R24), and the entry was not used lately; what
//! stands there from that step on leads to the page (R14); and every CPU has dropped what the entry
//! said before the lock goes (R40).
//!
//! A page takes its neighbours along: those beside it in the same leaf that are as old. One lock, one
//! flush and slots in a row for all of them, so that they come back together; and if others map them
//! too, the same once for each leaf.

use super::age::Urgency;
use super::victim::{Backing, Victim};
use super::{Busy, Yield};
use crate::addr::{Frame, PageRange};
use crate::context::MaySleep;
use crate::counters::Event;
use crate::flush::SpaceId;
use crate::format::{Format, Geometry};
use crate::frame::meta::Meta;
use crate::lock::Attempt;
use crate::mutation::{self, Mutation};
use crate::object::Refusal;
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
    /// Steals a page, and perhaps its neighbours, if all their entries lie within.
    pub(super) fn steal_page(
        &self,
        ms: &mut MaySleep,
        frame: Frame,
        within: Within,
        urgency: Urgency,
        cluster: &mut Cluster,
    ) -> Yield {
        let claimed = Victim::claim(&self.walk(ms), frame, cluster);
        let victim = match claimed {
            Ok(victim) => victim,
            Err(refusal) => return Yield { stolen: 0, busy: self.busy(refusal, frame) },
        };
        let mut theft = Theft { urgency, within, cluster, victims: Victims::new() };
        theft.victims.push(victim);
        let busy = self.take_entries(ms, &mut theft);
        let Theft { victims, cluster, .. } = theft;
        let mut sum = Yield { stolen: 0, busy };
        for victim in victims {
            let frame = victim.frame;
            match self.give_up(ms, victim, cluster) {
                Ok(()) => sum.add(Yield { stolen: 1, busy: None }),
                Err(refusal) => sum.add(Yield { stolen: 0, busy: self.busy(refusal, frame) }),
            }
        }
        sum
    }

    /// Who is in the way, where a page is refused.
    fn busy(&self, refusal: Refusal, page: Frame) -> Option<Busy> {
        let found = if self.meta_of(page).is_claimed() { Busy::Claimed(page) } else { Busy::Held };
        (refusal == Refusal::Busy).then_some(found)
    }

    /// Takes every entry of the victims, leaf by leaf; those that have one which stays are spared, and
    /// those that somebody has come back to behind us. Who is in the way.
    fn take_entries(&self, ms: &mut MaySleep, theft: &mut Theft<'_>) -> Option<Busy> {
        let (mut busy, mut alone) = (None, true);
        while let Some(victim) = theft.victims.iter_mut().find(|v| v.is_mapped(self)) {
            let frame = victim.frame;
            match self.try_lock_next(ms, victim) {
                Ok((mapper, held)) => {
                    theft.take_from_leaf(ms, held, mapper.index, frame, alone);
                    alone = false;
                }
                Err(found) => {
                    busy = busy.max(Some(found));
                    theft.spare(self, frame);
                }
            }
        }
        busy
    }

    /// Steals these pages if all their entries lie within, used or not, as far as they can go.
    pub(crate) fn steal_these(
        &self,
        ms: &mut MaySleep,
        pages: impl Iterator<Item = Frame>,
        within: Within,
    ) {
        let mut cluster = Cluster::default();
        let steal = |frame| self.steal_page(ms, frame, within, Urgency::Any, &mut cluster).stolen;
        self.count(Event::PageStolen, pages.map(steal).sum());
    }

    /// A page's next mapper, its leaf locked; unless somebody else has locked that, or has brought the
    /// page back and there is no mapper that was not met.
    fn try_lock_next(
        &self,
        ms: &mut MaySleep,
        victim: &mut Victim,
    ) -> Result<(Mapper, Held<'_, P>), Busy> {
        // The table is one until the guard goes: its record goes before it is retired.
        let _guard = self.walk(ms);
        let next = rmap::next(self, self.meta_of(victim.frame), victim.met);
        let mapper = next.ok_or(Busy::Held)?;
        victim.met = Some(mapper);
        let node = Node::of(self, mapper.table);
        let held = loop {
            match locking::try_lock_leaf(node) {
                Err(Attempt::Held) if mutation::active(Mutation::WaitAtSteal) => {
                    self.platform().relax();
                }
                tried => break tried,
            }
        };
        held.map(|held| (mapper, held)).map_err(|why| match why {
            Attempt::Held => Busy::Locked(mapper.table),
            _ => Busy::Held,
        })
    }
}

/// Which entries may be taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Within {
    Anywhere,
    /// Those of these pages of this space.
    Range(SpaceId, PageRange),
}

impl Within {
    fn holds<P: Platform>(self, node: Node<'_, P>, index: usize) -> bool {
        match self {
            Within::Anywhere => true,
            Within::Range(space, range) => {
                node.space() == space && range.holds(node.slot_range(index).start)
            }
        }
    }
}

/// Pages that are being stolen together.
struct Theft<'c> {
    urgency: Urgency,
    within: Within,
    cluster: &'c mut Cluster,
    victims: Victims,
}

impl Theft<'_> {
    /// Takes what the victims have in the leaf of the entry at `index`, which maps `frame`; `gathers`:
    /// those beside it become victims first. Flushes, and unlocks.
    fn take_from_leaf<'a, P: Platform>(
        &mut self,
        ms: &mut MaySleep,
        held: Held<'a, P>,
        index: usize,
        frame: Frame,
        gathers: bool,
    ) {
        let node = held.top;
        let mut gather = Gather::default();
        let skip = Mutation::NoShootdownAtSteal;
        let mut cursor = Cursor::of(held, ms, &mut gather, node.range(), skip);
        let first = index & !(NEIGHBOURS - 1);
        let end = P::Format::entries(0).min(first + NEIGHBOURS);
        let (urgency, mut taken) = (self.urgency, false);
        for index in node.occupied(first..end) {
            let Some(found) = node.leaf(index).map(|leaf| leaf.frame) else { continue };
            let inside = self.within.holds(node, index);
            let Some(victim) = self.victim(node.vm, found, gathers && inside) else { continue };
            if inside && cursor.steal_entry(node, index, victim, urgency) {
                taken |= found == frame;
            } else {
                self.spare(node.vm, found);
            }
        }
        if !taken {
            // It stays, or its entry is only about to be written.
            self.spare(node.vm, frame);
        }
        cursor.commit().release();
    }

    /// The victim in a frame, claimed now if it `gathers` and the page is old.
    fn victim<P: Platform>(&mut self, vm: &Vm<P>, frame: Frame, gathers: bool) -> Option<&Victim> {
        if !gathers {
            return self.victims.iter().find(|victim| victim.frame == frame);
        }
        // Those who gather have only begun: but for the first, who is here is here for the second
        // time, and comes up again.
        if self.victims.first().is_some_and(|first| first.frame == frame) {
            return self.victims.first();
        }
        vm.mapped_meta(frame)?;
        if self.victims.is_full() || !vm.is_old(frame, self.urgency) {
            return None;
        }
        let victim = Victim::claim(&vm.enter(), frame, self.cluster).ok()?;
        self.victims.push(victim);
        self.victims.last()
    }

    /// One that cannot go.
    fn spare<P: Platform>(&mut self, vm: &Vm<P>, frame: Frame) {
        if let Some(nth) = self.victims.iter().position(|victim| victim.frame == frame) {
            self.victims.remove(nth).spare(vm);
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
        let Some(leaf) = node.leaf(index) else { return false };
        let (piece, _) = node.piece(node.slot_range(index).start);
        if is_kept(piece.key) || is_pinned(meta) {
            return false;
        }
        if mutation::active(Mutation::PartBeforeRefusal) {
            part(meta);
        }
        if leaf.accessed && urgency < Urgency::Used {
            self.clear_accessed(node, index, leaf);
            vm.note_used(meta);
            return false;
        }
        match victim.backing {
            Backing::Slot(place) => {
                if !vm.takes_entries(place) || !vm.hold_slot_again(place) {
                    return false;
                }
                // The last that may refuse: an entry that stays, and may be written through, goes on
                // naming an exclusive page.
                if !part(meta) {
                    vm.put_slot(place);
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

/// Whether somebody holds the page by its frame.
fn is_pinned(meta: &Meta) -> bool {
    meta.pin_count() != 0 && !mutation::active(Mutation::NoPinCheckAtSteal)
}

/// Parts a page from its entry: who wants to hold it by its frame from now on sees that it is not his
/// entry's alone any more. False: somebody has come to hold it.
fn part(meta: &Meta) -> bool {
    meta.try_share() || mutation::active(Mutation::NoPinCheckAtSteal)
}

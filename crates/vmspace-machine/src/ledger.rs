//! Break-before-make: which translation each hart may hold, and whether a second one comes in.
//!
//! Guarantee: no false alarm. A translation stays in the ledger from when a hart brings it in until
//! it is invalidated by architecture: by a shootdown that names it, or with all of its space. That a
//! TLB forgets it by itself does not count: another one might not have.
//!
//! Arm ARM (DDI 0487), "Using break-before-make when updating translation table entries" (D8.16.1 in
//! issue K.a), demands the sequence of absent entry, TLBI, barrier, new entry when the output address
//! or the size of a valid entry changes; a hart that holds both may use either, or fault.
//!
//! Whoever shoots strikes out, before the call returns and so before the new entry is written, what
//! each hart has brought in before it drained the post. What a hart brings in later it has read in
//! tables from which the old entry was gone: such a record carries a later ticket and stays.

use crate::shootdown::door::Ticket;
use crate::tlb::store::Cached;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use vmspace::{Frame, Shot, SpaceId};

/// A leaf's translation that a hart may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The leaf's first page.
    pub start: u64,
    /// How many pages it maps.
    pub pages: u64,
    /// Its first frame.
    pub frame: Frame,
    /// The entry's word, for the report.
    pub cached: Cached,
    /// The last post that the hart had drained when it brought it in.
    pub since: Ticket,
}

impl Held {
    fn overlaps(&self, other: &Held) -> bool {
        self.start < other.start + other.pages && other.start < self.start + self.pages
    }

    fn differs(&self, other: &Held) -> bool {
        (self.start, self.pages, self.frame) != (other.start, other.pages, other.frame)
    }
}

/// By first page. Two that overlap are a conflict, which ends the run.
type Pages = BTreeMap<u64, Held>;

/// What all harts may hold.
#[derive(Debug)]
pub struct Ledger {
    harts: Box<[Mutex<HashMap<SpaceId, Pages>>]>,
}

/// The one that lies over `page`.
fn over(pages: &Pages, page: u64) -> Option<Held> {
    let (_, held) = pages.range(..=page).next_back()?;
    (page < held.start + held.pages).then_some(*held)
}

impl Ledger {
    /// Nobody holds anything.
    pub fn new(harts: usize) -> Ledger {
        Ledger { harts: (0..harts).map(|_| Mutex::default()).collect() }
    }

    fn of(&self, hart: usize) -> MutexGuard<'_, HashMap<SpaceId, Pages>> {
        self.harts[hart].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `hart`, inside, has read a leaf in the tables of `space` and will keep it. The hart that may
    /// hold a different one for some of the same pages, if there is one, and that one.
    pub fn bring_in(&self, hart: usize, space: SpaceId, new: Held) -> Option<(usize, Held)> {
        let conflict = (0..self.harts.len()).find_map(|other| {
            let spaces = self.of(other);
            let pages = spaces.get(&space)?;
            let held = over(pages, new.start).into_iter();
            let inside = pages.range(new.start..new.start + new.pages).map(|(_, held)| *held);
            let mut held = held.chain(inside);
            held.find(|held| held.overlaps(&new) && held.differs(&new)).map(|held| (other, held))
        });
        if conflict.is_none() {
            self.of(hart).entry(space).or_default().insert(new.start, new);
        }
        conflict
    }

    /// `hart` holds nothing for `pages` (none: all) of `space` that it brought in before it drained
    /// the post `ticket`.
    pub fn invalidate(&self, hart: usize, ticket: Ticket, space: SpaceId, pages: Option<&[Shot]>) {
        let mut spaces = self.of(hart);
        let Some(kept) = spaces.get_mut(&space) else { return };
        let Some(shots) = pages else {
            kept.retain(|_, held| held.since >= ticket);
            return;
        };
        for shot in shots {
            let held = over(kept, shot.page).filter(|held| held.since < ticket);
            held.and_then(|held| kept.remove(&held.start));
        }
    }

    /// `hart` holds nothing of `space`.
    pub fn forget(&self, hart: usize, space: SpaceId) {
        self.of(hart).remove(&space);
    }
}

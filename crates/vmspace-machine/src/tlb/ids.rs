//! A hart's address-space identifiers: a small table, as in x86's PCID scheme.
//!
//! Guarantee: a space has at most one identifier on a hart, and an identifier at most one space.
//! A hart tells the library that it leaves a space only while the space lives.
//!
//! The hart alone gives identifiers, while it is inside. Whoever takes one from a space is told
//! which, and must drop what is kept under it, then take the hart out of that space's set, and
//! only then gives it. Whoever ends a space first strikes it out of every hart's table, and then
//! posts to the hart and waits for the answer, as for a shootdown. So a hart that still found the
//! space in its table, and leaves it, is waited for; and one that comes in later finds it struck
//! out. What is kept under a struck-out identifier is dropped when it is next given.

use crate::sync::{AtomicU64, Ordering};
use vmspace::SpaceId;

/// An identifier of one hart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Id(u8);

impl Id {
    /// Its place in the table.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A place that nobody has.
const FREE: u64 = !0;
/// A place whose space has ended; translations may still be kept under the identifier.
const ENDED: u64 = !0 - 1;

/// The table, as others see it.
#[derive(Debug)]
pub struct IdTable {
    places: Box<[AtomicU64]>,
}

impl IdTable {
    /// `count` identifiers, all free.
    pub fn new(count: usize) -> IdTable {
        IdTable { places: (0..count).map(|_| AtomicU64::new(FREE)).collect() }
    }

    /// Whoever ends `space`: strikes it out. Whether it was there; if so the hart may be using it
    /// until it has answered a post that comes after this.
    pub fn strike_out(&self, space: SpaceId) -> bool {
        // Success is ordered by the post that follows. Failure is Acquire: it pairs with `give` and
        // `release`, so a hart that had it has left it, if it is not there any more.
        self.places.iter().any(|place| {
            place.compare_exchange(space.0, ENDED, Ordering::Relaxed, Ordering::Acquire).is_ok()
        })
    }
}

/// The table, as its hart uses it.
#[derive(Debug)]
pub struct Ids<'m> {
    table: &'m IdTable,
    /// Whose turn it is to be taken when none is free.
    next: usize,
}

/// An identifier that may be given, once what is kept under it is dropped and its space left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vacant {
    /// The identifier.
    pub id: Id,
    /// The space that has it, to be left.
    pub space: Option<SpaceId>,
}

impl<'m> Ids<'m> {
    /// The hart's side of its table.
    pub fn new(table: &'m IdTable) -> Ids<'m> {
        Ids { table, next: 0 }
    }

    fn at(&self, index: usize) -> u64 {
        self.table.places[index].load(Ordering::Relaxed)
    }

    fn position(&self, wanted: impl Fn(u64) -> bool) -> Option<usize> {
        (0..self.table.places.len()).find(|index| wanted(self.at(*index)))
    }

    /// The identifier that `space` has.
    pub fn find(&self, space: SpaceId) -> Option<Id> {
        self.position(|found| found == space.0).map(|index| Id(index as u8))
    }

    /// An identifier for another space: one that nobody has, else the next in turn.
    pub fn vacate(&mut self) -> Vacant {
        let index = self.position(|found| found >= ENDED).unwrap_or_else(|| {
            self.next = (self.next + 1) % self.table.places.len();
            self.next
        });
        let found = self.at(index);
        Vacant { id: Id(index as u8), space: (found < ENDED).then_some(SpaceId(found)) }
    }

    /// Gives a vacated identifier to `space`, which has none; who had it has been left.
    pub fn give(&mut self, id: Id, space: SpaceId) {
        // Release: pairs with `strike_out`.
        self.table.places[id.index()].store(space.0, Ordering::Release);
    }

    /// The identifier is nobody's any more; who had it has been left, and nothing is kept.
    pub fn release(&mut self, id: Id) {
        // Release: pairs with `strike_out`.
        self.table.places[id.index()].store(FREE, Ordering::Release);
    }

    /// The living spaces that have one.
    pub fn iter(&self) -> impl Iterator<Item = (Id, SpaceId)> {
        let places = (0..self.table.places.len()).map(|index| (Id(index as u8), self.at(index)));
        places.filter(|(_, found)| *found < ENDED).map(|(id, found)| (id, SpaceId(found)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the hart does it; the space that had to be left.
    fn assign(ids: &mut Ids<'_>, space: u64) -> Option<SpaceId> {
        let vacant = ids.vacate();
        ids.give(vacant.id, SpaceId(space));
        vacant.space
    }

    #[test]
    fn identifiers_are_taken_in_turn_when_none_is_free() {
        let table = IdTable::new(4);
        let mut ids = Ids::new(&table);
        assert!((0..4).all(|space| assign(&mut ids, space).is_none()));
        let left: Vec<_> = (4..9).map(|space| assign(&mut ids, space)).collect();
        assert_eq!(left, [1, 2, 3, 0, 4].map(|space| Some(SpaceId(space))));
        assert_eq!(ids.find(SpaceId(4)), None);
        assert_eq!(ids.iter().count(), 4);
    }

    #[test]
    fn released_and_ended_ones_are_given_first_and_leave_nothing() {
        let table = IdTable::new(4);
        let mut ids = Ids::new(&table);
        (0..4).for_each(|space| assert_eq!(assign(&mut ids, space), None));
        let third = ids.find(SpaceId(2)).unwrap();
        ids.release(third);
        assert!(table.strike_out(SpaceId(3)) && !table.strike_out(SpaceId(3)));
        assert_eq!(ids.find(SpaceId(3)), None);
        assert_eq!(ids.iter().count(), 2);
        assert_eq!([assign(&mut ids, 8), assign(&mut ids, 9)], [None, None]);
        assert_eq!(ids.find(SpaceId(8)), Some(third));
    }
}
